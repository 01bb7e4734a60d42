#!/usr/bin/env bash
# fuzz.sh TIME: runs every fuzzer of the module for TIME each. What one finds is kept under its package's testdata.
set -euo pipefail
time=$1
go=${GO:-go}
count=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz NAME PACKAGE. On a busy machine go test may end a fuzzer that found nothing with the words "context deadline
# exceeded", when its time is over while a worker is being asked: that says nothing of the code.
fuzz() {
  "$go" test -run '^$' -fuzz "^$1\$" -fuzztime "$time" -fuzzminimizetime 5s "$2" 2>&1 | tee "$log" && return
  grep -qE 'Failing input|panic|_test\.go|build failed' "$log" && return 1
  grep -qE '^ +context deadline exceeded$' "$log" && echo "$1 found nothing in its time"
}

while IFS=: read -r file line; do
  name=${line#func }
  name=${name%%(*}
  echo "fuzz $(dirname "$file") $name"
  fuzz "$name" "$(dirname "$file")"
  count=$((count + 1))
done < <(grep -rE '^func Fuzz[A-Za-z0-9_]*\(' --include='*_test.go' ./cmd ./connectors ./fnapi ./internal ./jobservice ./runner ./translate)
echo "$count fuzzers ran for $time each"
