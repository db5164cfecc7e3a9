"""The reproduction: the whole of it on 40 records, stopped half-way; and its plan."""

import fcntl
import glob
import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import CHROMIUM, look_at

import map_checks
import plan
import reproduce
import steps
import synthetic
from dataset import CLASSES, LEADS
from resnet import ResNet1d
from steps import is_finished

ROOT = Path(__file__).parents[1]
# Python runs this before any script: a network that trains in a second, and none of the figures
# that are slow to draw and tested elsewhere
SITE = """\
import os

try:
    import plots
    import resnet

    resnet.WIDTHS = (8, 8, 16, 16)
    plots.plot_scores = lambda *args: None
except BaseException:  # Python would go on, with the wide network, if Ctrl-C came in the import
    os._exit(130)
"""
FLAGS = ["--data-dir", "data/tiny", "--arch", "resnet18", "--rounds", "2", "--lead-sets", "all I",
         "--epochs", "1", "--seconds", "2", "--classifier", "LR", "--background", "2", "--records",
         "2", "--samples", "2"]  # fmt: skip
MODELS = [f"resnet18_tiny_{leads}_42{r}" for leads in ("all", "I") for r in ("", "_r1")]


def start(folder, *more):
    """Start the driver in a folder; return the process."""
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}"}
    command = [sys.executable, str(ROOT / "reproduce.py"), *FLAGS, *more]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def finished_models(folder):
    """Return the models whose stamps say that training and scoring have ended."""
    found = []
    for name in MODELS:
        path = folder / f"results/.reproduce/{name}.json"
        if path.is_file() and json.loads(path.read_text())["done"] == 2:
            found.append(name)
    return found


def times(folder, names):
    return {name: (folder / f"models/{name}.pth").stat().st_mtime_ns for name in names}


@pytest.fixture
def folder(tmp_path):
    """Make 40 synthetic records in data/tiny, and the site that makes the scripts fast."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(SITE)
    argv = ["--data-dir", str(tmp_path / "data/tiny"), "--records", "40", "--seed", "0"]
    synthetic.main(synthetic.parse_args(argv))
    return tmp_path


def test_the_whole_interrupted_half_way_and_started_again(folder, tmp_path, monkeypatch, capsys):
    first = start(folder, "--jobs", "2")
    while first.poll() is None and not finished_models(folder):
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    out = first.communicate(timeout=60)[0]
    assert first.returncode == 130 and "same command goes on" in out, out
    assert "Traceback" not in out
    before = finished_models(folder)
    assert 1 <= len(before) < len(MODELS)
    for path in (folder / "results/.reproduce").glob("*.lock"):
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if a command lives on
    stood = times(folder, before)

    second = start(folder, "--jobs", "2")
    out = second.communicate(timeout=300)[0]
    assert second.returncode == 0, out
    assert finished_models(folder) == MODELS and times(folder, before) == stood
    assert all(f"{name}: finished before" in out for name in before)
    shap = "shap/resnet18_tiny_all_42"
    for path in ("results/report.html", "results/report.md", f"{shap}/index.html",
                 f"{shap}/faithfulness.csv", "results/LR_tiny_42_r1/scores.csv",
                 "results/compare_rounds_resnet18_tiny_all_42/rounds.csv",
                 "results/compare_leads_resnet18_tiny_all_42/single_lead.csv"):  # fmt: skip
        assert (folder / path).is_file(), path
    assert list(folder.glob("results/compare_rounds_*_vs_*/differences.csv"))
    text = (folder / "results/report.md").read_text()
    assert "Not run" not in text

    monkeypatch.chdir(folder)
    out, names = to_do(capsys, "--num-workers", "1", "--jobs", "1")
    ends = ["preprocess_tiny", "report_tiny"]  # the two that are run every time
    assert names == ends and "4 models, 0 to train" in out
    out, names = to_do(capsys, "--epochs", "3")
    assert set(names) > {*MODELS, *ends} and "4 models, 4 to train" in out
    assert {f"shap_values_{MODELS[0]}", f"compare_rounds_{MODELS[0]}"} < set(names)
    assert not any(name.startswith("baselines") for name in names)
    assert "from resnet18_tiny_all_42" in out  # an epoch has been measured by now
    header = next(Path("data/tiny").glob("*.hea"))
    header.write_text(header.read_text() + "# changed\n")
    out, names = to_do(capsys)  # the labels may change, and all that comes after them
    assert set(names) > {*MODELS, *ends, "baselines_tiny_42"} and "4 to train" in out
    if CHROMIUM:
        look_at(folder / "results/report.html", tmp_path / "browser", images=6)


def to_do(capsys, *more):
    """Return what a dry run prints, and the steps that it says are to do."""
    capsys.readouterr()
    reproduce.main(reproduce.parse_args([*FLAGS, "--dry-run", *more]))
    out = capsys.readouterr().out
    return out, [line.split()[2] for line in out.splitlines() if line.startswith("to do")]


def parse(*argv):
    return reproduce.parse_args(["--data-dir", "data/CPSC", *argv])


def test_the_same_folder_and_the_default_epochs_are_the_same_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--rounds", "1", "--lead-sets", "all"]
    plain, same = (
        plan.make_plan(reproduce.parse_args(["--data-dir", folder, *flags, *more]), 1)[0]
        for folder, more in (("data/x", []), ("./data/x/", ["--epochs", "40"]))
    )
    assert [one.commands for one in plain] == [one.commands for one in same]
    assert steps.continues(
        steps.essence(plain[2].commands),
        steps.essence(
            plan.make_plan(parse("--data-dir", "data/x", *flags, "--epochs", "50"), 1)[0][
                2
            ].commands
        ),
    )


def test_names_with_brackets_are_no_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = reproduce.parse_args(["--data-dir", "data/d[1]", "--rounds", "1", "--lead-sets", "all"])
    for one in plan.make_plan(args, 1)[0]:
        for pattern in one.inputs:
            if "*" not in pattern:
                path = Path(pattern.replace("[[]", "["))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                assert glob.glob(pattern), pattern


def test_the_paper_is_130_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    all_steps, models = plan.make_plan(parse(), 1)
    assert len(models) == len(set(models)) == 130
    assert {f"resnet34_CPSC_{lead}_42_r9" for lead in LEADS} < set(models)
    assert [s.name for s in all_steps if s.always] == [all_steps[-1].name] == ["report_CPSC"]
    assert all_steps[0].adopt  # there are no records that it could be made from
    names = [s.name for s in all_steps]
    for i, one in enumerate(all_steps):  # what a step hangs on comes before it
        assert {*one.needs, *one.after} <= set(names[:i])


def test_every_command_of_the_plan_parses():
    flags = ["--use-gpu", "--amp", "--lr", "0.001", "--pad", "batch", "--limit", "50", "--patience",
             "3", "--num-workers", "2", "--batch-size", "4", "--records", "5"]  # fmt: skip
    for argv in ([], [*flags, "--lead-sets", "I,V5 all I"]):
        for one in plan.make_plan(parse(*argv), 2)[0]:
            for script, *words in one.commands:
                module = importlib.import_module(script.removesuffix(".py"))
                assert module.parse_args([*words, *one.anew])


def test_list_prints_commands_that_name_one_model_each(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("data/CPSC").mkdir(parents=True)
    flags = ["--rounds", "2", "--lead-sets", "all I,V5", "--seed", "0", "--use-gpu", "--list"]
    with pytest.raises(SystemExit, match="2"):  # 130 jobs would fail for want of labels
        reproduce.main(parse(*flags))
    assert "--only preprocess_CPSC" in capsys.readouterr().err
    Path("data/CPSC/labels.csv").touch()
    reproduce.main(parse(*flags))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    for line, run_name in zip(lines, ("all_0", "all_0_r1", "I-V5_0", "I-V5_0_r1"), strict=True):
        python, script, *words = shlex.split(line)
        args = reproduce.parse_args(words)
        assert (python, script) == ("python", "reproduce.py") and args.use_gpu
        chosen = reproduce.choose(plan.make_plan(args, 1)[0], args.only)
        assert [one.name for one in chosen] == [f"resnet34_CPSC_{run_name}"]


def test_labels_made_by_hand_are_kept_and_others_kept_up_to_date(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = Path("data/CPSC")
    folder.mkdir(parents=True)
    (folder / "A0001.hea").touch()
    first = plan.make_plan(parse(), 1)[0][0]
    assert first.always and not steps.is_finished(first)
    for name in plan.DATA_FILES:
        (folder / name).write_text("by hand")
    first = plan.make_plan(parse(), 1)[0][0]
    assert is_finished(first)
    reproduce.run_plan(parse("--only", first.name), [first], [], [dict(os.environ)])
    assert "not made by this script and is kept" in capsys.readouterr().out
    steps.forget([first], "CPSC")
    assert not is_finished(plan.make_plan(parse(), 1)[0][0])
    signed = steps.contents_digest(first.signed)
    state = {"inputs": steps.contents_digest(first.inputs), "done": 1, "signed": signed}
    steps.write_stamp(first, "CPSC", **state)
    assert plan.make_plan(parse(), 1)[0][0].always  # its own labels: it looks for what is new
    (folder / "labels.csv").write_text("other folds, by hand")
    assert is_finished(plan.make_plan(parse(), 1)[0][0])


def test_each_gpu_has_a_slot(monkeypatch):
    monkeypatch.setattr(reproduce, "get_device", lambda use_gpu: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    for argv, gpus in (([], ["2", "5"]), (["--jobs", "3"], ["2", "5", "2"])):
        slots = reproduce.find_slots(parse("--use-gpu", *argv))
        assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots] == gpus


def test_the_estimate_counts_models_epochs_and_gpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = parse("--rounds", "2", "--lead-sets", "all I", "--epochs", "5")
    all_steps, models = plan.make_plan(args, 1)
    Path("data/CPSC").mkdir(parents=True)
    rows = [f"A{i},{','.join('1' * len(CLASSES))},{i % 10 + 1}" for i in range(100)]
    Path("data/CPSC/labels.csv").write_text("\n".join(["patient_id,...,fold", *rows]) + "\n")
    folder = Path("results", models[0])
    folder.mkdir(parents=True)
    then = {"amp": False, "arch": "resnet34", "use_gpu": False, "limit": None, "seconds": 30}
    content = {"seconds_per_epoch": [90, 110], "args": {**then, "batch_size": 32}}
    (folder / "run.json").write_text(json.dumps(content))
    monkeypatch.setattr(plan, "measure_record", lambda args, explaining: 0.5)
    one = plan.estimate(args, all_steps, models, 1)
    assert one["records"] == [80, 10] and one["models_left"] == 4
    assert one["training_seconds"] == 4 * 5 * 100
    assert one["explaining_seconds"] == round((10 * 200 + plan.check_gradients(args, 10)) * 0.5)
    assert plan.estimate(args, all_steps, models, 2)["training_seconds"] == 2 * 5 * 100


def test_the_estimate_counts_every_network_that_the_checks_make():
    network = ResNet1d("resnet18", len(LEADS), len(CLASSES)).eval()
    signals = torch.zeros(2, len(LEADS), 500)
    names = [name for name, _ in map_checks.random_layers(network, signals, 2, 0)]
    assert plan.RANDOM_NETWORKS == len(names)
    asked = []

    def logit_of(x):
        asked.append(len(x))
        return x[:, 0, 0].numpy()

    x = signals[0]
    others = torch.zeros(map_checks.REPLACEMENTS, *x.shape)
    map_checks.check_curves(logit_of, x, others, x.numpy(), np.random.default_rng(0))
    one = plan.check_gradients(parse("--records", "1", "--samples", "10"), 50)
    values = plan.CLASSES_A_RECORD * 10 + 7 * 10 + 25 + 50 + 100 + 200
    predictions = plan.CLASSES_A_RECORD * sum(asked) * plan.FORWARD_COST
    assert one == pytest.approx(values + predictions, rel=0.05)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--only", "nothing"], "no step nothing"),
        (["--data-dir", "data/none"], "no folder data/none"),
        (["--lead-sets", "all V9"], "unknown lead 'V9'"),
        (["--lead-sets", " "], "--lead-sets is empty"),
        (["--rounds", "11"], "invalid choice: 11"),
    ],
)
def test_bad_input_is_one_line(argv, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("data/CPSC").mkdir(parents=True)
    with pytest.raises(SystemExit) as stop:
        reproduce.main(parse(*argv))
    assert stop.value.code == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1 and text in err[0]
    assert not Path("results").exists()
