"""The CDN example with a function of the user's that raises."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../examples/cdn'))
import pipeline


def ip_to_province(ip):
  raise LookupError('no province for ' + ip)


if __name__ == '__main__':
  pipeline.ip_to_province = ip_to_province
  pipeline.run()
