"""Write the report of a reproduction: every table and figure that results/ and explanations/ hold.

Reads   files under results/ and explanations/ (of the steps); the digests of data/CPSC, where it is
        there, to tell whether the scores are of its present labels and signals; and paper.csv, the
        paper's values with their evidence grade
Writes  results/report.html (one file, no network needed), with links to the csv files beside it

        results/latex/*.tex  with --latex: each table as a tabular
        README.md, docs/*.md with --readme, in place of the report: their tables of results, each
                             between two marks; what results/ does not hold is kept

    python -m ecg.report --data-dir data/CPSC
    python -m ecg.report --data-dir data/synthetic --arch resnet18 --width 24 --latex
    python -m ecg.report --readme

The paper's columns are shown where results/dataset_<data>/ holds CPSC2018's own counts; a run on
other data is labelled so. A twin of CPSC2018 (python -m ecg.synthetic --like) is marked in every
table of scores: it is known by the headers in the data folder, or synthetic.txt in that of the
results. What has not been run says so, and how it is run.
"""

from utils import run_main  # first, as it also knows of Ctrl-C while the others load

# isort: split

import shlex
from pathlib import Path

import pandas as pd

from dataset import LEADS, N_FOLDS, leads_text, parse_leads, round_folds
from ecg.evaluation import runs
from ecg.evaluation.classifiers import METHODS
from ecg.evaluation.metrics import few_positives
from ecg.io.sources import is_synthetic
from ecg.plot.scores import captions
from ecg.reporting import explained, latex, markdown, pages, tables, times
from resnet import BLOCKS, WIDTH, network_name
from utils import RESEARCH_USE, make_parser, natural, positive

HISTORY = {"history": "Training: loss and validation scores by epoch"}
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
    parser.add_argument(
        "--readme", action="store_true", help="write the tables of README.md and docs/ instead"
    )
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
    given = {"--arch": args.arch, "--width": args.width} if not args.init else {"--init": args.init}
    usual = {"--arch": "resnet34", "--width": WIDTH, "--seed": 42}
    given = {flag: v for flag, v in (given | {"--seed": args.seed}).items() if v != usual.get(flag)}
    data = ["--data-dir", args.data_dir]
    more = [str(word) for pair in given.items() for word in pair]
    return {"flags": shlex.join(data), "net_flags": shlex.join([*data, *more])}


def data_context(data_dir, name):
    """Return the title, the table of the data set, and the paper where it is the paper's data."""
    folder = Path("results", f"dataset_{name}")
    path, mark = folder / "dataset_table.csv", folder / "synthetic.txt"
    table, paper = tables.read_table(path), tables.read_paper()
    title, twin = "CPSC2018: the paper beside this reproduction", False
    if table is None or not tables.is_cpsc2018(table, paper):
        why = "not CPSC2018" if table is not None else "its table of records is missing"
        title = f"ECG diagnosis on the data set {name} ({why}: no comparison with the paper)"
        paper = None
    elif mark.is_file() or (Path(data_dir).is_dir() and is_synthetic(data_dir)):
        title, twin = f"A synthetic twin of CPSC2018 ({name}): not comparable with the paper", True
    data = None if table is None else tables.data_table(table, paper)
    return {"title": title, "data": data, "data_path": path, "twin": twin}, paper


def alike(group, today):
    """Return why rounds are left out, in a sentence for those of one reason; see runs.left_out."""
    found = {}
    for sentence in runs.left_out(group, today):
        run, _, why = sentence.partition(" is left out: ")
        found.setdefault(why, []).append(run)
    return [
        f"{names[0]} and {len(names) - 1} more rounds are left out: {why}"
        if len(names) > 1
        else f"{names[0]} is left out: {why}"
        for why, names in found.items()
    ]


def as_twin(table):
    """Mark a table that has the paper's columns as one of a synthetic twin of its data."""
    if not any("paper" in cell for cell in table.head):
        return table
    head = ["paper (not comparable)" if cell == "paper" else cell for cell in table.head]
    caption = f"{table.caption}; synthetic twin: not comparable with the paper"
    return tables.Table(caption, head, table.rows)


def score_context(found, run, paper, twin):
    """Return the network's scores, {} without, from {round: table}."""
    if not found:
        return {"glance": None, "scores": None}
    marks = tables.doubtful_over(found)
    scores = {"count": len(found), "which": ", ".join(map(str, found)), "marks": marks}
    scores["few"] = "; ".join(
        dict.fromkeys(filter(None, (few_positives(t.reset_index()) for t in found.values())))
    )
    mark = as_twin if twin else lambda table: table
    scores["tables"] = [mark(table) for table in tables.score_tables(found, paper, marks)]
    return {"glance": mark(tables.glance_table(found, run, paper)), "scores": scores}


def baseline_context(network, run, found, named, today):
    """Return the baselines' scores beside the network's, and the tests of the differences.

    `summary` is the table of all of them that the screen shows.
    """
    rounds = {network: found}
    found = {name: tables.read_rounds(runs.finished_rounds(named[name], today)) for name in METHODS}
    found = {name: rounds for name, rounds in found.items() if rounds}
    baselines, pairs, old = None, {}, []
    summary = markdown.summary_table((rounds if rounds[network] else {}) | found)
    if found:
        found |= rounds if rounds[network] else {}
        marks = {name: tables.doubtful_over(rounds) for name, rounds in found.items()}
        marks = {name: why for name, why in marks.items() if why}
        baselines = {"tables": tables.baseline_tables(found, marks), "marks": marks}
    for name in METHODS:
        folder = Path("results", f"compare_rounds_{run}_vs_rounds_{named[name][0]}")
        table = tables.read_table(folder / "differences.csv")
        if table is None:
            continue
        if runs.read_sources(folder, today) is None:
            old.append(folder)
        else:
            pairs[name] = table
    return {
        "summary": summary,
        "baselines": baselines,
        "pairs": tables.pair_table(network, pairs),
        "old_pairs": old,
    }


def lead_context(folder, today):
    """Return the models by lead: {} without, {"old": True} where their scores have changed."""
    table = tables.read_table(folder / "single_lead.csv", "rank")
    if table is None:
        return {}
    notes = runs.read_sources(folder, today)
    if notes is None:
        return {"old": True}
    return {
        "old": False,
        "n": table["n"].max(),
        "table": tables.lead_table(table),
        "notes": [note for note in notes if "made with other" in note],
        "figures": tables.figures(folder, {"single_lead": "Macro scores by lead"}),
    }


def explanation_context(folder, results):
    """Return heat maps, examples and checks, unless they explain something else."""
    outdated = explained.why_outdated(folder, results)
    outdated_checks = explained.why_outdated(folder / "faithfulness", results)
    return {
        "explanations": folder,
        "outdated": outdated,
        "maps": [] if outdated else tables.figures(folder, MAPS),
        "examples": None if outdated else explained.examples(folder),
        "outdated_checks": outdated_checks,
        "checks": None if outdated_checks else explained.checks(folder),
    }


def file_links(run, name, lead_folder, folder, baselines):
    """Return the files beside the report, by section."""
    results = Path("results", run)
    files = {
        "data": [Path("results", f"dataset_{name}", "dataset_table.csv")],
        "scores": [
            results / "scores.html",
            results / "scores.csv",
            results / "predictions.csv",
            Path("results", f"compare_rounds_{run}", "rounds.csv"),
        ],
        "baselines": [Path("results", base, "scores.csv") for base in baselines],
        "leads": [lead_folder / "single_lead.csv"],
        "maps": [folder / name for name in MAP_FILES],
        "checks": [folder / "faithfulness.csv"],
    }
    return {part: tables.links(paths, "results") for part, paths in files.items()}


def main(args):
    if args.readme:
        return print("\n".join(markdown.write_all()))
    leads, name = args.leads or LEADS, Path(args.data_dir).resolve().name
    network = network_name(args.arch, args.width, args.init)
    sets = dict.fromkeys(
        [
            leads,
            LEADS,
            *((lead,) for lead in LEADS),
            *runs.other_lead_sets(network, args.data_dir, args.seed),
        ]
    )
    methods = {key: (network, key) for key in sets} | {key: (key, None) for key in METHODS}
    named = {
        key: runs.round_runs(method, args.data_dir, args.seed, choice)
        for key, (method, choice) in methods.items()
    }
    run = named[leads][0]
    today = runs.data_digests(args.data_dir, runs.run_settings(run).get("limit"))
    warnings = [sentence for group in named.values() for sentence in alike(group, today)]
    if None in today.values():
        warnings.append(
            f"{args.data_dir} has no labels.csv or no packed signals: whether the scores are of "
            "its present data is not known"
        )
    context, paper = data_context(args.data_dir, name)
    found = tables.read_rounds(runs.finished_rounds(named[leads], today))
    lead_folder = Path("results", f"compare_leads_{named[LEADS][0]}")
    results, folder = Path("results", run), Path("explanations", run)
    finished = [r for group in named.values() for r in runs.finished_rounds(group, today).values()]
    read = times.read_runs(finished)
    context |= score_context(found, run, paper, context["twin"])
    context |= baseline_context(network, run, found, named, today)
    context |= explanation_context(folder, results)
    context |= run_flags(args) | {
        "data_dir": args.data_dir,
        "run": run,
        "leads": leads_text(leads),
        "warnings": warnings,
        "note": args.note,
        "paper": paper is not None,
        "n_folds": N_FOLDS,
        "min_rounds": tables.MIN_ROUNDS,
        "paper_leads": tables.read_paper().query("table == 'single_lead'").iloc[0],
        "lead_folder": lead_folder,
        "lead_models": lead_context(lead_folder, today),
        "curves": tables.figures(
            results, HISTORY | captions(), f"Round 0 (test fold {round_folds(0)[2]}). "
        ),
        "training": times.training_table(read),
        "jobs": times.job_table(Path("results", f"times_{name}")),
        "run_tables": times.run_tables(read),
        "notes": times.run_notes(read),
        "links": file_links(run, name, lead_folder, folder, [named[key][0] for key in METHODS]),
    }
    summary = tables.without_empty(context.pop("summary"))
    pages.write(Path("results", "report.html"), "report", **context)
    if args.latex:
        print(f"{latex.write(Path('results', 'latex'), context)} tables in results/latex")
    if summary.rows:
        table = pd.DataFrame(summary.rows, columns=summary.head)
        print(f"\n{name}, test folds, mean over the rounds\n{table.to_string(index=False)}\n")
    print(f"{RESEARCH_USE} Report: {Path('results', 'report.html').resolve()}")


if __name__ == "__main__":
    run_main(main, parse_args)
