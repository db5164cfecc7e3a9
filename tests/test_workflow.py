"""The workflow on 40 records: killed and started again to the report, failing, and on a cluster."""

import fcntl
import functools
import hashlib
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pandas as pd
import pytest
import torch
import yaml
from conftest import draw_plain_figures

import dataset
import main
import preprocess
import resnet
import utils
from ecg import compare, report, synthetic
from ecg.evaluation.classifiers import CLASSIFIERS, METHODS
from ecg.io import formats
from ecg.io.sources import walk
from ecg.training import estimate as costs
from ecg.training import training
from ecg.training.estimate import Work, WorkflowSettings, estimate

ROOT = Path(__file__).parents[1]
# what the steps load only where they need it: once here, not in every process
LAZY = ("torch._dynamo", "wfdb", "shap")
SMALL = [
    "data_dir=data/tiny",
    "arch=resnet18",
    "rounds=2",
    "lead_sets=I",
    "classifiers=LR",
    "epochs=3",
    "lr=0.001",
    "batch_size=7",
    "seconds=2",
    "background=2",
    "records=2",
    "samples=2",
    "jobs=2",
]
RUN = "resnet18_tiny_I_42"
MODELS = [RUN, f"{RUN}_r1"]
TRAIN = (
    "--data-dir data/tiny --arch resnet18 --epochs 3 --lr 1e-3 --batch-size 7 --seconds 2 --leads I"
).split()


@pytest.fixture
def thin(monkeypatch):
    """Let the steps, in whatever process, train a thin network and draw no figure."""
    monkeypatch.setattr(resnet, "WIDTHS", (8, 8, 16, 16))
    draw_plain_figures(monkeypatch)
    for name in LAZY:
        importlib.import_module(name)


@pytest.fixture
def folder(tmp_path, monkeypatch, thin):
    """Make 40 synthetic records in data/tiny."""
    monkeypatch.chdir(tmp_path)
    synthetic.main(synthetic.parse_args(["--data-dir", "data/tiny", "--records", "40"]))
    return tmp_path


@pytest.fixture
def labelled(folder):
    """Make the labels by hand, so that the workflow starts with the models."""
    preprocess.main(preprocess.parse_args(["--data-dir", "data/tiny", "--jobs", "1"]))
    return folder


def start(*argv, **environment):
    """Start Snakemake here, and what it starts, forked from this process; return the process."""
    from snakemake import cli  # which takes a second

    site = Path("site").resolve()
    site.mkdir(exist_ok=True)

    def snakemake():
        os.environ |= environment
        stop = forked.serve(site)
        sys.argv = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), *map(str, argv)]
        try:
            cli.main()
        finally:
            stop()

    return forked.Forked(snakemake, site)


def run(*argv, config=(), status=0, **environment):
    """Run Snakemake with the small configuration to its end; return what it printed."""
    found, out, err = start(*argv, "--config", *SMALL, *config, **environment).wait()
    assert found == status, (err + out)[-8000:]
    return err + out


def to_do(*config):
    """Return how often each rule is run, and the last lines, according to a dry run."""
    out = run("--dry-run", config=config)
    found = re.findall(r"^(\w+) +(\d+)$", out, re.M)
    lines = out.splitlines()
    first = next((i for i, line in enumerate(lines) if line.endswith("jobs to do")), len(lines))
    return {rule: int(number) for rule, number in found}, lines[first:]


def weights(run):
    return torch.load(f"models/{run}.pth", weights_only=True)["state_dict"]


def test_the_whole_killed_in_a_training_and_started_again(folder):
    first = start("--config", *SMALL)
    while first.is_alive() and not list(Path("models").glob("*.last.pth")):
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    killed = list(Path("models").glob("*.last.pth"))
    state = torch.load(killed[0], weights_only=True)
    assert state["epoch"] < 3
    time.sleep(1)

    run()
    assert not list(Path("models").glob("*.last*"))  # complete: only the models stay
    log = Path(f"results/logs_tiny/train_{killed[0].name.removesuffix('.last.pth')}.log")
    assert f"epoch {state['epoch'] + 1:02d}/3" in log.read_text()
    assert f"epoch {state['epoch']:02d}/3" not in log.read_text()
    for path in (
        f"results/report_{RUN}.html",
        f"explanations/{RUN}/index.html",
        f"explanations/{RUN}/faithfulness.csv",
        "results/LR_tiny_42_r1/scores.csv",
        f"results/compare_rounds_{RUN}/rounds.csv",
        "results/compare_leads_resnet18_tiny_all_42/single_lead.csv",
        f"results/compare_rounds_{RUN}_vs_rounds_LR_tiny_42/differences.csv",
        "results/dataset_tiny/dataset_table.csv",
        f"results/times_tiny/train_{RUN}.tsv",
        "results/logs_tiny/features.log",
    ):
        assert Path(path).is_file(), path

    assert to_do()[0] == {}  # nothing to do the second time
    Path(f"results/report_{RUN}.html").write_text("that of other runs")
    assert to_do()[0] == {"report": 1, "all": 1, "total": 2}
    run()
    assert RUN in Path(f"results/report_{RUN}.html").read_text() and to_do()[0] == {}
    for path in [*Path("data").rglob("*"), *Path("results").rglob("*"), *Path("models").glob("*")]:
        os.utime(path)
    assert to_do("num_workers=1", "jobs=1")[0] == {}  # touched files, and what changes no number
    rules, lines = to_do("epochs=4")
    assert rules["train"] == rules["score"] == 2 and rules["compare_pair"] == 1
    assert not {"baseline", "features", "preprocess"} & set(rules)
    assert lines[0] == "11 jobs to do" and "2 models, 2 to train" in lines[1]
    assert "4 epochs of" in lines[2] and "measured in resnet18_tiny" in lines[2]
    assert lines[3].startswith("everything but the epochs takes about") and "score" in lines[3]
    assert lines[4].startswith("in all about")
    rules, _ = to_do("samples=3")
    assert set(rules) == {"explain", "faithfulness", "report", "all", "total"}
    header = next(Path("data/tiny").glob("*.hea"))
    header.write_text(header.read_text() + "# changed\n")
    assert set(to_do()[0]) > {"preprocess", "train"}
    labels = pd.read_csv("data/tiny/labels.csv")
    labels["fold"] = labels["fold"] % 10 + 1
    labels.to_csv("data/tiny/labels.csv", index=False)  # by hand: kept, and everything follows
    rules, _ = to_do()
    assert "preprocess" not in rules and rules["train"] == 2

    interrupted = killed[0].name.removesuffix(".last.pth")
    found = weights(interrupted)
    Path("data/tiny/labels.csv").unlink()  # as the one made by hand would stop it
    preprocess.main(preprocess.parse_args(["--data-dir", "data/tiny", "--jobs", "1"]))
    rounds = ["--round", "1"] if interrupted.endswith("_r1") else []
    main.main(main.parse_args([*TRAIN, *rounds]))  # the unbroken run
    for name, value in weights(interrupted).items():
        assert torch.equal(value, found[name]), name


def test_one_failing_model_stops_only_what_needs_it(labelled):
    targets = [f"results/{name}/scores.csv" for name in (MODELS[0], MODELS[1])]
    with training.lock(MODELS[1]):  # as if a process from before were still training it
        out = run(*targets, "--keep-going", config=["epochs=1"], status=1)
    assert f"another process is training {MODELS[1]}" in out
    assert "labels.csv was not made by this workflow and is kept" in out
    assert Path(targets[0]).is_file() and not Path(targets[1]).exists()
    flags = ["--arch", "resnet18", "--leads", "I", "--data-dir", "data/tiny"]
    compare.main(compare.parse_args(["--rounds", *flags]))  # by hand, of what there is
    report.main(report.parse_args(flags))
    rounds = Path(f"results/compare_rounds_{RUN}/rounds.csv")
    assert set(pd.read_csv(rounds)["rounds"].dropna()) <= {0, 1}
    assert "python" in Path(f"results/report_{RUN}.html").read_text()


def test_a_second_workflow_in_the_same_folder_stops(labelled):
    Path("results").mkdir(exist_ok=True)
    with open("results/.reproduce.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as the first one holds it
        assert "another snakemake is at work" in run(f"results/report_{RUN}.html", status=1)
        assert not Path("models").exists()
        run("--dry-run")  # which changes nothing, and is no second one


def test_a_cluster_job_per_model(labelled):
    """Slurm itself is not at hand: tests/slurm/ stands in for it."""
    slurm = "--executor slurm --jobs 2 --slurm-init-seconds-before-status-checks 1".split()
    slurm += ["--default-resources", "slurm_account=lab", "slurm_partition=gpu", "mem_mb=8000"]
    environment = {"PATH": f"{ROOT / 'tests/slurm'}{os.pathsep}{os.environ['PATH']}"}
    run(
        f"models/{RUN}.pth",
        *slurm,
        config=["epochs=1", "threads=1"],
        CALLS=str(labelled / "calls"),
        **environment,
    )
    (call,) = map(json.loads, Path("calls").read_text().splitlines())
    text = " ".join(call)
    assert "-A lab -p gpu" in text and "--mem 8000" in text and "--cpus-per-task=1" in text
    assert f"train:run={RUN}" in text
    assert Path(f"models/{RUN}.pth").is_file() and "COMPLETED" in Path("calls.states").read_text()


def paper(**changes):
    return yaml.safe_load((ROOT / "config/paper.yaml").read_text()) | changes


def test_the_paper_is_130_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = start("--dry-run").wait()
    assert status == 0, err
    counts = dict(re.findall(r"^(\w+) +(\d+)$", out + err, re.M))
    assert (counts["train"], counts["score"], counts["baseline"]) == ("130", "130", "40")
    lines = out.splitlines()[-4:]
    assert lines[0] == f"{counts['total']} jobs to do" == "317 jobs to do"
    assert lines[1].startswith("130 models, 130 to train; networks take 8.7 GB")
    assert "not known" in lines[2]  # there are no records


def test_a_night_on_a_laptop_is_the_papers_run_in_a_job_a_round(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("models").symlink_to(ROOT / "models")
    changed = yaml.safe_load((ROOT / "config/laptop.yaml").read_text())
    assert set(changed) < set(paper())
    same = {"data_dir", "seed", "rounds", "lead_sets", "classifiers", "limit"}
    assert not {*same, "records", "checked", "samples", "background"} & set(changed)
    flags = ["--configfile", ROOT / "config/laptop.yaml", "--dry-run", "--printshellcmds"]
    status, out, err = start(*flags).wait()
    assert status == 0, err
    out += err
    counts = dict(re.findall(r"^(\w+) +(\d+)$", out, re.M))
    # 20 jobs for 260, the others are those of the paper's configuration
    assert (counts["train"], counts["score"], counts["baseline"]) == ("10", "10", "40")
    assert int(counts["total"]) == 317 - 260 + 20
    assert "130 models, 130 to train" in out
    for step in ("main.py", "predict.py"):
        calls = [line for line in out.splitlines() if f"{step} " in line]
        assert len(calls) == 10
        assert all(f"--lead-sets all {' '.join(dataset.LEADS)} " in call for call in calls)
        numbers = sorted(re.search(r"--round (\d)", call)[1] for call in calls)
        assert numbers == list("0123456789")
    (report,) = [line for line in out.splitlines() if "-m ecg.report" in line]
    for text in ("init models/general.pth (none)", "epochs 2 (40)", "seconds 10 (30)"):
        assert text in report, report
    # the head for places is dropped: the paper's network has none, and no map of these jobs uses it
    assert out.count("--no-evidence") == 10 and "evidence" not in report
    assert "first weights are those of models/general.pth, not resnet34 with random" in report
    assert "shared" not in report and "jobs" not in report  # which change no number


def test_a_round_in_one_job_or_in_many_is_the_same_to_what_follows(labelled, monkeypatch):
    """Also killed in the second model of the round, and without the first one's epochs again."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    # Snakemake's timers that wake its scheduler: one more for each job that has ended
    monkeypatch.setattr(JobScheduler, "_schedule_reevalutation", lambda *_: Path("timer").touch())
    two = ["lead_sets=I V5"]
    first = start(f"models/{MODELS[1]}.pth", "--config", *SMALL, *two, "shared=True")
    second = Path("models/resnet18_tiny_V5_42_r1.last.pth")
    while first.is_alive() and not second.exists():
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert second.exists() and Path(f"models/{MODELS[1]}.last.pth").exists()
    run(f"results/{MODELS[1]}/scores.csv", config=[*two, "shared=True"])
    log = Path("results/logs_tiny/train_round_r1.log").read_text()
    assert f"run {MODELS[1]} " in log and "run resnet18_tiny_V5_42_r1 " in log
    assert len(re.findall(r"^epoch 0[123]/3 ", log, re.M)) < 3  # of six
    assert not list(Path("models").glob("*.last*")) and not Path(f"models/{RUN}.pth").exists()
    assert not Path("timer").exists()
    found = weights(MODELS[1])
    done, _ = to_do(*two)
    assert done["train"] == 2  # of four models: those of the round are there
    assert done["score"] == 4
    assert Path("results/resnet18_tiny_V5_42_r1/scores.csv").is_file()
    main.main(main.parse_args([*TRAIN, "--round", "1"]))
    for name, value in weights(MODELS[1]).items():
        assert torch.equal(value, found[name]), name


def test_the_rehearsal_is_the_papers_run_but_for_its_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("models").symlink_to(ROOT / "models")
    changed = yaml.safe_load((ROOT / "config/rehearsal.yaml").read_text())
    assert set(changed) < set(paper())
    assert not {"rounds", "lead_sets", "limit", "seed"} & set(changed)
    # the paper's four, and each of them once more with the rhythm features
    assert changed["classifiers"] == list(METHODS) and list(METHODS)[:4] == paper()["classifiers"]
    flags = ["--configfile", ROOT / "config/rehearsal.yaml", "--dry-run", "--printshellcmds"]
    status, out, err = start(*flags).wait()
    assert status == 0, err
    out += err
    counts = dict(re.findall(r"^(\w+) +(\d+)$", out, re.M))
    # a baseline more: ten rounds, their summary and their comparison with the network
    assert counts["total"] == str(317 + 4 * 12) and counts["baseline"] == "80"
    # the features of both kinds are computed once; a method's name says which of them it reads
    (line,) = [line for line in out.splitlines() if "-m ecg.features" in line]
    assert "--features rhythm" in line
    fits = [line for line in out.splitlines() if "baselines.py" in line]
    for name in paper()["classifiers"]:
        of = [line for line in fits if f"--classifier {name} " in line + " "]
        assert sum("--features rhythm" in line for line in of) == 10 and len(of) == 20
    assert "--arch RF-rhythm" in out
    assert "130 models, 130 to train; networks take 0.6 GB" in out
    (report,) = [line for line in out.splitlines() if "-m ecg.report" in line]
    assert "The paper'\"'\"'s configuration but for:" in report
    for text in ("init models/general.pth (none)", "epochs 1 (40)", "seconds 10 (30)"):
        assert text in report, report


def test_the_configuration_and_the_names_are_those_of_the_steps():
    config = paper()
    assert config["lead_sets"] == ["all", *dataset.LEADS]
    assert config["classifiers"] == list(CLASSIFIERS) and config["rounds"] == dataset.N_FOLDS
    args = vars(main.parse_args([]))
    names = "epochs batch_size lr schedule seconds windows patience amp arch width init seed"
    for name in names.split():
        assert config[name] == args[name], name
    assert set(yaml.safe_load((ROOT / "config/demo.yaml").read_text())) <= set(config)


def test_runs_are_named_and_flags_written_as_the_steps_do():
    scope = {"config": {"seed": 0, "limit": None, "amp": False, "use_gpu": True, "rounds": 1}}
    scope |= {"DIR": "data/CPSC", "shlex": shlex, "sys": sys}
    snakefile = (ROOT / "Snakefile").read_text()
    exec(
        re.search(r"^from dataset import.*?\nfrom utils import.*?$", snakefile, re.M | re.S)[0],
        scope,
    )
    for name in ("flags", "lead_set", "name_run", "shown"):
        exec(re.search(rf"^def {name}.*?(?=\n\n\n)", snakefile, re.M | re.S)[0], scope)
    assert scope["name_run"]("resnet34", 3, "I,aVR,V5") == "resnet34_CPSC_I-aVR-V5_0_r3"
    assert scope["name_run"]("LR") == "LR_CPSC_0" == utils.run_name("LR", "data/CPSC", 0)
    assert scope["lead_set"]("V5,I") == "I,V5" and scope["lead_set"]("all") == "all"
    assert scope["lead_set"](",".join(reversed(dataset.LEADS))) == "all"  # named so by main.py
    assert scope["flags"]("seed", "limit", "amp") == "--seed 0"  # 0 is a value, null is none
    shown = [scope["shown"](value) for value in ("all I", ["all", "V5"], True, None)]
    assert shown == ["all I", "all V5", "true", "none"]  # in the report; 'all i' is no choice
    assert scope["flags"]("use_gpu", "rounds", note="a b") == "--use-gpu --rounds 1 --note 'a b'"


def test_every_file_that_preprocess_reads_is_in_the_fingerprint_and_none_that_it_writes(tmp_path):
    text, scope = (ROOT / "Snakefile").read_text(), {"DIR": tmp_path, "Path": Path}
    scope |= {"functools": functools, "hashlib": hashlib, "os": os, "walk": walk}
    exec(re.search(r"^RECORDS = .*?\)\n", text, re.M | re.S)[0], scope)
    for name in ("files", "fingerprint"):
        exec(re.search(rf"^(@.*\n)?def {name}.*?(?=\n\n\n)", text, re.M | re.S)[0], scope)

    def found():
        scope["fingerprint"].cache_clear()
        return scope["fingerprint"]()

    seen = [found()]
    read = [suffix for suffix in formats.READERS if suffix not in formats.TABLES]
    for name in [f"a{suffix}" for suffix in (*read, ".dat", ".HEA")] + ["T/REFERENCE.csv"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
        seen.append(found())
    (tmp_path / "a.hea").write_text("2")  # the same size
    seen.append(found())
    assert len(set(seen)) == len(seen)
    for name in ("reference.csv", "labels.csv", "dataset_table.csv", "signals.json", "s.i16"):
        (tmp_path / name).write_text("1")
    assert found() == seen[-1]


def estimated(runs, left, config, lanes, n_records, threads):
    """Return the sentences of an estimate of trainings alone: on their size and time."""
    work = Work({run: [run] for run in runs}, left, n_records, lanes, threads)
    return estimate(WorkflowSettings.of(config), work, {}, Path("times"))


def test_the_estimate_counts_models_epochs_and_jobs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = ["a", "b", "c", "d"]
    size, text, _ = estimated(runs, runs[1:], paper(epochs=5), 1, 1000, 2)
    assert size.startswith("4 models, 3 to train; networks take 0.3 GB")
    seconds = (800 + 100 / 3) / 3.4  # of an epoch: 3.4 records a second on two cores
    assert f"5 epochs of {seconds:.1f} s each (from the benchmark: 2 processor" in text
    # the same cores shared by two models: each takes twice as long
    shared = estimated(runs, runs[1:], paper(epochs=5), 2, 1000, 1)[1]
    assert f"5 epochs of {2 * seconds:.1f} s each" in shared
    assert shared.split(":")[0] == text.split(":")[0]
    folder = Path("results/a")
    folder.mkdir(parents=True)
    described = {"args": paper(), "seconds_per_epoch": [3500, 3700], "threads": 2}
    (folder / "run.json").write_text(json.dumps(described))
    _, text, in_all = estimated(runs, runs[1:], paper(epochs=5), 1, 1000, 2)
    assert "take about 15.0 hours: 5 epochs of 3600.0 s each (measured in a), 1 at" in text
    assert in_all == "in all about 15.0 hours"
    assert "about 5.0 hours" in estimated(runs, runs[1:], paper(epochs=5), 3, 1000, 2)[1]
    # on other cores that time says nothing
    assert "benchmark" in estimated(runs, runs[1:], paper(epochs=5), 1, 1000, 4)[1]
    # models of one job are trained one after another
    together = Work({"round": runs}, runs[1:], 1000, 2, 1)
    _, text, _ = estimate(WorkflowSettings.of(paper(epochs=5)), together, {}, Path("times"))
    assert text == estimated(runs, runs[1:], paper(epochs=5), 1, 1000, 1)[1]
    many = [f"run{i}" for i in range(130)]
    unknown = estimated(many, many, paper(use_gpu=True), 8, 1000, 2)[1:]
    # 130 x 40 / 8 = 650 s
    assert "not known" in unknown[0] and unknown[0].endswith("an epoch adds 11 minutes")
    assert len(unknown) == 1  # no sum
    assert len(estimated(runs, [], paper(), 1, 1000, 2)) == 2


def test_the_estimate_with_init_is_of_the_network_that_the_model_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(costs, "has_bfloat16", lambda: True)
    general = paper(init=str(ROOT / "models/general.pth"), epochs=1, amp=True, seconds=10)
    general["no_evidence"] = True
    small = paper(arch="resnet18", width=24, epochs=1, amp=True, seconds=10)
    runs = [str(i) for i in range(130)]
    sentences = estimated(runs, runs, general, 2, 6877, 1)
    assert sentences == estimated(runs, runs, small, 2, 6877, 1)
    assert "networks take 0.6 GB" in sentences[0]
    size = sum(value.numel() for value in resnet.ResNet1d("resnet18", 12, 9, 24).parameters()) * 4
    assert 130 * size / 1e9 == pytest.approx(0.6, abs=0.05)
    monkeypatch.setattr(costs, "has_bfloat16", lambda: False)
    with_software = estimated(runs, runs, general, 2, 6877, 1)[1]
    assert "which lack bfloat16" in with_software
    exact = estimated(runs, runs, general | {"amp": False}, 2, 6877, 1)[1]
    slower = [float(re.search(r"of ([\d.]+) s each", text)[1]) for text in (exact, with_software)]
    assert slower[1] == pytest.approx(12 * slower[0], rel=1e-3)
    folder = Path("results/0")
    folder.mkdir(parents=True)
    # what main.py keeps: the network of the model, and the model's path
    then = general | {"arch": "resnet18", "width": 24, "evidence": False}
    described = {"args": then, "seconds_per_epoch": [72], "threads": 1}
    (folder / "run.json").write_text(json.dumps(described))
    assert "1 epoch of 72.0 s each (measured in 0)" in estimated(runs, runs, general, 2, 6877, 1)[1]
    # its evidence head, kept alive: a synthetic record beside every eight real ones, which has to
    # be made too; no such epoch has been measured
    _, kept, _ = estimated(runs, runs, general | {"amp": False, "no_evidence": False}, 2, 6877, 1)
    beside = float(re.search(r"of ([\d.]+) s each \(from the benchmark", kept)[1])
    assert 1.125 < beside / slower[0] < 1.125 * 1.1


def test_the_other_jobs_are_estimated_from_those_of_their_rule(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = {"a": ["a"], "round_r1": ["b", "c"]}
    for run, epochs in {"a": [50, 30], "b": [10], "c": [20]}.items():
        Path("results", run).mkdir(parents=True)
        Path("results", run, "run.json").write_text(f'{{"seconds_per_epoch": {epochs}}}')
    done = {"score_a": 20, "score_round_r1": 80, "compare_leads": 7, "explain": 60, "train_a": 100}
    done |= {"train_round_r1": 70, "baseline_LR_tiny_42": 5, "baseline_LR-rhythm_tiny_42": 9}
    for name, seconds in done.items():
        (tmp_path / f"{name}.tsv").write_text(f"s\tmax_rss\n{seconds}\t1\n")
    left = {"score": 16, "explain": 1, "LR": 40, "train": 3}
    work = Work(jobs, [], 1000, 2, 1)
    _, text, in_all = estimate(WorkflowSettings.of(paper()), work, left, tmp_path)
    # (16 x 30 + 60 + 40 x 5 + 3 x 20) / 2 = 400 s: a score takes 20 or 40, a training 20 or 20
    assert text.startswith("everything but the epochs takes about 7 minutes, 2 at a time (from fin")
    assert "(from finished jobs: score 30 s, explain 60 s, LR 5 s, train 20 s)" in text
    assert in_all == "in all about 7 minutes"


def test_the_estimate_counts_every_rule_before_anything_has_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rules = set(re.findall(r"^ *rule (\w+):", (ROOT / "Snakefile").read_text(), re.M))
    assert {"preprocess", "features", "train", "score", "explain", "report"} <= rules
    left = dict.fromkeys(rules - {"baseline"} | set(METHODS), 1)
    work, settings = Work({"a": ["a"]}, ["a"], 1000, 1, 1), WorkflowSettings.of(paper())
    texts = estimate(settings, work, left, tmp_path)
    assert "not counted" not in " ".join(texts) and texts[-1].startswith("in all about")
    for rule in set(left) - {"all", "dataset_table"}:
        assert re.search(rf"\b{rule} \d+ s", texts[2]), rule
    assert all(costs.job_cost(rule, settings, work) >= 0 for rule in left)
    # the network's jobs cannot be known on a GPU before one has run there
    texts = estimate(settings._replace(use_gpu=True), work, left, tmp_path)
    assert set(texts[-1].split(": ")[1].split(", ")) == {
        "train",
        "score",
        "explain",
        "faithfulness",
    }


@pytest.mark.skipif(not shutil.which("flock"), reason="no flock")
def test_jobs_on_one_machine_take_different_gpus(tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "2,5", "TMPDIR": str(tmp_path)}
    script = f"source {ROOT}/profiles/free_gpu.sh; echo $CUDA_VISIBLE_DEVICES; read"
    jobs = [
        subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    taken = [job.stdout.readline().strip() for job in jobs]
    assert sorted(taken) == ["2", "5"]
    jobs[0].communicate("\n")  # ends, and its GPU is free
    third = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert third.stdout.readline().strip() == taken[0]
    for job in (jobs[1], third):
        job.communicate("\n")
