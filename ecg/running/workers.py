"""Pools of processes that end with the process that started them."""

import contextlib
import multiprocessing
import os
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor

AHEAD = 3  # items a process that wait for their turn, or to be taken


def end_with_parent():
    """End this process with the one that started the pool, which may be killed: in a thread."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def start_worker(initializer=None, arguments=()):
    """Prepare a process of a pool."""
    end_with_parent()
    if initializer:
        initializer(*arguments)


class Stop:
    """Ctrl-C and the other signals that end a command, put off while `held`.

    An exception in the middle of handing work to a pool could leave one of its locks taken: its
    threads would wait for ever, and so would the command.
    """

    held = waiting = False

    @classmethod
    def come(cls):
        """Raise KeyboardInterrupt, now or when nothing holds it any more."""
        if not cls.held:
            raise KeyboardInterrupt
        cls.waiting = True

    @classmethod
    @contextlib.contextmanager
    def put_off(cls):
        """Put a stop off to the end of the block."""
        cls.held = True
        try:
            yield
        finally:
            cls.held = False
        if cls.waiting:
            cls.waiting = False
            raise KeyboardInterrupt


class Pool(ProcessPoolExecutor):
    """A pool of processes whose submission no signal interrupts."""

    def submit(self, *args, **kwargs):
        """Hand work to the pool; `map` does it through this too."""
        with Stop.put_off():
            return super().submit(*args, **kwargs)


@contextlib.contextmanager
def workers(jobs, initializer=None, arguments=()):
    """Yield a pool of processes; what stops the block cancels the work that has not begun."""
    pool = Pool(jobs, initializer=start_worker, initargs=(initializer, arguments))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class Work:
    """What a worker process does with each item; it has it from its parent, once."""

    function = None


def prepare(function, initializer):
    """Let this worker process do `function`; `initializer` comes first, if there is one."""
    Work.function = function
    if initializer:
        initializer()


def do_work(item):
    """Return what this worker process makes of an item."""
    return Work.function(item)


def spread(function, items, jobs, initializer=None):
    """Yield function(item) of each item, in order, computed by `jobs` processes (1: by this one).

    At most AHEAD items a process are under way or wait to be taken, so that memory stays flat.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    with workers(jobs, prepare, (function, initializer)) as pool:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(do_work, item))
            if len(waiting) == AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
