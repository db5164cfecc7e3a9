"""What every script needs beside data and network: flags, progress, run names, files.

Importing it loads no torch, and so costs nothing.
"""

import argparse
import contextlib
import functools
import hashlib
import json
import math
import os
import platform
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path

from tqdm import tqdm

RESEARCH_USE = "Research use only; not a diagnosis."
WIDTH = 64  # channels of the paper's first stage; --width scales all stages
HOST = re.sub(r"\W", "_", platform.node())  # in temporary names: folders may be shared
ROOT = Path(__file__).resolve().parent


def is_own_script():
    """Tell whether Python was started with a script or a command of this checkout."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    return bool(script) and Path(script).resolve().parent in (
        ROOT,
        ROOT / "ecg",
        ROOT / "benchmarks",
    )


if is_own_script():
    # before matplotlib is imported: a notebook hands the backend of its kernel on to `!python ...`,
    # where nobody knows it; a notebook that imports these modules keeps its own
    os.environ["MPLBACKEND"] = "agg"


def fail(message):
    """Print one line on stderr and leave with exit status 2, the status of every bad input."""
    tqdm.write(f"error: {' '.join(str(message).split())}", file=sys.stderr)  # clears a bar first
    raise SystemExit(2)


class Progress(tqdm):
    """A bar in a terminal; elsewhere a line every tenth of the work or 30 s, with the time left."""

    latest = None  # the bar shown last
    n_reported, reported_at = 0, None  # of the last line: how much was done, and when

    def display(self, msg=None, pos=None):
        """Draw the bar, or print a line when one is due; short jobs print nothing."""
        Progress.latest, now = self, time.monotonic()
        if self.fp.isatty():
            return super().display(msg, pos)
        self.reported_at = self.reported_at or now
        tenth = self.total and self.n - self.n_reported >= self.total / 10
        if msg is None and now - self.reported_at > (2 if tenth else 30):
            text = {"bar_format": "{desc}: {n_fmt} of {total_fmt}, {remaining} left", "ncols": None}
            print(self.format_meter(**self.format_dict | text), file=self.fp, flush=True)
            self.n_reported, self.reported_at = self.n, now

    def clear(self, nolock=False):
        """Make room for another line, in a terminal."""
        if self.fp.isatty():
            super().clear(nolock)

    def close(self):
        """End the bar; tqdm would end it with a line break, which lines already have."""
        if not self.disable and not self.fp.isatty():
            self.delay = math.inf
        super().close()


def run_main(main, parse_args):
    """Run a step or a command; after Ctrl-C say in one line where it stopped and how to resume.

    The exit status is then 130. No file is half-written, since `replacing` writes them.
    """
    stopped, args = [], None

    def stop(*_):
        stopped.append(True)  # errors that follow from the interrupt are not shown
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    # our worker processes finish what they do and end when this process tells them to
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    try:
        args = parse_args()
        main(args)
    except BaseException:
        if not stopped:
            raise
        bar, more = Progress.latest, ["--resume", "auto"] * (getattr(args, "resume", 0) is None)
        where = f" at {bar.desc}, {bar.n} of {bar.total or '?'}" if bar else ""
        command = shlex.join([*sys.orig_argv, *more])
        text = f"stopped{where}; no file is half-written; resume with: {command}"
        tqdm.write(text, file=sys.stderr)
        raise SystemExit(130) from None


@contextlib.contextmanager
def workers(jobs, *initializer):
    """Yield a pool of processes; what stops the block cancels the work that has not begun."""
    pool = ProcessPoolExecutor(jobs, None, *initializer)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Print each flag's default, unless it is None or False."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def make_parser(doc):
    """Make a strict parser; its help is the script's first line, the flags, and its examples."""
    first, *lines = doc.strip().splitlines()
    examples = [line for line in lines if re.match(r" {4}(python|torchrun) ", line)]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    command = f"-m {spec.name}" if spec and spec.parent in ("ecg", "benchmarks") else None
    parser = argparse.ArgumentParser(
        prog=command,
        description=first,
        epilog="\n".join(["examples:", *examples]) if examples else None,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.error = lambda message: fail(f"{message}; see: python {parser.prog} --help")
    return parser


def positive(text):
    """Parse a whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def natural(text):
    """Parse a whole number from 0 to 4,294,967,295, the largest seed, for argparse."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return int(text)


def positive_number(text):
    """Parse a finite number above 0, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def run_name(method, data_dir, seed, round_number=0, leads=None):
    """Name a run; the names of all files it makes begin with this name.

    `method` is an architecture or a classifier, `leads` the text of the leads (networks only):
    resnet34_CPSC_all_42, resnet34_CPSC_I-aVR-V5_42_r3, LR_CPSC_42.
    """
    parts = [method, Path(data_dir).resolve().name, leads, str(seed)]
    parts.append(f"r{round_number}" if round_number else None)
    return "_".join(part for part in parts if part)


def network_name(arch, width=WIDTH, init=None):
    """Name a network for file names: resnet34, resnet18w24, from-general (--init general.pth)."""
    if init:
        return f"from-{Path(init).stem}"
    return arch if width == WIDTH else f"{arch}w{width}"


def checkpoint_path(run):
    """Return the path of the run's model."""
    return Path("models") / f"{run}.pth"


def results_path(*parts):
    """Return a path below results/, the folder of all tables and figures."""
    return Path("results", *parts)


def explanations_path(*parts):
    """Return a path below explanations/."""
    return Path("explanations", *parts)


def results_dir(run):
    """Return the folder of the run's tables and figures; make it if it is missing."""
    return make_folder(results_path(run))


def make_folder(path):
    """Make a folder and its parents if they are missing; return it. Stops if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        cannot_write(path, error)
    return path


def cannot_write(path, error):
    """Stop, as a file or folder cannot be written or removed."""
    fail(
        f"{path} cannot be written ({error.strerror or error}); make room, or allow writing "
        "there, and run the same command again"
    )


def is_safe_name(name):
    """Tell whether a file of this name would stay in its folder."""
    return name not in ("", ".", "..") and not re.search(r"[/\\\x00-\x1f\x7f]", name)


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary name beside `path`, moved onto it only if the block ends well.

    A run killed at any point leaves the old file whole, or none; what cannot be written stops in
    one line. The temporary name keeps the suffix, for writers (matplotlib, numpy) that choose the
    format by it. What is there and no regular file, such as /dev/null or a pipe, is written to;
    a link stays, and the file that it leads to is replaced.
    """
    path = Path(path)
    path = path.resolve() if path.is_symlink() and (path.is_file() or not path.exists()) else path
    make_folder(path.parent)
    if path.exists() and not path.is_file():
        temporary = path
    else:
        temporary = path.with_name(f".{path.stem}.{HOST}.{os.getpid()}.tmp{path.suffix}")
        remove_leftovers(path.parent)
    try:
        yield temporary
        if temporary != path:
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            os.replace(temporary, path)
    except OSError as error:
        cannot_write(path, error)
    finally:
        if temporary != path:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def remove(path):
    """Remove a file if it is there; stop if that cannot be done."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        cannot_write(path, error)


@functools.cache  # once for each folder: some hold thousands of files
def remove_leftovers(folder):
    """Remove the temporary files that killed processes of this machine have left in a folder."""
    for path in folder.glob(f".*.{HOST}.*.tmp*"):
        number = re.search(r"\.(\d+)\.tmp(\.[^.]*)?$", path.name)
        with contextlib.suppress(OSError):
            if number and not is_alive(int(number[1])):
                path.unlink()


def is_alive(pid):
    """Tell whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of somebody else
        pass
    return True


def write_csv(frame, path):
    """Write a DataFrame as csv without its index: LF line ends, empty cells for NaN, atomically."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def write_json(path, content):
    """Write a dictionary as JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def software_versions():
    """Return the versions and the machine that decide a number, as a flat dictionary of text."""
    packages = ("torch", "numpy", "scipy", "pandas", "scikit-learn", "lightgbm")
    versions = {name: metadata.version(name) for name in packages}
    versions |= {"git": git_revision(), "hardware": hardware()}
    return {"python": sys.version.split()[0], **versions}


def hardware():
    """Return the processor, its cores and the memory as text."""
    try:
        name = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):  # not Linux, or a processor without a name
        name = platform.processor() or platform.machine()
    try:
        memory = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
    except (OSError, ValueError):  # not every system says it
        memory = "unknown memory"
    return f"{name}, {os.cpu_count()} cores, {memory}"


def peak_memory_mb():
    """Return the most memory (MiB) that this process has used."""
    # in KiB on Linux, in bytes on macOS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)


def read_json(path):
    """Return a file's content, or None where it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return None


def file_digest(path):
    """Return the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_revision():
    """Return the code's short git revision, with '+' if it has local changes, or 'unknown'.

    It is unknown without git, and in a copy without a history of its own: git would then give the
    revision of whatever repository the copy lies in.
    """
    try:
        top = ask_git("rev-parse", "--show-toplevel")
        if not top or Path(top).resolve() != ROOT:
            return "unknown"
        return ask_git("describe", "--always", "--dirty=+") or "unknown"
    except OSError:
        return "unknown"


def ask_git(*command):
    """Return what git answers in the folder of the code, '' if it fails."""
    done = subprocess.run(["git", "-C", ROOT, *command], capture_output=True, check=False)
    return os.fsdecode(done.stdout).strip()
