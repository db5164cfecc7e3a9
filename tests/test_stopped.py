"""What ends a command from outside: signals, closed pipes, full disks, killed processes."""

import errno
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

import utils
from ecg.running.command import CLOSED_PIPE, run_main

ROOT = Path(__file__).parents[1]
SYNTHETIC = [sys.executable, "-m", "ecg.synthetic", "--records", "99999", "--jobs", "2"]


def start_making(folder, **options):
    """Start a command with two workers; return it when it has begun to write records."""
    command = [*SYNTHETIC, "--data-dir", folder]
    # as in a terminal, also where these tests run under nohup
    options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)
    while process.poll() is None and len(list(folder.glob("*.hea"))) < 5:
        time.sleep(0.05)
    return process


def children(pid):
    """Return the numbers of the processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == pid:
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_signals_of_a_cluster_end_a_command_as_ctrl_c_does(number, status, tmp_path):
    folder = tmp_path / "made"
    process = start_making(folder)
    process.send_signal(number)
    err = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == status and err[-1].startswith("stopped"), err
    assert "--data-dir" in err[-1] and not [path for path in folder.glob(".*")]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_a_killed_parent_leaves_no_workers(tmp_path):
    process = start_making(tmp_path / "made", start_new_session=True)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    process.stderr.close()
    for _ in range(200):
        if not any(map(utils.is_alive, workers)):
            break
        time.sleep(0.1)
    assert not any(map(utils.is_alive, workers))


PRINTING = """\
from ecg.running.command import run_main
def main(args):
    for number in range(100000):
        print(number)
run_main(main, lambda: None)
"""


def run_printing(redirection):
    command = f"\"{sys.executable}\" -c '{PRINTING}' {redirection}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_reader_that_goes_away_ends_a_command_quietly():
    assert run_printing("| head -n 1") == (CLOSED_PIPE, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_stdout_is_one_line():
    status, err = run_printing("> /dev/full")
    assert status == 2 and err.startswith("error: No space left on device; free some space")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BrokenProcessPool("x"), "--jobs 1"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), "-workers 0"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "--num-workers 0"),
        (RuntimeError("unable to write to file </torch_1>: No space left"), "--num-workers 0"),
        (MemoryError(), "the memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "the memory ran out"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a.csv"),
            "Permission denied; allow it",
        ),
        (OSError(errno.EIO, "Input/output error", "a.csv"), "check the disk"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a"), "choose shorter names"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
    ],
)
def test_what_the_machine_causes_is_one_line_with_a_way_out(error, text, capsys):
    def main(args):
        raise error

    with pytest.raises(SystemExit, match="2"):
        run_main(main, lambda: None)
    err = capsys.readouterr().err
    assert err.startswith("error: ") and text in err and err.count("\n") == 1
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_fault_of_the_program_keeps_its_traceback():
    def main(args):
        raise RuntimeError("a shape is wrong")

    with pytest.raises(RuntimeError, match="a shape is wrong"):
        run_main(main, lambda: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)


LOCKED = """\
import os, sys
from ecg.training import training
with training.lock("run"):
    if os.fork() == 0:  # as a process that loads data
        print("forked", flush=True)
        os.read(0, 1)
        os._exit(0)
    os.read(0, 1)
"""


def test_the_lock_of_a_training_is_not_inherited(tmp_path, monkeypatch):
    from ecg.training import training

    monkeypatch.chdir(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", LOCKED],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"forked\n"
    with pytest.raises(utils.InputError), training.lock("run"):
        pass
    process.kill()
    process.wait()
    with training.lock("run"):  # its child lives on
        assert list(Path("models").iterdir())
    process.stdin.close()
    process.stdout.close()


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys):
    from ecg.training import training

    def refuse(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training.fcntl, "flock", refuse)
    with training.lock("run"):
        pass
    err = capsys.readouterr().err
    assert "models/.run.lock cannot be locked (No locks available)" in err


def test_baselines_need_no_torch():
    """LightGBM and torch bring an OpenMP each, and crash together on some machines."""
    code = "import baselines, sys; baselines.parse_args([]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
