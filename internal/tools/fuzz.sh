#!/usr/bin/env bash
# fuzz.sh TIME: runs every fuzzer of the module for TIME each. What one finds is kept under its package's testdata.
set -euo pipefail
time=$1
go=${GO:-go}
count=0
while IFS=: read -r file line; do
  name=${line#func }
  name=${name%%(*}
  echo "fuzz $(dirname "$file") $name"
  "$go" test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 5s "$(dirname "$file")"
  count=$((count + 1))
done < <(grep -rE '^func Fuzz[A-Za-z0-9_]*\(' --include='*_test.go' ./cmd ./connectors ./fnapi ./internal ./jobservice ./runner ./translate)
echo "$count fuzzers ran for $time each"
