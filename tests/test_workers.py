"""Pools of processes: what a stop may not interrupt."""

import concurrent.futures
import os
import signal

import pytest

from ecg.running.workers import Stop, workers


def test_a_stop_while_work_is_handed_over_waits_until_it_is(monkeypatch):
    """An exception inside submit could leave a lock of the pool taken, and hang it for ever."""
    handed = []

    def submit(self, function):
        os.kill(os.getpid(), signal.SIGINT)
        handed.append(function)

    monkeypatch.setattr(concurrent.futures.ProcessPoolExecutor, "submit", submit)
    before = signal.signal(signal.SIGINT, lambda *_: Stop.come())
    try:
        with pytest.raises(KeyboardInterrupt), workers(1) as pool:
            pool.submit(print)
            handed.append("not reached")
        with pytest.raises(KeyboardInterrupt):  # and afterwards it stops at once
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert handed == [print]
