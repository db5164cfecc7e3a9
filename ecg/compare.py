"""Compare finished runs: the ten rounds of one, two runs on the same records, or all leads.

Reads   data/CPSC/labels.csv, and predictions.csv and thresholds.json in results/<run> of finished
        runs (from predict.py or baselines.py)
Writes  results/compare_rounds_<run>/rounds.csv      mean and sd over the rounds; rounds.md
                                     pooled.csv      every test fold's probabilities, from the round
                                                     that has not seen it; thresholds.csv by fold
                                     scores.csv      of pooled.csv; challenge.json
        results/compare_<run>_vs_<run>/differences.csv, differences.md
        results/compare_leads_<run>/single_lead.csv, single_lead.md, single_lead.png, .svg

    python -m ecg.compare --rounds --data-dir data/CPSC
    python -m ecg.compare --rounds --data-dir data/CPSC --arch LR
    python -m ecg.compare resnet34_CPSC_all_42 LR_CPSC_42 --data-dir data/CPSC
    python -m ecg.compare compare_rounds_resnet34_CPSC_all_42 compare_rounds_LR_CPSC_42
    python -m ecg.compare --leads --data-dir data/CPSC
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from dataset import (
    CLASSES,
    LEADS,
    N_FOLDS,
    add_data_args,
    leads_text,
    load_labels,
    parse_leads,
)
from ecg.evaluation.metrics import (
    N_RESAMPLES,
    SCORES,
    apply_thresholds,
    format_table,
    intervals,
    resample_weights,
    score_table,
    weighted_scores,
    with_average,
    write_scores,
)
from ecg.evaluation.runs import (
    differing_settings,
    finished_rounds,
    left_out,
    load_test,
    other_lead_sets,
    pool,
    round_runs,
    scored_file,
    truth,
    write_sources,
)
from ecg.plot.scores import plot_ranking
from utils import RESEARCH_USE, fail, make_parser, replacing, results_dir, write_csv

EACH_LEAD = ()  # --leads without a value
PAIR_SCORES = {"f1": "F1", "auc": "AUC"}
ENDS = ("", "_low", "_high")  # the columns of a score


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="two runs, by name or folder")
    parser.add_argument("--rounds", action="store_true", help="gather the ten rounds of a run")
    parser.add_argument(
        "--leads",
        nargs="?",
        const=EACH_LEAD,
        type=parse_leads,
        help="alone: gather the single-lead runs and the 12-lead one; with --rounds and a value "
        "such as I,aVR,V5: the leads of the run (None: all)",
    )
    parser.add_argument("--arch", default="resnet34", help="network, or a classifier such as LR")
    args = parser.parse_args(argv)
    modes = (len(args.runs) == 2, args.rounds, args.leads == EACH_LEAD)
    if sum(modes) != 1 or len(args.runs) not in (0, 2) or (args.leads and not args.rounds):
        parser.error("give either two runs, or --rounds (with --leads I,V5 for a choice of leads), "
                     "or --leads alone")  # fmt: skip
    return args


def three(value):
    return f"{value:.3f}" if np.isfinite(value) else ""


def with_interval(row, name):
    """Write a score with its interval, '0.813 [0.790, 0.835]'; nothing where it is not known."""
    if not np.isfinite(row[name]):
        return ""
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def report(path, title, tables, notes):
    """Print tables of text, and write them as markdown: title, tables, notes, 'research use'."""
    lines = [f"# {title}", ""]
    for table in tables:
        lines.append("| " + " | ".join(table.columns) + " |")
        lines.append("|---|" + "---:|" * (len(table.columns) - 1))
        lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
        lines.append("")
    with replacing(path) as temporary:
        temporary.write_text("\n".join([*lines, "  \n".join([*notes, RESEARCH_USE]), ""]))
    print("\n\n".join([title, *(table.to_string(index=False) for table in tables)]))
    print("\n".join([*notes, f"{RESEARCH_USE} Wrote {path.parent}"]))


def compare_rounds(args, labels):
    """Write mean and sd of each score over the finished rounds, and the pooled predictions."""
    named = round_runs(args.arch, args.data_dir, args.seed, args.leads)
    runs, base = finished_rounds(named), named[0]
    if not runs:
        fail(f"no round of {base} has been scored; run: python predict.py --round 0 ... 9 (or "
             "baselines.py)")  # fmt: skip
    parts = [load_test(run, labels, args.data_dir) for run in runs.values()]
    tables = [score_table(truth(rows), *arrays, CLASSES) for rows, *arrays in parts]
    groups = pd.concat(tables).groupby("class", sort=False)
    table = groups["n"].sum().to_frame().assign(rounds=groups["f1"].count())
    for name in SCORES:
        table[f"{name}_mean"], table[f"{name}_sd"] = groups[name].mean(), groups[name].std()
    folder = results_dir(f"compare_rounds_{base}")
    write_csv(table.reset_index(), folder / "rounds.csv")

    pooled, y_score, thresholds = pool(parts)
    keys = pooled[["patient_id", "fold"]].reset_index(drop=True)
    write_csv(keys.join(pd.DataFrame(y_score, columns=CLASSES)), folder / "pooled.csv")
    by_fold = pd.DataFrame(thresholds, columns=CLASSES)
    by_fold.insert(0, "fold", keys["fold"])
    write_csv(by_fold.drop_duplicates(), folder / "thresholds.csv")
    scores = write_scores(folder, truth(pooled), y_score, thresholds, CLASSES, args.seed)

    text = pd.DataFrame({"class": table.index})
    for name in SCORES:
        pairs = zip(table[f"{name}_mean"], table[f"{name}_sd"], strict=True)
        text[name] = [three(m) + (f" ± {three(sd)}" if np.isfinite(sd) else "") for m, sd in pairs]
    shown = [text[["class", *names]] for names in (list(SCORES)[:5], list(SCORES)[5:])]
    missing = ", ".join(str(i) for i in range(N_FOLDS) if i not in runs)
    notes = [f"missing rounds: {missing}"] if missing else []
    notes += left_out(named)
    title = f"{base}: mean ± sd over {len(runs)} of {N_FOLDS} rounds, test folds"
    report(folder / "rounds.md", title, shown, notes)
    write_sources(folder, runs.values(), notes)
    print(f"\npooled test folds, n = {len(pooled)}, each with its round's thresholds\n"
          f"{format_table(scores)}")  # fmt: skip


def two_sided_p(differences):
    """Return p (K,) that a difference is none, from its bootstrap resamples (B, K).

    Twice the smaller share of resamples on one side of zero (ties on both), one resample added,
    so that 1,000 of them give no p below 0.002; NaN (a class not in the resample) is left out.
    """
    known = np.isfinite(differences).sum(0)
    tail = np.minimum((differences <= 0).sum(0), (differences >= 0).sum(0))
    return np.where(known > 0, np.minimum(2 * (tail + 1) / (known + 1), 1), np.nan)


def differences(y_true, first, second, seed):
    """Test two runs on the same records; one row a class and AVG.

    `first` and `second` are (y_score, thresholds), both (N, K). F1 and AUC: the difference with
    its 95 % interval and p over paired resamples of records. McNemar's exact test per class: of
    the records only one run gets right, each run has one half if they are equally good.
    """
    ones, weights = np.ones((1, len(y_true))), resample_weights(len(y_true), N_RESAMPLES, seed)
    table = pd.DataFrame({"class": [*CLASSES, "AVG"], "n": [*y_true.sum(0), len(y_true)]})
    scores = [weighted_scores(y_true, *run, ones) for run in (first, second)]
    resampled = [weighted_scores(y_true, *run, weights) for run in (first, second)]
    for name in PAIR_SCORES:
        a, b = (with_average(run[name])[0] for run in scores)
        drawn = np.subtract(*(with_average(run[name]) for run in resampled))
        low, high = intervals(drawn)
        diff = f"{name}_diff"
        table[f"{name}_a"], table[f"{name}_b"], table[diff] = a, b, a - b
        table[f"{diff}_low"], table[f"{diff}_high"] = low, high
        table[f"{name}_p"] = two_sided_p(drawn)
    right_a, right_b = (apply_thresholds(*run) == y_true for run in (first, second))
    only_a, only_b = (right_a & ~right_b).sum(0), (right_b & ~right_a).sum(0)
    pairs = zip(only_a.tolist(), only_b.tolist(), strict=True)
    p = [binomtest(a, a + b).pvalue if a + b else 1.0 for a, b in pairs]
    for name, values in (("only_a_right", only_a), ("only_b_right", only_b), ("mcnemar_p", p)):
        # the AVG row stays empty, and that of a class without positives
        table[name] = pd.Series(values).where(table["f1_a"].notna())
    return table.astype({"only_a_right": "Int64", "only_b_right": "Int64"})


def compare_pair(args, labels):
    """Write the differences between two runs on the same records."""
    (rows, *first), (others, *second) = (load_test(run, labels, args.data_dir) for run in args.runs)
    names = [Path(run).resolve().name for run in args.runs]
    keys = [[*zip(part["patient_id"], part["fold"], strict=True)] for part in (rows, others)]
    both, notes = set(keys[0]) & set(keys[1]), []
    if (
        both
        and keys[0] != keys[1]
        and all(scored_file(run).name == "pooled.csv" for run in args.runs)
    ):
        notes = [f"rounds in common: {len({fold for _, fold in both})}; records of others left out"]
        kept = [np.array([key in both for key in part]) for part in keys]
        rows, first = rows[kept[0]], [array[kept[0]] for array in first]
        others, second = others[kept[1]], [array[kept[1]] for array in second]
    if list(rows["patient_id"]) != list(others["patient_id"]):
        common = len(set(rows["patient_id"]) & set(others["patient_id"]))
        fail(f"{names[0]} is tested on {len(rows)} records and {names[1]} on {len(others)}, of "
             f"which they share {common}; give two runs of the same round")  # fmt: skip
    table = differences(truth(rows), first, second, args.seed)
    folder = results_dir("compare_" + "_vs_".join(n.removeprefix("compare_") for n in names))
    write_csv(table, folder / "differences.csv")
    shown = []
    for score, label in PAIR_SCORES.items():
        text = table[["class", "n"]].assign(A=table[f"{score}_a"].map(three))
        text = text.assign(B=table[f"{score}_b"].map(three))
        text["A - B [95 %]"] = [with_interval(row, f"{score}_diff") for _, row in table.iterrows()]
        shown.append(text.assign(p=table[f"{score}_p"].map(three)).rename(columns={"n": label}))
    names_right = {"only_a_right": "only A right", "only_b_right": "only B right"}
    mcnemar = table[["class", *names_right]].astype(object).where(table.notna(), "")
    mcnemar = mcnemar.rename(columns=names_right)[:-1]
    shown.append(mcnemar.assign(p=table["mcnemar_p"].map(three)).rename(columns={"p": "McNemar p"}))
    notes += [f"A: {names[0]}", f"B: {names[1]}", "p of single classes is not corrected for there "
              "being nine"]  # fmt: skip
    write_sources(folder, args.runs, notes)
    report(folder / "differences.md", f"A - B on {len(rows)} records", shown, notes)


def compare_leads(args, labels):
    """Write the single-lead table and figure, ranked by macro F1."""
    choices = {"12 leads": LEADS} | {lead: (lead,) for lead in LEADS}
    choices |= {
        leads_text(leads): leads for leads in other_lead_sets(args.arch, args.data_dir, args.seed)
    }
    named = {
        name: round_runs(args.arch, args.data_dir, args.seed, leads)
        for name, leads in choices.items()
    }
    found = {name: finished_rounds(runs) for name, runs in named.items()}
    finished = {name: runs for name, runs in found.items() if runs}
    common = sorted(set.intersection(*map(set, finished.values()))) if finished else []
    if not common:
        fail("no round has been scored for the leads; run python main.py --leads I and python "
             "predict.py --leads I, and so on, with the same --round")  # fmt: skip
    rows = []
    for name, runs in finished.items():
        tested, *arrays = pool([load_test(runs[i], labels, args.data_dir) for i in common])
        scores = score_table(truth(tested), *arrays, CLASSES, N_RESAMPLES, args.seed)
        scores = scores.set_index("class")
        columns = [f"{score}{end}" for score in PAIR_SCORES for end in ENDS]
        per_class = {f"f1_{name}": scores.loc[name, "f1"] for name in CLASSES}
        rows.append({"leads": name} | scores.loc["AVG", ["n", *columns]].to_dict() | per_class)
    table = pd.DataFrame(rows).sort_values("f1", ascending=False, ignore_index=True)
    table = table.astype({"n": int})
    table.insert(0, "rank", table["f1"].rank(ascending=False, method="min").astype(int))
    base = named["12 leads"][0]
    folder = results_dir(f"compare_leads_{base}")
    write_csv(table, folder / "single_lead.csv")

    title = f"{base}: macro scores by lead, n = {table['n'].max()}"
    groups = {
        f"macro {PAIR_SCORES[name]}": [start, *(table[f"{name}{end}"] for end in ENDS)]
        for name, start in {"f1": 0, "auc": 0.5}.items()
    }
    plot_ranking(list(table["leads"]), groups, folder / "single_lead", title)
    shown = table[["rank", "leads"]].copy()
    for name, label in PAIR_SCORES.items():
        shown[f"{label} [95 %]"] = [with_interval(row, name) for _, row in table.iterrows()]
    for name in CLASSES:
        shown[name] = table[f"f1_{name}"].map(three)
    missing = [name for name in choices if name not in finished]
    notes = [f"rounds in common, pooled: {', '.join(map(str, common))}; classes: F1"]
    notes += [f"not scored: {', '.join(missing)}"] if missing else []
    notes += [sentence for runs in named.values() for sentence in left_out(runs)]
    first, *others = (runs[min(runs)] for runs in finished.values())
    for run in others:
        if names := differing_settings(run, first):
            notes.append(f"{run} was made with other {', '.join(names)} than {first}")
    report(folder / "single_lead.md", title, [shown], notes)
    write_sources(folder, [runs[i] for runs in finished.values() for i in common], notes)


def main(args):
    labels = load_labels(args.data_dir, args.limit)
    if args.runs:
        compare_pair(args, labels)
    elif args.rounds:
        compare_rounds(args, labels)
    else:
        compare_leads(args, labels)


if __name__ == "__main__":
    main(parse_args())
