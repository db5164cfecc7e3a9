"""Bounds of memory and time within which a file that others wrote is read."""

import contextlib
import errno
import resource
import signal
from pathlib import Path

# what the system says where it, not the file's content, is at fault
OF_MACHINE = (
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE),
    *(errno.EMFILE, errno.ENFILE, errno.ENOSPC),
)


def raise_if_of_machine(error):
    """Raise an error again if the machine causes it: it may pass, and says nothing of the file."""
    if isinstance(error, OSError) and error.errno in OF_MACHINE:
        raise error


def current_bytes():
    """Return the address space of this process; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return None
    return pages * resource.getpagesize()


@contextlib.contextmanager
def bounded(n_bytes, seconds):
    """Raise MemoryError or TimeoutError if a block takes more memory or time than this.

    A small file can ask for far more than it holds: a deflated stream, a compressed lead, a
    declared length. Memory is bounded on Linux, time in the main thread, where signals arrive.
    """
    running = [True]

    def stop(*_):
        if running:
            raise TimeoutError(f"it takes longer than {seconds} s to read")

    limits = soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now, previous = current_bytes(), None
    if now is not None:
        bound = now + n_bytes if soft == resource.RLIM_INFINITY else min(now + n_bytes, soft)
        resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    with contextlib.suppress(ValueError):  # not the main thread
        previous = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again each second: a library caught it
    try:
        try:
            yield
        finally:
            running.clear()  # an alarm from here on is ignored
    finally:
        if now is not None:
            resource.setrlimit(resource.RLIMIT_AS, limits)  # first: there may be no memory left
        if previous is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
