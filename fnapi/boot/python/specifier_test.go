package python

import "testing"

func TestAnInterpreterFitsVersionSpecifiers(t *testing.T) {
	t.Parallel()
	for specifiers, want := range map[string]bool{
		"": true, ">=3.9": true, ">=3.11.4": true, ">=3.11.5": false, ">= 3.9, <4": true, ">=3.9,<3.11": false, "<3.12.0a1": true,
		"==3.11": false, "==3.11.4": true, "==3.11.*": true, "==3.1.*": false, "!=3.11.*": false, "!=3.11": true, "<=3.11": false, ">3.11": true, ">3.11.4": false,
		"~=3.10": true, "~=3.11.2": true, "~=3.10.2": false, "===3.11.4": true, "the newest": true,
	} {
		if (Interpreter{Release: "3.11.4"}).Fits(specifiers) != want {
			t.Errorf("%q: not %v", specifiers, want)
		}
	}
	if !(Interpreter{}).Fits(">=4") || (Interpreter{Version: "3.8"}).Fits(">=3.9") {
		t.Error("of one whose release is not known")
	}
}
