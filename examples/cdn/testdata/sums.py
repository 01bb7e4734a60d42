"""Sums the lines of standard input, each preceded by its length, with the functions of pipeline.py; prints JSON."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import pipeline


def lines(f):
  while length := f.read(4):
    yield None, f.read(int.from_bytes(length, 'big'))


def main():
  bundle = pipeline.SumBundle()
  bundle.start_bundle()
  for record in lines(sys.stdin.buffer):
    bundle.process(record)
  total = pipeline.SumTraffic()
  rows = {}
  for windowed in bundle.finish_bundle():
    province, sums = windowed.value
    rows[province] = pipeline.statistic(province, total.extract_output(total.merge_accumulators([sums])))[1:]
  json.dump(rows, sys.stdout)


if __name__ == '__main__':
  main()
