"""A harness for faults: run a step as a process, and break it at a chosen file operation.

Every operation that changes the disk (open to write, rename, replace, unlink, mkdir) is counted.
A plan (kind, number) says what happens at which of them: 'kill' ends the process there, as a power
cut would; 'interrupt' is Ctrl-C; 'full' lets the operation fail as on a full disk, on which
removing still works. Processes are forked, so that nothing has to be imported again.
"""

import builtins
import errno
import io
import os
import shutil
import signal
import socket
import sys
import traceback
from pathlib import Path

KILLED = 137  # the exit status of a process that was killed
FREES_SPACE = ("unlink", "remove")  # which a full disk does not keep from working
OPERATIONS = ("replace", "rename", "unlink", "remove", "mkdir", "open")


def arm(plan, root):
    """Patch the operating system's calls of this process; return the counter of operations.

    Only operations on files under `root` count: libraries write caches of their own elsewhere.
    """
    kind, number = plan
    count = [0]

    def strike(path, name):
        if kind == "full" and name in FREES_SPACE:
            return
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if not os.path.abspath(text).startswith(str(root)):
            return
        count[0] += 1
        if count[0] != number:
            return
        if kind == "kill":
            os._exit(KILLED)
        if kind == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            return
        raise OSError(errno.ENOSPC, "No space left on device", text)

    def guard(call, name="open", writes=lambda *args, **kwargs: True):
        def guarded(path, *args, **kwargs):
            if writes(*args, **kwargs):
                strike(path, name)
            return call(path, *args, **kwargs)

        return guarded

    def opens_to_write(mode="r", *args, **kwargs):
        return any(letter in mode for letter in "wax+")

    def flags_write(flags, *args, **kwargs):
        return bool(flags & (os.O_WRONLY | os.O_RDWR))

    for name in OPERATIONS[:-1]:
        setattr(os, name, guard(getattr(os, name), name))
    os.open = guard(os.open, writes=flags_write)
    builtins.open = io.open = guard(io.open, writes=opens_to_write)
    return count


def run(main, argv, folder, plan=("count", 0)):
    """Run main(argv) in `folder` as a process; return (status, stderr, operations counted)."""
    return finish(start(main, argv, folder, plan))


def start(main, argv, folder, plan=("count", 0)):
    """Start main(argv) in `folder`; return what `finish` needs to wait for it."""
    out = Path(folder).parent / f"{Path(folder).name}.{len(argv)}.{os.urandom(4).hex()}.out"
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid, out
    status = 1
    try:
        written = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(written, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        os.chdir(folder)
        count = arm(plan, Path(folder).resolve())
        try:
            main(argv)
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os.write(2, f"\noperations: {count[0]}\n".encode())
    finally:
        os._exit(status)


def finish(started):
    """Wait for a process; return (status, stderr, operations counted)."""
    pid, out = started
    _, status = os.waitpid(pid, 0)
    text, _, count = out.read_text(errors="replace").rpartition("\noperations: ")
    out.unlink()
    status = os.waitstatus_to_exitcode(status)
    return status, text, int(count) if status != KILLED and count.strip().isdigit() else 0


def run_two(main, argv, folder):
    """Run main(argv) in `folder` in two processes, as torchrun does; return (status, stderr)."""
    with socket.create_server(("localhost", 0)) as free:
        shared = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}

    def run_as(rank):
        def run(argv):
            os.environ.update(shared, WORLD_SIZE="2", RANK=rank, LOCAL_RANK=rank)
            main(argv)

        return run

    ended = [finish(one) for one in [start(run_as(rank), argv, folder) for rank in "01"]]
    failed = [status for status, *_ in ended if status]
    return failed[0] if failed else 0, "".join(err for _, err, _ in ended)


def copy(source, target):
    """Copy a working folder with its files' times; return the copy."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
    return target
