"""What every script needs beside data and network: flags, progress, run names, files.

Importing it loads no torch, and so costs nothing.
"""

import argparse
import contextlib
import errno
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
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import metadata
from pathlib import Path

from tqdm import tqdm

LONGEST_NAME = 200  # bytes of a record's name: files named after it have longer ones, up to 255
UNSAFE_NAME = (
    f"its name has more than {LONGEST_NAME} bytes, is not UTF-8, or has a backslash or a control "
    "character"
)
RESEARCH_USE = "Research use only; not a diagnosis."
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}  # blocks per stage of a network
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
    # tqdm's way of writing clears a bar first
    tqdm.write(f"error: {printable(' '.join(str(message).split()))}", file=sys.stderr)
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


# what ends a command from outside, and its exit status then: Ctrl-C, `kill` or a cluster's time
# limit, a terminal that is closed
STOPS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
CLOSED_PIPE = 141  # exit status, as of a program that SIGPIPE ends
WATCH = 1  # s between two looks of a worker at whether its parent lives


def run_main(main, parse_args):
    """Run a step or a command; say in one line what stops it from outside.

    After Ctrl-C and the other STOPS the line says where it stopped and how to resume. No file is
    half-written, since `replacing` writes them. A reader of stdout that has gone needs no line.
    """
    stopped, args = [], None

    def stop(number, _):
        stopped.append(number)  # errors that follow from the interrupt are not shown
        raise KeyboardInterrupt

    for number in STOPS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # by nohup
            signal.signal(number, stop)
    os.register_at_fork(after_in_child=leave_signals_to_parent)
    try:
        args = parse_args()
        main(args)
        sys.stdout.flush()
    except BaseException as error:
        drop_stdout()
        if stopped:
            say_stopped(getattr(args, "resume", 0) is None)
            raise SystemExit(STOPS[stopped[0]]) from None
        if isinstance(error, BrokenPipeError):
            raise SystemExit(CLOSED_PIPE) from None
        if reason := outside_reason(error):
            fail(reason)
        raise


def leave_signals_to_parent():
    """Let a forked process finish what it does at Ctrl-C: its parent tells it when to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def say_stopped(can_resume):
    """Say where a command was stopped and how to resume it."""
    bar, more = Progress.latest, ["--resume", "auto"] * can_resume
    where = f" at {bar.desc}, {bar.n} of {bar.total or '?'}" if bar else ""
    command = shlex.join([*sys.orig_argv, *more])
    text = f"stopped{where}; no file is half-written; resume with: {command}"
    tqdm.write(text, file=sys.stderr)


def drop_stdout():
    """Let nothing more be written to a stdout that takes nothing: Python would try at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def outside_reason(error):
    """Return the line for an error that the machine causes, not the program; None for others."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or text}; {way_out(error)}, and run the same command again"
    if isinstance(error, BrokenProcessPool):
        return (
            "a worker process was killed, usually because the memory ran out; run the same "
            "command with --jobs 1"
        )
    if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
        return "the memory ran out; run the same command with a smaller --batch-size or --jobs 1"
    loading = ("is killed by signal", "exited unexpectedly", "shared memory", "/torch_")
    if isinstance(error, RuntimeError) and any(part in text for part in loading):
        return (
            "a process that loads data was killed: memory or /dev/shm ran out; run the same "
            "command with --num-workers 0"
        )
    return None


def way_out(error):
    """Say what to do about an error of the operating system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free some space"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "allow it there, or use a folder of your own"
    if error.errno == errno.ENAMETOOLONG:
        return "choose shorter names"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "allow more open files (ulimit -n)"
    if error.errno in (errno.EIO, errno.ESTALE):
        return "check the disk or the connection to it"
    return "remove the cause"


def end_with_parent(parent):
    """End this process soon after its parent, which may have been killed: in a thread."""

    def watch():
        while os.getppid() == parent:
            time.sleep(WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def start_worker(parent, initializer=None, arguments=()):
    """Prepare a process of a pool."""
    end_with_parent(parent)
    if initializer:
        initializer(*arguments)


@contextlib.contextmanager
def workers(jobs, initializer=None, arguments=()):
    """Yield a pool of processes; what stops the block cancels the work that has not begun."""
    start = (os.getpid(), initializer, arguments)
    pool = ProcessPoolExecutor(jobs, initializer=start_worker, initargs=start)
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


def fraction(text):
    """Parse a number above 0 and below 1, for argparse."""
    number = positive_number(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
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
        f"{path} cannot be written ({error.strerror or error}); {way_out(error)}, and run the "
        "same command again"
    )


def is_safe_name(name):
    """Tell whether files can be named after a record of this name, and stay in their folder."""
    if name in ("", ".", "..") or re.search(r"[/\\\x00-\x1f\x7f\ud800-\udfff]", name):
        return False
    return len(name.encode()) <= LONGEST_NAME


def printable(text):
    """Return text as a terminal may show it, each character that would act on it escaped.

    Names and other text from files may hold escape sequences, line ends, marks that turn the
    direction of writing, and bytes that are no UTF-8.
    """
    characters = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return "".join(characters)


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
        if isinstance(error, BrokenPipeError) and temporary != path:
            raise  # not of this file: what the block prints is not read on
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
