"""Which runs count as finished: scores of today's weights, labels and signals."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dataset import CLASSES, labels_digest, split_labels
from ecg.evaluation import runs, scored_run
from ecg.evaluation.scored_run import Digests, Scored
from utils import InputError

RUN = "LR_made_42"


def make_labels():
    rng = np.random.default_rng(0)
    labels = pd.DataFrame((rng.random((80, 9)) < 0.3).astype(int), columns=list(CLASSES))
    labels.insert(0, "patient_id", [f"P{i:02d}" for i in range(80)])
    return labels.assign(fold=np.arange(80) % 10 + 1)


def score(labels, run=RUN, round_number=0, rule="middle"):
    """Write what a scored run leaves, from random probabilities."""
    folder = Path("results", run)
    _, *parts = split_labels(labels, round_number)
    scored = [
        Scored(part, np.random.default_rng(i).random((len(part), 9)))
        for i, part in enumerate(parts)
    ]
    _, thresholds = scored_run.evaluate_run(folder, *scored, 42, rule)
    digests = Digests("w", labels_digest(labels), "s")
    scored_run.write_thresholds(folder, thresholds, digests)
    run_json = {"weights": "w", "labels": labels_digest(labels), "args": {"epochs": 1}}
    (folder / "run.json").write_text(json.dumps(run_json))


@pytest.fixture
def labels(tmp_path, monkeypatch):
    """Work where a run has been scored; return the labels, which are on disk too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scored_run, "N_RESAMPLES", 20)
    labels = make_labels()
    Path("data/made").mkdir(parents=True)
    labels.to_csv("data/made/labels.csv", index=False)
    Path("data/made/signals.json").write_text(json.dumps({"fingerprint": "s"}))
    score(labels)
    return labels


UNKNOWN = runs.DataFolder(Path("data/none"), None, Digests())  # nothing to compare with


def relabelled(labels):
    return labels.assign(AF=1 - labels["AF"])


def spoil(file, **changes):
    path = Path("results", RUN, file)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def outdated(labels=None, signals=None):
    data = UNKNOWN._replace(digests=Digests(None, labels, signals))
    return runs.why_scores_outdated(Path("results", RUN), data)


def test_scores_are_those_of_these_labels_and_signals(labels):
    digests = runs.read_data_folder("data/made").digests
    assert outdated(digests.labels, digests.signals) == "" and outdated() == ""
    assert "labels have changed" in outdated(labels_digest(relabelled(labels)))
    assert "signals have changed" in outdated(signals="others")
    assert runs.read_data_folder("data/none") == UNKNOWN


@pytest.mark.parametrize(
    ("file", "changes", "why"),
    [
        ("run.json", {"weights": "others"}, "trained again"),
        ("thresholds.json", {"labels": "others"}, "the labels have changed"),
        ("thresholds.json", {"labels": None}, "its thresholds.json does not say"),  # an older one
        ("thresholds.json", {"signals": "others"}, "the signals have changed"),
    ],
)
def test_rounds_with_older_scores_are_left_out_and_named(labels, file, changes, why):
    score(labels, f"{RUN}_r1", 1)
    named = runs.round_runs("LR", "data/made", 42)
    data = runs.read_data_folder("data/made")
    assert list(runs.finished_rounds(named, data)) == [0, 1]
    assert runs.left_out(named, data) == []
    spoil(file, **changes)
    assert list(runs.finished_rounds(named, data)) == [1]
    (left_out,) = runs.left_out(named, data)
    assert left_out.run == RUN and not left_out.settings
    assert str(left_out).startswith(f"{RUN} is left out: {why}")


def test_a_scoring_that_was_interrupted_is_named(labels):
    Path("results", RUN, "thresholds.json").unlink()
    named = runs.round_runs("LR", "data/made", 42)
    assert runs.finished_rounds(named, UNKNOWN) == {}
    (left_out,) = runs.left_out(named, UNKNOWN)
    assert "has not been finished" in left_out.reason


def test_rounds_with_another_rule_for_thresholds_are_left_out(labels):
    score(labels, f"{RUN}_r1", 1, "first")
    named = runs.round_runs("LR", "data/made", 42)
    assert list(runs.finished_rounds(named, UNKNOWN)) == [0]
    (left_out,) = runs.left_out(named, UNKNOWN)
    assert left_out.settings == ("thresholds",)
    assert str(left_out) == f"{RUN}_r1 is left out: made with other thresholds than {RUN}"


def test_predictions_scored_with_other_labels_or_signals_are_refused(labels):
    assert len(runs.load_test(RUN, runs.read_data_folder("data/made")).labels) == 8
    relabelled(labels).to_csv("data/made/labels.csv", index=False)
    with pytest.raises(InputError) as stop:
        runs.load_test(RUN, runs.read_data_folder("data/made"))
    assert "run predict.py (or baselines.py) again" in str(stop.value)
    labels.to_csv("data/made/labels.csv", index=False)
    Path("data/made/signals.json").write_text(json.dumps({"fingerprint": "others"}))
    with pytest.raises(InputError) as stop:
        runs.load_test(RUN, runs.read_data_folder("data/made"))


def test_pooled_predictions_are_refused_like_those_of_their_rounds(labels):
    folder = Path("results/compare_rounds_LR_made_42")
    folder.mkdir()
    table = pd.read_csv(f"results/{RUN}/predictions.csv").query("fold == 10")
    table.to_csv(folder / "pooled.csv", index=False)
    thresholds = pd.DataFrame([[10, *[0.5] * 9]], columns=["fold", *CLASSES])
    thresholds.to_csv(folder / "thresholds.csv", index=False)
    runs.write_sources(folder, [RUN], [])
    data = runs.read_data_folder("data/made")
    assert len(runs.load_test(folder, data).labels) == 8
    changed = data._replace(digests=data.digests._replace(labels="others"))
    with pytest.raises(InputError) as stop:
        runs.load_test(folder, changed)
    assert "--rounds" in str(stop.value)
    with open(f"results/{RUN}/predictions.csv", "a") as file:
        file.write("\n")
    with pytest.raises(InputError) as stop:
        runs.load_test(folder, data)
    assert "--rounds" in str(stop.value)


def test_damaged_files_of_a_run_are_no_crash(labels):
    for file in ("run.json", "thresholds.json"):
        Path("results", RUN, file).write_text("[1]")
    assert outdated("l")
    assert runs.run_settings(RUN) == {}


def trained(labels, **changes):
    """Return what `is_training_data` asks of a model trained on the labels here."""
    flags = {"data_dir": "made", "limit": None, "round": 2} | changes
    settings = SimpleNamespace(labels=labels_digest(labels), signals="s")
    return SimpleNamespace(classes=CLASSES, flags=SimpleNamespace(**flags), settings=settings)


def test_training_data_is_known_by_its_labels_and_signals_not_by_its_folder(labels):
    model = trained(labels)
    signals = SimpleNamespace(path=Path("data/made/s.i16"), fingerprint="s")
    elsewhere = SimpleNamespace(path=Path("data/copy/s.i16"), fingerprint="s")
    assert runs.is_training_data(model, labels, signals, None, 2)
    assert runs.is_training_data(model, labels, elsewhere, None, 2)
    assert not runs.is_training_data(model, relabelled(labels), elsewhere, None, 2)
    other_signals = SimpleNamespace(path=signals.path, fingerprint="t")
    for given, says in (
        ((model, relabelled(labels), signals, None, 2), "other labels or folds than data/made"),
        ((model, labels, other_signals, None, 2), "other signals than data/made"),
        ((model, labels.head(5), signals, 5, 2), "on made without --limit; leave it out"),
        ((trained(labels, limit=7), labels, signals, None, 2), "with --limit 7; add --limit 7"),
        ((model, labels, signals, None, 0), "in round 2, not 0; add --round 2"),
    ):
        with pytest.raises(InputError) as stop:
            runs.is_training_data(*given)
        assert says in str(stop.value)
