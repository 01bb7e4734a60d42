"""Says who it is, and sleeps."""

import os
import time

print('process', os.getpid(), flush=True)
time.sleep(600)
