"""One step: when it is finished, goes on, starts anew; on steps that take no time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import reproduce
import steps
from steps import Runner, Step, is_finished

ROOT = Path(__file__).parents[1]


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """Work in an empty folder, whose scripts are those of the steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(steps, "__file__", str(tmp_path / "steps.py"))
    Path("touch.py").write_text(
        "import sys, pathlib\n"
        "print('made', *sys.argv[1:])\n"
        "pathlib.Path('log').open('a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "sys.argv[1] != 'bad' or sys.exit('error: broken as asked')\n"
        "pathlib.Path(sys.argv[1]).write_text('made')\n"
    )
    return tmp_path


def step(name, **more):
    return Step(name, (["touch.py", name],), outputs=(name,), **more)


def run(chosen):
    return reproduce.run_steps(chosen, Runner("tiny"), [dict(os.environ)] * 2)


def calls():
    return Path("log").read_text().splitlines()


def test_a_failed_step_stops_only_what_needs_it(workdir, capsys):
    chosen = [step("a"), step("bad"), step("c", needs=("bad",)), step("d", needs=("c",)),
              step("e", after=("bad",), needs=("a",))]  # fmt: skip
    ended = run(chosen)
    assert {name for name, reason in ended.items() if not reason} == {"a", "e"}
    assert "broken as asked" in ended["bad"] and "bad.log" in ended["bad"]
    assert ended["c"] == "not done, as it needs bad" and ended["d"] == "not done, as it needs c"
    assert sorted(calls()) == ["a", "bad", "e"]
    assert reproduce.print_failures(ended) == 3
    out = capsys.readouterr().out
    assert "3 of 5 steps have not ended well" in out and "  c: not done" in out


def test_a_step_is_done_again_if_its_command_input_or_output_changes(workdir):
    Path("in.csv").write_text("1")
    once = step("a", inputs=("in.csv",))
    assert run([once]) == run([once]) == {"a": ""} and calls() == ["a"]
    os.utime("in.csv", (1, 1))  # the same content
    faster = once._replace(commands=([*once.commands[0], "--jobs", "7", "--use-gpu"],))
    assert is_finished(once) and is_finished(faster)
    other = once._replace(commands=([*once.commands[0], "--lr", "7"],))
    assert not is_finished(other)
    Path("in.csv").write_text("2")
    assert not is_finished(once)
    run([once])
    assert is_finished(once) and calls() == ["a", "a"]
    Path("a").unlink()
    assert not is_finished(once)
    run([once])
    steps.forget([once], "tiny")
    assert not is_finished(once)
    run([once])
    assert len(calls()) == 4


def train_step(*flags):
    return Step("a", (["touch.py", "a", *flags],), ("in.csv",), ("a",), begun="last.pth",
                resume=("--resume",), anew=("--force",))  # fmt: skip


def test_a_checkpoint_is_gone_on_with_unless_data_or_commands_have_changed(workdir):
    Path("in.csv").write_text("1")
    Path("last.pth").touch()
    run([train_step("--epochs", "3")])
    assert calls() == ["a --epochs 3 --resume"]  # made by hand: main.py refuses what does not fit
    for flags, expected in [
        (["--epochs", "9"], "--resume"),
        (["--epochs", "5"], "--force"),
        (["--epochs", "5", "--lr", "1"], "--force"),
    ]:
        Path("last.pth").write_text(f"trained before {flags}")
        run([train_step(*flags)])
        assert calls()[-1] == " ".join(["a", *flags, expected])
    Path("last.pth").write_text("trained")
    Path("in.csv").write_text("2")
    run([train_step(*flags)])
    assert calls()[-1].endswith("--force") and len(calls()) == 5


@pytest.mark.parametrize("killed_after", ["start", "epoch"])
def test_a_killed_start_from_new_data_does_not_go_on_with_the_old(workdir, killed_after):
    Path("in.csv").write_text("1")
    Path("last.pth").write_text("old")
    os.utime("last.pth", (1, 1))
    run([train_step()])
    Path("in.csv").write_text("2")
    text = "" if killed_after == "start" else "pathlib.Path('last.pth').write_text('new')\n"
    Path("killed.py").write_text(f"import os, pathlib\n{text}os.kill(os.getpid(), 9)\n")
    Path("touch.py").rename("whole.py")
    Path("killed.py").rename("touch.py")  # the same command, killed the first time
    assert "exit status -9" in run([train_step()])["a"]
    Path("whole.py").rename("touch.py")
    assert run([train_step()]) == {"a": ""}
    assert calls()[-1] == ("a --force" if killed_after == "start" else "a --resume")


def test_a_forced_start_that_is_interrupted_is_finished_without_force(workdir):
    chosen = [step("a"), step("b")]
    run(chosen)
    steps.forget(chosen, "tiny")
    run(chosen[:1])  # interrupted after the first
    assert steps.list_pending(chosen) == {"b"}
    run(chosen)
    assert sorted(calls()) == ["a", "a", "b", "b"] and calls()[-1] == "b"


def test_what_hangs_on_a_pending_step_is_pending_too(workdir):
    chosen = [step("a"), step("b", needs=("a",)), step("c", after=("b",)), step("d")]
    assert steps.list_pending(chosen) == set("abcd")
    run(chosen)
    assert steps.list_pending(chosen) == set()
    Path("a").unlink()
    assert steps.list_pending(chosen) == set("abc")


def test_an_input_that_is_no_file_and_a_full_disk_do_not_end_the_driver(workdir, monkeypatch):
    os.symlink("/nowhere/at/all", "x.hea")
    assert run([step("a", inputs=("*.hea",))]) == {"a": ""}

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(steps, "write_stamp", full)
    assert run([step("b"), step("c")]) == dict.fromkeys("bc", "No space left on device")


def test_no_command_starts_once_the_driver_is_stopping(workdir):
    runner = Runner("tiny")
    runner.stop()
    assert runner.run(step("a"), dict(os.environ)) == "interrupted" and not Path("log").exists()


def test_a_broken_step_goes_on_after_its_last_good_command(workdir):
    both = Step("two", (["touch.py", "a"], ["touch.py", "bad"]), outputs=("a",))
    assert run([both])["two"] and run([both])["two"]
    assert calls() == ["a", "bad", "bad"]


def test_more_epochs_train_on_though_training_had_ended_well(workdir):
    def two(epochs):
        commands = (["touch.py", "a", "--epochs", str(epochs)], ["touch.py", "bad"])
        return Step("two", commands, outputs=("a",), begun="a", resume=("--resume",))

    run([two(1)])
    run([two(1)])
    run([two(2)])
    assert calls() == ["a --epochs 1", "bad", "bad", "a --epochs 2 --resume", "bad"]


@pytest.mark.parametrize("other", [["--lr", "9"], ["--epochs", "80"]])
@pytest.mark.parametrize("begun", [False, True])
def test_a_wrong_flag_that_is_stopped_at_once_loses_no_training(workdir, other, begun):
    Path("in.csv").write_text("1")
    Path("last.pth").write_text("trained")
    train = train_step("--epochs", "40")
    run([train])
    kept = Path("touch.py").read_text()
    change = "open('last.pth', 'a').write('x')\n" if begun else ""
    Path("touch.py").write_text(f"import os\n{change}os.kill(os.getpid(), 9)\n")
    wrong = train_step(*(["--epochs", "40"] if other[0] == "--lr" else []), *other)
    for _ in range(2):
        assert "-9" in run([wrong])["a"]
    Path("touch.py").write_text(kept)
    assert run([train]) == {"a": ""}
    assert calls()[-1] == ("a --epochs 40 --force" if begun else "a --epochs 40 --resume")


def test_the_same_folder_typed_otherwise_is_the_same_command(workdir):
    texts = [steps.essence((["main.py", "--data-dir", folder, "--lr", "1"],))
             for folder in ("data/x", str(Path("data/x").resolve()), "data/y")]  # fmt: skip
    assert texts[0] == texts[1] != texts[2]


def test_labels_by_hand_are_kept_also_with_other_flags_and_by_force_of_the_whole(workdir):
    first = step("a", adopt=True)
    run([step("a")])
    assert is_finished(first._replace(commands=(["touch.py", "a", "--limit", "5"],)))
    steps.forget([first], "tiny")
    assert not is_finished(first)


def test_a_missing_output_is_a_failure(workdir):
    assert "left no b" in run([step("a")._replace(outputs=("a", "b"))])["a"]


def test_no_step_runs_twice_at_a_time(workdir):
    with steps.locked(step("a")) as held:
        assert held is not None
        assert run([step("a")]) == {"a": "another process is at it"}
    assert run([step("a")]) == {"a": ""}


def test_a_command_that_outlives_its_driver_still_holds_the_step(workdir):
    text = "import os, pathlib, time\npathlib.Path('.pid').write_text(str(os.getpid()))\n"
    text += "os.rename('.pid', 'pid')\ntime.sleep(60)\n"
    Path("hold.py").write_text(text)
    code = "import os, steps; steps.__file__ = os.path.abspath('steps.py'); "
    code += "steps.Runner('x').run(steps.Step('a', (['hold.py'],)), dict(os.environ))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen([sys.executable, "-c", code], env=environment)
    while not Path("pid").exists():
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    assert run([step("a")]) == {"a": "another process is at it"}
    os.kill(int(Path("pid").read_text()), signal.SIGKILL)
    limit = time.monotonic() + 30
    while (ended := run([step("a")]))["a"]:
        assert time.monotonic() < limit
    assert ended == {"a": ""}


def test_steps_run_side_by_side(workdir):
    text = (
        "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\nlimit = time.time() + 30\n"
    )
    text += "while not pathlib.Path(sys.argv[2]).exists() and time.time() < limit:\n    pass\n"
    text += "sys.exit(not pathlib.Path(sys.argv[2]).exists())\n"
    Path("meet.py").write_text(text)
    chosen = [Step(a, (["meet.py", a, b],)) for a, b in (("x", "y"), ("y", "x"))]
    assert run(chosen) == {"x": "", "y": ""}
