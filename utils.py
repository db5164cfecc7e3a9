"""Things every run needs that are neither data nor network: flags, seeds, run names, files."""

import os
import sys

if sys.excepthook is sys.__excepthook__:  # Ctrl-C while the rest is loaded, which takes seconds

    def say_stopped(kind, *error):
        """Say in one line that a script was stopped; show other errors whole."""
        if not issubclass(kind, KeyboardInterrupt):
            return sys.__excepthook__(kind, *error)
        import shlex  # which may not be loaded yet

        print("stopped; go on with:", shlex.join(sys.orig_argv), file=sys.stderr)
        sys.stderr.flush()
        os._exit(130)

    sys.excepthook = say_stopped

import argparse
import contextlib
import functools
import hashlib
import json
import platform
import random
import re
import shlex
import signal
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

RESEARCH_USE = "Research use only; not a diagnosis."
WIDTH = 64  # channels of the paper's first stage; --width scales all stages
HOST = re.sub(r"\W", "_", platform.node())  # in temporary names: folders may be shared


def fail(message):
    """Print one line on stderr and leave with exit status 2, the status of every bad input."""
    tqdm.write(f"error: {' '.join(str(message).split())}", file=sys.stderr)  # clears a bar first
    raise SystemExit(2)


class Progress(tqdm):
    """A bar in a terminal; elsewhere a line a tenth or 30 s, with the time left."""

    latest = None  # the one that was shown last
    told, at = 0, None  # of the last line: how much was done, and when

    def display(self, msg=None, pos=None):
        """Draw the bar, or print a line where one is due; what is soon over prints none."""
        Progress.latest, now = self, time.monotonic()
        if self.fp.isatty():
            return super().display(msg, pos)
        self.at = self.at or now
        tenth = self.total and self.n - self.told >= self.total / 10
        if msg is None and now - self.at > (2 if tenth else 30):
            text = {"bar_format": "{desc}: {n_fmt} of {total_fmt}, {remaining} left", "ncols": None}
            print(self.format_meter(**self.format_dict | text), file=self.fp, flush=True)
            self.told, self.at = self.n, now

    def clear(self, nolock=False):
        """Make room for another line, in a terminal."""
        if self.fp.isatty():
            super().clear(nolock)

    def close(self):
        """End the bar; lines need no end."""
        if not getattr(self, "disable", True) and not self.fp.isatty():
            self._decr_instances(self)
            self.disable = True
        super().close()


def run_main(main, parse_args):
    """Run a step or a command; after Ctrl-C say in one line where it stopped and how to go on.

    The exit status is then 130; files are whole, as `replacing` writes them.
    """
    stopped, args = [], None

    def stop(*_):
        stopped.append(True)  # what follows from it, such as an error of a library, is not told
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    # a process of ours ends when this one has told it to, with nothing left half done
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
        tqdm.write(f"stopped{where}; files are whole; go on with: {command}", file=sys.stderr)
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
    """Print each flag's default, but not where it says nothing: None and False."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def make_parser(doc):
    """Make a strict parser; its help is the script's first line, the flags, and its examples."""
    first, *lines = doc.strip().splitlines()
    examples = [line for line in lines if re.match(r" {4}(python|torchrun) ", line)]
    parser = argparse.ArgumentParser(
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


def set_seed(*seed):
    """Seed every generator from one or more whole numbers, e.g. the run's seed and the epoch."""
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(state)
    np.random.seed(state)  # noqa: NPY002  (some libraries draw from it)
    torch.manual_seed(state)  # seeds CUDA too


def get_device(use_gpu):
    """Return cuda:0 if asked for, else the CPU; stop if no GPU is available."""
    if use_gpu and not torch.cuda.is_available():
        fail("--use-gpu was given but torch sees no CUDA GPU; run the same command without it")
    return torch.device("cuda:0" if use_gpu else "cpu")


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
    """Return where the run's model is kept."""
    return Path("models") / f"{run}.pth"


def results_path(*parts):
    """Return a path below results/, the folder of all tables and figures."""
    return Path("results", *parts)


def explanations_path(*parts):
    """Return a path below explanations/."""
    return Path("explanations", *parts)


def results_dir(run):
    """Return the folder of the run's tables and figures, made if need be."""
    return make_folder(results_path(run))


def make_folder(path):
    """Make a folder, and those it lies in, if need be; return it. Stops if that cannot be done."""
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


def is_plain(name):
    """Tell whether a name stays in its folder where it becomes that of a file."""
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
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GB"


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
    """Return the code's short git revision, with '+' if it has local changes, or 'unknown'."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def predict_scores(model, loader, device, amp=False, disable=False):
    """Return y_true and y_score, both (N, K), of every record of the loader.

    y_score are probabilities, NaN where a logit is not finite.
    """
    was_training = model.training
    model.eval()
    y_true, y_score = [], []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=amp):
        for x, y in Progress(loader, "scoring", unit="batch", leave=False, disable=disable):
            logits = getattr(model, "score", model)(x.to(device))  # (N, K)
            scores = torch.sigmoid(logits.float())
            scores[~torch.isfinite(logits)] = np.nan  # an infinite logit is no certainty
            y_score.append(scores.cpu().numpy())
            y_true.append(y.numpy())
    model.train(was_training)
    return np.concatenate(y_true), np.concatenate(y_score)
