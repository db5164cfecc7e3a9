"""Measure ST of real and of synthetic records: healthy people by sex and age, depression by class.

    python -m benchmarks.st_levels --data data      # packed: ptbxl_official and cpsc2018_feb2020

The simulator's normal ST and its limits of depression (ecg/simulation/st.py) were chosen by these
figures. Of each record the median beat is measured, against 24 to 4 ms before QRS: the higher of V2
and V3 at J + 60 ms, and the deepest depression that two neighbouring leads reach at both J + 20 and
J + 60 ms. Synthetic records are of another seed than those of training, and beside them
a twelfth as many healthy people are made of each sex at 25, 40 and 65 years. Writes
results/st_levels/levels.csv, from which `python -m benchmarks.tables` makes the table of
docs/model.md.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from dataset import CLASSES, LEADS, SAMPLE_RATE, UNITS_PER_MV, PackedSignals, load_labels
from ecg.evaluation.scored_run import write_research_json
from ecg.processing.detection import find_peaks
from ecg.processing.ecg_intervals import find_middle, qrs_borders
from ecg.processing.filters import ZeroPhase
from ecg.running.command import make_parser, run_main
from ecg.simulation.heart import draw_heart, make_record, render
from ecg.simulation.st import NEIGHBOURS, STD_LIMIT
from utils import positive, results_path, software_versions, write_csv

OUT = results_path("st_levels")
SETS = {"PTB-XL": "ptbxl_official", "CPSC2018": "cpsc2018_feb2020"}
WITHOUT_DRIFT = ZeroPhase(0.3, None)  # ST is slow: less of it is lost than above 0.5 Hz
ALL = np.ones(len(LEADS), bool)
FRONT = [LEADS.index("V2"), LEADS.index("V3")]


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="where sets are packed")
    parser.add_argument("--records", type=positive, default=1200, help="synthetic records to make")
    return parser.parse_args(argv)


def measure(packed):
    """Return V2 or V3 at J + 60 ms and the deepest depression, mV, of packed samples (12, n).

    Both are NaN where fewer than three beats are alike.
    """
    middle = find_middle(WITHOUT_DRIFT(packed / UNITS_PER_MV), find_peaks(packed), ALL)
    if middle is None:
        return np.nan, np.nan
    onset, end = qrs_borders(middle, ALL)
    level = np.median(middle.signal[:, max(0, onset - 12) : onset - 2], axis=1)
    at_20, at_60 = (middle.signal[:, end + round(s * SAMPLE_RATE)] - level for s in (0.02, 0.06))
    return at_60[FRONT].max(), -np.maximum(at_20, at_60)[NEIGHBOURS].max(1).min()


def real_records(data, title, folder_name):
    """Return a row for each record of a packed set: set, height, depth, its labels, sex, age."""
    folder = data / folder_name
    signals, labels = PackedSignals(folder), load_labels(folder)
    people = pd.read_csv(folder / "reference.csv").set_index("patient_id")
    rows = []
    for row in labels.to_dict("records"):
        person = people.loc[row["patient_id"]]
        found = {name: row[name] == 1 for name in CLASSES}
        own = {"set": title, "sex": person.get("sex"), "age": person.get("age")}
        height, depth = measure(signals[row["patient_id"]])
        rows.append(own | found | {"height": height, "depth": depth})
    return rows


def synthetic_people(n):
    """Return a row for each of n healthy people of each sex and age."""
    rows = []
    for part, (sex, age) in enumerate(product(("Male", "Female"), (25, 40, 65))):
        for number in range(n):
            rng = np.random.default_rng([7, part, number])
            height, _ = measure(render(rng, draw_heart(rng, ["SNR"], 10, sex=sex, age=age)))
            own = {"set": "synthetic", "sex": sex, "age": age, "height": height}
            rows.append(own | dict.fromkeys(CLASSES, False) | {"SNR": True})
    return rows


def synthetic_records(n):
    """Return a row for each of n synthetic records of all classes."""
    rows = []
    for number in range(1, n + 1):
        record = make_record(7, number)
        found = {name: name in record.classes for name in CLASSES}
        rows.append({"set": "synthetic", "depth": measure(record.signal)[1]} | found)
    return rows


def groups(table):
    """Return {what is measured: {group: rows}}: the healthy, and those of each class."""
    healthy, men = table["SNR"], table["sex"] == "Male"
    normal = {
        "men up to 30": healthy & men & (table["age"] <= 30),
        "men of 31 to 50": healthy & men & table["age"].between(31, 50),
        "men above 50": healthy & men & (table["age"] > 50),
        "women": healthy & (table["sex"] == "Female"),
    }
    others = {f"{name}, not STD": table[name] & ~table["STD"] for name in CLASSES if name != "STD"}
    return {"height": normal, "depth": others | {"STD": table["STD"]}}


def main(args):
    records = synthetic_records(args.records) + synthetic_people(args.records // 12)
    for title, name in SETS.items():
        records += real_records(args.data, title, name)
    table, rows = pd.DataFrame(records), []
    for what, parts in groups(table).items():
        for group, chosen in parts.items():
            for title, values in table[chosen].groupby("set")[what]:
                low, middle, high = values.quantile([0.1, 0.5, 0.9])
                row = {"what": what, "group": group, "set": title, "n": values.notna().sum()}
                row |= {"low": low, "median": middle, "high": high}
                rows.append(row | {"beyond": (values.dropna() > STD_LIMIT).mean()})
    write_csv(pd.DataFrame(rows), OUT / "levels.csv")
    write_research_json(OUT / "levels.json", {"versions": software_versions()})
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    print(f"{OUT}/levels.csv; its table: python -m benchmarks.tables")


if __name__ == "__main__":
    run_main(main, parse_args)
