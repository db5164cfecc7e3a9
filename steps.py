"""One step of a plan: how it is known to be finished, run, resumed, and kept from running twice.

A step is one or a few commands. Its stamp, results/.reproduce/<step>.json, keeps the commands, a
digest of the files they read, and how many of them have ended well. A step is finished if the
stamp says so for the same commands and the same contents of those files, and its outputs are there.
The code's own revision is not part of it: a new version of a script redoes nothing by itself.

How the first command starts, by what is known of the step:

no stamp                                    as in a plan of its own: `resume` if `begun` is there
stamp of the same commands and inputs       where it was: `resume` if `begun` is there
  (or of fewer --epochs)
stamp of others, or --force                 from the start: `anew`, until `begun` has been written
                                            again; then `resume`. Until then the stamp that `was`
                                            there is kept: its own commands still go on from it
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

from utils import file_digest, read_json, replacing

STAMPS = Path("results/.reproduce")
# flags that do not change a result, so that a step done without them is the same step
FREE_FLAGS = {"--use-gpu": 0, "--num-workers": 1, "--jobs": 1}  # and how many values they take
STATE = {"essence", "inputs", "done", "seconds", "fresh", "before", "was", "signed"}
GRACE = 20  # seconds that an interrupted command has to clean up


class Step(NamedTuple):
    """Commands and what they hang on; all paths are relative to the working folder."""

    name: str
    commands: tuple  # of argument lists: script, flags
    inputs: tuple = ()  # glob patterns of the files whose contents decide the results
    outputs: tuple = ()  # the last files it writes
    needs: tuple = ()  # names of steps that must have ended well
    after: tuple = ()  # names of steps that must have ended, well or not
    begun: str = ""  # a file that the first command writes once what was there is put away
    resume: tuple = ()  # flags with which it then goes on
    anew: tuple = ()  # flags with which it replaces results of other inputs or commands
    adopt: bool = False  # taken as finished if the outputs are there without a stamp
    always: bool = False  # run every time
    signed: tuple = ()  # patterns of outputs, to see later whether they were changed by hand


def command_text(command):
    """Return a command as one types it."""
    return "python " + shlex.join(command)


def essence(commands):
    """Return the commands as text, without the flags that do not change a result."""
    texts = []
    for command in commands:
        kept, skip = [], 0
        for before, word in zip(["", *command], command, strict=False):
            if before == "--data-dir":  # as in the names of runs; what it holds is in the inputs
                kept.append(Path(word).resolve().name)
            elif not skip and word not in FREE_FLAGS:
                kept.append(word)
            skip = skip - 1 if skip else FREE_FLAGS.get(word, 0)
        texts.append(command_text(kept))
    return texts


def keep_failures(data, ended):
    """Keep why steps have not ended well, {name: reason or ''}, for the report."""
    path = STAMPS / f"unfinished_{data}.json"
    before = read_json(path)
    both = {**(before if isinstance(before, dict) else {}), **ended}
    now = {name: reason for name, reason in both.items() if reason}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(now, indent=2) + "\n")


def continues(old, new):
    """Tell whether commands (as of `essence`) go on where others stopped: equal, or more epochs."""
    flag = re.compile(r" --epochs (\d+)")
    before, now = ([int(n) for text in texts for n in flag.findall(text)] for texts in (old, new))
    same = [flag.sub("", text) for text in old] == [flag.sub("", text) for text in new]
    more = len(before) == len(now) and all(a <= b for a, b in zip(before, now, strict=True))
    return same and more


@cache
def cached_digest(path, size, changed):
    """Return the SHA-256 of a file; its size and time of change make the cache's key."""
    try:
        return file_digest(path)
    except OSError:
        return "unreadable"


def contents_digest(patterns):
    """Return a digest of the names and contents of files; those that are not there count too."""
    digest = hashlib.sha256()
    for pattern in patterns:
        digest.update(f"{Path(pattern).name}\n".encode())
        for path in filter(os.path.isfile, sorted(glob.glob(pattern, recursive=True))):
            info = os.stat(path)
            content = cached_digest(path, info.st_size, info.st_mtime_ns)
            digest.update(f"{Path(path).name} {content}\n".encode())
    return digest.hexdigest()[:16]


def read_stamp(name):
    """Return the stamp of the step of that name, or None if it has none that can be read."""
    stamp = read_json(STAMPS / f"{name}.json")
    return stamp if isinstance(stamp, dict) and set(stamp) >= STATE else None


def write_stamp(
    step, data, inputs, done=0, seconds=0, fresh=True, before=None, was=None, signed=""
):
    """Keep what has been done of a step: `done` of its commands, in `seconds` so far.

    `fresh` says that it was started anew, when `begun` had last been changed at `before`;
    `was` is the stamp that it replaced then, `signed` the digest of the outputs of that name.
    """
    content = {
        "step": step.name,
        "data": data,
        "commands": [command_text(command) for command in step.commands],
        "essence": essence(step.commands),
        "inputs": inputs,
        "done": done,
        "seconds": round(seconds, 1),
        "fresh": fresh,
        "before": before,
        "was": was,
        "signed": signed,
        "written": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    with replacing(STAMPS / f"{step.name}.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def add_invocation(data, content):
    """Add a start of the driver, with its estimate and the time it took, to the list of them."""
    path = STAMPS / f"invocations_{data}.json"
    before = read_json(path) or []
    with replacing(path) as temporary:
        temporary.write_text(json.dumps([*before, content], indent=2) + "\n")


def fits(stamp, inputs, texts):
    """Tell whether a stamp is of these inputs and of commands that go on with its own."""
    return stamp["inputs"] == inputs and continues(stamp["essence"], texts)


def changed_at(path):
    """Return when a file was last changed (ns), or None if it is not there."""
    return os.stat(path).st_mtime_ns if path and os.path.exists(path) else None


def is_recorded(step):
    """Tell whether the stamp says that the step has ended well with these commands and inputs."""
    if not all(Path(path).exists() for path in step.outputs):
        return False
    stamp = read_stamp(step.name)
    if stamp is None or (step.adopt and stamp["essence"]):  # no commands: `forget` was asked for
        return step.adopt
    whole = stamp["done"] == len(step.commands) and stamp["essence"] == essence(step.commands)
    return whole and stamp["inputs"] == contents_digest(step.inputs)


def is_finished(step):
    """Tell whether a step need not be run."""
    return not step.always and is_recorded(step)


def list_pending(steps):
    """Return the names of the steps that would be run, those after a changed one included."""
    pending, changing = set(), set()
    for step in steps:
        changes = not is_recorded(step) or not changing.isdisjoint((*step.needs, *step.after))
        if changes:
            changing.add(step.name)
        if changes or step.always:
            pending.add(step.name)
    return pending


def forget(steps, data):
    """Let the steps start anew when they are next run, whether by this process or another one."""
    for step in steps:
        write_stamp(step._replace(commands=()), data, "", before=changed_at(step.begun))


@contextlib.contextmanager
def locked(step):
    """Hold a step's lock; yield its file descriptor, or None if another process holds it.

    The commands inherit it, so that a step outliving a killed driver still counts as running.
    """
    STAMPS.mkdir(parents=True, exist_ok=True)
    with open(STAMPS / f"{step.name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


class Runner:
    """Runs steps, from several threads, until it is told to stop."""

    def __init__(self, data):
        self.data = data
        self.processes = set()
        self.stopping = False
        self.lock = threading.Lock()  # of the two above: no process starts once it is stopping

    def run(self, step, environment):
        """Run what is left of a step; return '' if it ended well, else why it did not."""
        try:
            with locked(step) as lock:
                if lock is None:
                    return "another process is at it"
                return self.run_locked(step, environment, lock)
        except OSError as error:  # a full disk, say
            return str(error)

    def run_locked(self, step, environment, lock):
        """Run what is left of a step whose lock is held."""
        if is_finished(step):  # by another process, a moment ago
            return ""
        inputs, now = contents_digest(step.inputs), essence(step.commands)
        old = read_stamp(step.name)
        at, was = changed_at(step.begun), old and old["was"]
        if was and was["at"] != at:
            was = None  # the start with other flags has put its results away
        if was and fits(was, inputs, now):
            old, was = was, None
        if old and step.begun and (old["essence"], old["inputs"]) != (now, inputs):
            was = was or {**old, "was": None, "at": at}
        if old and fits(old, inputs, now):
            # with more epochs the first command has more to do, also if it has ended well before
            done = old["done"] % len(step.commands) if old["essence"] == now else 0
            fresh, before = old["fresh"], old["before"]
        else:
            done, fresh, before = 0, old is not None, at
        seconds = old["seconds"] if done else 0
        state = {"fresh": fresh, "before": before, "was": was}
        signed = contents_digest(step.signed)  # if it is killed, they are not by hand either
        write_stamp(step, self.data, inputs, done, seconds, **state, signed=signed)
        for i in range(done, len(step.commands)):
            started = time.monotonic()
            flags = first_flags(step, fresh, before) if i == 0 else ()
            reason = self.call(step, [*step.commands[i], *flags], environment, lock)
            if reason:
                return reason
            seconds += time.monotonic() - started
            # preprocess.py changes nothing it reads; others read what their first command wrote
            signed = contents_digest(step.signed)
            write_stamp(step, self.data, inputs, i + 1, seconds, **state, signed=signed)
        missing = [path for path in step.outputs if not Path(path).exists()]
        return f"it has left no {missing[0]}" if missing else ""

    def call(self, step, command, environment, lock):
        """Run one command with its output in the step's log; return '' or why it failed."""
        path = STAMPS / f"{step.name}.log"
        with open(path, "ab") as log:
            start = log.tell()
            log.write(f"$ {command_text(command)}\n".encode())
            log.flush()
            script = Path(__file__).parent / command[0]
            with self.lock:
                if self.stopping:
                    return "interrupted"
                # a session of its own: Ctrl-C reaches the driver alone, which passes it on once
                process = subprocess.Popen(
                    [sys.executable, str(script), *command[1:]], stdin=subprocess.DEVNULL,
                    stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
                    pass_fds=(lock,),
                )  # fmt: skip
                self.processes.add(process)
            status = process.wait()
            self.processes.discard(process)
        if self.stopping:
            return "interrupted"
        return last_words(path, start, status) if status else ""

    def stop(self):
        """Interrupt all commands, wait for them, and kill what is left of them."""
        with self.lock:
            self.stopping = True
        limit = time.monotonic() + GRACE
        for process in list(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        for process in list(self.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, limit - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def first_flags(step, fresh, before):
    """Return the flags with which a step's first command starts: where it was, or anew."""
    now = changed_at(step.begun)
    if now is not None and not (fresh and now == before):
        return step.resume
    return step.anew if fresh else ()


def last_words(path, start, status):
    """Return why a command failed: its last line of error, or its last line at all."""
    with open(path, "rb") as log:
        log.seek(start)
        lines = log.read().decode(errors="replace").replace("\r", "\n").splitlines()[1:]
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    words = (errors or lines or ["no output"])[-1].removeprefix("error: ")
    return f"exit status {status}: {words[:300]} (log: {path})"
