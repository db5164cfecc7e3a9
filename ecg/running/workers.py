"""Pools of processes that end with the process that started them."""

import contextlib
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor

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
