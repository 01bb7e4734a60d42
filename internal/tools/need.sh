#!/usr/bin/env bash
# need.sh COMMAND PACKAGE...: makes sure that COMMAND is there, from Debian's PACKAGEs where that is possible.
set -euo pipefail
command=$1
shift
PATH=$PATH:/usr/sbin
if command -v "$command" >/dev/null; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "need.sh: '$command' is missing. On Debian: apt-get install $*" >&2
  exit 1
fi
echo "installing $*"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update </dev/null
apt-get -qq install -y --no-install-recommends "$@" </dev/null >/dev/null
command -v "$command" >/dev/null
