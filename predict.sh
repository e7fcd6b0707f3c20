#!/bin/sh
# Segment a folder of cases: sh predict.sh [INPUTS OUTPUTS] [options]; `sh predict.sh --help` lists them.
set -eu
late='' && trap 'late=1' TERM # remembered, then blocked until Python listens: ignored, it would be lost
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
[ -n "${PYTHON:-}" ] || ! [ -x "$here/.venv/bin/python" ] || PYTHON=$here/.venv/bin/python
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1 # no `vesal` of the caller's folder
hold=$(env --block-signal=TERM echo --block-signal=TERM 2>/dev/null) || trap '' TERM # where env cannot
exec env $hold VESAL_TERMINATED="$late" "${PYTHON:-python3}" -m vesal "$@"
