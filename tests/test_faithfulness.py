"""The checks of explanations from end to end: their files, what is kept, what stops them."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import NEEDS_SHARED, SHARED
from small_run import write_data, write_model

from dataset import CLASSES
from ecg import faithfulness
from ecg.explanation import checks
from ecg.explanation.explanation import Explainer
from ecg.processing.beats import REGIONS
from utils import InputError

pytestmark = pytest.mark.usefixtures("plain_figures")
RUN = "resnet18_own_all_42"
QUICK = ["--arch", "resnet18", "--samples", "4", "--background", "6", "--batch-size", "16"]


def write_evidence(folder, labels):
    rows = []
    for row in labels.itertuples():
        label = CLASSES[np.argmax([getattr(row, name) for name in CLASSES])]
        rows.append((row.patient_id, label, 100, 200, "V1;V2"))
    columns = ["patient_id", "class", "start", "stop", "leads"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "evidence.csv", index=False)


@pytest.fixture
def work(tmp_path, monkeypatch):
    _, labels = write_data(tmp_path / "data/own", n=30)
    write_evidence(tmp_path / "data/own", labels)
    write_model(tmp_path, seconds=3)  # LUDB's marks end before its last second
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_script(*flags):
    faithfulness.main(
        faithfulness.parse_args(["--data-dir", "data/own", "--few", "1", *QUICK, *flags])
    )
    return pd.read_csv(f"explanations/{RUN}/faithfulness.csv")


@pytest.mark.figures
@NEEDS_SHARED
def test_script_runs_every_check_and_resumes_where_it_stopped(work, capsys, monkeypatch):
    monkeypatch.setattr(checks, "SAMPLES_STEPS", (20, 64))
    monkeypatch.setattr(checks, "NORM_RECORDS", 4)
    for path in [*SHARED.glob("ludb/1.*"), *SHARED.glob("ludb/31.*")]:
        (work / "ludb").mkdir(exist_ok=True)
        shutil.copy(path, work / "ludb")
    flags = ["--ludb-dir", "ludb", "--ludb-sd", "0.2"]
    flags += ["--other-model", f"models/{RUN}.pth"]
    table = run_script(*flags)
    # noise has no beats, and this network no evidence head
    assert set(table["check"]) == set(faithfulness.ALL_CHECKS) - {"equal", "head"}
    whole = table[table["class"] == "all"].set_index("measure")
    # another training that is the same one gives the same values
    for kind in ("windows", "single samples", "ranks of single samples"):
        assert whole.loc[f"{kind}, another training", "mean"] == pytest.approx(1)
        assert whole.loc[f"{kind}, another seed", "mean"] < 0.99
    assert whole.loc["reliability of windows", "n"] == 3 and whole.loc["samples", "mean"] == 4
    more, few = (whole.loc[f"reliability of windows of {n} samples", "mean"] for n in (64, 20))
    assert few < more
    assert whole.loc["pointing game in time, null", "n"] == 3
    # what a half of them agrees on, stepped up to the whole, is the reliability
    r = table[table["measure"] == "windows, halves of 32"].set_index("class").drop("all")["mean"]
    found = table[table["measure"] == "reliability of windows of 64 samples"].set_index("class")
    assert (2 * r / (1 + r.abs())).to_dict() == pytest.approx(found["mean"].drop("all").to_dict())
    assert whole.loc["samples for 0.9, 64 at most", "median"] <= 64
    assert whole.loc["pointing game", "n"] == 3  # the test fold
    assert whole.loc["R peak sensitivity", "n"] == 2
    shares = whole.loc[[f"share {region}" for region in REGIONS], "mean"]
    assert shares.sum() == pytest.approx(1)
    assert "Research use only" in capsys.readouterr().out
    folder = Path(f"explanations/{RUN}")
    assert (folder / "faithfulness.png").exists() and (folder / "samples.png").exists()
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("faithfulness/*/*")}
    text = (folder / "faithfulness.csv").read_bytes()
    lost = [path for path in kept if "R010" in path.name or path.stem == "marks-ludb-sd0.2-1"]
    for path in lost:
        path.write_bytes(path.read_bytes()[:20])
    run_script(*flags)
    assert (folder / "faithfulness.csv").read_bytes() == text
    for path in folder.rglob("faithfulness/*/*"):
        assert (path.stat().st_mtime_ns == kept[path]) == (path not in lost)
    run_script("--ludb-dir", "ludb", "--checks", "marks")  # unscaled: other values, kept beside
    for path in [folder / "faithfulness/values/ludb-1.npz", *kept]:
        assert path.exists()


def test_checks_of_several_starts_stand_in_one_table(work):
    both = run_script("--checks", "evidence", "curves")
    one = run_script("--checks", "curves")
    pd.testing.assert_frame_equal(one, both)


def test_another_model_under_the_same_name_is_checked_again(work):
    other = work / "models/other.pth"
    shutil.copy(work / f"models/{RUN}.pth", other)
    flags = ["--checks", "training", "--other-model", str(other)]
    # four measures, of one class and of all
    assert run_script(*flags)["mean"].tolist() == pytest.approx([1] * 8)
    content = torch.load(other, weights_only=True)
    content["state_dict"]["fc.weight"] *= -1
    torch.save(content, other)
    table = run_script(*flags)  # the mean of two other models by now: the same, the opposite
    assert len(list(work.glob("explanations/*/faithfulness/rows/training-*"))) == 2
    signed = table[~table["measure"].str.startswith("leads")]  # shares of |value| have no sign
    assert abs(signed["mean"]).max() < 0.2


def test_a_model_of_other_leads_is_no_other_training(work):
    content = torch.load(work / f"models/{RUN}.pth", weights_only=True)
    content["args"]["seconds"] = 2
    torch.save(content, work / "models/other.pth")
    with pytest.raises(InputError) as stop:
        run_script("--checks", "training", "--other-model", "models/other.pth")
    assert "has other seconds than" in str(stop.value)


@pytest.mark.parametrize(
    "row", ["", "R010,AF,x,200,V1", "R010,AF,,200,V1", "R010,AF,100,200,V9", "R010,XX,1,2,V1"]
)
def test_a_damaged_table_of_evidence_is_one_line(work, row):
    head = "patient_id,class,start,stop,leads\n" if row else ""
    (work / "data/own/evidence.csv").write_text(head + row)
    with pytest.raises(InputError) as stop:
        run_script("--checks", "evidence")
    assert "is not a table of synthetic.py" in str(stop.value)


def test_another_seed_draws_another_background(work, monkeypatch):
    pools, original = [], Explainer.explain

    def spy(self, *arguments):
        pools.append((self.options.seed, self.background.names))
        return original(self, *arguments)

    monkeypatch.setattr(Explainer, "explain", spy)
    run_script("--checks", "seeds")
    (first, names), (second, others) = pools
    assert (first, second) == (42, 43) and not set(names) & set(others)


def test_a_table_of_evidence_that_was_mended_is_read_again(work):
    path = work / "data/own/evidence.csv"
    whole = path.read_text()
    path.write_text(whole.splitlines()[0] + "\nR001,AF,1,2,V1\n")  # none of the test records
    with pytest.raises(InputError) as stop:
        run_script("--checks", "evidence")
    assert "nothing to check" in str(stop.value)
    path.write_text(whole)
    assert len(run_script("--checks", "evidence"))


def test_other_options_stop(work):
    run_script("--checks", "evidence")
    with pytest.raises(InputError) as stop:
        run_script("--checks", "evidence", "--samples", "5")
    assert "another samples" in str(stop.value)
    run_script("--checks", "curves", "--samples", "5", "--resume", "auto")
    assert set(pd.read_csv(f"explanations/{RUN}/faithfulness.csv")["check"]) == {"curves"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ludb-dir", "nowhere"], "no .hea in nowhere"),
        (["--records", "0"], "--records"),
        (["--checks", "beats", "training"], "need --ludb-dir"),
    ],
)
def test_bad_input_is_one_line(work, flags, message):
    with pytest.raises(InputError) as stop:
        run_script("--checks", "evidence", *flags)
    assert message in str(stop.value)
