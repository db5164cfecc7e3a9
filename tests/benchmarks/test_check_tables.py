"""The rows of docs/explanations.md, against figures written by hand."""

import pandas as pd

from benchmarks import check_tables
from dataset import CLASSES


def table(*rows):
    """Return a faithfulness.csv of (class, measure, n, mean, median)."""
    return pd.DataFrame(rows, columns=["class", "measure", "n", "mean", "median"])


def test_agreement_is_listed_by_what_it_is_with_and_by_measure():
    found = table(
        ["all", "windows, halves of 100", 40, 0.666, 0.7],
        ["AF", "windows, halves of 100", 8, 0.1, 0.1],
        ["all", "leads, halves of 100", 40, 0.998, 1],
        *[
            ["all", f"windows, {kind}", 9, -0.004, 0]
            for kind in (
                "halves of 200",
                "halves of 300",
                "another seed",
                "another training",
                "random from output to stem",
            )
        ],
    )
    head, first, *_, last = check_tables.agreement_rows({"demo": found})
    assert head[2:4] == ["records", "Pearson, windows of 40 ms"]
    assert first == ["demo's, synthetic", "halves of 100 samples", "40", ".67", "", "", "1.00"]
    assert last[1:4] == ["a random network", "9", ".00"]


def test_samples_that_a_reliability_takes_are_a_bound_where_it_is_not_reached():
    columns, needed = [*CLASSES, "all"], "samples for 0.9, 600 at most"
    rows = [[k, needed, 4, 500, 600 if k == "AF" else 430] for k in columns]
    rows += [[k, f"windows, halves of {n}", 4, 0.5, 0.5] for k in columns for n in (100, 200, 300)]
    rows += [
        [k, f"windows reach 0.9 of {n} samples", 4, 0.25, 0]
        for k in columns
        for n in (200, 400, 600)
    ]
    found = {row[1]: row[2:] for row in check_tables.noise_rows({"real": table(*rows)})[1:]}
    assert found["records"] == ["4"] * 10 and found["halves of 200 samples"] == [".50"] * 10
    assert found["reach .9 with 400 samples"] == ["25 %"] * 10
    assert found["samples for .9, median"] == ["430", "over 600", *["430"] * 8]


def test_places_are_shown_for_the_classes_that_have_them():
    rows = [[k, "pointing game", 3, 1, 1] for k in CLASSES]
    rows += [
        ["STD", "evidence lead above another", 3, 0.85, 0.9],
        ["PVC", "times uniform in time", 3, 11.816, 9],
    ]
    head, records, time, both, game, leads = check_tables.truth_rows({"general_ig": table(*rows)})
    assert records[2:] == ["3"] * 9 and game[2:] == ["1.00"] * 9
    assert time[head.index("PVC")] == "11.82" and not any(both[2:])
    assert leads[2:].count("") == 8 and leads[head.index("STD")] == ".85"


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
