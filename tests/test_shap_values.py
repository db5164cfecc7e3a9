"""Explanations: right on functions with known answers, reproducible, resumable, fairly drawn."""

import re
from pathlib import Path
from types import SimpleNamespace

import faults
import numpy as np
import pandas as pd
import pytest
import torch
from small_run import N_SAMPLES, QUICK, padded, write_data, write_model

import shap_values
from dataset import CLASSES, LEADS
from ecg.explanation.attributions import Options
from ecg.explanation.explanation import Explanation, Record
from ecg.plot import explained_page
from utils import InputError

pytestmark = pytest.mark.usefixtures("plain_figures")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    signals, labels = write_data(folder / "data/own", n=30)
    model = write_model(folder)
    return folder, signals, labels, model


def arrays(path):
    with np.load(path) as stored:
        return dict(stored)


@pytest.fixture
def run(work, tmp_path, monkeypatch):
    """Return a function that runs the script in a fresh folder with the data and the model."""
    for name in ("data", "models"):
        (tmp_path / name).symlink_to(work[0] / name)
    monkeypatch.chdir(tmp_path)

    def draw_nothing(path, *_):
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def script(*flags, data="data/own", figures=False):
        if not figures:
            monkeypatch.setattr(shap_values, "plot_patient", draw_nothing)
        shap_values.main(shap_values.parse_args(["--data-dir", data, *QUICK, *flags]))
        return tmp_path / "explanations" / "resnet18_own_all_42"

    return script


@pytest.mark.figures
def test_files_of_a_run(work, run):
    _, signals, labels, model = work
    folder = run(figures=True)
    test = set(labels.loc[labels["fold"] == 10, "patient_id"])
    assert {path.stem for path in folder.glob("values/*.npz")} == test
    for suffix in ("png", "pdf"):
        assert {path.stem for path in folder.glob(f"patient/*.{suffix}")} == test
    table = pd.read_csv(folder / "values.csv")
    assert set(table["patient_id"]) == test and (table["predicted"] == 1).all()
    for row in table.itertuples():
        with torch.no_grad():
            logits = model(padded(signals[row.patient_id]))[0]
        assert row._3 == CLASSES[logits.argmax()]  # the column 'class' is a keyword
        assert row.logit == pytest.approx(logits.max().item(), abs=1e-5)
        assert row.probability == pytest.approx(torch.sigmoid(logits.max()).item(), abs=1e-5)
        with np.load(folder / "values" / f"{row.patient_id}.npz", allow_pickle=False) as stored:
            phi = stored["phi"]
        assert phi.dtype == np.float32 and phi.shape == (1, 12, N_SAMPLES)
        assert row.phi_sum == pytest.approx(phi.sum(dtype=float))
        assert row.residual == pytest.approx(row.phi_sum - row.logit + row.base_logit, abs=1e-6)
    population = pd.read_csv(folder / "population.csv")
    assert list(population["class"]) == [*CLASSES, "AVG"]
    assert population["n"].tolist()[-1] == len(test) == population["n"][:-1].sum()
    filled = population[population["n"] > 0]
    assert filled[list(LEADS)].sum(axis=1).to_numpy() == pytest.approx(1)
    assert population.loc[population["n"] == 0, list(LEADS)].isna().all(axis=None)
    for name in ("population", "population_signed", "population_both"):
        assert (folder / f"{name}.png").exists() and (folder / f"{name}.svg").exists()


def test_values_do_not_depend_on_order_company_or_classes(run, tmp_path):
    folder = run("--patients", "R010", "R030")
    both = (folder / "values/R030.npz").read_bytes()
    np.random.seed(5)  # noqa: NPY002  (the state that shap draws from)
    (tmp_path / "explanations").rename(tmp_path / "first")
    assert (run("--patients", "R030") / "values/R030.npz").read_bytes() == both
    (tmp_path / "explanations").rename(tmp_path / "second")
    all_classes = arrays(run("--patients", "R030", "--classes", "all") / "values/R030.npz")
    predicted = arrays(tmp_path / "second/resnet18_own_all_42/values/R030.npz")
    k = predicted["classes"].item()
    assert all_classes["classes"].tolist() == list(range(9))
    assert np.array_equal(all_classes["phi"][k], predicted["phi"][0])


def test_a_rerun_makes_what_is_missing_and_touches_nothing_else(run):
    folder = run()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    kept = folder / "values/R010.npz"
    kept_time = kept.stat().st_mtime_ns
    (folder / "values/R020.npz").unlink()
    (folder / "values/R030.npz").write_bytes(before[folder / "values/R030.npz"][:1000])
    (folder / "patient/R010.png").unlink()
    run()
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before
    assert kept.stat().st_mtime_ns == kept_time


def test_a_file_left_half_written_by_a_kill_is_no_record(run):
    folder = run("--patients", "R010")
    before = (folder / "values.csv").read_bytes()
    for name in ("values/.R010.99.tmp.npz", "patient/.R010.99.tmp.png"):
        (folder / name).write_bytes((folder / "values/R010.npz").read_bytes())
    run("--patients", "R010")
    assert (folder / "values.csv").read_bytes() == before
    assert not list(folder.rglob(".*.tmp*"))


def interrupt(*args):
    raise KeyboardInterrupt


def test_other_options_stop_and_force_starts_anew(run, capsys, monkeypatch):
    folder = run("--patients", "R010")
    before = (folder / "values/R010.npz").read_bytes()
    capsys.readouterr()
    with pytest.raises(InputError) as stop:
        run("--patients", "R010", "--samples", "5")
    error = str(stop.value)
    assert "another samples" in error and "--force" in error
    (folder / "run.json").unlink()
    with pytest.raises(InputError) as stop:
        run("--patients", "R010")
    assert (folder / "values/R010.npz").read_bytes() == before
    (folder / "beats").mkdir(exist_ok=True)
    old = ["population.png", "population_signed.csv", "beats/AF.png", "index.html", "values.csv"]
    for name in old:
        (folder / name).write_text("old")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shap_values, "explain_records", interrupt)
        run("--patients", "R020", "--samples", "5", "--force")
    assert not any((folder / name).exists() for name in old)
    run("--patients", "R020", "--samples", "5", "--force")
    assert [path.stem for path in folder.glob("values/*.npz")] == ["R020"]
    assert [path.stem for path in folder.glob("patient/*.png")] == ["R020"]


def test_resume_auto_continues_or_starts_anew(run, capsys):
    folder = run("--patients", "R010", figures=True)
    kept = folder / "values/R010.npz"
    before, made = kept.read_bytes(), kept.stat().st_mtime_ns
    run("--patients", "R020", "--resume", "auto", figures=True)
    assert kept.stat().st_mtime_ns == made
    assert len(pd.read_csv(folder / "values.csv")) == 2
    capsys.readouterr()
    run("--patients", "R020", "--samples", "5", "--resume", "auto", figures=True)
    assert "another samples; starting over" in capsys.readouterr().out
    for pattern in ("values/*.npz", "patient/*.png"):
        assert [path.stem for path in folder.glob(pattern)] == ["R020"]
    assert pd.read_csv(folder / "values.csv")["patient_id"].tolist() == ["R020"]
    run("--patients", "R010", "--resume", "auto")  # the first options again: the first values
    assert kept.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "message"),
    [("R001", "in fold 1"), ("R009", "in fold 9"), ("R999", "no record R999")],
)
def test_only_test_records_are_explained(run, name, message):
    with pytest.raises(InputError) as stop:
        run("--patients", "R010", name)
    assert message in str(stop.value)
    assert not Path("explanations").exists()


def test_another_data_set_is_explained_against_a_background_without_the_record(work, run, capsys):
    folder, _, _, model = work
    if not (folder / "data/other").exists():
        write_data(folder / "data/other", n=5, first=101)
    run("--model-path", "models/resnet18_own_all_42.pth", "--background", "9", data="data/other")
    assert "5 background records" in capsys.readouterr().out
    table = pd.read_csv("explanations/resnet18_own_all_42_on_other/values.csv")
    assert list(table["patient_id"]) == [f"R{i}" for i in range(101, 106)]
    rng = np.random.default_rng(101)
    signals = [rng.normal(0, 300, (12, 250 * (1 + i % 3))).astype("<i2") for i in range(5)]
    with torch.no_grad():
        logits = torch.cat([model(padded(signal)) for signal in signals]).numpy()
    for i, row in table.iterrows():
        k = CLASSES.index(row["class"])
        assert row["base_logit"] == pytest.approx(np.delete(logits[:, k], i).mean(), abs=1e-5)


def test_a_single_lead_model(work, run, tmp_path):
    write_model(work[0], leads=("II",))
    run("--leads", "II", "--patients", "R010", "--method", "ig")
    with np.load(tmp_path / "explanations/resnet18_own_II_42/values/R010.npz") as stored:
        assert stored["phi"].shape == (1, 1, N_SAMPLES)


def test_bfloat16_changes_the_values_by_what_is_printed(run, capsys, tmp_path):
    flags = ["--patients", "R010", "--method", "ig"]
    exact = arrays(run(*flags) / "values/R010.npz")["phi"]
    capsys.readouterr()
    rough = arrays(run(*flags, "--amp", "--force") / "values/R010.npz")["phi"]
    error = np.linalg.norm(rough - exact) / np.linalg.norm(exact)
    printed = float(re.search(r"by ([\d.]+)% \(relative L2\)", capsys.readouterr().out)[1]) / 100
    assert 0.001 < error < 0.5
    assert error / 4 < printed < error * 4  # measured on another record


def store(folder, name, k, phi, n):
    """Write a record's file by hand: predicted class k, values (L, T), n samples of signal."""
    logits = np.full(9, -1, np.float32)
    logits[k] = 0
    (folder / "values").mkdir(exist_ok=True)
    explanation = Explanation(
        phi=phi[None].astype(np.float32),
        halves=np.zeros((2, 1, 2, -(-n // 20)), np.float32),
        reliability=np.array([[0.75, 0.5]]),
        samples=np.array([200]),
        classes=np.array([k]),
        starts=np.array([max(0, n - 100)]),
        logits=logits,
        base=logits * 0 - 2,
        n=n,
        method="shap",
        difference=np.full(1, np.nan),
        peaks=np.array([], int),
    )
    explanation.save(folder / "values" / f"{name}.npz")


def test_population_by_hand(tmp_path):
    phi = np.zeros((2, 100))
    phi[0, 60], phi[1, 70] = 3, -1
    phi[1, 10] = 96  # in the padding: 40 samples of signal follow 60 of zeros
    store(tmp_path, "a", 1, phi, 40)
    phi = np.zeros((2, 100))
    phi[:, 50] = 2
    store(tmp_path, "b", 1, phi, 100)
    phi = np.zeros((2, 100))
    phi[:, 50] = 5, -5.1
    store(tmp_path, "c", 4, phi, 300)
    labels = pd.DataFrame(np.eye(9, dtype=int)[[1, 1, 4]], columns=list(CLASSES))
    labels.insert(0, "patient_id", ["a", "b", "c"])
    labels.loc[1, "PVC"] = 1
    signals = {
        name: np.zeros((12, n), np.int16) for name, n in zip("abc", (40, 100, 300), strict=True)
    }
    data = SimpleNamespace(signals=signals)
    model = SimpleNamespace(leads=("I", "II"), classes=CLASSES)
    run = SimpleNamespace(name="run", labels=labels, data=data, model=model)
    table = shap_values.write_tables(tmp_path, run)
    assert table["labels"].tolist() == ["AF", "AF;PVC", "RBBB"]
    assert table["padding_share"].tolist() == pytest.approx([0.96, 0, 0])
    assert table["residual"].tolist() == pytest.approx([98 - 2, 4 - 2, -0.1 - 2])
    assert table["probability"].tolist() == [0.5] * 3
    assert table["start"].tolist() == [0, 0, 0.4]  # 300 samples, of which the last 100 are seen
    known = table[["reliability", "reliability_leads", "samples"]].to_numpy().tolist()
    assert known == [[0.75, 0.5, 200]] * 3
    shares = pd.read_csv(tmp_path / "population.csv").set_index("class")
    assert shares.loc["AF", ["n", "I", "II"]].tolist() == pytest.approx([2, 0.625, 0.375])
    right = 5.1 / 10.1
    assert shares.loc["RBBB", ["n", "I", "II"]].tolist() == pytest.approx([1, 1 - right, right])
    assert shares.loc["AF", "note"] == "fewer than 5 records"
    assert shares.loc["AVG", "II"] == pytest.approx((0.375 + right) / 2)
    assert shares.loc["STE", ["I", "II"]].isna().all() and "no record" in shares.loc["STE", "note"]
    signed = pd.read_csv(tmp_path / "population_signed.csv").set_index("class")
    assert signed.loc["AF", ["I", "II"]].tolist() == pytest.approx([5 / 6, 1 / 6])
    assert signed.loc["RBBB", ["I", "II"]].isna().all()
    assert "cancel" in signed.loc["RBBB", "note"]
    assert signed.loc["AVG", ["I", "II"]].tolist() == pytest.approx([5 / 6, 1 / 6])


def test_maps_that_do_not_reach_the_reliability_are_named():
    rows = [("A", "AF", 0.95, 40), ("B", "AF", 0.75, 200), ("C", "STE", np.nan, 200)]
    table = pd.DataFrame(rows, columns=["patient_id", "class", "reliability", "samples"])
    text = shap_values.reliable_text(table, Options(samples=200, reliability=0.9))
    assert "median 0.85 (0.75 to 0.95), with a median of 200 samples" in text
    assert "2 of 3 maps do not reach 0.9 with 200 samples: B AF, C STE" in text
    assert "do not reach" not in shap_values.reliable_text(table, Options())
    text = shap_values.reliable_text(pd.concat([table] * 9), Options(reliability=0.8))
    assert "18 of 27" in text and text.count("B AF") == 5 and ", ... (values.csv)" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--reliability", "1.5"], "not a number between 0 and 1"),
        (["--reliability", "0"], "not a number above 0"),
        (
            ["--reliability", "0.9", "--method", "ig"],
            "samples that are drawn, not --method ig",
        ),
    ],
)
def test_a_reliability_that_cannot_be_reached_is_one_line(flags, message):
    with pytest.raises(InputError) as stop:
        shap_values.parse_args(flags)
    assert message in str(stop.value)


def test_the_patient_figure_gets_the_whole_record_and_the_values_without_padding(
    tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(explained_page, "plot_explained", lambda *args: calls.append(args))
    packed = np.zeros((12, 12 * 500), np.int16)
    phi = np.zeros((2, 3, 15 * 500))
    phi[1, 0, :1000] = 0.003  # padding
    phi[1, :, -11 * 500] = 1, 6, 3
    halves = np.ones((2, 2, 3, 300))
    halves[:, 1, 2, 7] = 1, -1
    explanation = Explanation(
        phi=phi,
        halves=halves,
        reliability=np.array([[0.1, 0.2], [0.7, 0.8]]),
        samples=np.array([200, 200]),
        classes=np.array([4, 0]),
        starts=np.array([0, 0]),
        logits=np.linspace(-1, 1, 9)[::-1],
        base=np.full(9, -9.0),
        n=12 * 500,
        method="shap",
        difference=np.full(2, np.nan),
    )
    path, model = tmp_path / "a.png", SimpleNamespace(leads=["I", "II", "V1"], classes=CLASSES)
    labels = CLASSES.index("AF"), CLASSES.index("PVC")
    shap_values.plot_patient(path, packed, explanation, Record("a", None, 6000, labels), model)
    ((_, whole, explained, shown, text, begin),) = calls
    assert whole is packed and shown == model.leads
    assert "predicted SNR (probability 0.73), labelled AF + PVC" in text.title
    assert explained.values.shape == (3, 6000) and explained.values.sum() == 10
    assert (explained.start, begin) == (0, 1000)
    assert "explains 70 % of the score" in text.title  # 13, with the padding, instead of 10
    assert "0.70 of 1" in text.notes[2] and explained.trust.shape == (3, 300)
    # what two halves agree on is as strong as the whole map is reliable
    faded = explained.trust
    assert faded[2, 7] == 0 and np.delete(faded[2], 7) == pytest.approx(0.7)


@pytest.mark.parametrize(
    "flag", ["--record", "--sample-rate=500", "--leads-order", "--units-per-mv"]
)
def test_flags_of_single_ecgs_name_the_command_they_moved_to(flag):
    with pytest.raises(InputError) as stop:
        shap_values.parse_args(["--model-path", "m.pth", flag, "a.hea"])
    error = str(stop.value)
    assert "python -m ecg.read FILE --explain" in error
    with pytest.raises(InputError) as stop:
        shap_values.parse_args(["--recrod", "a.hea"])
    assert "unrecognized arguments: --recrod a.hea" in str(stop.value)


def test_processes_share_the_records_and_give_the_same_bytes(run, tmp_path):
    flags = ["--data-dir", "data/own", *QUICK, "--records", "2"]

    def explain(argv):
        torch.set_num_threads(1)
        shap_values.main(shap_values.parse_args(argv))

    status, err = faults.run_two(explain, flags, tmp_path)
    assert status == 0, err
    (tmp_path / "explanations").rename(tmp_path / "two")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = run("--records", "2")
    torch.set_num_threads(threads)
    for path in [*one.glob("values/*"), one / "values.csv", one / "population.csv"]:
        two = tmp_path / "two" / path.relative_to(tmp_path / "explanations")
        assert two.read_bytes() == path.read_bytes()
