"""Small records and data sets that the tests share."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from matplotlib.figure import Figure
from tqdm import tqdm

import preprocess
from dataset import CLASSES, LEADS, PackedSignals, load_labels, signal_digest, split_labels
from ecg import synthetic
from ecg.plot import scores

N_MADE = 240  # records of the synthetic set
SHARED = Path(__file__).parents[2] / "shared" / "data"
CASES = SHARED.parent / "cases"  # small inputs that were once misread; each has a README.case
NEEDS_SHARED = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run every fault point and more orders")


DX = {
    "SNR": "426783006",
    "AF": "164889003",
    "IAVB": "270492004",
    "LBBB": "164909002",
    "RBBB": "59118001",
    "PAC": "284470004",
    "PVC": "164884008",
    "STD": "429622005",
    "STE": "164931005",
}


def write_record(folder, name, samples, dx, leads=LEADS, rate=500, age="61", sex="Male"):
    """Write int16 microvolts (12, n) as PhysioNet distributes CPSC2018: .hea and MATLAB v4 .mat."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = np.asarray(samples, np.int16)
    scipy.io.savemat(folder / f"{name}.mat", {"val": samples}, format="4")
    lines = [f"{name} {len(leads)} {rate} {samples.shape[1]}"]
    for lead, row in zip(leads, samples, strict=True):
        checksum = np.int64(row.sum(dtype=np.int64)).astype(np.int16)
        lines.append(f"{name}.mat 16+24 1000/mV 16 0 {row[0]} {checksum} 0 {lead}")
    lines += [f"#Age: {age}", f"#Sex: {sex}", f"#Dx: {dx}", "#Rx: Unknown", "#Hx: Unknown"]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


def noise(seed, n):
    """Return int16 noise (12, n), different in every lead."""
    return np.random.default_rng(seed).integers(-900, 900, (12, n)).astype(np.int16)


def write_wfdb(folder, name="A0001", n=700, line=None):
    """Write a valid record, its header changed by (old, new) replacements; return its path."""
    write_record(folder, name, noise(1, n), "59118001,164889003")
    path = folder / f"{name}.hea"
    text = path.read_text()
    for old, new in (line or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    return path


def write_struct(path, data, age=63, sex="Female", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"ECG": {"sex": sex, "age": age, "data": data}}, **options)


def write_table(path, leads=LEADS, samples=None, separator=",", **cells):
    """Write a .csv in mV (None: 600 samples of noise); `cells` are (row, column) texts."""
    samples = noise(4, 600) / 1000 if samples is None else samples
    lines = [list(leads), *([f"{value:.3f}" for value in row] for row in samples.T)]
    for text, (row, column) in cells.items():
        lines[row][column] = text
    path.write_text("\n".join(separator.join(line) for line in lines) + "\n")
    return path


@pytest.fixture(scope="session")
def long(request):
    """Tell whether everything is to run, or a sample."""
    return request.config.getoption("--long")


def model_keys(data_dir, round_number=0):
    """Return what a checkpoint keeps of its data, its thresholds, as main.py publishes them."""
    signals = PackedSignals(data_dir)
    train, validation, _ = split_labels(load_labels(data_dir), round_number)
    used = [*train["patient_id"], *validation["patient_id"]]
    return {
        "signals": signals.fingerprint,
        "thresholds": dict(zip(CLASSES, np.linspace(0.41, 0.57, 9).tolist(), strict=True)),
        "threshold_rule": "best F1 on the validation fold, the middle of the best",
        "training_records": {name: signal_digest(signals[name]) for name in used},
    }


@pytest.fixture(scope="session")
def made_records(tmp_path_factory):
    """Make 40 records of 2-4 s in group folders: every class, pairs, and two with no label."""
    folder = tmp_path_factory.mktemp("records") / "tiny"
    names = list(DX)
    for i in range(40):
        dx = DX[names[i % 9]] + ("," + DX["PVC"] if i % 9 in (1, 4) and i > 20 else "")
        if i in (13, 31):
            dx = "164867002"
        n = (1000, 1500, 2000)[i % 3]
        write_record(folder / f"g{1 + i % 2}", f"T{i:04d}", noise(i, n), dx)
    return folder


@pytest.fixture(scope="session")
def made_tiny(made_records, tmp_path_factory):
    """Preprocess the 40 records; return the folder."""
    folder = shutil.copytree(made_records, tmp_path_factory.mktemp("preprocessed") / "tiny")
    preprocess.main(preprocess.parse_args(["--data-dir", str(folder), "--jobs", "1"]))
    return folder


@pytest.fixture
def records(made_records, tmp_path):
    """Copy the 40 records; return the folder."""
    return shutil.copytree(made_records, tmp_path / "data" / "tiny")


@pytest.fixture
def tiny(made_tiny, tmp_path):
    """Copy the 40 records and what preprocess.py has made of them; return the folder."""
    return shutil.copytree(made_tiny, tmp_path / "data" / "tiny")


def draw_plain_figures(patch):
    """Let every figure be a small file of its kind, where a test asks only whether it is there.

    Drawing takes most of the time of a step on small data. Figures themselves are looked at in
    tests/plot, and every step that makes some is run with them in at least one test.
    """
    plain, draw, files = Figure(figsize=(0.2, 0.2)), Figure.savefig, {}
    for kind in ("png", "svg", "pdf"):
        plain.savefig(file := io.BytesIO(), format=kind)
        files[f".{kind}"] = file.getvalue()

    def save(self, path, *args, **kwargs):
        if not isinstance(path, str | os.PathLike):  # the pages of a PDF
            return draw(plain, path, *args, **kwargs)
        with open(path, "wb") as file:
            file.write(files[Path(path).suffix])

    patch.setattr(Figure, "savefig", save)


@pytest.fixture
def plain_figures(request, monkeypatch):
    """Draw no figure (see draw_plain_figures) but for a test that is marked as one with figures."""
    if not request.node.get_closest_marker("figures"):
        draw_plain_figures(monkeypatch)


@pytest.fixture
def drawn(monkeypatch):
    """Keep the figures that are saved, and close them afterwards."""
    figures, close = [], scores.plt.close
    monkeypatch.setattr(scores.plt, "close", figures.append)
    yield figures
    for figure in figures:
        close(figure)


@pytest.fixture(autouse=True)
def close_figures():
    """Close the figures that a test has looked at."""
    yield
    scores.plt.close("all")


@pytest.fixture(autouse=True)
def end_bars():
    """End the progress of what a test has interrupted: its file is closed with the test."""
    yield
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.disable = True


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Make the synthetic set that its tests measure; return its folder."""
    path = tmp_path_factory.mktemp("synthetic")
    synthetic.write_dataset(path, N_MADE, seed=0)
    return path
