"""What user code saw, for the program that measures it.

User code may run in processes of its own. So each process appends lines to a
file of its own in a directory, the book, that travels with the DoFns:

    record.book = directory           (before the pipeline is built)
    record.note(book, 'bundle', ...)  (in user code)
    record.read('bundle')             (afterwards)

Times are of time.monotonic, which on Linux is one clock for all processes.
"""

import glob
import os

book = None


def note(book, kind, *values):
  note_all(book, kind, [values])


def note_all(book, kind, rows):
  with open(os.path.join(book, f'{kind}-{os.getpid()}.note'), 'a') as f:
    f.writelines(' '.join(repr(v) for v in row) + '\n' for row in rows)


def read(kind):
  """All notes of a kind: lists of numbers."""
  notes = []
  for path in glob.glob(os.path.join(book, f'{kind}-*.note')):
    with open(path) as f:
      notes.extend([float(v) for v in line.split()] for line in f)
  return notes


def clear():
  for path in glob.glob(os.path.join(book, '*.note')):
    os.remove(path)
