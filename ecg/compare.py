"""Compare finished runs: the ten rounds of one, two runs on the same records, or all leads.

Reads   data/CPSC/labels.csv and signals.json, and predictions.csv and thresholds.json in
        results/<run> of finished runs (from predict.py or baselines.py)
Writes  results/compare_rounds_<run>/rounds.csv      mean and sd over the rounds
                                     pooled.csv      every test fold's probabilities, from the round
                                                     that has not seen it; thresholds.csv by fold
                                     scores.csv      of pooled.csv; challenge.json
        results/compare_<run>_vs_<run>/differences.csv
        results/compare_leads_<run>/single_lead.csv, single_lead.png, .svg

    python -m ecg.compare --rounds --data-dir data/CPSC
    python -m ecg.compare --rounds --data-dir data/CPSC --arch LR
    python -m ecg.compare resnet34_CPSC_all_42 LR_CPSC_42 --data-dir data/CPSC
    python -m ecg.compare compare_rounds_resnet34_CPSC_all_42 compare_rounds_LR_CPSC_42
    python -m ecg.compare --single-leads --data-dir data/CPSC
"""

from utils import run_main  # first, as it also knows of Ctrl-C while the others load

# isort: split

from pathlib import Path

import numpy as np
import pandas as pd

from dataset import CLASSES, LEADS, N_FOLDS, add_data_args, leads_text, load_labels, parse_leads
from ecg.evaluation import files, metrics, pairs, runs
from ecg.evaluation.intervals import FEW
from ecg.evaluation.metrics import N_RESAMPLES, SCORES
from ecg.plot.scores import plot_ranking
from ecg.reporting.tables import number, p_value
from resnet import add_network_args, network_name
from utils import RESEARCH_USE, fail, make_parser, results_dir, write_csv

ENDS = ("", "_low", "_high")  # the columns of a score
MODELS_NOTE = (
    "p and interval are over resamples of the test records, for the models as they were fitted: "
    "the spread between trainings and the overlap of their training records are not in them"
)
ROUNDS_NOTE = "p, rounds, allows for both: corrected resampled t test (Nadeau and Bengio 2003)"


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="two runs, by name or folder")
    parser.add_argument("--rounds", action="store_true", help="gather the ten rounds of a run")
    parser.add_argument(
        "--single-leads", action="store_true", help="rank the single-lead runs and the 12-lead one"
    )
    text = "with --rounds: leads of the run, such as I,aVR,V5; without it: all twelve"
    parser.add_argument("--leads", type=parse_leads, help=text)
    add_data_args(parser)
    add_network_args(parser, help="network, or a classifier such as LR")
    args = parser.parse_args(argv)
    modes = (len(args.runs) == 2, args.rounds, args.single_leads)
    if sum(modes) != 1 or len(args.runs) not in (0, 2) or (args.leads and not args.rounds):
        parser.error(
            "give either two runs, or --rounds (with --leads I,V5 for a choice of leads), or "
            "--single-leads"
        )
    return args


def with_interval(row, name):
    """Write a score with its interval, '0.813 [0.790, 0.835]', as far as they are known."""
    value, low, high = (row[f"{name}{end}"] for end in ENDS)
    return number(value) + (f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) else "")


def show(folder, title, tables, notes):
    """Print a title, tables and notes."""
    print("\n\n".join([title, *(table.to_string(index=False) for table in tables)]))
    print("\n".join([*notes, f"{RESEARCH_USE} Wrote {folder}"]))


def write_pooled(folder, parts, seed):
    """Write the tested records of several rounds, thresholds and scores; return the scores."""
    pooled, y_score, thresholds = runs.pool(parts)
    keys = pooled[["patient_id", "fold"]].reset_index(drop=True)
    write_csv(keys.join(pd.DataFrame(y_score, columns=CLASSES)), folder / "pooled.csv")
    by_fold = pd.DataFrame(thresholds, columns=CLASSES)
    by_fold.insert(0, "fold", keys["fold"])
    write_csv(by_fold.drop_duplicates(), folder / "thresholds.csv")
    return files.write_scores(folder, runs.truth(pooled), y_score, thresholds, CLASSES, seed)


def compare_rounds(args, labels, today):
    """Write mean and sd of each score over the finished rounds, and the pooled predictions."""
    network = network_name(args.arch, args.width, args.init)
    named = runs.round_runs(network, args.data_dir, args.seed, args.leads)
    found, notes, base = runs.finished_rounds(named, today), runs.left_out(named, today), named[0]
    if not found:
        why = notes[0] if notes else "run: python predict.py --round 0 ... 9 (or baselines.py)"
        fail(f"no round of {base} has been scored; {why}")
    parts = [runs.load_test(run, labels, args.data_dir, today) for run in found.values()]
    tables = [metrics.score_table(runs.truth(rows), *arrays, CLASSES) for rows, *arrays in parts]
    groups = pd.concat(tables).groupby("class", sort=False)
    table = groups["n"].sum().to_frame().assign(rounds=groups["f1"].count())
    text = pd.DataFrame({"class": table.index})
    for name in SCORES:
        mean, sd = groups[name].mean(), groups[name].std()
        table[f"{name}_mean"], table[f"{name}_sd"] = mean, sd
        spread = np.where(np.isfinite(sd), " ± " + sd.map(number), "")
        text[name] = (mean.map(number) + spread).to_numpy()
    folder = results_dir(f"compare_rounds_{base}")
    write_csv(table.reset_index(), folder / "rounds.csv")
    scores = write_pooled(folder, parts, args.seed)
    missing = ", ".join(str(i) for i in range(N_FOLDS) if i not in found)
    notes = [f"missing rounds: {missing}"] * bool(missing) + notes
    title = f"{base}: mean ± sd over {len(found)} of {N_FOLDS} rounds, test folds"
    shown = [text[["class", *names]] for names in (list(SCORES)[:5], list(SCORES)[5:])]
    show(folder, title, shown, notes)
    runs.write_sources(folder, found.values(), notes)
    n = scores["n"].iloc[-1]
    print(f"\npooled test folds, n = {n}, each with its round's thresholds")
    print("(scored as one list, which is not the mean over the rounds)")
    print(metrics.format_table(scores))


def in_common(names, pooled, first, second):
    """Return two runs (what load_test returns) on the same records, and notes on what is left out.

    Pooled rounds are cut to those that both have; other runs stop where their records differ.
    """
    keys = [[*zip(rows["patient_id"], rows["fold"], strict=True)] for rows, *_ in (first, second)]
    both = set(keys[0]) & set(keys[1])
    if keys[0] == keys[1]:
        return first, second, []
    if both and pooled:
        kept = [[key in both for key in part] for part in keys]
        parts = [
            [array[rows] for array in run] for run, rows in zip((first, second), kept, strict=True)
        ]
        notes = [f"rounds in common: {len({fold for _, fold in both})}; records of others left out"]
        return *parts, notes
    counts = len(keys[0]), len(keys[1])
    fail(
        f"{names[0]} is tested on {counts[0]} records and {names[1]} on {counts[1]}, of which "
        f"they share {len(both)}; give two runs of the same round"
    )


def pair_texts(table):
    """Return the tables that show differences.csv: F1, AUC, McNemar."""
    shown = []
    for score, label in pairs.SCORES.items():
        text = table[["class", "n"]].rename(columns={"n": label})
        text["A"], text["B"] = table[f"{score}_a"].map(number), table[f"{score}_b"].map(number)
        text["A - B [95 %]"] = [with_interval(row, f"{score}_diff") for _, row in table.iterrows()]
        text["p"] = table[f"{score}_p"].map(p_value)
        if f"{score}_p_rounds" in table:
            text["mean of rounds"] = table[f"{score}_diff_rounds"].map(number)
            text["p, rounds"] = table[f"{score}_p_rounds"].map(p_value)
        shown.append(text)
    names = {"only_a_right": "only A right", "only_b_right": "only B right"}
    mcnemar = table[["class", *names]].astype(object).where(table.notna(), "")
    mcnemar["McNemar p"] = table["mcnemar_p"].map(p_value)
    return [*shown, mcnemar.rename(columns=names)[:-1]]


def compare_pair(args, labels, today):
    """Write the differences between two runs on the same records."""
    names = [Path(run).resolve().name for run in args.runs]
    pooled = all(runs.scored_file(run).name == "pooled.csv" for run in args.runs)
    parts = [runs.load_test(run, labels, args.data_dir, today) for run in args.runs]
    (rows, *first), (_, *second), notes = in_common(names, pooled, *parts)
    table = pairs.differences(runs.truth(rows), first, second, args.seed)
    if pooled:
        added = pairs.differences_by_round(rows["fold"], runs.truth(rows), first, second)
        table = table.assign(**added)
    folder = results_dir("compare_" + "_vs_".join(n.removeprefix("compare_") for n in names))
    write_csv(table, folder / "differences.csv")
    notes += [
        f"A: {names[0]}",
        f"B: {names[1]}",
        MODELS_NOTE,
        *[ROUNDS_NOTE] * pooled,
        f"no interval for classes with fewer than {FEW} positives, or where no resample differs",
        "p of single classes is not corrected for there being nine",
    ]
    runs.write_sources(folder, args.runs, notes)
    show(folder, f"A - B on {len(rows)} records", pair_texts(table), notes)


def lead_scores(parts, seed):
    """Return a row of single_lead.csv from the tested records of the rounds of some leads."""
    rows, *arrays = runs.pool(parts)
    scores = metrics.score_table(runs.truth(rows), *arrays, CLASSES, N_RESAMPLES, seed)
    scores = scores.set_index("class")
    row = scores.loc["AVG", ["n", *(f"{name}{end}" for name in pairs.SCORES for end in ENDS)]]
    by_round = [metrics.score_table(runs.truth(rows), *arrays, CLASSES) for rows, *arrays in parts]
    means = {
        f"{name}_mean": np.mean([table[name].iloc[-1] for table in by_round])
        for name in pairs.SCORES
    }
    return row.to_dict() | {f"f1_{name}": scores.loc[name, "f1"] for name in CLASSES} | means


def lead_text(table):
    """Return the table that shows single_lead.csv."""
    shown = table[["rank", "leads"]].copy()
    for name, label in pairs.SCORES.items():
        shown[f"{label} [95 %]"] = [with_interval(row, name) for _, row in table.iterrows()]
    for name in CLASSES:
        shown[name] = table[f"f1_{name}"].map(number)
    for name, label in pairs.SCORES.items():
        shown[f"{label}, mean"] = table[f"{name}_mean"].map(number)
    return shown


def compare_leads(args, labels, today):
    """Write the single-lead table and figure, ranked by macro F1."""
    network = network_name(args.arch, args.width, args.init)
    several = runs.other_lead_sets(network, args.data_dir, args.seed)
    choices = {"12 leads": LEADS} | {lead: (lead,) for lead in LEADS}
    choices |= {leads_text(leads): leads for leads in several}
    named = {
        name: runs.round_runs(network, args.data_dir, args.seed, leads)
        for name, leads in choices.items()
    }
    found = {name: runs.finished_rounds(rounds, today) for name, rounds in named.items()}
    found = {name: rounds for name, rounds in found.items() if rounds}
    left_out = [sentence for rounds in named.values() for sentence in runs.left_out(rounds, today)]
    common = sorted(set.intersection(*map(set, found.values()))) if found else []
    if not common:
        why = f" ({left_out[0]})" if left_out else ""
        fail(
            f"no round has been scored for the leads{why}; run python main.py --leads I and "
            "python predict.py --leads I, and so on, with the same --round"
        )
    rows = []
    for name, rounds in found.items():
        parts = [runs.load_test(rounds[i], labels, args.data_dir, today) for i in common]
        rows.append({"leads": name} | lead_scores(parts, args.seed))
    table = pd.DataFrame(rows).sort_values("f1", ascending=False, ignore_index=True)
    table = table.astype({"n": int})
    table.insert(0, "rank", table["f1"].rank(ascending=False, method="min").astype(int))
    base = named["12 leads"][0]
    folder = results_dir(f"compare_leads_{base}")
    write_csv(table, folder / "single_lead.csv")
    title = f"{base}: macro scores by lead, n = {table['n'].max()}"
    groups = {
        f"macro {pairs.SCORES[name]}": [start, *(table[f"{name}{end}"] for end in ENDS)]
        for name, start in {"f1": 0, "auc": 0.5}.items()
    }
    plot_ranking(list(table["leads"]), groups, folder / "single_lead", title)
    missing = ", ".join(name for name in choices if name not in found)
    notes = [
        f"rounds in common, pooled: {', '.join(map(str, common))}; classes: F1; mean: over rounds"
    ]
    notes += [f"not scored: {missing}"] * bool(missing) + left_out
    first, *others = (rounds[min(rounds)] for rounds in found.values())
    differ = {run: runs.differing_settings(run, first) for run in others}
    notes += [
        f"{run} was made with other {', '.join(settings)} than {first}"
        for run, settings in differ.items()
        if settings
    ]
    show(folder, title, [lead_text(table)], notes)
    runs.write_sources(folder, [rounds[i] for rounds in found.values() for i in common], notes)


def main(args):
    labels = load_labels(args.data_dir, args.limit)
    today = runs.data_digests(args.data_dir, args.limit)
    if today["signals"] is None:
        fail(
            f"no {args.data_dir}/signals.json to compare the scores with; make it: "
            f"python preprocess.py --data-dir {args.data_dir}"
        )
    compare = compare_pair if args.runs else compare_rounds if args.rounds else compare_leads
    compare(args, labels, today)


if __name__ == "__main__":
    run_main(main, parse_args)
