"""The demo's data are pinned, so that the tables made from them cannot drift from them unseen."""

import hashlib

import numpy as np
import pytest

import preprocess
from dataset import PackedSignals, labels_digest, load_labels
from ecg import synthetic
from ecg.processing.features import PAPER_COLUMNS, RHYTHM_COLUMNS, load_features

LABELS, SIGNALS = "6de781e8a18dada0", "4c9820ea0924089c"
FEATURES = "d762bb5e1c6fbe88"  # of the first 20 records, to seven significant digits


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Make the data set of `make demo`; return its folder."""
    folder = str(tmp_path_factory.mktemp("demo"))
    synthetic.main(synthetic.parse_args(["--data-dir", folder, "--records", "400", "--seed", "0"]))
    preprocess.main(preprocess.parse_args(["--data-dir", folder, "--jobs", "1"]))
    return folder


def test_labels_folds_and_signals_of_the_demo_are_those_of_its_tables(demo):
    assert labels_digest(load_labels(demo)) == LABELS
    assert PackedSignals(demo).fingerprint == SIGNALS


def test_features_of_the_demo_are_those_of_its_tables(demo):
    names = list(load_labels(demo)["patient_id"])[:20]
    features = load_features(demo, names, "rhythm", jobs=1)[[*PAPER_COLUMNS, *RHYTHM_COLUMNS]]
    # processors differ in the last digits
    text = "\n".join(" ".join(f"{x + 0.0:.6e}" for x in row) for row in np.asarray(features))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == FEATURES
