#!/bin/sh
# All that the paper reports, with one command, from any folder; flags as of reproduce.py:
#   ./reproduce.sh --data-dir data/CPSC --use-gpu
cd "$(dirname "$0")" || exit
make --silent .venv/.installed && exec .venv/bin/python reproduce.py "$@"
