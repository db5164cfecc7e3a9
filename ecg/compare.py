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

from pathlib import Path

import numpy as np
import pandas as pd

from dataset import LEADS, N_FOLDS, add_data_args, classes_of, leads_text, parse_leads
from ecg.evaluation import metrics, runs, scored_run
from ecg.evaluation.intervals import FEW_POSITIVES
from ecg.evaluation.metrics import N_RESAMPLES, SCORES
from ecg.evaluation.pairs import COMPARED, differences, differences_by_round
from ecg.evaluation.scored_run import Scored
from ecg.inference.flags import add_network_args
from ecg.plot.ranking import Ranking, plot_ranking
from ecg.reporting.tables import number, p_value
from ecg.running.command import make_parser, run_main
from utils import RESEARCH_USE, InputError, network_name, results_dir, write_csv

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


def plain_table(tested):
    """Return the score table of Scored records, without intervals."""
    return metrics.score_table(tested.y_true, tested.y_score, tested.thresholds, tested.classes)


def write_pooled(folder, parts, seed):
    """Write the tested records of several rounds, thresholds and scores; return the scores."""
    pooled = runs.pool(parts)
    scored_run.write_probabilities(folder / "pooled.csv", [pooled])
    by_fold = pd.DataFrame(pooled.thresholds, columns=pooled.classes)
    by_fold.insert(0, "fold", pooled.labels.fold.to_numpy())
    write_csv(by_fold.drop_duplicates(), folder / "thresholds.csv")
    return scored_run.write_scores(folder, pooled, seed)


def rounds_tables(parts):
    """Return rounds.csv of the tested records of some rounds, and the table that shows it."""
    groups = pd.concat(map(plain_table, parts)).groupby("class", sort=False)
    table = groups.n.sum().to_frame().assign(rounds=groups.f1.count())
    text = pd.DataFrame({"class": table.index})
    for name in SCORES:
        mean, sd = groups[name].mean(), groups[name].std()
        table[f"{name}_mean"], table[f"{name}_sd"] = mean, sd
        spread = np.where(np.isfinite(sd), " ± " + sd.map(number), "")
        text[name] = (mean.map(number) + spread).to_numpy()
    return table.reset_index(), text


def there(args):
    """Name the runs that are scored on the data folder, for a message about those that are not."""
    others = runs.describe_scored(args.data_dir)
    return f" (scored on this data set: {others})" if others else ""


def compare_rounds(args, data):
    """Write mean and sd of each score over the finished rounds, and the pooled predictions."""
    network = network_name(args.arch, args.width, args.init)
    named = runs.round_runs(network, args.data_dir, args.seed, args.leads)
    finished, base = runs.finished_rounds(named, data), named[0]
    notes = list(map(str, runs.left_out(named, data)))
    if not finished:
        why = notes[0] if notes else "run: python predict.py --round 0 ... 9 (or baselines.py)"
        raise InputError(f"no round of {base} has been scored{there(args)}; {why}")
    parts = [runs.load_test(run, data) for run in finished.values()]
    table, text = rounds_tables(parts)
    folder = results_dir(f"compare_rounds_{base}")
    write_csv(table, folder / "rounds.csv")
    scores = write_pooled(folder, parts, args.seed)
    missing = ", ".join(str(i) for i in range(N_FOLDS) if i not in finished)
    if missing:
        notes.insert(0, f"missing rounds: {missing}")
    title = f"{base}: mean ± sd over {len(finished)} of {N_FOLDS} rounds, test folds"
    names = list(SCORES)
    show(folder, title, [text[["class", *names[:5]]], text[["class", *names[5:]]]], notes)
    runs.write_sources(folder, finished.values(), notes)
    print(f"\npooled test folds, n = {scores.n.iloc[-1]}, each with its round's thresholds")
    print("(scored as one list, which is not the mean over the rounds)")
    print(metrics.format_table(scores))


def in_common(names, pooled, first, second):
    """Return two runs, Scored on the same records, and notes on what is left out.

    Pooled rounds are cut to those that both have; other runs stop where their records differ.
    """
    keys = [
        list(zip(run.labels.patient_id, run.labels.fold, strict=True)) for run in (first, second)
    ]
    if keys[0] == keys[1]:
        return first, second, []
    both = set(keys[0]) & set(keys[1])
    if both and pooled:
        parts = []
        for run, run_keys in zip((first, second), keys, strict=True):
            kept = [key in both for key in run_keys]
            parts.append(Scored(*(array[kept] for array in run)))
        notes = [f"rounds in common: {len({fold for _, fold in both})}; records of others left out"]
        return *parts, notes
    raise InputError(
        f"{names[0]} is tested on {len(keys[0])} records and {names[1]} on {len(keys[1])}, of "
        f"which they share {len(both)}; give two runs of the same round"
    )


def pair_texts(table):
    """Return the tables that show differences.csv: F1, AUC, McNemar."""
    shown = []
    for score, label in COMPARED.items():
        text = table[["class", "n"]].rename(columns={"n": label})
        cells = {
            "A": table[f"{score}_a"].map(number),
            "B": table[f"{score}_b"].map(number),
            "A - B [95 %]": table.apply(with_interval, axis=1, name=f"{score}_diff"),
            "p": table[f"{score}_p"].map(p_value),
            "p, Holm": table[f"{score}_p_holm"].map(p_value),
        }
        if f"{score}_p_rounds" in table:
            cells["mean of rounds"] = table[f"{score}_diff_rounds"].map(number)
            cells["p, rounds"] = table[f"{score}_p_rounds"].map(p_value)
            cells["Holm"] = table[f"{score}_p_rounds_holm"].map(p_value)
        shown.append(text.assign(**cells))
    names = {"only_a_right": "only A right", "only_b_right": "only B right"}
    mcnemar = table[["class", *names]].astype(object).where(table.notna(), "")
    mcnemar = mcnemar.assign(
        **{
            "McNemar p": table.mcnemar_p.map(p_value),
            "p, Holm": table.mcnemar_p_holm.map(p_value),
        }
    )
    return [*shown, mcnemar.rename(columns=names)[:-1]]


def compare_pair(args, data):
    """Write the differences between two runs on the same records."""
    names = [Path(run).resolve().name for run in args.runs]
    for run in args.runs:
        if not (path := runs.scored_file(run)).is_file():
            hint = "check the name, or run predict.py (or baselines.py)"
            raise InputError(f"no {path}{there(args)}; {hint}")
    pooled = all(runs.scored_file(run).name == "pooled.csv" for run in args.runs)
    parts = [runs.load_test(run, data) for run in args.runs]
    first, second, notes = in_common(names, pooled, *parts)
    table = differences(first, second, args.seed)
    if pooled:
        table = table.assign(**differences_by_round(first, second))
    folder = results_dir("compare_" + "_vs_".join(n.removeprefix("compare_") for n in names))
    write_csv(table, folder / "differences.csv")
    notes += [f"A: {names[0]}", f"B: {names[1]}", MODELS_NOTE]
    if pooled:
        notes.append(ROUNDS_NOTE)
    notes += [
        f"no interval for classes with fewer than {FEW_POSITIVES} positives, or where no resample "
        "differs",
        "Holm: p corrected for the number of classes (Holm 1979); the other p are not",
    ]
    runs.write_sources(folder, args.runs, notes)
    show(folder, f"A - B on {len(first.labels)} records", pair_texts(table), notes)


def lead_scores(parts, seed):
    """Return a row of single_lead.csv from the tested records of the rounds of some leads."""
    pooled, by_round = runs.pool(parts), list(map(plain_table, parts))
    scores = metrics.score_table(
        pooled.y_true, pooled.y_score, pooled.thresholds, pooled.classes, N_RESAMPLES, seed
    ).set_index("class")
    row = scores.loc["AVG", ["n", *(f"{name}{end}" for name in COMPARED for end in ENDS)]].to_dict()
    row |= {f"f1_{name}": scores.f1[name] for name in pooled.classes}
    for name in COMPARED:
        row[f"{name}_mean"] = np.mean([table[name].iloc[-1] for table in by_round])
    return row


def lead_text(table, classes):
    """Return the table that shows single_lead.csv, with a column for each of the classes."""
    shown = table[["rank", "leads"]].copy()
    for name, label in COMPARED.items():
        shown[f"{label} [95 %]"] = table.apply(with_interval, axis=1, name=name)
    for name in classes:
        shown[name] = table[f"f1_{name}"].map(number)
    for name, label in COMPARED.items():
        shown[f"{label}, mean"] = table[f"{name}_mean"].map(number)
    return shown


def compare_leads(args, data):
    """Write the single-lead table and figure, ranked by macro F1."""
    network = network_name(args.arch, args.width, args.init)
    several = runs.other_lead_sets(network, args.data_dir, args.seed)
    choices = {"12 leads": LEADS} | {lead: (lead,) for lead in LEADS}
    choices |= {leads_text(leads): leads for leads in several}
    named = {
        name: runs.round_runs(network, args.data_dir, args.seed, leads)
        for name, leads in choices.items()
    }
    left_out = [str(item) for rounds in named.values() for item in runs.left_out(rounds, data)]
    finished = {name: runs.finished_rounds(rounds, data) for name, rounds in named.items()}
    finished = {name: rounds for name, rounds in finished.items() if rounds}
    common = sorted(set.intersection(*map(set, finished.values()))) if finished else []
    if not common:
        why = f" ({left_out[0]})" if left_out else ""
        raise InputError(
            f"no round has been scored for the leads{why}{there(args)}; run python main.py --leads "
            "I and python predict.py --leads I, and so on, with the same --round"
        )
    rows = []
    for name, rounds in finished.items():
        parts = [runs.load_test(rounds[i], data) for i in common]
        rows.append({"leads": name} | lead_scores(parts, args.seed))
    table = pd.DataFrame(rows).sort_values("f1", ascending=False, ignore_index=True)
    table = table.astype({"n": int})
    table.insert(0, "rank", table.f1.rank(ascending=False, method="min").astype(int))
    base = next(iter(named.values()))[0]
    folder = results_dir(f"compare_leads_{base}")
    write_csv(table, folder / "single_lead.csv")
    title = f"{base}: macro scores by lead, n = {table.n.max()}"
    rankings = []
    for name, chance in {"f1": 0, "auc": 0.5}.items():
        values = (table[f"{name}{end}"] for end in ENDS)
        rankings.append(Ranking(f"macro {COMPARED[name]}", chance, *values))
    plot_ranking(list(table.leads), rankings, folder / "single_lead", title)
    notes = [
        f"rounds in common, pooled: {', '.join(map(str, common))}; classes: F1; mean: over rounds"
    ]
    missing = ", ".join(name for name in choices if name not in finished)
    if missing:
        notes.append(f"not scored: {missing}")
    notes += left_out + runs.settings_notes(finished.values())
    show(folder, title, [lead_text(table, classes_of(data.labels))], notes)
    sources = [rounds[i] for rounds in finished.values() for i in common]
    runs.write_sources(folder, sources, notes)


def main(args):
    data = runs.read_data_folder(args.data_dir, args.limit, required=True)
    compare = compare_pair if args.runs else compare_rounds if args.rounds else compare_leads
    compare(args, data)


if __name__ == "__main__":
    run_main(main, parse_args)
