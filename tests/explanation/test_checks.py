"""The table of the checks: weighted means, and intervals over records."""

import numpy as np
import pytest

from dataset import CLASSES
from ecg.explanation import checks


def test_summary_weighs_and_covers():
    rows = [("c", f"r{i}", CLASSES[i % 2], "m", i % 4, 1 + i % 2) for i in range(40)]
    table = checks.summary_table(checks.summarise(rows)).set_index("class")
    assert table["n"].to_dict() == {"SNR": 20, "AF": 20, "all": 40}
    assert table.loc["SNR", "mean"] == 1 and table.loc["AF", "mean"] == 2
    assert table.loc["all", "mean"] == pytest.approx((20 * 1 * 1 + 20 * 2 * 2) / 60)
    assert table["median"].to_dict() == {"SNR": 1, "AF": 2, "all": 1.5}
    # the mean of 20 records that are 0 or 2 with a standard error of 1 / sqrt(20)
    assert table.loc["SNR", "low"] == pytest.approx(1 - 1.96 / np.sqrt(20), abs=0.12)
    assert table.loc["SNR", "high"] == pytest.approx(1 + 1.96 / np.sqrt(20), abs=0.12)
