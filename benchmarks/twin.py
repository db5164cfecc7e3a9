"""Measure how much of a twin's known criteria a rehearsal recovers: for docs/explanations.md.

    python -m benchmarks.twin --data-dir data/CPSC_twin --init models/general.pth

in the folder of the rehearsal (docs/reproduce.md), after it. Writes results/twin/visible.csv, a row
for each class: how visible its criterion is in a record, by evidence.csv, and which records were
recognised; and leads.csv, a row for each class and lead. python -m benchmarks.tables makes two
tables of them.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, roc_auc_score

from dataset import CLASSES, LEADS, SAMPLE_RATE, add_data_args
from ecg.evaluation import runs
from ecg.evaluation.scored_run import write_research_json
from ecg.explanation.check_measures import read_evidence
from ecg.inference.flags import add_network_args
from ecg.running.command import make_parser, run_main
from utils import InputError, network_name, software_versions, write_csv

OUT = Path("results/twin")
FEWEST = 10  # records on both sides of a comparison: evidence in a lead or not, found or missed


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    add_network_args(parser)
    return parser.parse_args(argv)


def variation(rows):
    """Return sd / mean of the times between the ends of QRS."""
    rr = np.diff(np.sort(rows["stop"]))
    return rr.std() / rr.mean() if len(rr) > 1 else np.nan


def width(rows):
    """Return the median length of the rows, in ms."""
    return 1000 / SAMPLE_RATE * (rows["stop"] - rows["start"]).median()


def densest(rows):
    """Return how many rows begin within the 10 s that hold most of them, one window."""
    starts = np.sort(rows["start"])
    return max(np.searchsorted(starts, starts + 10 * SAMPLE_RATE) - np.arange(len(starts)))


def count_leads(rows):
    """Return in how many leads the rows are, which all name the same ones."""
    return len(rows["leads"].iloc[0].split(";"))


# how visible a class is in a record, from its rows of evidence.csv
VISIBLE = {
    "AF": ("variation of RR (sd / mean)", variation),
    "IAVB": ("PR, ms", width),
    "LBBB": ("QRS, ms", width),
    "RBBB": ("QRS, ms", width),
    "PAC": ("early beats in 10 s", densest),
    "PVC": ("early beats in 10 s", densest),
    "STD": ("leads with the shift", count_leads),
    "STE": ("leads with the shift", count_leads),
}


def visible_table(evidence, labels, y_score, thresholds):
    """Return the row of each class; `labels` are rows of labels.csv, scores and thresholds (N, K).

    The columns after `recall` are of the positives by how visible they are: up to three groups, as
    even as they can be without a value in two of them (from, to, records, recall), and `above`, how
    often one that was found is more visible than one that was missed.
    """
    rows = []
    for k, name in enumerate(CLASSES):
        true, found = labels[name].to_numpy() == 1, y_score[:, k] >= thresholds[:, k]
        row = {"class": name, "n": true.sum(), "f1": f1_score(true, found, zero_division=0)}
        row["recall"] = found[true].mean() if true.any() else np.nan
        if name in VISIBLE:
            measure, function = VISIBLE[name]
            shown = evidence[evidence["class"] == name].groupby("patient_id")
            values = {i: function(part) for i, part in shown}
            table = pd.DataFrame({"found": found[true]}, index=labels["patient_id"][true])
            table = table.assign(visible=pd.Series(values)).dropna()
            groups = pd.qcut(table["visible"], 3, labels=False, duplicates="drop")
            for i, (_, part) in enumerate(table.groupby(groups), start=1):
                row |= {f"from_{i}": part["visible"].min(), f"to_{i}": part["visible"].max()}
                row |= {f"n_{i}": len(part), f"recall_{i}": part["found"].mean()}
            if table["found"].value_counts().reindex([True, False], fill_value=0).min() >= FEWEST:
                row["above"] = roc_auc_score(table["found"], table["visible"])
            row["measure"] = measure
        rows.append(row)
    return pd.DataFrame(rows)


def lead_table(evidence, parts, shares):
    """Return a row for each class and lead.

    `parts` are the single-lead models, {lead: [(rows of labels.csv, scores, thresholds) of a
    round]}; `shares`, class x lead, are the population map's, with its mean as AVG: leads of
    large signals have large shares for every class, so the ratio to the mean is kept too.
    """
    rows, pooled = [], {lead: runs.pool(rounds) for lead, rounds in parts.items()}
    for k, name in enumerate(CLASSES):
        shown = evidence[evidence["class"] == name].groupby("patient_id")["leads"].first()
        for lead, rounds in parts.items():
            aucs = [roc_auc_score(labels[name], score[:, k]) for labels, score, _ in rounds]
            labels, score, thresholds = pooled[lead]
            true = labels[name].to_numpy() == 1
            found = (score[:, k] >= thresholds[:, k])[true]
            leads = shown.reindex(labels["patient_id"][true]).astype(object).fillna("")
            inside = np.array([text == "all" or lead in text.split(";") for text in leads])
            row = {"class": name, "lead": lead, "n": true.sum(), "in_evidence": inside.mean()}
            row |= {"auc": np.mean(aucs), "map": shares.loc[name, lead]}
            row["map_ratio"] = shares.loc[name, lead] / shares.loc["AVG", lead]
            if min(inside.sum(), (~inside).sum()) >= FEWEST:
                row |= {"recall_in": found[inside].mean(), "recall_out": found[~inside].mean()}
            row |= {f"auc_{i}": auc for i, auc in enumerate(aucs)}
            rows.append(row)
    return pd.DataFrame(rows)


def main(args):
    evidence = read_evidence(Path(args.data_dir, "evidence.csv"))
    data = runs.read_data_folder(args.data_dir, args.limit, required=True)
    network = network_name(args.arch, args.width, args.init)
    lead_sets = {"all": None} | {lead: (lead,) for lead in LEADS}
    named = {
        name: runs.round_runs(network, args.data_dir, args.seed, leads)
        for name, leads in lead_sets.items()
    }
    found = {name: runs.finished_rounds(rounds, data) for name, rounds in named.items()}
    common = sorted(set.intersection(*map(set, found.values())))
    path = Path("explanations", named["all"][0], "population.csv")
    if not common or not path.is_file():
        raise InputError(f"no round of all lead sets is finished, or no {path}; run the rehearsal")
    parts = {
        name: [runs.load_test(rounds[i], data) for i in common] for name, rounds in found.items()
    }
    shares = pd.read_csv(path, index_col="class")
    write_csv(visible_table(evidence, *runs.pool(parts.pop("all"))), OUT / "visible.csv")
    write_csv(lead_table(evidence, parts, shares), OUT / "leads.csv")
    write_research_json(OUT / "made.json", {"versions": software_versions()})
    print(f"{OUT}/visible.csv and leads.csv")


if __name__ == "__main__":
    run_main(main, parse_args)
