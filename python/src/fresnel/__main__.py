"""The `fresnel` command: the program takes this process's place."""

from __future__ import annotations

import importlib.util
import os
import sys

from fresnel._binary import binary


def main() -> None:
    try:
        program = binary()
    except FileNotFoundError as e:
        sys.exit(f'fresnel: {e}')
    if os.environ.get('VIRTUAL_ENV', sys.prefix) == sys.prefix and importlib.util.find_spec('apache_beam'):
        # Workers and programs that it starts run this Python, unless the user says otherwise.
        os.environ.setdefault('FRESNEL_PYTHON', sys.executable)
    os.execv(program, ['fresnel', *sys.argv[1:]])


if __name__ == '__main__':
    main()
