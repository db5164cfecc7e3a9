"""How a command starts and ends: its parser, and the one line on what stopped it."""

import argparse
import gc
import multiprocessing
import os
import re
import shlex
import signal
import sys
from concurrent.futures.process import BrokenProcessPool

from tqdm import tqdm

from ecg.running.workers import Stop
from utils import InputError, Progress, printable, way_out

# what ends a command from outside, and its exit status then: Ctrl-C, `kill` or a cluster's time
# limit, a terminal that is closed
STOPS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
CLOSED_PIPE = 141  # exit status, as of a program that SIGPIPE ends


def run_main(main, parse_args):
    """Run a step or a command; say in one line what is wrong, or what stops it from outside.

    Bad input (InputError) and what the machine refuses end it with exit status 2. After Ctrl-C and
    the other STOPS the line says where it stopped and how to resume. No file is half-written, since
    `replacing` writes them. A reader of stdout that has gone needs no line.
    """
    stopped, args = [], None

    def stop(number, _):
        stopped.append(number)  # errors that follow from the interrupt are not shown
        Stop.come()

    for number in STOPS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:  # by nohup
            signal.signal(number, stop)
    os.register_at_fork(after_in_child=leave_signals_to_parent)
    if sys.platform == "linux":  # as before Python 3.14: forked processes have all that is loaded
        multiprocessing.set_start_method("fork", force=True)
    try:
        args = parse_args()
        main(args)
        sys.stdout.flush()
        gc.freeze()  # or Python looks through all that torch has made before it ends: 0.3 s
    except BaseException as error:
        drop_stdout()
        if stopped:
            say_stopped(getattr(args, "resume", 0) is None)
            raise SystemExit(STOPS[stopped[0]]) from None
        if isinstance(error, BrokenPipeError):
            raise SystemExit(CLOSED_PIPE) from None
        reason = error if isinstance(error, InputError) else outside_reason(error)
        if reason is None:
            raise
        say_error(reason)
        raise SystemExit(2) from None


def leave_signals_to_parent():
    """Let a forked process finish what it does at Ctrl-C: its parent tells it when to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def say_error(reason):
    """Print an error as one line on stderr, with nothing in it that a terminal would obey."""
    # tqdm's way of writing clears a bar first
    tqdm.write(f"error: {printable(' '.join(str(reason).split()))}", file=sys.stderr)


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


class Parser(argparse.ArgumentParser):
    """A parser whose errors are an InputError, as any other bad input is."""

    def error(self, message):
        """Raise the error, with the command that lists the flags."""
        raise InputError(f"{message}; see: python {self.prog} --help")


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
    return Parser(
        prog=command,
        description=first,
        epilog="\n".join(["examples:", *examples]) if examples else None,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
