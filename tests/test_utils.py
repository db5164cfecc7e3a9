import argparse
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import utils
from ecg.running.command import make_parser, run_main, say_error
from ecg.running.workers import AHEAD, spread, workers


def refuse(text):
    raise utils.InputError(text)


def test_bad_input_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit, match="2"):
        run_main(refuse, lambda: "no\nsuch   thing")
    assert capsys.readouterr().err == "error: no such thing\n"


def test_bad_input_in_a_process_of_a_pool_is_handed_on():
    with workers(1) as pool, pytest.raises(utils.InputError, match="^no such thing$"):
        pool.submit(refuse, "no such thing").result()


def test_work_is_spread_in_order_and_only_a_little_ahead():
    begun = []

    def items():
        for i in range(40):
            begun.append(i)
            yield i

    done = 0
    for i, text in enumerate(spread(str, items(), 2)):
        assert text == str(i)
        done += 1
        assert len(begun) <= done + 2 * AHEAD
    assert done == 40 == len(begun)
    assert list(spread(str, range(3), 1)) == ["0", "1", "2"]


@pytest.mark.parametrize("argv", [["--sed", "1"], ["--seed", "x"], ["--unknown"]])
def test_parser_is_strict(argv):
    parser = make_parser("Do it.\n\nMore.")
    parser.add_argument("--seed", type=int, default=42, help="seed")
    with pytest.raises(utils.InputError, match="see: python .* --help"):
        parser.parse_args(argv)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", ""])
def test_positive_rejects(text):
    with pytest.raises(argparse.ArgumentTypeError):
        utils.positive(text)


def test_natural_takes_zero_and_rejects_the_rest():
    assert utils.natural("0") == 0
    for text in ("-1", "1.5", "x", "4294967296"):
        with pytest.raises(argparse.ArgumentTypeError):
            utils.natural(text)


def test_positive_number_rejects_what_a_rate_cannot_be():
    assert utils.positive_number("3e-4") == 3e-4
    for text in ("0", "-1", "nan", "inf", "x"):
        with pytest.raises(argparse.ArgumentTypeError):
            utils.positive_number(text)


@pytest.mark.parametrize(
    ("method", "leads", "round_number", "name"),
    [
        ("resnet34", "all", 0, "resnet34_CPSC_all_42"),
        ("resnet34", "I-aVR-V5", 3, "resnet34_CPSC_I-aVR-V5_42_r3"),
        ("LR", None, 0, "LR_CPSC_42"),
    ],
)
def test_run_name(method, leads, round_number, name):
    assert utils.run_name(method, "data/CPSC/", 42, round_number, leads) == name


def test_network_name():
    names = [utils.network_name("resnet34"), utils.network_name("resnet18", 24)]
    assert names == ["resnet34", "resnet18w24"]
    assert utils.network_name("resnet18", 24, "models/general.pth") == "from-general"


def test_data_and_names_load_without_torch():
    code = "import dataset, utils, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_replacing_keeps_the_old_file_if_the_block_fails(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(KeyError), utils.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    with utils.replacing(path) as temporary:
        temporary.write_text("new")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("broken", ["full disk", "folder is a file"])
def test_what_cannot_be_written_is_said_and_the_old_file_stays(broken, tmp_path):
    path = tmp_path / "a" / "scores.csv"
    if broken == "full disk":
        path.parent.mkdir()
        path.write_text("old")
    else:
        path.parent.write_text("old")
    with pytest.raises(utils.InputError) as stop, utils.replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert str(path.parent) in str(stop.value) and "cannot be written" in str(stop.value)
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file.read_text() for file in kept] == ["old"]


def test_results_dir_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").write_text("a file")
    with pytest.raises(utils.InputError, match="results/run cannot be written"):
        utils.results_dir("run")


def test_replacing_removes_the_leftovers_of_dead_processes_only(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    names = {pid: f".t.{utils.HOST}.{pid}.tmp.csv" for pid in (ended.pid, os.getppid())}
    other = [".t.another_machine.9.tmp.csv", ".profile", "notes.tmp.csv"]
    for name in [*names.values(), *other]:
        (tmp_path / name).write_text("half")
    with utils.replacing(tmp_path / "t.csv") as temporary:
        temporary.write_text("new")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"t.csv", names[os.getppid()], *other}


def test_replacing_writes_to_a_pipe_and_does_not_replace_it(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # so that neither end waits
    with utils.replacing(pipe) as target:
        target.write_text("hello")
    assert os.read(reader, 100) == b"hello"
    os.close(reader)
    assert pipe.is_fifo() and len(list(tmp_path.iterdir())) == 1


def test_replacing_keeps_a_link_and_writes_to_what_it_leads_to(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "t.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    with utils.replacing(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink() and target.read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2 and len(list(target.parent.iterdir())) == 1


def test_write_csv_has_empty_cells_and_lf(tmp_path):
    utils.write_csv(pd.DataFrame({"a": [1.5, np.nan], "b": ["x", "y"]}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes() == b"a,b\n1.5,x\n,y\n"


def test_software_versions_name_python_and_torch():
    versions = utils.software_versions()
    assert versions["torch"] == torch.__version__
    assert versions["python"] == sys.version.split()[0]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.01, []), (1, range(10, 101, 10)), (20, range(2, 101, 2))]
)
def test_progress_is_a_line_a_tenth_or_thirty_seconds_without_a_terminal(
    seconds, shown, monkeypatch
):
    """A hundred steps of so many seconds, by a clock of our own."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    out = io.StringIO()
    for _ in utils.Progress(range(100), "explaining", unit="record", file=out, mininterval=0):
        clock[0] += seconds
    written = out.getvalue().splitlines()
    assert [int(line.split()[1]) for line in written] == list(shown)
    assert all(line.startswith("explaining: ") and line.endswith(" left") for line in written)
    assert "\r" not in out.getvalue()


def test_progress_is_a_bar_in_a_terminal_and_an_error_a_line_below(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    def main(args):
        for i in utils.Progress(range(10), "reading", mininterval=0):
            if i == 4:
                raise utils.InputError("no such thing")

    with pytest.raises(SystemExit, match="2"):
        run_main(main, lambda: None)
    assert re.search(r"\rreading:  40%[^\n]*\nerror: no such thing\n$", terminal.getvalue())


@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_stops_workers_too_and_leaves_no_half_file(whole_group, tmp_path):
    folder, root = tmp_path / "made", Path(__file__).parents[1]
    command = [sys.executable, "-m", "ecg.synthetic", "--data-dir", folder, "--records", "99999"]
    process = subprocess.Popen(
        [*command, "--jobs", "2"],
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and len(list(folder.glob("*.hea"))) < 5:
        time.sleep(0.05)
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    err = process.communicate()[1].splitlines()
    assert process.returncode == 130 and err[-1].startswith("stopped")
    assert err[-1].endswith(f"-m ecg.synthetic --data-dir {folder} --records 99999 --jobs 2")
    assert all(line.startswith("making records: ") for line in err[:-1])
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    made = [path for path in folder.iterdir() if path.suffix == ".hea"]
    assert all(path.with_suffix(".mat").is_file() for path in made)


def test_the_line_after_ctrl_c_adds_resume_where_there_is_one(monkeypatch, capsys):
    monkeypatch.setattr(sys, "orig_argv", ["python", "main.py", "--data-dir", "my data"])
    args = argparse.Namespace(resume=None)
    with pytest.raises(SystemExit) as stop:
        run_main(lambda args: os.kill(os.getpid(), signal.SIGINT), lambda: args)
    assert stop.value.code == 130
    err = capsys.readouterr().err
    assert err.endswith("resume with: python main.py --data-dir 'my data' --resume auto\n")
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_text_from_files_cannot_act_on_a_terminal(capsys):
    evil = "a\x1b[2Jb\x9bc\u202ed\nerror: e\udce4"
    assert utils.printable(evil) == r"a\x1b[2Jb\x9bc\u202ed\nerror: e\udce4"
    assert utils.printable("Ünïcode µV 10 %") == "Ünïcode µV 10 %"
    say_error(f"no {evil}")
    assert capsys.readouterr().err == "error: no a\\x1b[2Jb\\x9bc\\u202ed error: e\\udce4\n"


def test_a_safe_name_leaves_room_for_the_files_named_after_it():
    assert utils.is_safe_name("x" * 200) and not utils.is_safe_name("x" * 201)
    assert not utils.is_safe_name("ä" * 101) and not utils.is_safe_name("n\udce4me")
