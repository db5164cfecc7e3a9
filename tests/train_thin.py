"""Run main.py with a thin network, for tests that need a process of their own."""

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import main
import resnet

resnet.WIDTHS = (8, 8, 16, 16)
if "--file-limit" in sys.argv:  # bytes a file may have: what a full disk does to a write
    at = sys.argv.index("--file-limit")
    limit = int(sys.argv[at + 1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    del sys.argv[at : at + 2]
main.main(main.parse_args())
