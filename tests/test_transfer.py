"""Warm starts, annealing, records made while training, windows, and the model in the box."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import NEEDS_SHARED, SHARED, noise, write_record

import main
import predict
import preprocess
import resnet
from dataset import CLASSES, LEADS, ECGDataset, PackedSignals, load_labels
from ecg import read, release
from ecg.inference.model import Model
from ecg.inference.provenance import Provenance, Start
from ecg.io.sources import SOURCE_LINE
from ecg.simulation.heart import WIDE_MIX, make_record
from ecg.training.synthetic_stream import FIRST, FreshRecords
from ecg.training.training import Epoch, Schedule, Training
from utils import InputError

pytestmark = pytest.mark.usefixtures("plain_figures")
DATA = ["--data-dir", "data/tiny", "--batch-size", "16"]
THIN = [*DATA, "--arch", "resnet18", "--width", "4", "--seconds", "2"]
RUN = "resnet18w4_tiny_all_42"


@pytest.fixture
def workdir(tiny, monkeypatch):
    monkeypatch.chdir(tiny.parents[1])
    return tiny.parents[1]


def train(*flags):
    main.main(main.parse_args(list(flags)))


def load(run):
    return torch.load(f"models/{run}.pth", weights_only=True)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def refused(capsys, function, *flags):
    capsys.readouterr()
    with pytest.raises(InputError) as stop:
        function(*flags)
    return str(stop.value)


# --- the schedule


def test_cosine_rises_shortly_and_ends_near_0():
    cosine = Schedule("cosine", 1, 4)
    factors = [cosine.rate(e, b, 250) for e in (1, 2, 3, 4) for b in range(250)]
    assert factors[0] == pytest.approx(1 / 50) and np.argmax(factors) == 49
    expected = [0.5 * (1 + math.cos(math.pi * k / 1000)) for k in range(50, 1000)]
    np.testing.assert_allclose(factors[50:], expected)
    assert Schedule("cosine", 1, 1).rate(1, 0, 5) == 1  # too few steps for a rise
    assert Schedule("constant", 1, 4).rate(3, 7, 250) == 1


def test_an_annealed_training_keeps_its_last_epoch_and_resumes_to_the_bit(workdir, capsys):
    flags = [*THIN, "--schedule", "cosine", "--lr", "1e-2"]
    train(*flags, "--epochs", "3")
    whole, state = load(RUN), load(f"{RUN}.last")
    assert whole["epoch"] == 3
    better_before = [Epoch(i, 0, 0, f1, 0, 0) for i, f1 in enumerate([0.5, 0.2], start=1)]
    best = [Schedule(name, 1, 2).best_epoch(better_before) for name in ("cosine", "constant")]
    assert best == [2, 1]
    stop = pytest.MonkeyPatch()
    stop.setattr(Training, "save", stop_after(Training.save))
    with pytest.raises(KeyboardInterrupt):
        train(*flags, "--epochs", "3")
    stop.undo()
    assert load(f"{RUN}.last")["epoch"] == 1
    assert "made with other epochs" in refused(capsys, train, *flags, "--epochs", "4", "--resume")
    train(*flags, "--epochs", "3", "--resume")
    assert same(load(RUN)["state_dict"], whole["state_dict"])
    assert same(load(f"{RUN}.last")["state_dict"], state["state_dict"])


def stop_after(write):
    def stop(*args):
        write(*args)
        raise KeyboardInterrupt

    return stop


# --- warm starts


def test_init_starts_from_the_weights_and_names_the_run_after_them(workdir, capsys):
    train(*THIN, "--epochs", "1", "--windows")
    start = load(RUN)
    Path(f"models/{RUN}.pth").rename("models/base.pth")
    train(*DATA, "--init", "models/base.pth", "--lr", "1e-12", "--epochs", "1")
    warm = load("from-base_tiny_all_42")
    for name, weights in start["state_dict"].items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(warm["state_dict"][name], weights, atol=1e-8, rtol=0)
    provenance = Model.load("models/from-base_tiny_all_42.pth").provenance
    assert provenance.start.model == "base.pth" and provenance.start.provenance.data == "tiny"
    described = json.loads(Path("results/from-base_tiny_all_42/run.json").read_text())
    assert described["trained_on"] == (
        "32 records of tiny, starting from base.pth (32 records of tiny)"
    )
    kept = {name: warm["args"][name] for name in ("arch", "width", "seconds", "windows")}
    assert kept == {"arch": "resnet18", "width": 4, "seconds": 2, "windows": True}
    assert warm["args"]["schedule"] == "cosine" and warm["window"] == 1000
    flags = ["--data-dir", "data/tiny", "--init", "models/base.pth"]
    args = main.parse_args(flags)
    assert (
        args.epochs is None and main.set_up(args, torch.device("cpu")) and args.epochs == 30
    )  # of 32 records
    predict.main(predict.parse_args(flags))
    assert Path("results/from-base_tiny_all_42/scores.csv").is_file()
    err = refused(capsys, main.parse_args, [*flags, "--width", "8"])
    assert "is a resnet18w4" in err
    assert "no model models/none.pth" in refused(
        capsys, main.parse_args, ["--init", "models/none.pth"]
    )


def test_the_model_is_the_mean_of_the_weights_before_and_after(workdir, capsys):
    train(*THIN, "--epochs", "1")
    Path(f"models/{RUN}.pth").rename("models/base.pth")
    first, run = torch.load("models/base.pth", weights_only=True), "from-base_tiny_all_42"
    flags = [*DATA, "--init", "models/base.pth", "--lr", "1e-2", "--epochs", "2"]
    train(*flags)
    model, best = load(run), load(f"{run}.last")["best"]
    for name, weights in best.items():
        mean = (weights + first["state_dict"][name]) / 2
        expected = mean if weights.is_floating_point() else weights
        torch.testing.assert_close(model["state_dict"][name], expected)
    assert not torch.equal(best["fc.weight"], first["state_dict"]["fc.weight"])
    assert "those of --init where positives are few" in model["threshold_rule"]
    stood = Path(f"models/{run}.pth").stat().st_mtime_ns
    train(*flags, "--resume")  # nothing is left to do
    assert Path(f"models/{run}.pth").stat().st_mtime_ns == stood
    train(*flags, "--no-average")
    assert same(load(run)["state_dict"], best)


def test_fewer_leads_take_their_columns_and_other_classes_a_new_layer(workdir, capsys):
    train(*THIN, "--epochs", "1")
    start = load(RUN)["state_dict"]
    leads = ["I", "V5"]
    model = resnet.ResNet1d("resnet18", 2, 9, 4)
    base = Model.load(f"models/{RUN}.pth")
    base.give_weights(model, leads, CLASSES)
    rows = [LEADS.index(lead) for lead in leads]
    stem = model.state_dict()["stem.0.weight"]
    assert torch.equal(stem, start["stem.0.weight"][:, rows]) and stem.shape[1] == 2
    assert torch.equal(model.state_dict()["fc.weight"], start["fc.weight"])
    other = resnet.ResNet1d("resnet18", 12, 5, 4)
    before = other.fc.weight.clone()
    base.give_weights(other, LEADS, list("abcde"))
    assert torch.equal(other.fc.weight, before)
    assert torch.equal(other.state_dict()["stages.0.conv1.weight"], start["stages.0.conv1.weight"])
    train(*DATA, "--init", f"models/{RUN}.pth", "--leads", "I,V5", "--epochs", "1")
    few = f"from-{RUN}_tiny_I-V5_42"
    # no mean with weights that were made for more leads
    assert same(load(few)["state_dict"], load(f"{few}.last")["best"])
    flags = resnet.ResNet1d("resnet18", 1, 9, 4), ["II"], CLASSES
    assert "has no lead II" in refused(capsys, Model.load(f"models/{few}.pth").give_weights, *flags)


# --- records made while training


def test_fresh_records_are_new_in_every_epoch_and_not_those_of_a_folder():
    records = FreshRecords(3, 7, ["I", "V5"], 6)
    seen = []
    for epoch in (1, 2):
        records.epoch = epoch
        seen += [records.number(i) for i in range(3)]
        x, y = records[1]
        assert x.shape == (2, 3000) and x.dtype == y.dtype == np.float32
        classes = make_record(7, records.number(1), 6, WIDE_MIX).classes
        assert {CLASSES[k] for k in np.flatnonzero(y)} == set(classes)
        np.testing.assert_array_equal(records[1][0], x)
    assert len(set(seen)) == 6 and min(seen) >= FIRST > 1_000_000


def test_a_training_on_fresh_records_says_so_and_does_not_depend_on_the_workers(workdir):
    flags = [*THIN, "--seconds", "6", "--fresh", "20", "--epochs", "2"]
    train(*flags)
    alone = load(RUN)
    provenance = Model.load(f"models/{RUN}.pth").provenance
    n = 20 * alone["epoch"]
    assert str(provenance) == f"{n} synthetic records, thresholds from tiny"
    assert provenance.ever_saw_patients
    validation = load_labels("data/tiny").query("fold == 9")["patient_id"]
    assert set(alone["training_records"]) == set(validation)
    train(*flags, "--num-workers", "2")
    assert same(load(RUN)["state_dict"], alone["state_dict"])


# --- windows


def test_windows_cut_anywhere_in_training_and_keep_the_record_for_scoring(workdir):
    labels, signals = load_labels("data/tiny"), PackedSignals("data/tiny")
    kinds = {seed: ECGDataset(signals, labels, LEADS, 2, seed, windows=True) for seed in (None, 5)}
    long = next(i for i, name in enumerate(kinds[5].patient_ids) if signals.index[name][1] == 2000)
    whole = signals[kinds[5].patient_ids[long]] / np.float32(1000)
    np.testing.assert_array_equal(kinds[None][long][0], whole.astype(np.float32))
    starts = set()
    for kinds[5].epoch in range(30):
        x = kinds[5][long][0]
        assert x.shape == (12, 1000)
        fits = [np.corrcoef(x[0], whole[0, s : s + 1000])[0, 1] for s in range(1001)]
        starts.add(int(np.argmax(fits)))
        assert max(fits) > 0.999
    assert len(starts) > 20 and max(starts) - min(starts) > 600


# --- the model that is given away


def test_release_halves_the_model_and_keeps_its_answers(workdir, capsys):
    make_synthetic(workdir / "data/tiny")
    train(*THIN, "--fresh", "20", "--seconds", "6", "--epochs", "1", "--windows")
    path = f"models/{RUN}.pth"
    release.main(
        release.parse_args(["--model-path", path, "--to", "g.pth", "--data-dir", "data/tiny"])
    )
    full, half = load(RUN), torch.load("g.pth", weights_only=True)
    assert half["state_dict"]["fc.weight"].dtype == torch.float16 and "history" not in half
    assert half["thresholds"] == full["thresholds"]
    assert "38 synthetic records of tiny" in half["scored_on"]
    x = torch.randn(2, 12, 3000)
    with torch.no_grad():
        one, two = (Model.load(p).network(x) for p in (path, "g.pth"))
    torch.testing.assert_close(one, two, atol=0.02, rtol=0.01)
    capsys.readouterr()
    write_record(workdir / "own", "W1", noise(8, 3000), "59118001")
    read.main(read.parse_args(["--model-path", "g.pth", "--no-pages", "own/W1.hea"]))
    first = capsys.readouterr().out.strip().splitlines()[0]
    assert "g.pth" in first and "no patient" in first and half["scored_on"] in first


def make_synthetic(folder):
    """Let every header of a data folder say that the simulator made it; preprocess it again."""
    rows = ["patient_id"]
    for path in folder.rglob("*.hea"):
        path.write_text(f"{path.read_text()}{SOURCE_LINE}\n")
        rows.append(path.stem)
    (folder / "evidence.csv").write_text("\n".join(rows))
    preprocess.main(preprocess.parse_args(["--data-dir", str(folder), "--jobs", "1"]))


def test_weights_of_patients_are_never_released_whatever_came_after_them(workdir, capsys):
    train(*THIN, "--epochs", "1")
    Path(f"models/{RUN}.pth").rename("models/hospital.pth")
    assert_refused(capsys, "models/hospital.pth")
    shutil.copytree("data/tiny", "data/made")
    make_synthetic(Path("data/made"))
    made = ["--data-dir", "data/made", "--batch-size", "16", "--epochs", "1", "--fresh", "20"]
    train(*made, "--init", "models/hospital.pth", "--seconds", "6")
    assert_refused(capsys, "models/from-hospital_made_all_42.pth")
    train(*made, "--init", "models/from-hospital_made_all_42.pth", "--seconds", "6")
    assert_refused(capsys, "models/from-from-hospital_made_all_42_made_all_42.pth")


def test_a_model_of_unknown_descent_is_not_released(workdir, capsys):
    make_synthetic(workdir / "data/tiny")
    train(*THIN, "--epochs", "1")
    content = load(RUN)
    del content["provenance"]
    content["trained_on"] = "30,000 synthetic records, no patient"  # a sentence is no evidence
    torch.save(content, "models/old.pth")
    assert_refused(capsys, "models/old.pth")
    assert Model.load("models/old.pth").describe().endswith("trained on records of tiny")


def test_a_model_whose_file_contradicts_itself_is_not_released(workdir, capsys):
    content = torch.load(GENERAL, weights_only=True)
    hospital = Provenance("CPSC", 6877, synthetic=False, has_patients=True)
    start = dataclasses.asdict(Start("hospital.pth", "f00", hospital))
    for changes in ({"start": start}, {"args": content["args"] | {"init": "hospital.pth"}}):
        torch.save(content | changes, "edited.pth")
        flags = release.parse_args(["--model-path", "edited.pth", "--to", "g.pth"])
        assert "is damaged (provenance" in refused(capsys, release.main, flags)
        assert not Path("g.pth").exists()


def assert_refused(capsys, path):
    flags = release.parse_args(["--model-path", path, "--to", "g.pth"])
    assert "weights may reveal them" in refused(capsys, release.main, flags)
    assert not Path("g.pth").exists()


GENERAL = Path(__file__).parents[1] / "models" / "general.pth"


def test_the_model_in_the_box_is_small_whole_and_has_seen_no_patient():
    assert GENERAL.stat().st_size < 3_000_000
    model = Model.load(GENERAL)
    assert str(model.provenance) == "30,000 synthetic records, no patient"
    assert model.provenance.start is None and model.window == 5000
    assert all(name.startswith("S") for name in model.training_records)  # validation


@NEEDS_SHARED
def test_the_model_in_the_box_reads_real_records_as_its_card_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SHARED / "cpsc2018_feb2020", "data/real")
    preprocess.main(preprocess.parse_args(["--data-dir", "data/real", "--jobs", "1"]))
    flags = ["--data-dir", "data/real", "--model-path", str(GENERAL)]
    predict.main(predict.parse_args(flags))
    average = pd.read_csv("results/general_on_real/scores.csv").set_index("class").loc["AVG"]
    assert average["auc"] == pytest.approx(0.960, abs=0.005)
    assert average["f1"] == pytest.approx(0.713, abs=0.02)
    card = (Path(__file__).parents[1] / "docs" / "model.md").read_text()
    assert f"macro AUC of {average['auc']:.2f}".replace("0.", ".") in card


def test_evidence_is_learnt_from_fresh_records_and_survives_a_resume(workdir, capsys):
    flags = [*THIN, "--seconds", "6", "--fresh", "20", "--epochs", "2", "--evidence"]
    flags += ["--centred", "--normal", "SNR", "--prevalence", "0.05", "--schedule", "cosine"]
    train(*flags)
    whole = load(RUN)
    model = Model.load(f"models/{RUN}.pth")
    assert model.settings.evidence and model.settings.centred and model.network.normal == 0
    assert model.threshold_rule == "best F1 at a prevalence of 5 %, halfway to 0.5"
    untrained = model.settings.build_network()  # a head that no loss reaches keeps its weights
    torch.manual_seed(0)
    assert not torch.equal(whole["state_dict"]["evidence.weight"], untrained.evidence.weight)
    train(*flags, "--resume")
    assert same(load(RUN)["state_dict"], whole["state_dict"])
    Path(f"models/{RUN}.pth").rename("models/base.pth")
    train(*DATA, "--init", "models/base.pth", "--epochs", "1", "--no-average")
    warm = Model.load("models/from-base_tiny_all_42.pth")
    assert warm.settings.centred and warm.settings.normal == "SNR"
    # only the synthetic records beside the real ones say where a criterion is
    assert warm.settings.evidence
    assert not torch.equal(warm.network.evidence.weight, model.network.evidence.weight)
    train(*DATA, "--init", "models/base.pth", "--epochs", "1", "--no-evidence")
    assert Model.load("models/from-base_tiny_all_42.pth").network.evidence is None
    labels = pd.read_csv("data/tiny/labels.csv")
    labels[["patient_id", "STD", "STE", "fold"]].to_csv("data/tiny/labels.csv", index=False)
    train(*DATA, "--init", "models/base.pth", "--epochs", "1")  # a study without the normal class
    other = Model.load("models/from-base_tiny_all_42.pth").settings
    assert other.normal is None and not other.evidence
    for flag in ("--evidence", "--average"):
        err = refused(capsys, train, *DATA, "--init", "models/base.pth", flag)
        assert "for these classes" in err or "has other classes or leads" in err
    assert "--normal XX: choose one of STD, STE" in refused(capsys, train, *THIN, "--normal", "XX")
    assert "--evidence needs --fresh" in refused(capsys, main.parse_args, [*THIN, "--evidence"])
