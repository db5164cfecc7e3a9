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
import subprocess
import sys
import time
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


class InputError(Exception):
    """What the user can put right: its text names the file or flag, the fault and the next step.

    A command prints it as one line and ends with exit status 2.
    """


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
    """Make a folder and its parents if they are missing; return it. Raises InputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


def cannot_write(path, error):
    """Return the error to raise if a file or folder cannot be written or removed."""
    return InputError(
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

    A run killed at any point leaves the old file whole, or none; what cannot be written is an
    InputError. The temporary name keeps the suffix, for writers (matplotlib, numpy) that choose the
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
        raise cannot_write(path, error) from error
    finally:
        if temporary != path:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def remove(path):
    """Remove a file if it is there; raises InputError if that cannot be done."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


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
