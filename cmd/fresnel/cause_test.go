package main

import "testing"

const raised = `user code failed in Divide: Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in apache_beam.runners.common.DoFnRunner.process
  File "/home/a/raises.py", line 3, in divide
    return 1 / x
           ~~^~~
ZeroDivisionError: division by zero
with the element 0

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/apache_beam/worker.py", line 310, in _execute
    response = task()
               ^^^^^^
  File "/home/a/raises.py", line 3, in divide
    return 1 / x
           ~~^~~
  File "/venv/lib/python3.11/site-packages/numpy/core.py", line 9, in divide
ZeroDivisionError: division by zero [while running 'Divide']
and more of it
`

func TestTheCauseOfAFailureIsALine(t *testing.T) {
	t.Parallel()
	for why, want := range map[string]string{
		raised: "user code failed in Divide: ZeroDivisionError: division by zero, with the element 0 (/home/a/raises.py, line 3, in divide)",
		"F: Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nModuleNotFoundError: No module named 'x'": "F: ModuleNotFoundError: No module named 'x' (a.py, line 1, in f)" +
			"; --requirements_file, --setup_file and --extra_package bring packages to workers in processes",
		"F: Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: no\nwith the timer due of the key 1": "" +
			"F: ValueError: no, with the timer due of the key 1 (a.py, line 1, in f)",
		"Kafka source Read: no such topic: make it\nmore": "Kafka source Read: no such topic: make it",
		"unavailable in process p: SDK harness w ended with exit status 1; its last words:\n  first\n  fresnel: no such Python (install it)": "" +
			"unavailable in process p: SDK harness w ended with exit status 1; fresnel: no such Python (install it)",
		"unavailable in p: w ended with exit status 1; its last words:\n  first\n  Traceback (most recent call last):\n    File \"/venv/lib/python3.11/runpy.py\", line 1, in f\n  OSError: disk": "" +
			"unavailable in p: w ended with exit status 1; OSError: disk",
		"Traceback (most recent call last):": "",
		"":                                   "",
	} {
		if got := cause(why); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}
