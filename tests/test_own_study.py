"""A study of one's own to its report: three classes, one partly unknown, and five leads."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import draw_plain_figures
from sklearn import metrics as sk
from small_run import write_data

import baselines
import main
import predict
import shap_values
from dataset import CLASSES, PackedSignals, classes_of, labels_digest, load_labels
from ecg import compare, faithfulness, read, report
from ecg.inference.model import Model
from utils import InputError

OWN = ["--data-dir", "data/own"]
LEADS = ["--leads", "I,II,V1,V3,V5"]
NET = ["--arch", "resnet18", "--width", "8"]
TRAIN = ["--seconds", "1", "--epochs", "1", "--batch-size", "16"]
FEW = ["--records", "2", "--samples", "4", "--background", "3"]
STUDY = ("SNR", "low QRS", "LVH")  # LVH is not known in a third of the records
RUN = "resnet18w8_own_I-II-V1-V3-V5_42"


def step(script, *argv):
    script.main(script.parse_args([*OWN, *argv]))


def write_labels(folder):
    """Replace the labels of a folder by those of the study."""
    rng, labels = np.random.default_rng(5), pd.read_csv(folder / "labels.csv")
    for name in CLASSES:
        del labels[name]
    for place, name in enumerate(STUDY, 1):
        labels.insert(place, name, rng.integers(0, 2, len(labels)))
    labels["LVH"] = labels["LVH"].astype("Int64").mask(labels.index % 3 == 1)
    labels.to_csv(folder / "labels.csv", index=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Do the whole study; return its folder."""
    folder = tmp_path_factory.mktemp("study")
    write_data(folder / "data/own", n=60)
    write_labels(folder / "data/own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        draw_plain_figures(patch)
        for number in ("0", "1"):
            step(main, *LEADS, *NET, *TRAIN, "--round", number)
            step(predict, *LEADS, *NET, "--round", number)
        step(baselines, "--classifier", "LR", "--jobs", "1")
        step(baselines, "--classifier", "MLP", "--jobs", "1")
        step(compare, "--rounds", *LEADS, *NET)
        step(compare, f"results/{RUN}", "results/LR_own_42")
        step(compare, "--single-leads", *NET)
        step(shap_values, *LEADS, *NET, *FEW, "--classes", "all")
        step(faithfulness, *LEADS, *NET, *FEW, "--checks", "halves", "curves", "--few", "1")
        table = {"class": STUDY, "records": 30, "percent": 50, "male_percent": 0}
        table |= dict.fromkeys(("age_mean", "age_sd", "seconds_mean", "seconds_sd"), 1)
        pd.DataFrame(table).to_csv("data/own/dataset_table.csv", index=False)
        step(report, *LEADS, *NET, "--latex")
    return folder


@pytest.fixture
def done(study, monkeypatch):
    """Work in the folder of the study."""
    monkeypatch.chdir(study)
    return study


def columns(path):
    return list(pd.read_csv(path, nrows=1))


def test_every_file_has_the_study_s_classes(done):
    labels = load_labels("data/own")
    assert classes_of(labels) == STUDY and labels["SNR"].dtype == "int64"
    assert labels["LVH"].isna().sum() == 20 and labels_digest(labels)
    model = Model.load(f"models/{RUN}.pth")
    assert model.classes == STUDY and list(model.thresholds) == list(STUDY)
    assert model.leads == ("I", "II", "V1", "V3", "V5")
    for path in (f"results/{RUN}/predictions.csv", f"results/compare_rounds_{RUN}/pooled.csv"):
        assert columns(path) == ["patient_id", "fold", *STUDY]
    results = [RUN, f"{RUN}_r1", "LR_own_42", "MLP_own_42", f"compare_rounds_{RUN}"]
    for run in results:
        assert pd.read_csv(f"results/{run}/scores.csv")["class"].tolist() == [*STUDY, "AVG"]
        assert not Path("results", run, "challenge.json").exists()
    importance = columns("results/LR_own_42/importance.csv")
    assert importance == ["feature", *STUDY]
    leads = columns("results/compare_leads_resnet18w8_own_all_42/single_lead.csv")
    assert [name for name in leads if name[3:] in STUDY] == [f"f1_{name}" for name in STUDY]
    explained = Path("explanations", RUN)
    assert pd.read_csv(explained / "population.csv")["class"].tolist() == [*STUDY, "AVG"]
    values = pd.read_csv(explained / "values.csv")
    assert values.groupby("patient_id")["class"].agg(list).tolist() == [[*STUDY]] * 2
    checked = pd.read_csv(explained / "faithfulness.csv")["class"]
    assert set(checked) <= {*STUDY, "all"} and len(set(checked)) > 1


def test_scores_are_sklearns_of_the_records_in_which_a_class_is_known(done):
    labels = pd.read_csv("data/own/labels.csv", dtype={"patient_id": str})
    for run in (RUN, "LR_own_42", "MLP_own_42"):
        scores = pd.read_csv(f"results/{run}/scores.csv").set_index("class")
        predictions = pd.read_csv(f"results/{run}/predictions.csv", dtype={"patient_id": str})
        test = predictions[predictions.fold == 10].merge(labels, on="patient_id")
        thresholds = pd.read_json(f"results/{run}/thresholds.json", typ="series")["thresholds"]
        assert scores.n["AVG"] == scores.known["AVG"] == len(test) == 6
        auc = []
        for name in STUDY:
            known = test[test[f"{name}_y"].notna()]
            true, p = known[f"{name}_y"], known[f"{name}_x"]
            assert (scores.n[name], scores.known[name]) == (true.sum(), len(known))
            if not true.any():
                assert np.isnan(scores.f1[name])
                continue
            f1 = sk.f1_score(true, p >= thresholds[name], zero_division=0)
            assert scores.f1[name] == pytest.approx(f1)
            assert scores.brier[name] == pytest.approx(sk.brier_score_loss(true, p))
            auc += [sk.roc_auc_score(true, p)] if not true.all() else []
        assert scores.auc["AVG"] == pytest.approx(np.mean(auc))
    assert scores.known["LVH"] < 6


def test_the_report_and_its_pages_name_the_three_classes_and_none_of_the_others(done):
    text = Path(f"results/report_{RUN}.html").read_text()
    scores = Path("results", RUN, "scores.html").read_text()
    maps = Path("explanations", RUN, "index.html").read_text()
    for page in (text, scores, maps):
        plain = re.sub(r"data:image/[^\"]*|<style>.*?</style>", "", page, flags=re.S)
        assert all(name in plain for name in STUDY)
        assert not re.search(r"\b(IAVB|LBBB|RBBB|PAC|PVC|STE)\b", plain)
        assert "esearch use only" in plain and "nan" not in re.sub("<[^>]*>", "", plain)
    assert "This data set is not CPSC2018" in text and "F1 low QRS" in text
    assert "Records per class" in text and "Not run yet: data" not in text
    assert (done / "results/latex").is_dir()


def test_an_ecg_is_answered_in_the_study_s_classes(done, capsys):
    rng = np.random.default_rng(1)
    names = "I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6"
    np.savetxt("a.csv", rng.normal(0, 0.3, (5000, 12)), "%.3f", ",", header=names, comments="")
    argv = ["a.csv", "--sample-rate", "500", "--model-path", f"models/{RUN}.pth", "--no-pages"]
    read.main(read.parse_args(argv))
    out = capsys.readouterr().out
    assert "LVH" in out and "low QRS" in out and "PVC" not in out


def test_another_class_list_keeps_its_last_layer_and_the_start_s_other_weights(done, monkeypatch):
    draw_plain_figures(monkeypatch)
    start = Model.load(f"models/{RUN}.pth")
    table = pd.read_csv("data/own/labels.csv", dtype={"patient_id": str})
    Path("data/other").mkdir()
    for path in Path("data/own").glob("signals*"):
        (Path("data/other") / path.name).write_bytes(path.read_bytes())
    table.drop(columns="SNR").to_csv("data/other/labels.csv", index=False)
    argv = ["--data-dir", "data/other", "--init", f"models/{RUN}.pth", *LEADS, "--lr", "1e-9"]
    main.main(main.parse_args([*argv, "--epochs", "1"]))
    (path,) = Path("models").glob("from-*_other_*_42.pth")
    model = Model.load(path)
    assert model.classes == STUDY[1:] and model.network.fc.out_features == 2
    first, last = (m.network.stem[0].weight for m in (start, model))
    assert torch.allclose(first, last, atol=1e-6)


def test_a_validation_fold_without_any_class_is_refused(done):
    path = Path("data/own/labels.csv")
    before = path.read_text()
    labels = pd.read_csv(path, dtype=str, keep_default_na=False)
    labels.loc[labels.fold == "9", list(STUDY)] = "0"
    labels.to_csv(path, index=False)
    with pytest.raises(InputError) as stop:
        step(main, *LEADS, *NET, *TRAIN)
    path.write_text(before)
    assert "validation fold of round 0 has a class" in str(stop.value)


def test_a_model_of_other_classes_is_refused_with_both_lists(done):
    general = str(Path(__file__).parents[1] / "models" / "general.pth")
    with pytest.raises(InputError) as stop:
        step(predict, "--model-path", general)
    error = str(stop.value)
    assert "SNR, low QRS, LVH" in error and "SNR, AF, IAVB" in error
    assert "preprocess.py" not in error
    assert len(PackedSignals("data/own").index) == 60
