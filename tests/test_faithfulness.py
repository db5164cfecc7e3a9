"""Checks of maps: right on maps whose place is known, and the script from end to end."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import NEEDS_SHARED, SHARED
from small_run import write_data, write_model

from dataset import CLASSES, LEADS
from ecg import faithfulness
from ecg.explanation import checks, ludb
from ecg.processing.beats import REGIONS
from resnet import ResNet1d

RUN = "resnet18_own_all_42"
QUICK = ["--arch", "resnet18", "--samples", "4", "--background", "6", "--batch-size", "16"]


def evidence(*rows):
    columns = ["patient_id", "class", "start", "stop", "leads"]
    return pd.DataFrame([("a", "PVC", *row) for row in rows], columns=columns)


def test_evidence_mask_by_hand():
    rows = evidence((5, 9, "all"), (12, 99, "V1;II"))
    mask = checks.evidence_mask(rows, ["I", "II", "V1"], 8, 6)  # samples 6-13 were seen
    expected = np.zeros((3, 8), bool)
    expected[:, :3] = True
    expected[1:, 6:] = True
    assert (mask == expected).all()


def test_evidence_shares_by_hand():
    mask = np.zeros((4, 100), bool)
    mask[1:3, 20:40] = True
    phi = np.zeros((4, 100))
    phi[1, 25], phi[1, 60], phi[0, 30], phi[3, 90], phi[2, 70] = 5, 2, 2, 1, -50
    found = {name: value for name, value, _ in checks.check_evidence(phi, mask)}
    assert found["share in time"] == pytest.approx(0.7)
    assert found["share in leads"] == pytest.approx(0.7)
    assert found["share in both"] == pytest.approx(0.5)
    uniform = [found[f"uniform in {part}"] for part in ("time", "leads", "both")]
    assert uniform == pytest.approx([0.2, 0.5, 0.1])
    assert found["times uniform in both"] == pytest.approx(5)
    assert found["pointing game"] == 1
    # lead 1 (7) is above leads 0 and 3, lead 2 (0) above neither
    assert found["evidence lead above another"] == 0.5
    phi[3, 90] = 9
    found = {name: value for name, value, _ in checks.check_evidence(phi, mask)}
    assert found["pointing game"] == 0


def test_a_uniform_map_scores_one_everywhere():
    mask = np.zeros((12, 1000), bool)
    mask[2:5, 100:300] = True
    found = {n: v for n, v, _ in checks.check_evidence(np.ones((12, 1000)), mask)}
    assert [v for n, v in found.items() if n.startswith("times")] == pytest.approx([1, 1, 1])


def test_curves_of_a_linear_logit_are_the_sums_of_its_ranked_values():
    rng = np.random.default_rng(0)
    w = torch.from_numpy(rng.normal(size=(2, 100)).astype(np.float32))
    x, other = torch.from_numpy(rng.normal(size=(2, 2, 100)).astype(np.float32))
    phi = (w * (x - other)).numpy()

    def logit_of(part):
        return (part * w).sum((1, 2)).numpy()

    rows = checks.check_curves(logit_of, x, other[None], phi, np.random.default_rng(1))
    found = {name: value for name, value, _ in rows}
    ranked = np.sort(phi.ravel())[::-1]
    for percent in (1, 2, 5, 10, 20):
        top = ranked[: 2 * percent].sum()
        assert found[f"deletion top {percent}%"] == pytest.approx(top, rel=1e-3, abs=1e-4)
        assert found[f"insertion top {percent}%"] == pytest.approx(top, rel=1e-3, abs=1e-4)
        low = ranked[-2 * percent :].sum()
        assert found[f"deletion lowest {percent}%"] == pytest.approx(low, rel=1e-3, abs=1e-4)
    course = [found[f"deletion top {percent}%"] for percent in (1, 2, 5, 10, 20)]
    area, before = 0, (0, 0)
    for here in zip((0.01, 0.02, 0.05, 0.1, 0.2), course, strict=True):
        area += (here[0] - before[0]) * (here[1] + before[1]) / 2 / 0.2
        before = here
    assert found["deletion top area"] == pytest.approx(area)
    gain = area - found["deletion lowest area"]
    assert found["deletion top minus lowest area"] == pytest.approx(gain)


def test_rank_correlation():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(12, 1000))
    assert checks.rank_correlation(a, 5 * a + 3) == pytest.approx(1)
    assert checks.rank_correlation(a, -a) == pytest.approx(-1)
    assert abs(checks.rank_correlation(a, rng.normal(size=(12, 1000)))) < 0.15
    # it is the figures' 20 ms that are compared: order within them does not matter
    shuffled = a.reshape(12, 100, 10)[:, :, ::-1].reshape(12, 1000)
    assert checks.rank_correlation(a, shuffled) == pytest.approx(1)


def test_random_layers_replace_the_network_from_the_output_on():
    torch.manual_seed(0)
    model = ResNet1d("resnet18", 2, 9).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    signals = torch.randn(4, 2, 500)
    state, changed = torch.random.get_rng_state(), []
    for name, network in checks.random_layers(model, signals, 2, 0):
        weights = network.state_dict()
        new = {
            key.split(".")[0] if not key.startswith("stages") else key.split(".")[1]
            for key, value in weights.items()
            if key.endswith("weight") and value.ndim > 1 and not torch.equal(value, before[key])
        }
        changed.append((name, new))
        with torch.no_grad():
            assert torch.isfinite(network(signals)).all() and not network.training
    assert changed == [
        ("output", {"fc"}),
        ("stage 4", {"fc", "6", "7"}),
        ("stage 3", {"fc", "4", "5", "6", "7"}),
        ("stage 2", {"fc", "2", "3", "4", "5", "6", "7"}),
        ("stage 1", {"fc", *"01234567"}),
        ("stem", {"fc", "stem", *"01234567"}),
    ]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_summary_weighs_and_covers():
    rows = [("c", f"r{i}", CLASSES[i % 2], "m", i % 4, 1 + i % 2) for i in range(40)]
    table = checks.summarise(rows).set_index("class")
    assert table["n"].to_dict() == {"SNR": 20, "AF": 20, "all": 40}
    assert table.loc["SNR", "mean"] == 1 and table.loc["AF", "mean"] == 2
    assert table.loc["all", "mean"] == pytest.approx((20 * 1 * 1 + 20 * 2 * 2) / 60)
    # the mean of 20 records that are 0 or 2 with a standard error of 1 / sqrt(20)
    assert table.loc["SNR", "low"] == pytest.approx(1 - 1.96 / np.sqrt(20), abs=0.12)
    assert table.loc["SNR", "high"] == pytest.approx(1 + 1.96 / np.sqrt(20), abs=0.12)


def test_regions_by_marks():
    def wave(*triple):
        return np.array([triple])

    none = np.zeros((0, 3), int)
    marks = {"p": wave(100, 120, 140), "qrs": wave(160, 180, 200), "t": wave(260, 300, 340)}
    same = dict.fromkeys(LEADS, marks)
    regions = ludb.marked_regions(same, 500)
    counted = {name: (regions == i).sum() for i, name in enumerate(REGIONS)}
    assert counted == {"before_qrs": 60, "qrs": 40, "st_t": 140, "elsewhere": 0}
    assert (regions == -1).sum() == 260
    few = {lead: marks if i < 6 else {w: none for w in marks} for i, lead in enumerate(LEADS)}
    assert len(ludb.joint_waves(few, "qrs")) == 0  # six of twelve are not more than half
    phi = np.zeros((12, 500))
    phi[:, 170], phi[:, 300], phi[:, 400] = 3, -1, 100
    found = {name: value for name, value, _ in ludb.check_marks(phi, regions)}
    assert found["share qrs"] == 0.75 and found["share st_t"] == 0.25
    assert found["time qrs"] == pytest.approx(40 / 240)


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


@NEEDS_SHARED
def test_script_runs_every_check_and_goes_on_where_it_was(work, capsys, monkeypatch):
    monkeypatch.setattr(checks, "SAMPLES_STEPS", (2, 3))
    monkeypatch.setattr(faithfulness, "NORM_RECORDS", 4)
    for path in [*SHARED.glob("ludb/1.*"), *SHARED.glob("ludb/31.*")]:
        (work / "ludb").mkdir(exist_ok=True)
        shutil.copy(path, work / "ludb")
    flags = ["--ludb-dir", "ludb", "--ludb-sd", "0.2"]
    flags += ["--other-model", f"models/{RUN}.pth"]
    table = run_script(*flags)
    assert set(table["check"]) == set(faithfulness.CHECKS)
    whole = table[table["class"] == "all"].set_index("measure")
    # another training that is the same one gives the same values
    assert whole.loc["rank correlation, another training", "mean"] == pytest.approx(1)
    assert whole.loc["rank correlation, another seed", "mean"] < 0.99
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
    assert run_script(*flags)["mean"].tolist() == pytest.approx([1, 1])
    content = torch.load(other, weights_only=True)
    content["state_dict"]["fc.weight"] *= -1
    torch.save(content, other)
    table = run_script(*flags)  # the mean of two other models by now: the same, the opposite
    assert len(list(work.glob("explanations/*/faithfulness/rows/training-*"))) == 2
    assert abs(table["mean"]).max() < 0.2


def test_a_model_of_other_leads_is_no_other_training(work, capsys):
    content = torch.load(work / f"models/{RUN}.pth", weights_only=True)
    content["args"]["pad"] = "batch"
    torch.save(content, work / "models/other.pth")
    with pytest.raises(SystemExit, match="2"):
        run_script("--checks", "training", "--other-model", "models/other.pth")
    assert "has other pad than" in capsys.readouterr().err


@pytest.mark.parametrize(
    "row", ["", "R010,AF,x,200,V1", "R010,AF,,200,V1", "R010,AF,100,200,V9", "R010,XX,1,2,V1"]
)
def test_a_damaged_table_of_evidence_is_one_line(work, capsys, row):
    head = "patient_id,class,start,stop,leads\n" if row else ""
    (work / "data/own/evidence.csv").write_text(head + row)
    with pytest.raises(SystemExit, match="2"):
        run_script("--checks", "evidence")
    assert "is not a table of synthetic.py" in capsys.readouterr().err


def test_another_seed_draws_another_background(work, monkeypatch):
    pools, original = [], faithfulness.make_values

    def spy(args, name, x, model, pool, *rest):
        pools.append((args.seed, pool[0]))
        return original(args, name, x, model, pool, *rest)

    monkeypatch.setattr(faithfulness, "make_values", spy)
    run_script("--checks", "seeds")
    (first, names), (second, others) = pools
    assert (first, second) == (42, 43) and names != others


def test_a_table_of_evidence_that_was_mended_is_read_again(work, capsys):
    path = work / "data/own/evidence.csv"
    whole = path.read_text()
    path.write_text(whole.splitlines()[0] + "\nR001,AF,1,2,V1\n")  # none of the test records
    with pytest.raises(SystemExit, match="2"):
        run_script("--checks", "evidence")
    assert "nothing to check" in capsys.readouterr().err
    path.write_text(whole)
    assert len(run_script("--checks", "evidence"))


def test_other_options_stop(work, capsys):
    run_script("--checks", "evidence")
    with pytest.raises(SystemExit, match="2"):
        run_script("--checks", "evidence", "--samples", "5")
    assert "another samples" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ludb-dir", "nowhere"], "no .hea in nowhere"),
        (["--records", "0"], "--records"),
        (["--checks", "beats", "training"], "need --ludb-dir"),
    ],
)
def test_bad_input_is_one_line(work, capsys, flags, message):
    with pytest.raises(SystemExit, match="2"):
        run_script("--checks", "evidence", *flags)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
