"""Pools of processes: how they start, and what a stop may not interrupt."""

import concurrent.futures
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ecg.running.workers import Stop, workers

ROOT = Path(__file__).parents[1]


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


STARTED = """\
import multiprocessing, sys
from ecg.running.workers import spread
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    print(*spread(abs, [-1, 2, -3], 2))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_works_however_python_starts_its_processes(method, tmp_path):
    """Python 3.14 starts them by a server, which then is the parent that a process sees."""
    script = tmp_path / "pool.py"
    script.write_text(STARTED)
    done = subprocess.run(
        [sys.executable, script, method],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, "1 2 3\n"), done.stderr


BEGUN = """\
import multiprocessing
from ecg.running.command import run_main
multiprocessing.set_start_method("forkserver")
run_main(lambda args: print(multiprocessing.get_start_method()), lambda: None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="not Linux")
def test_commands_fork_their_processes_on_linux():
    done = subprocess.run([sys.executable, "-c", BEGUN], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "fork\n"), done.stderr
