#!/bin/sh
# Segment a folder of cases: sh predict.sh [INPUTS OUTPUTS] [options]; `sh predict.sh --help` lists them.
set -eu
trap '' TERM # until Python listens for it, it would end the case without an output
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
[ -n "${PYTHON:-}" ] || ! [ -x "$here/.venv/bin/python" ] || PYTHON=$here/.venv/bin/python
# Safe path: a folder `vesal` in the caller's directory must not take the place of ours.
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1
hold=$(env --block-signal=TERM echo env --block-signal=TERM 2>/dev/null) || hold= # a signal waits, and is not lost
exec $hold "${PYTHON:-python3}" -m vesal "$@"
