"""Runs a command on a terminal and prints what is on it at the end.

    terminal.py COMMAND... [-- WORDS KEYS]...

KEYS are pressed once the terminal has been shown WORDS (after those before); the keys `narrower` make it narrower instead. The end
is the command's: its status is this program's.
"""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios

CONTROLS = re.compile(r'\x1b\[(\d*)([A-Za-z])|(.)', re.DOTALL)


class Terminal:
  """As much of one as is used: lines that are folded, the cursor up, the rest erased."""

  def __init__(self, columns):
    self.lines, self.row, self.column, self.columns = [''], 0, 0, columns

  def show(self, text):
    for number, control, char in CONTROLS.findall(text):
      if control == 'A':
        self.row = max(0, self.row - int(number or 1))
      elif control == 'J':
        self.lines = self.lines[:self.row] + [self.lines[self.row][:self.column]]
      elif char == '\r':
        self.column = 0
      elif char == '\n':
        self.down()
      elif char:
        self.put(char)

  def down(self):
    self.row += 1
    if self.row == len(self.lines):
      self.lines.append('')

  def put(self, char):
    if self.column == self.columns:
      self.column = 0
      self.down()
    line = self.lines[self.row].ljust(self.column)
    self.lines[self.row] = line[:self.column] + char + line[self.column + 1:]
    self.column += 1

  def narrow(self, columns):
    """Folds the lines anew, as most terminals do; the cursor is below them."""
    folded = [line[i:i + columns] for line in self.lines for i in range(0, max(1, len(line)), columns)]
    self.lines, self.row, self.columns = folded, len(folded) - 1, columns


def size(fd, columns):
  fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 40, columns, 0, 0))


def main():
  words = ' '.join(sys.argv[1:]).split(' -- ')
  pid, fd = pty.fork()
  if pid == 0:
    os.execvp(sys.argv[1], words[0].split())
  size(fd, 100)
  terminal, seen, steps = Terminal(100), '', [w.rsplit(' ', 1) for w in words[1:]]
  while True:
    if select.select([fd], [], [], 0.1)[0]:
      try:
        text = os.read(fd, 1 << 16).decode(errors='replace')
      except OSError:  # the command has ended
        break
      terminal.show(text)
      seen += text
    elif steps and steps[0][0] in seen:  # with nothing on its way: a Ctrl-C has the system drop what is
      _, keys = steps.pop(0)
      seen = ''
      if keys == 'narrower':
        size(fd, 50)
        terminal.narrow(50)
      else:
        os.write(fd, keys.encode().decode('unicode_escape').encode())
  print('\n'.join(terminal.lines))
  sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


main()
