#!/bin/sh
# Segment a folder of cases: sh predict.sh [INPUTS OUTPUTS] [options]; `sh predict.sh --help` lists them.
set -eu
trap '' TERM # it would end the case without an output
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
[ -n "${PYTHON:-}" ] || ! [ -x "$here/.venv/bin/python" ] || PYTHON=$here/.venv/bin/python
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1 # no `vesal` of the caller's folder
# Blocked, SIGTERM waits until Python listens; ignored, it would be lost.
exec $(env --block-signal=TERM echo env --block-signal=TERM 2>/dev/null) "${PYTHON:-python3}" -m vesal "$@"
