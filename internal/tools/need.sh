#!/usr/bin/env bash
# need.sh PROOF PACKAGE...: installs Debian's PACKAGEs if the command PROOF fails, where that is possible.
set -euo pipefail
proof=$1
shift
PATH=$PATH:/usr/sbin
if eval "$proof" >/dev/null 2>&1; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "need.sh: '$proof' fails: something is missing. On Debian: apt-get install $*" >&2
  exit 1
fi
echo "installing $*"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update </dev/null
apt-get -qq install -y --no-install-recommends "$@" </dev/null >/dev/null
eval "$proof" >/dev/null
