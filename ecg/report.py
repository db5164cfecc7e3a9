"""Write the report of a reproduction: every table and figure that results/ and explanations/ hold.

Reads   only files under results/ and explanations/ (of the steps), and
        paper.csv, the paper's values with their evidence grade
Writes  results/report.html (one file, no network needed) and results/report.md

    python -m ecg.report --data-dir data/CPSC

--data-dir only names the data set. The paper's columns are shown where results/dataset_<data>/
holds CPSC2018's own counts; a run on other data is labelled so. What has not been run says so.
"""

from pathlib import Path

import pandas as pd

from dataset import CLASSES, LEADS, add_data_args, leads_text, parse_leads, round_folds
from ecg.evaluation.classifiers import CLASSIFIERS
from ecg.evaluation.runs import finished_rounds, left_out, other_lead_sets, round_runs
from ecg.reporting.document import Code, Figure, Table, Text, write_document
from ecg.reporting.tables import (
    NOT_RUN,
    baseline_blocks,
    data_blocks,
    glance_blocks,
    is_cpsc2018,
    lead_blocks,
    main_blocks,
    named_run,
    number,
    read_paper,
    read_table,
)
from resnet import add_model_args
from utils import RESEARCH_USE, make_parser, read_json

CURVES = {
    "history": "Training: loss and validation scores by epoch",
    "roc": "ROC curves, test fold",
    "precision_recall": "Precision and recall, test fold",
    "reliability": "Reliability of the probabilities, test fold",
    "confusion": "Confusion matrices, test fold",
}
MAPS = {
    "population": "Mean share of |SHAP value| per lead, by predicted class",
    "population_signed": "The paper's map: signed SHAP values summed, each row divided by its sum",
}
CHECKS = {  # the checks shown by class, and their measures
    "evidence": ("times uniform in time", "times uniform in leads", "times uniform in both",
                 "pointing game"),
    "curves": ("deletion top minus random area", "insertion top minus random area"),
}  # fmt: skip


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    add_model_args(parser)
    parser.add_argument("--leads", type=parse_leads, help="of the main table (None: all)")
    return parser.parse_args(argv)


def figures(folder, captions, prefix=""):
    """Return the figures of a folder that are there; a sentence if none is."""
    paths = {folder / f"{name}.png": prefix + caption for name, caption in captions.items()}
    blocks = [Figure(path, caption) for path, caption in paths.items() if path.is_file()]
    return blocks or [Text(NOT_RUN.format(next(iter(paths))))]


def outdated_blocks(results, folder):
    """Return a sentence if the explanations are those of other weights than the scores, or []."""
    weights = [(read_json(path / "run.json") or {}).get("weights") for path in (results, folder)]
    if None in weights or weights[0] == weights[1]:
        return []
    return [Text(f"What stands in {folder} explains other weights than were trained last; run it "
                 "again: shap_values.py and faithfulness.py, with --force.")]  # fmt: skip


def example_blocks(folder):
    """Return one explained record a class: the first by name that is rightly predicted."""
    path = folder / "values.csv"
    text = {"patient_id": str, "labels": str}
    values = read_table(path, dtype=text, keep_default_na=False, na_values={})
    if values is None or not {"predicted", "labels"} <= set(values):
        return [Text(NOT_RUN.format(path))]
    values = values[values["predicted"] == 1].sort_values("patient_id")
    pairs = zip(values["class"], values["labels"], strict=True)
    rightly = values[[name in labels.split(";") for name, labels in pairs]]
    shown, without = [], []
    for name in CLASSES:
        rows = rightly[rightly["class"] == name]
        figure = folder / "patient" / f"{rows['patient_id'].iloc[0]}.png" if len(rows) else None
        if figure is not None and figure.is_file():
            labels = rows["labels"].iloc[0].replace(";", " + ")
            text = f"{figure.stem}: labelled {labels}, predicted {name}"
            shown.append(Figure(figure, text))
        else:
            without.append(name)
    text = f"{values['patient_id'].nunique()} records explained. Of each class the first record, "
    text += "by name, that is predicted as this and labelled so; colour: how far a sample moves "
    text += "the logit of the predicted class, orange up, blue down."
    if without:
        text += f" No such record: {', '.join(without)}."
    return [Text(text), *shown]


def check_blocks(folder):
    """Return the checks of the explanations: tables by class and over all, and the figures."""
    path = folder / "faithfulness.csv"
    table = read_table(path, keep_default_na=False, na_values=[""])
    if table is None or not {"check", "measure", "n", "mean", "low", "high"} <= set(table):
        return [Text(NOT_RUN.format(path))]
    blocks = []
    for check, measures in CHECKS.items():
        part = table[(table["check"] == check) & table["measure"].isin(measures)]
        if part.empty:
            continue
        wide = part.pivot(index="class", columns="measure", values="mean")
        rows = [[name, *(number(wide.loc[name].get(m, float("nan")), 2) for m in measures)]
                for name in [*CLASSES, "all"] if name in wide.index]  # fmt: skip
        blocks.append(Table(f"{check}, mean by class", ["class", *measures], rows))
    # the curves' single points are in the figure
    part = table[(table["class"] == "all") & ~table["measure"].str.endswith("%")]
    rows = [[row.check, row.measure, str(row.n), *map(number, (row.mean, row.low, row.high))]
            for row in part.itertuples(index=False)]  # fmt: skip
    head = ["check", "measure", "records", "mean", "95 %: from", "to"]
    blocks.append(Table("All checks, over all classes", head, rows))
    captions = {"faithfulness": "The checks", "samples": "What more samples buy"}
    found = [Figure(folder / f"{name}.png", text) for name, text in captions.items()]
    return blocks + [figure for figure in found if figure.path.is_file()]


def lead_sets(args):
    """Return every choice of leads of which there may be results."""
    return [*dict.fromkeys((LEADS, args.leads or LEADS, *((lead,) for lead in LEADS),
                            *other_lead_sets(args.arch, args.data_dir, args.seed)))]  # fmt: skip


def all_rounds(args):
    """Return {round: run} of every choice of leads, then of every classifier."""
    choices = [(args.arch, leads) for leads in lead_sets(args)]
    choices += [(name, None) for name in CLASSIFIERS]
    return [round_runs(method, args.data_dir, args.seed, leads) for method, leads in choices]


def find_left_out(args):
    """Return a sentence for each scored round that the tables leave out."""
    return [sentence for runs in all_rounds(args) for sentence in left_out(runs)]


def find_runs(args):
    """Return {run: its run.json} of the networks and baselines of this data set and seed."""
    names = [run for runs in all_rounds(args) for run in finished_rounds(runs).values()]
    runs = {run: read_json(Path("results", run, "run.json")) for run in names}
    needed = {"args", "versions"}
    return {run: content for run, content in runs.items() if needed <= set(content or ())}


def timing_blocks(runs):
    """Return the time of each model."""
    rows = []
    for run, content in runs.items():
        seconds = content.get("seconds_per_epoch")
        if seconds:
            gpu = content.get("peak_gpu_memory_mb")
            rows.append([run, content["device"], str(content["threads"]), content["precision"],
                         str(len(seconds)), number(sum(seconds) / len(seconds), 1),
                         number(sum(seconds) / 60, 1), str(content["peak_memory_mb"]),
                         str(gpu) if gpu else ""])  # fmt: skip
    head = ["run", "device", "threads", "precision", "epochs", "s an epoch", "min", "MB", "GPU MB"]
    blocks = [Table("Training", head, rows)] if rows else [Text("No network has been trained.")]
    return blocks


def run_blocks(runs):
    """Return what was run: versions, options and commands."""
    if not runs:
        return [Text("Nothing has been run.")]
    versions = pd.DataFrame({run: content["versions"] for run, content in runs.items()})
    rows = [[name, ", ".join(sorted(set(values.dropna().astype(str))))]
            for name, values in versions.iterrows()]  # fmt: skip
    names = ("seed", "round", "limit", "seconds", "epochs", "batch_size", "lr", "patience", "pad")
    options = []
    for run, content in runs.items():
        values = [content["args"].get(name) for name in names]
        options.append([run, *("" if value is None else str(value) for value in values)])
    title = "Versions (git: revision of the code, + with changes) and hardware"
    blocks = [Table(title, ["what", "version"], rows), Table("Options", ["run", *names], options)]
    notes = [f"{run}: {note}" for run, content in runs.items() for note in content.get("notes", [])]
    if notes:
        blocks += [Text("Notes of the runs:"), Code(notes)]
    return blocks


def make_sections(args, leads, paper, table, path):
    """Return the sections [(heading, blocks)]; `paper` is None on other data than CPSC2018."""
    run = named_run(args, leads)
    results, shap = Path("results", run), Path("explanations", run)
    runs = find_runs(args)
    text = "An independent reproduction of Zhang et al., Interpretable deep learning for automatic "
    text += "diagnosis of 12-lead electrocardiogram (iScience 24:102373, 2021). Every figure below "
    text += "is read from the files of finished runs."
    head = [Text(RESEARCH_USE, callout=True), Text(text)]
    if paper is None:
        text = "This data set is not CPSC2018, on which the paper's values were measured"
        text = (
            text if table is not None else f"Whether this is CPSC2018 is not known without {path}"
        )
        head.append(Text(f"{text}: no comparison with the paper is made.", callout=True))
    head += [Text(f"{sentence}.", callout=True) for sentence in find_left_out(args)]
    head += glance_blocks(args, leads, paper)
    _, _, fold = round_folds(0)
    return [
        ("", head),
        ("Data set", data_blocks(table, paper, path)),
        (f"Scores, leads {leads_text(leads)}", main_blocks(args, leads, paper)),
        ("Baselines", baseline_blocks(args, leads, paper)),
        ("Single leads", lead_blocks(args, paper)),
        ("Curves", figures(results, CURVES, f"Round 0 (test fold {fold}). ")),
        ("Heat maps", outdated_blocks(results, shap) or figures(shap, MAPS)),
        ("Examples", outdated_blocks(results, shap) or example_blocks(shap)),
        (
            "Are the explanations right?",
            outdated_blocks(results, shap / "faithfulness") or check_blocks(shap),
        ),
        ("Time", timing_blocks(runs)),
        ("What was run", run_blocks(runs)),
    ]


def main(args):
    data = Path(args.data_dir).resolve().name
    leads = args.leads or LEADS
    path = Path("results", f"dataset_{data}", "dataset_table.csv")
    table = read_table(path)
    paper = read_paper()
    known = table is not None and is_cpsc2018(table, paper)
    title = "CPSC2018: the paper beside this reproduction"
    if not known:
        why = "not CPSC2018" if table is not None else "its table of records is missing"
        title = f"ECG diagnosis on the data set {data} ({why}: no comparison with the paper)"
    sections = make_sections(args, leads, paper if known else None, table, path)
    write_document("results/report", title, sections)
    print(f"{RESEARCH_USE} Wrote results/report.html and results/report.md")


if __name__ == "__main__":
    main(parse_args())
