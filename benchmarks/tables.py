"""Write the tables of README and docs that come from results/, between two marks of their page.

    python -m benchmarks.tables

A page holds `<!-- table NAME ... -->`, the table, `<!-- end of table NAME -->`. The first mark
names the command, the commit and the machine that made its files ('with changes': the tree was not
clean). A table is written only where all its files are there; the others are kept.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from benchmarks import check_tables
from dataset import CLASSES
from ecg.evaluation.classifiers import CLASSIFIERS
from ecg.evaluation.metrics import SCORES
from ecg.evaluation.pairs import corrected_error
from ecg.reporting.paper import PAPER
from ecg.reporting.score_tables import summary_table
from ecg.reporting.tables import short
from ecg.running.command import make_parser, run_main
from ecg.simulation.st import STD_LIMIT
from utils import InputError, read_json, replacing, results_path

DEMO = "resnet18w24_synthetic_all_42"
STARTS = {"random": "random weights", "init": "`--init models/general.pth`"}
PAPER_STARTS = STARTS | {"init": "`--init`, a general model of its size"}
SETTINGS = [(f, s) for f in ("paper", "rhythm") for s in ("none", "standard")]
TRIED = [f"general_{name}" for name in check_tables.METHODS if name != "averaged"]
ANOTHER = "general_shap", "general_evidence"
SETS = {"synthetic": "synthetic", "ptbxl": "PTB-XL"}
FEW = 5  # records: fewer say little of a group


class Source(NamedTuple):
    """A table of a page: the command that makes its files, their paths, and how it is made of them.

    `files` {key: csv} are read for `rows`, which takes {key: DataFrame} and returns the head and
    the other rows, as text; `made` are the json files that name the code and the machine.
    """

    page: str
    command: str
    files: dict
    made: list
    rows: object


def parse_args(argv=None):
    return make_parser(__doc__).parse_args(argv)


def mean_interval(values, rounds=False):
    """Write a mean over trainings with its 95 % interval (t distribution).

    The trainings are of several seeds or, if `rounds`, of rounds that share training records: the
    error of their mean is the corrected one (`corrected_error`).
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        return short(values.mean())
    sd = values.std(ddof=1)
    error = corrected_error(sd, len(values)) if rounds else sd / len(values) ** 0.5
    half = student.ppf(0.975, len(values) - 1) * error
    return f"{short(values.mean())} +- {short(half)}"


def demo_rows(tables):
    """Return the table that make demo ends with: the network and the baselines."""
    table = summary_table({name: {0: t.set_index("class")} for name, t in tables.items()})
    rows = [table.head]
    for row in table.rows:
        rows.append([cell.removeprefix("0") for cell in row])
    return rows


def baseline_rows(tables):
    """Return the table of the baselines with other features and scaling: macro F1 / AUC."""
    rows = [["features, scaling", "set", *CLASSIFIERS]]
    for (data, features, scale), table in tables.items():
        scores = table.set_index(["classifier", "score"])["AVG"]
        cells = [f"{short(scores[c, 'F1'])} / {short(scores[c, 'AUC'])}" for c in CLASSIFIERS]
        rows.append([f"{features}, {scale}", SETS[data], *cells])
    return rows


def zero_rows(tables):
    """Return the scores on real records of models trained without patients, by class."""
    table = tables["zero"]
    n = table["model"].nunique()
    head = ["records", f"mean of {n}", "macro, +- 95 % over trainings", "95 % over records"]
    rows = [[*head, *CLASSES, "exactly right, 95 % over records"]]
    for (records, score), group in table.groupby(["records", "score"], sort=False):
        cells = [short(group[name].mean()) for name in CLASSES]
        exact = ""
        if score.startswith("F1, own"):
            exact = f"{short(group['exactly right'].mean())} {ends(group, 'exact')}"
        macro = [mean_interval(group["macro"]), ends(group, "macro")]
        rows.append([records, score, *macro, *cells, exact])
        if score == "AUC":
            counts = [str(group[f"n {name}"].iloc[0]) for name in CLASSES]
            rows.append([records, f"positives of {group['n'].iloc[0]}", "", "", *counts, ""])
    return rows


def level_rows(tables):
    """Return heights and depressions of ST, real beside synthetic, by group."""
    names = {"height": "V2 or V3 at J + 60 ms", "depth": "deepest depression"}
    table = tables["levels"]
    sets = sorted(table["set"].unique(), key=lambda name: name == "synthetic")
    rows = [["mV: median [10 %, 90 %]", "of", *sets]]
    for (what, group), part in table.groupby(["what", "group"], sort=False):
        own, cells = part.set_index("set"), []
        for name in sets:
            n = own["n"].get(name, 0)
            if n < FEW:
                cells.append("")
                continue
            row = own.loc[name]
            beyond = f"; {short(row.beyond)} beyond {short(STD_LIMIT)}" if what == "depth" else ""
            text = f"{short(row['median'])} [{short(row.low)}, {short(row.high)}]{beyond} ({n})"
            cells.append(text)
        rows.append([names[what], group, *cells])
    return rows


def ends(group, name):
    """Write the ends of an interval over records, which all rows of a group share."""
    return f"[{short(group[f'{name} low'].iloc[0])}, {short(group[f'{name} high'].iloc[0])}]"


def healthy_rows(tables):
    """Return the share of healthy people with a false alarm, mean of the models, by group."""
    table = tables["healthy"]
    alarms = [name for name in CLASSES if name in table]
    head = ["healthy people", "n", "any finding, +- 95 % over trainings", "95 % over people"]
    rows = [[*head, *alarms, "exactly right"]]
    for group, part in table.groupby("group", sort=False):
        cells = [mean_interval(part["any"]), ends(part, "any")]
        cells += [short(part[name].mean()) for name in alarms]
        rows.append([group, str(part["n"].iloc[0]), *cells, short(part["exactly right"].mean())])
    return rows


def pointing_rows(tables):
    """Return how often the evidence head points into the evidence, by records and class."""
    table = tables["pointing"]
    n = table["model"].nunique()
    rows = [[f"records, mean of {n} trainings", "", *CLASSES]]
    for title, part in table.groupby("records", sort=False):
        classes = part.groupby("class")
        counts = classes.size() // n
        rows.append([title, "records", *(str(counts.get(name, 0)) for name in CLASSES)])
        words = {"inside": "highest frame inside", "chance": "by chance", "overlap": "overlap"}
        for column, text in words.items():
            means = classes[column].mean()
            rows.append([title, text, *(short(means.get(name, np.nan)) for name in CLASSES)])
    return rows


def few_rows(tables):
    """Return the scores within 100 records, from random weights and from the general models."""
    rows = [
        [
            "start",
            "macro AUC, +- 95 % over trainings",
            "macro F1, the same",
            *CLASSES,
            "exactly right",
            "lowest threshold",
            "s a training, one core",
        ]
    ]
    for arm, group in tables["few"].groupby("arm", sort=False):
        cells = [mean_interval(group[name]) for name in ("AUC AVG", "F1")]
        cells += [short(group[f"AUC {name}"].mean()) for name in CLASSES]
        cells += [short(group["exactly right"].mean()), short(group["lowest threshold"].min())]
        rows.append([STARTS.get(arm, arm), *cells, f"{group['seconds'].mean():.0f}"])
    return rows


def ptbxl_rows(tables):
    """Return the trainings on the subset of PTB-XL: test AUC by round, validation AUC by epoch."""
    head = ["leads", "start", "test AUC by round", "mean +- 95 % over rounds", "epochs"]
    rows = [[*head, "validation AUC after epochs 1 to 8, mean of the rounds", "highest (epoch)"]]
    for (leads, arm), group in next(iter(tables.values())).groupby(["leads", "arm"], sort=False):
        test = group.groupby("round")["test_auc"].first()
        curve = group.groupby("epoch")["val_auc"].mean()
        network, _, start = arm.rpartition(", ")
        cells = [(PAPER_STARTS if network == "paper" else STARTS)[start]]
        cells += [" ".join(map(short, test)), mean_interval(test, rounds=True), str(len(curve))]
        highest = f"{short(curve.max())} ({curve.idxmax()})"
        cells += [" ".join(map(short, curve[:8])), highest]
        rows.append(["12" if leads == "all" else leads, *cells])
    return rows


def real_rows(tables):
    """Return the macro AUC on real records: from random weights, and from synthetic records."""
    head = ["macro AUC on real records, mean +- 95 % over trainings", "from random weights"]
    rows = [[*head, "first trained on synthetic records"]]
    for key, model in {"zero": "", "zero_demo": ", by `make demo`'s model"}.items():
        table = tables[key].query("records == 'cpsc2018_feb2020' and score == 'AUC'")
        name = f"100 records of CPSC2018, **no patient in training**{model}"
        rows.append([name, "not possible", mean_interval(table["macro"])])
    few = tables["few"].groupby("arm")["AUC AVG"]
    cells = [mean_interval(few.get_group(arm)) for arm in STARTS]
    rows.append(["trained on 80 of the 100, scored on the others (ten folds)", *cells])
    ptbxl = tables["ptbxl"].groupby(["leads", "arm"])
    for leads, text in {"all": "12 leads", "V5": "V5 alone"}.items():
        parts = [ptbxl.get_group((leads, f"small, {start}")) for start in STARTS]
        cells = []
        for part in parts:
            test = mean_interval(part.groupby("round")["test_auc"].first(), rounds=True)
            cells.append(f"{test} ({part['epoch'].max()} epochs)")
        rows.append([f"528 records of PTB-XL, three rounds, {text}", *cells])
    return rows


def interval_rows(tables):
    """Return the errors of measured intervals: ours, and the mean absolute ones of other tools."""
    table = tables["errors"].query("set != 'LUDB, chosen on'")
    table = table.assign(error=table["measured"] - table["true"])
    ours, *others = table["tool"].unique()
    rows = [["records", "interval", "measured", "mean error, ms", "SD", "mean absolute error"]]
    rows[0] += [f"{tool}: measured, mean absolute error" for tool in others]
    for (records, interval), group in table.groupby(["set", "interval"], sort=False):
        errors = {tool: part["error"].dropna() for tool, part in group.groupby("tool", sort=False)}
        n, error = group.query("tool == @ours")["true"].notna().sum(), errors[ours]
        cells = [records, interval, f"{len(error)} of {n}"]
        cells += [f"{number:.0f}" for number in (error.mean(), error.std(), error.abs().mean())]
        cells += [f"{len(errors[t])}, {errors[t].abs().mean():.0f}" for t in others]
        rows.append(cells)
    return rows


def paper_rows(tables):
    """Return the paper's scores by class, each with its evidence grade."""
    table = tables["paper"].query("table == 'scores'").set_index(["row", "column"])
    scores = ("precision", "recall", "f1", "auc")
    rows = [["class", *(SCORES[score].label for score in scores)]]
    for name in (*CLASSES, "AVG"):
        cells = (table.loc[(name, score)] for score in scores)
        rows.append([name, *(f"{short(float(cell.value))} {cell.evidence}" for cell in cells)])
    return rows


def agreement_source(rows, what, *names):
    """Return the source of a table of benchmarks.agreement."""
    files = {name: results_path("faithfulness", f"{what}_{name}.csv") for name in names}
    made = [path.with_suffix(".json") for path in files.values()]
    command = f"python -m benchmarks.agreement {what} --model ..."
    return Source("docs/explanations.md", command, files, made, rows)


def benchmark_source(page, command, rows, folder, *names):
    """Return the source of a table of a benchmark that writes <name>.csv and .json to results/."""
    files = {name: results_path(folder, f"{name}.csv") for name in names}
    made = [path.with_suffix(".json") for path in files.values()]
    return Source(page, f"python -m benchmarks.{command}", files, made, rows)


def transfer_source(page, command, rows, *names):
    """Return the source of a table of benchmarks.transfer."""
    return benchmark_source(page, f"transfer {command}", rows, "transfer", *names)


def twin_source(rows, name):
    """Return the source of a table of benchmarks.twin."""
    command = "python -m benchmarks.twin --data-dir data/CPSC_twin --init models/general.pth"
    files, made = {name: results_path("twin", f"{name}.csv")}, [results_path("twin", "made.json")]
    return Source("docs/explanations.md", command, files, made, rows)


def baseline_source():
    """Return the source of the table of docs/baselines.md."""
    files, made = {}, []
    for data in SETS:
        for features, scale in SETTINGS:
            tail = "" if features == "paper" else f"-{features}"
            tail += ("" if scale == "none" else f"-{scale}") + f"_{data}_42"
            files[data, features, scale] = results_path(f"baselines{tail}", "table.csv")
            made.append(results_path(f"LR{tail}", "run.json"))
    command = "python baselines.py --classifier all --features ... --scale ... --data-dir ..."
    return Source("docs/baselines.md", command, files, made, baseline_rows)


RUNS = {"network": DEMO} | {name: f"{name}_synthetic_42" for name in CLASSIFIERS}
PAPER_VALUES = Source(
    "docs/figures.md",
    "ecg/reporting/paper.csv",
    {"paper": PAPER},
    [],
    paper_rows,
)
TABLES = {
    "published": PAPER_VALUES,
    "demo": Source(
        "README.md",
        "make demo",
        {name: results_path(run, "scores.csv") for name, run in RUNS.items()},
        [results_path(run, "run.json") for run in RUNS.values()],
        demo_rows,
    ),
    "real": transfer_source(
        "README.md", "zero, few and ptbxl", real_rows, "zero", "zero_demo", "few", "ptbxl"
    ),
    "zero": transfer_source("docs/model.md", "zero --models ...", zero_rows, "zero"),
    "healthy": transfer_source("README.md", "healthy --models ...", healthy_rows, "healthy"),
    "pointing": benchmark_source(
        "docs/model.md", "pointing --models ...", pointing_rows, "transfer", "pointing"
    ),
    "few": transfer_source("docs/model.md", "few --amp --models ...", few_rows, "few"),
    "ptbxl": transfer_source("docs/model.md", "ptbxl --amp --models ...", ptbxl_rows, "ptbxl"),
    "paper": transfer_source("docs/model.md", "ptbxl --paper --models ...", ptbxl_rows, "paper"),
    "intervals": benchmark_source(
        "docs/own.md", "ecg_intervals", interval_rows, "intervals", "errors"
    ),
    "levels": benchmark_source("docs/model.md", "st_levels", level_rows, "st_levels", "levels"),
    "baselines": baseline_source(),
    "truth": agreement_source(check_tables.truth_rows, "truth", *TRIED),
    "equal": agreement_source(check_tables.equal_rows, "truth", *TRIED),
    "reliability": agreement_source(check_tables.reliability_rows, "reliability", *ANOTHER),
    "visible": twin_source(check_tables.visible_rows, "visible"),
    "leads": twin_source(check_tables.lead_rows, "leads"),
}


def read(path):
    """Return a csv, or None if it is missing or damaged."""
    try:
        return pd.read_csv(path)
    except (OSError, ValueError):
        return None


def made_with(paths):
    """Name the code and the machine that made files, from the json files beside them."""
    code, machines = {}, {}
    for path in paths:
        versions = (read_json(path) or {}).get("versions", {})
        git = versions.get("git", "not recorded")
        code[git.removesuffix("+") + (", with changes" if git.endswith("+") else "")] = True
        machine = versions.get("hardware", "machine not recorded")
        machines[f"{machine}; torch {versions.get('torch', 'not recorded')}"] = True
    return f"code {' and '.join(code)}; {' and '.join(machines)}"


def write_table(name, source):
    """Write one table into its page; return a sentence about what was done."""
    page = Path(source.page)
    tables = {key: read(path) for key, path in source.files.items()}
    absent = [source.files[key] for key, table in tables.items() if table is None]
    if absent:
        return f"{source.page}, table {name}: kept, as {absent[0]} is missing"
    lines = [f"| {' | '.join(cells)} |" for cells in source.rows(tables)]
    lines.insert(1, "|---" * (lines[0].count("|") - 1) + "|")
    text = "\n".join(lines)
    made = f"; {made_with(source.made)}" if source.made else ""
    mark = f"<!-- table {name}, from: {source.command}{made} -->"
    marks = re.compile(rf"<!-- table {name}\b[^>]*-->\n.*?(?=<!-- end of table {name} -->)", re.S)
    old = page.read_text(encoding="utf-8")
    new, count = marks.subn(lambda _: f"{mark}\n{text}\n", old)
    if not count:
        return f"{source.page}, table {name}: its marks are missing"
    if new != old:
        with replacing(page) as temporary:
            temporary.write_text(new, encoding="utf-8")
    return f"{source.page}, table {name}: {'written' if new != old else 'unchanged'}"


def main(args):
    absent = [source.page for source in TABLES.values() if not Path(source.page).is_file()]
    if absent:
        raise InputError(f"{absent[0]} is not here; run this in the folder of the repository")
    for name, source in TABLES.items():
        print(write_table(name, source))


if __name__ == "__main__":
    run_main(main, parse_args)
