"""Write the report of a reproduction: every table and figure that results/ and explanations/ hold.

Reads   files under results/ and explanations/ (of the steps); the digests of data/CPSC, where it is
        there, to tell whether the scores are of its present labels and signals; and paper.csv, the
        paper's values with their evidence grade
Writes  results/report_<run>.html (one file, no network needed), with links to the csv files beside
        it; results/report.html, which lists the reports that are there

        results/latex/*.tex  with --latex: each table as a tabular

    python -m ecg.report --data-dir data/CPSC
    python -m ecg.report --data-dir data/synthetic --arch resnet18 --width 24 --latex

The paper is compared where dataset_table.csv in the data folder (or results/dataset_<data>/) holds
CPSC2018's own counts; a run on other data is labelled so, and the paper's values are grey there. A
twin of CPSC2018 (python -m ecg.synthetic --like) is marked in every table of scores: the headers in
the data folder, or synthetic.txt in that of the results, identify it. Sections of what has not been
run name the command that runs it.
"""

import shlex
from pathlib import Path

import pandas as pd

from dataset import CLASSES, LEADS, N_FOLDS, classes_of, leads_text, parse_leads, round_folds
from ecg.evaluation import runs
from ecg.evaluation.classifiers import METHODS
from ecg.io.sources import is_synthetic
from ecg.reporting import class_section, explanation_section, latex, pages, score_tables, times
from ecg.reporting.paper import data_table, is_cpsc2018, read_paper
from ecg.reporting.pictures import figures
from ecg.reporting.tables import links, load_csv, without_empty
from ecg.running.command import make_parser, run_main
from resnet import BLOCKS
from utils import (
    RESEARCH_USE,
    WIDTH,
    InputError,
    explanations_path,
    natural,
    network_name,
    positive,
    results_path,
)

HISTORY = {"history": "loss and validation scores by epoch"}
MAPS = {
    "population": "Mean share of |SHAP value| per lead, by predicted class",
    "population_signed": "The paper's map: signed SHAP values summed, each row divided by its sum",
}
MAP_FILES = (
    "index.html",
    "population_both.png",
    "population_both.svg",
    "values.csv",
    "population.csv",
)


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", default="data/CPSC", help="folder of the data set")
    parser.add_argument("--latex", action="store_true", help="write the tables as LaTeX too")
    parser.add_argument("--note", help="a sentence to show on top")
    group = parser.add_argument_group("which runs to show, named as they were trained")
    group.add_argument("--arch", choices=BLOCKS, default="resnet34", help="network of the runs")
    group.add_argument("--width", type=positive, default=WIDTH, help="its width")
    group.add_argument("--init", metavar="MODEL.pth", help="model that the runs started from")
    group.add_argument("--leads", type=parse_leads, help="leads of the main table (without: all)")
    group.add_argument("--seed", type=natural, default=42, help="seed of the runs")
    return parser.parse_args(argv)


def run_flags(args):
    """Return the flags of a step that name the data, and those that name the runs too, as text."""
    named = [("--init", args.init, None)]
    if not args.init:
        named = [("--arch", args.arch, "resnet34"), ("--width", args.width, WIDTH)]
    named.append(("--seed", args.seed, 42))
    flags = ["--data-dir", args.data_dir]
    net_flags = list(flags)
    for flag, value, usual in named:
        if value != usual:
            net_flags += [flag, str(value)]
    return {"flags": shlex.join(flags), "net_flags": shlex.join(net_flags)}


def data_context(data_dir, name):
    """Return the title, the table of the data set, and the paper where it is the paper's data."""
    folder = results_path(f"dataset_{name}")
    path, mark = folder / "dataset_table.csv", folder / "synthetic.txt"
    own = Path(data_dir, path.name)  # where preprocess.py writes it
    path = own if own.is_file() else path  # the copy serves where the data folder is not there
    table, paper = load_csv(path), read_paper()
    title, twin = "CPSC2018: the paper beside this reproduction", False
    if table is None or not is_cpsc2018(table, paper):
        why = "not CPSC2018" if table is not None else "its table of records is missing"
        title = f"ECG findings: {name} ({why}: no comparison with the paper)"
        paper = None
    elif mark.is_file() or (Path(data_dir).is_dir() and is_synthetic(data_dir)):
        title, twin = f"A synthetic twin of CPSC2018 ({name}): not comparable with the paper", True
    data = None if table is None else data_table(table, paper)
    return {"title": title, "data": data, "data_path": path, "twin": twin}, paper


def group_by_reason(left_out):
    """Return a sentence for all rounds that are left out for one reason."""
    reasons = {}
    for item in left_out:
        reasons.setdefault(item.reason, []).append(item)
    sentences = []
    for reason, (first, *others) in reasons.items():
        more = f"{first.run} and {len(others)} more rounds are left out: {reason}"
        sentences.append(more if others else str(first))
    return sentences


def score_context(rounds, paper, twin):
    """Return what the template shows of the network's scores, from {round: table}."""
    if not rounds:
        return {"glance": None, "scores": None}
    doubtful = score_tables.doubtful_over(rounds)
    shown = [
        score_tables.glance_table(rounds, paper),
        *score_tables.score_tables(rounds, paper, doubtful),
    ]
    glance, *shown = map(score_tables.as_twin, shown) if twin else shown
    scores = {
        "count": len(rounds),
        "which": ", ".join(map(str, rounds)),
        "marks": doubtful,
        "tables": shown,
    }
    return {"glance": glance, "scores": scores}


def baseline_context(network, methods):
    """Return the baselines' scores beside the network's, of {method: {round: table}}."""
    baselines = {name: rounds for name, rounds in methods.items() if name != network}
    if not baselines:
        return None
    methods = baselines | methods  # the network, if it is there, comes last
    doubtful = {name: score_tables.doubtful_over(rounds) for name, rounds in methods.items()}
    doubtful = {name: classes for name, classes in doubtful.items() if classes}
    return {"tables": score_tables.baseline_tables(methods, doubtful), "marks": doubtful}


def pair_context(network, run, baselines, data):
    """Return the tests of the network against the baselines, and the outdated ones' folders.

    `baselines` is {classifier: run of round 0}.
    """
    pairs, old = {}, []
    for name, other in baselines.items():
        folder = results_path(f"compare_rounds_{run}_vs_rounds_{other}")
        table = load_csv(folder / "differences.csv")
        if table is None:
            continue
        if runs.read_sources(folder, data) is None:
            old.append(folder)
        else:
            pairs[name] = table
    return {"pairs": score_tables.pair_table(network, pairs), "old_pairs": old}


def lead_context(folder, data, notes):
    """Return the models by lead: {} without, {"old": True} where their scores have changed."""
    table = load_csv(folder / "single_lead.csv", "rank")
    if table is None:
        return {}
    if runs.read_sources(folder, data) is None:
        return {"old": True}
    return {
        "old": False,
        "n": table.n.max(),
        "table": score_tables.lead_table(table),
        "notes": notes,
        "figures": figures(folder, {"single_lead": "Macro scores by lead"}),
    }


def explanation_context(folder, results, classes):
    """Return heat maps, explained records and checks, unless they explain something else."""
    outdated = explanation_section.why_explanations_outdated(folder, results)
    outdated_checks = explanation_section.why_explanations_outdated(
        folder / "faithfulness", results
    )
    return {
        "explanations": folder,
        "outdated": outdated,
        "maps": [] if outdated else figures(folder, MAPS),
        "explained": None if outdated else explanation_section.explained_classes(folder, classes),
        "outdated_checks": outdated_checks,
        "checks": None if outdated_checks else explanation_section.checks(folder, classes),
    }


def study_classes(data, run):
    """Return the classes of a DataFolder's labels, else those of the run, else the paper's."""
    if data.labels is not None:
        return classes_of(data.labels)
    return runs.read_dict(results_path(run, "run.json")).get("classes", CLASSES)


def file_links(run, data_path, lead_folder, baselines):
    """Return the files beside the report, by section."""
    results, folder = results_path(run), explanations_path(run)
    files = {
        "data": [data_path],
        "scores": [
            results / "scores.html",
            results / "scores.csv",
            results / "predictions.csv",
            results_path(f"compare_rounds_{run}", "rounds.csv"),
        ],
        "baselines": [results_path(base, "scores.csv") for base in baselines.values()],
        "leads": [lead_folder / "single_lead.csv"],
        "maps": [folder / name for name in MAP_FILES],
        "checks": [folder / "faithfulness.csv"],
    }
    return {part: links(paths, results_path()) for part, paths in files.items()}


def main(args):
    leads, name = args.leads or LEADS, Path(args.data_dir).resolve().name
    network = network_name(args.arch, args.width, args.init)
    several = runs.other_lead_sets(network, args.data_dir, args.seed)
    lead_sets = [LEADS, *((lead,) for lead in LEADS), *several]
    named = {
        choice: runs.round_runs(network, args.data_dir, args.seed, choice)
        for choice in dict.fromkeys([leads, *lead_sets])
    }
    named |= {method: runs.round_runs(method, args.data_dir, args.seed) for method in METHODS}
    run, baselines = named[leads][0], {method: named[method][0] for method in METHODS}
    others = runs.describe_scored(args.data_dir)
    if others and not results_path(run).exists():
        raise InputError(f"no run {run}; scored on {args.data_dir}: {others}")
    data = runs.read_data_folder(args.data_dir, runs.run_settings(run).get("limit"))
    finished = {key: runs.finished_rounds(rounds, data) for key, rounds in named.items()}
    left_out = {key: runs.left_out(rounds, data) for key, rounds in named.items()}
    warnings = [text for items in left_out.values() for text in group_by_reason(items)]
    if None in (data.digests.labels, data.digests.signals):
        warnings.append(
            f"{args.data_dir} has no labels.csv or no packed signals: whether the scores are of "
            "its present data is not known"
        )
    lead_notes = [str(item) for key in lead_sets for item in left_out[key] if item.settings]
    lead_notes += runs.settings_notes([finished[key] for key in lead_sets if finished[key]])
    methods = {network: finished[leads]} | {method: finished[method] for method in METHODS}
    methods = {method: score_tables.read_rounds(rounds) for method, rounds in methods.items()}
    methods = {method: rounds for method, rounds in methods.items() if rounds}
    lead_folder = results_path(f"compare_leads_{named[LEADS][0]}")
    described = times.read_runs(one for rounds in finished.values() for one in rounds.values())
    context, paper = data_context(args.data_dir, name)
    context |= score_context(methods.get(network), paper, context["twin"])
    context |= pair_context(network, run, baselines, data)
    classes = study_classes(data, run)
    context |= explanation_context(explanations_path(run), results_path(run), classes)
    explained = context["explained"].figures if context["explained"] else {}
    scored = run if 0 in finished[leads] else None
    context |= run_flags(args) | {
        "data_dir": args.data_dir,
        "run": run,
        "leads": leads_text(leads),
        "all_leads": len(leads) == len(LEADS),
        "warnings": warnings,
        "note": args.note,
        "paper": paper is not None,
        "n_folds": N_FOLDS,
        "min_rounds": score_tables.MIN_ROUNDS,
        "paper_leads": read_paper().query("table == 'single_lead'").iloc[0],
        "baselines": baseline_context(network, methods),
        "lead_folder": lead_folder,
        "lead_models": lead_context(lead_folder, data, lead_notes),
        "classes": class_section.class_parts(scored, data, classes, explained),
        "test_fold": round_folds(0)[2],
        "history": figures(results_path(run), HISTORY, "Round 0: "),
        "training": times.training_table(described),
        "jobs": times.job_table(results_path(f"times_{name}")),
        "run_tables": times.run_tables(described),
        "notes": times.run_notes(described),
        "links": file_links(run, context["data_path"], lead_folder, baselines),
    }
    report = results_path(f"report_{run}.html")
    pages.write(report, "report", **context)
    pages.write_index()
    if args.latex:
        print(f"{latex.write(results_path('latex'), context)} tables in {results_path('latex')}")
    if methods:
        summary = without_empty(score_tables.summary_table(methods))
        table = pd.DataFrame(summary.rows, columns=summary.head)
        print(f"\n{name}, test folds, mean over the rounds\n{table.to_string(index=False)}\n")
    print(f"{RESEARCH_USE} Report: {report.resolve()}")


if __name__ == "__main__":
    run_main(main, parse_args)
