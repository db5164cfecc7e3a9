#!/bin/sh
# All that the paper reports, with one command; flags as of reproduce.py, paths from this folder:
#   ./reproduce.sh --data-dir data/CPSC --use-gpu
cd "$(dirname "$0")" || exit
make --silent .venv/.installed && exec .venv/bin/python reproduce.py "$@"
