"""The rows of docs/explanations.md, against figures written by hand."""

import pandas as pd

from benchmarks import check_tables
from dataset import CLASSES


def table(*rows, model="general", method="shap"):
    """Return a faithfulness.csv of (class, measure, n, mean, low, high) of a model and a method."""
    columns = ["class", "measure", "n", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(model=model, method=method)


def test_places_stand_beside_the_null_and_only_what_is_above_it_is_bold():
    rows = [[k, "pointing game", 5, 1, 0.6, 1] for k in CLASSES]
    rows += [["AF", "pointing game, less null", 5, 0.2, 0.01, 0.4]]
    rows += [["PVC", "pointing game, less null", 5, -0.2, -0.4, -0.1]]
    rows += [["STD", "pointing game, less null", 5, 0.2, -0.1, 0.4]]
    rows += [["PVC", "times uniform in time", 5, 11.816, 9, 14.2]]
    rows += [["STE", "times uniform in time", 1, 2, 2, 2]]
    rows += [["STE", "times uniform in time, less null", 1, 1, 1, 1]]
    rows += [["PVC", "times uniform in time, null", 5, 2.5, 2, 3]]
    rows += [["PVC", "pointing game, chance", 5, 0.123, 0.1, 0.2]]
    tables = {"a": table(*rows), "b": table(*rows, model="first", method="ig")}
    head, *found = check_tables.truth_rows(tables)
    k = head.index("PVC")
    cells = {(row[0], row[1], row[2]): row for row in found}
    assert cells["", "null map", "in time"][k] == "2.50"
    assert cells["", "chance", "pointing game"][k] == ".12"
    assert cells["third edition", "expected gradients", "records"][3:] == ["5"] * 9
    own = cells["third edition", "expected gradients", "pointing game"]
    assert own[head.index("AF")] == "**1.00 [.60, 1.00]**"
    assert own[k] == "*1.00 [.60, 1.00]*" and own[head.index("STD")] == "1.00 [.60, 1.00]"
    time = cells["first edition", "integrated gradients", "in time"]
    assert time[k] == "11.82 [9.00, 14.20]" and not any(time[3:k])
    assert time[head.index("STE")] == "2.00"  # one record has no interval
    assert len([row for row in found if row[1] == "null map"]) == 5  # once


def test_what_is_claimed_stands_above_what_is_found():
    rows = [["all", "reliability of windows", 20, 0.8, 0.7, 0.9]]
    rows += [["AF", "windows, another training", 3, 0.456, 0.2, 0.6]]
    rows += [["all", "windows, another training", 20, 0.5, 0.4, 0.6]]
    found = check_tables.reliability_rows({"a": table(*rows)})[1:]
    assert [row[2] for row in found] == ["claimed by the halves", "with another training"]
    assert found[0][-2:] == [".80 [.70, .90]", "20"] and found[1][4] == ".46"


def test_equal_beats_and_removal_stand_in_one_row():
    rows = [["all", "spread over equal beats", 12, 0.5, 0.4, 0.6]]
    rows += [["all", "deletion top minus random area", 33, 2, 1, 3]]
    rows += [["all", "deletion top minus lowest area", 33, 4, 3, 5]]
    head, row = check_tables.equal_rows({"a": table(*rows)})
    assert len(head) == len(row)
    assert row[2:] == [".50 [.40, .60]", "12", "", "2.00 [1.00, 3.00]", "4.00 [3.00, 5.00]", "33"]
    tried = table(["all", "spread over equal beats", 12, 0.5, 0.4, 0.6], method="grad-cam")
    assert check_tables.equal_rows({"b": tried})[1][5:] == ["", "", ""]


def test_records_found_are_listed_by_how_visible_they_are():
    columns = [f"{name}_{i}" for i in (1, 2, 3) for name in ("from", "to", "n", "recall")]
    columns = ["class", "n", "f1", "recall", *columns, "above", "measure"]
    groups = [205, 229.6, 4, 0.5, 230, 230, 5, 0.75, 231, 301.4, 3, 1]
    rows = [["SNR", 9, 0.5, 1, *[None] * 14], ["IAVB", 12, 0.8, 0.75, *groups, 0.911, "PR, ms"]]
    head, snr, block = check_tables.visible_rows({"visible": pd.DataFrame(rows, columns=columns)})
    assert snr == ["SNR", "9", ".50", "1.00", *[""] * 5]
    assert block[4:] == [
        "PR, ms",
        "205 to 230: .50 (4)",
        "230: .75 (5)",
        "231 to 301: 1.00 (3)",
        ".91",
    ]
    assert len(head) == len(block)


def test_leads_of_single_lead_models_and_maps_are_ranked_beside_those_of_the_evidence():
    rows = [
        ["STD", "I", 0.1, 0.70, 0.2, 0.8, 0.9, None, 0.69, 0.71],
        ["STD", "V4", 0.6, 0.90, 0.3, 1.2, 0.8, 0.3, 0.91, 0.8904],
        ["STD", "V5", 0.8, 0.92, 0.1, 1.1, 0.6, 0.5, 0.90, 0.8896],
        *[["AF", lead, 1.0, 0.95, 0.3, 1.0, None, None, 0.9, 1.0] for lead in ("I", "V4", "V5")],
    ]
    columns = "class lead in_evidence auc map map_ratio recall_in recall_out auc_0 auc_1".split()
    head, std, af = check_tables.lead_rows({"leads": pd.DataFrame(rows, columns=columns)})
    assert std == [
        "STD",
        "V5 80, V4 60",
        "V5 .920, V4 .900, I .700",
        "V4 1, several alike 1",
        "1.00 (p < .001)",
        ".70; .40",
        "-.50 (p .667); .50 (p .667)",
    ]
    assert af[1] == "all" and af[4:] == [""] * 3 and len(head) == len(af)
