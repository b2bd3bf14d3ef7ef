#!/usr/bin/env bash
# The tests in both environments: bash tests/both.sh PYTHON PYTHON-7NET [pytest's arguments]
#
# MACE's first and the other at the same time where there is a core for each, and then MACE's, of which
# there are most, by two processes; the other's lines are shown when it is done, and what both say is
# repeated at the end. Fails where one does.
set -uo pipefail
mace=$1 sevennet=$2
shift 2

log=$(mktemp) log7=$(mktemp)
trap 'kill $(jobs -p) 2>/dev/null; rm -f "$log" "$log7"' EXIT

seven() { "$sevennet" -m pytest -p no:cacheprovider "$@" >"$log7" 2>&1; }

beside= share=()
# (nproc would tell the threads that OpenMP may use)
if [ "$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)" -gt 1 ]; then
    beside=1
    share=(-n 2 --dist loadfile) # a file's tests share what they make
    seven "$@" &
fi
"$mace" -m pytest ${share[@]+"${share[@]}"} "$@" 2>&1 | tee "$log"
failed=${PIPESTATUS[0]}
echo "== the environment of SevenNet and CHGNet"
if [ "$beside" ]; then wait $!; else seven "$@"; fi
failed7=$?
cat "$log7"
echo "== of both environments, that of MACE first"
tail -n 1 "$log"
tail -n 1 "$log7"
[ "$failed" = 0 ] && [ "$failed7" = 0 ]
