"""Processes forked from the tests', in which everything is loaded already.

Python and torch take seconds of a processor to load, and a workflow starts twenty processes.
`Forked` is one such process; while `serve` runs in it, every Python that it starts is short: it
hands its command, folder, environment, stdin, stdout and stderr to a fork of the server
(sitecustomize, which Python runs before anything else), waits for that, and ends as it did.
"""

import atexit
import contextlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import warnings
from pathlib import Path

import torch
from tqdm import tqdm

import utils

SITE = """\
import json, os, socket, sys

if "FORK_SERVER" in os.environ:
    server = socket.socket(socket.AF_UNIX)
    server.connect("\\0" + os.environ["FORK_SERVER"])
    order = json.dumps([sys.orig_argv, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(order).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(order)
    os._exit((server.recv(1) or b"\\x89")[0])  # 137: the server was killed
"""


class Forked:
    """A process that runs a function in a session of its own; stdout and stderr go to files."""

    def __init__(self, function, folder):
        name = os.urandom(4).hex()
        self.paths = Path(folder, f"{name}.out"), Path(folder, f"{name}.err")
        self.status = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            files = [os.open(os.devnull, os.O_RDONLY)]
            files += [os.open(path, os.O_WRONLY | os.O_CREAT) for path in self.paths]
            run_and_exit(function, files)
        self.end = os.pidfd_open(self.pid)

    def is_alive(self):
        """Tell whether the process is running."""
        return not self.has_ended(0)

    def has_ended(self, limit):
        """Wait for the end for at most so many seconds; tell whether it has come."""
        if self.status is None and select.select([self.end], [], [], limit)[0]:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.end)
        return self.status is not None

    def wait(self, limit=600):
        """Wait for the end; return exit status, stdout and stderr."""
        if not self.has_ended(limit):
            os.killpg(self.pid, signal.SIGKILL)
            self.has_ended(limit)
        return self.status, *(path.read_text(errors="replace") for path in self.paths)


def run_and_exit(function, files):
    """Run a function with three files as stdin, stdout and stderr, and end the process."""
    status = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
        sys.stdin = open(0, closefd=False)
        sys.stdout, sys.stderr = (open(i, "w", closefd=False) for i in (1, 2))
        atexit._clear()  # what the tests' process does at its end
        tqdm.set_lock(threading.RLock())  # the old one is shared: a killed process may keep it
        torch.set_num_threads(1)
        utils.remove_leftovers.cache_clear()  # a new process knows nothing of the tests before
        try:
            function()
            status = 0
        except SystemExit as stop:
            text = stop.code if isinstance(stop.code, str) else ""
            sys.stderr.write(text)
            status = 1 if text else stop.code or 0
        except BaseException:
            traceback.print_exc()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def serve(folder):
    """Start a server for the Pythons that this process starts; return what stops it again."""
    Path(folder, "sitecustomize.py").write_text(SITE)
    name = f"ecg-tests-{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")  # no file, whose path could be too long
    listener.listen(64)
    os.environ |= {"FORK_SERVER": name, "PYTHONPATH": str(folder)}
    pid = os.fork()
    if pid:
        listener.close()
        return lambda: os.kill(pid, signal.SIGTERM) or os.waitpid(pid, 0)
    signal.signal(signal.SIGTERM, stop_serving)
    while True:
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            answer(connection)
            os._exit(0)
        connection.close()


def stop_serving(*_):
    """Wait for all that answer, so that their time counts as that of the tests; end the server."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    os._exit(0)


def answer(connection):
    """Run the command of a Python in a fork, and send its exit status; where it ends, end both."""
    size, files, *_ = socket.recv_fds(connection, 8, 3)
    order = b""
    while len(order) < int.from_bytes(size, "big"):
        order += connection.recv(1 << 20)
    pid = os.fork()
    if not pid:
        connection.close()
        run_and_exit(lambda: run_python(*json.loads(order)), files)
    for file in files:
        os.close(file)
    end = os.pidfd_open(pid)
    if end not in select.select([end, connection], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    connection.sendall(bytes([status if status >= 0 else 128 - status]))


def run_python(words, folder, environment):
    """Do in this process what Python does with a command line: a script, -m module or -c code."""
    os.chdir(folder)
    os.environ.clear()
    os.environ |= environment
    sys.orig_argv = words
    first, *rest = words[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # runpy's, of modules that are loaded
        if first == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(rest[0], {"__name__": "__main__"})
        else:
            sys.argv = [first, *rest]
            runpy.run_path(first, run_name="__main__")
