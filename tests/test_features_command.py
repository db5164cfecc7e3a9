"""The command that computes the baselines' features and keeps them."""

import pandas as pd
import pytest

from ecg import features
from ecg.processing.features import PAPER_COLUMNS, RHYTHM_COLUMNS, load_features
from utils import InputError


def run(folder, *flags):
    features.main(features.parse_args(["--data-dir", str(folder), "--jobs", "1", *flags]))


def test_features_are_computed_once_and_kept(tiny, capsys):
    run(tiny, "--limit", "3")  # too few records to fit anything
    table = pd.read_csv(tiny / "features.csv", index_col="patient_id")
    assert table.shape == (3, len(PAPER_COLUMNS)) and not (tiny / "features_rhythm.csv").exists()
    assert f"{tiny} holds 636 features of 3 records" in capsys.readouterr().out
    run(tiny, "--limit", "3")
    assert "computing" not in capsys.readouterr().out


def test_rhythm_features_stand_in_a_file_of_their_own(tiny, capsys):
    run(tiny, "--limit", "2", "--features", "rhythm")
    out = capsys.readouterr().out
    table = pd.read_csv(tiny / "features_rhythm.csv", index_col="patient_id")
    assert tuple(table.columns) == RHYTHM_COLUMNS
    assert out.splitlines()[-1] == f"python baselines.py --data-dir {tiny} --features rhythm"
    kept = load_features(tiny, list(table.index), "rhythm")
    assert kept.shape == (2, 650) and "computing" not in capsys.readouterr().out


def test_a_flag_that_changes_no_feature_is_refused(tiny):
    with pytest.raises(InputError):
        features.parse_args(["--data-dir", str(tiny), "--seed", "1"])
