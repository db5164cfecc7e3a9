"""Write the lock files: the packages that requirements*.txt lead to, with versions and hashes.

    python locks/make.py uv        # with the path of uv

packages.txt is what steps and tests need, workflow.txt what Snakemake needs besides. torch.txt is
torch as PyPI has it; cuda.txt are the libraries that this build of it needs on Linux, several GB.
All platforms and every Python from 3.11 on are in one file: lines have markers.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = "# made by `make lock` from requirements*.txt; install with: pip install --no-deps -r"
DEV = "requirements-dev.txt"  # which holds the others but the workflow's
CUDA = re.compile(r"nvidia-|cuda-|triton$")


def compile_lock(uv, *options):
    """Return {name: its lines} of all packages that requirements lead to, each with its hashes."""
    command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-annotate", "--no-header", *options]
    text = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for block in re.split(r"\n(?=\S)", text.strip()):
        name = block.partition("==")[0]
        found[name] = f"{found.get(name, '')}{block}\n"  # twice where Pythons differ
    return found


def main(uv):
    """Write the four files of locks/."""
    every = compile_lock(uv, DEV, "requirements-workflow.txt")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.writelines(every.values())
        pins.flush()
        base = compile_lock(uv, DEV, "--constraints", pins.name)
    files = {"packages": "", "workflow": "", "torch": "", "cuda": ""}
    for name, lines in every.items():
        if name == "torch" or CUDA.match(name):
            files["torch" if name == "torch" else "cuda"] += lines
        else:
            files["packages" if name in base else "workflow"] += lines
    for name, text in files.items():
        Path(ROOT, "locks", f"{name}.txt").write_text(f"{HEAD} locks/{name}.txt\n{text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
