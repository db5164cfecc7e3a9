"""Pools of processes that end with the process that started them."""

import contextlib
import os
import threading
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor

AHEAD = 3  # items a process that wait for their turn, or to be taken
WATCH = 1  # s between two looks of a worker at whether its parent lives


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
