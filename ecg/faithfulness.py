"""Check explanations: against known truth, by removing samples, with random layers, other seeds.

Reads   models/<run>.pth (from main.py), labels.csv and the packed signals of the data folder, its
        evidence.csv if synthetic.py made it, and LUDB (physionet.org/content/ludb) if named.
Writes  explanations/<run>/faithfulness.csv and .png, samples.png, and what they are made of in
        explanations/<run>/faithfulness/, so that a killed run resumes where it stopped.

    python -m ecg.faithfulness --data-dir data/synthetic
    python -m ecg.faithfulness --data-dir data/ptbxl --ludb-dir data/ludb --ludb-sd 0.2
    python -m ecg.faithfulness --data-dir data/CPSC --checks halves samples --few 40

The classes explained are those a record is labelled with (the predicted one if none; on LUDB the
predicted one). faithfulness.csv has a row per check, class and measure in the folder: n records,
the mean, its 95 % interval over resampled records, and the median.

evidence   positive phi inside the criterion in time, in leads and in both, beside the part a
           uniform map would have there; pointing game: is the highest window inside? Each beside
           'null', the score of a map that knows neither model nor class (|x|, random signs), and
           'less null', the difference: above the null if its interval is above 0
equal      how far the values of beats of one form spread, in records whose beats are alike
curves     how far the logit falls as the 1-20 % of samples with the highest, random or lowest
           values become a background record's (deletion), or rises from there (insertion)
halves     how reliable the values are: the agreement of two halves of their samples, each against
           its own half of the background
head       agreement of the positive values with the map of the network's evidence head
layers     agreement with the values of a network re-initialised from the output on
seeds      agreement with the values of another --seed and other background records
training   agreement with the values of another model: --other-model
samples    agreement of the halves of 100 to 600 samples, what these miss of the logit's change,
           and how many are needed for a reliability of 0.9
beats      detected R peaks and borders against LUDB's marks; marks: |phi| by the marked borders

Agreement is Pearson's correlation of values in the figures' windows, of single samples and of the
leads' shares, and Spearman's of single samples.
"""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dataset import add_data_args, add_round_arg, add_signal_args, leads_text
from ecg.explanation import checks, ludb
from ecg.explanation import run as explanation_run
from ecg.explanation.check_measures import read_evidence
from ecg.explanation.explanation import Explainer, Explanation, Record
from ecg.explanation.methods import METHODS, refuse_lacking, refuse_unused
from ecg.inference.device import get_device
from ecg.inference.flags import add_model_args, add_model_path_arg, find_model
from ecg.inference.model import Model
from ecg.plot.explanation_figures import plot_faithfulness, plot_samples
from ecg.running.command import make_parser, run_main
from utils import (
    RESEARCH_USE,
    InputError,
    Progress,
    explanations_path,
    file_digest,
    network_name,
    positive,
    positive_number,
    read_json,
    replacing,
    write_csv,
)

ALL_CHECKS = (*checks.RECORD_CHECKS, "beats", "marks")  # the last two: of LUDB's records
RECORDS, SAMPLES, EXPENSIVE_RECORDS = 40, 100, 4  # defaults of --records, --samples and --few


class Companion(NamedTuple):
    """What else a check compares records with."""

    content: object  # a table of evidence, a Run of another training, another Background
    word: str = ""  # in names of files, which tells its rows from those of other companions


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    group = parser.add_argument_group("checks")
    group.add_argument(
        "--checks", nargs="+", metavar="CHECK", choices=ALL_CHECKS, default=ALL_CHECKS, help="which"
    )
    text = "number of records for the checks layers, seeds, training and samples"
    group.add_argument("--few", type=positive, default=EXPENSIVE_RECORDS, help=text)
    text = "checkpoint of a training with another seed, for the check training"
    group.add_argument("--other-model", help=text)
    group.add_argument("--ludb-dir", help="folder of LUDB, for the checks beats and marks")
    text = (
        "scale LUDB's leads to this standard deviation in mV, for a model trained on such signals"
    )
    group.add_argument("--ludb-sd", type=positive_number, help=text)
    explanation_run.add_explain_args(parser, RECORDS, SAMPLES)
    add_signal_args(parser)
    group = add_model_args(parser)
    add_model_path_arg(group)
    add_round_arg(group)
    args = parser.parse_args(argv)
    refuse_unused(parser, args.method, args.reliability)
    needs = {"training": args.other_model, "beats": args.ludb_dir, "marks": args.ludb_dir}
    if not any(needs.get(check, True) for check in args.checks):
        parser.error("--checks training needs --other-model, beats and marks need --ludb-dir")
    return args


def keep_rows(folder, check, record, measure, word=""):
    """Keep the Rows of the Measures that `measure` returns, unless an earlier run has.

    `word` tells apart what else the rows depend on.
    """
    path = folder / "rows" / f"{check}-{word}{record}.json"
    if read_json(path) is None:
        rows = []
        for name, value, weight, class_name in measure():
            rows.append(checks.Row(check, record, class_name, name, float(value), float(weight)))
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(rows) + "\n")


def kept_rows(folder):
    """Return the Rows of every check and record that the folder keeps, in the checks' order."""
    rows = []
    for path in sorted(folder.glob("rows/*.json")):
        rows += [checks.Row(*row) for row in read_json(path) or []]
    return sorted(rows, key=lambda row: ALL_CHECKS.index(row.check))


def kept_explanation(folder, explainer, record):
    """Return the Explanation of a Record for its labels, made now or by an earlier run."""
    path = folder / "values" / f"{record.name}.npz"
    if Explanation.load(path) is None:
        explainer.explain(record, record.labels or None).save(path)
    return Explanation.load(path)


def load_other(args, run):
    """Load the Run of another training; stop if it does not see the records as this one does."""
    other = Model.load(args.other_model, run.model.device, args.leads)
    settings = [(model.leads, model.flags.seconds, model.window) for model in (run.model, other)]
    for name, own, others in zip(("leads", "seconds", "windows"), *settings, strict=True):
        if own != others:
            raise InputError(
                f"{args.other_model} has other {name} than {run.name}; name a model that differs "
                "in --seed only"
            )
    return explanation_run.load_run(other, args.data_dir, args.limit, args.round)


def load_companions(args, folder, run, options, background):
    """Return {check: Companion} for the checks that have one.

    Rows of the folder that were made with another table of evidence are removed. The background of
    the check seeds has no record of `background`, if there are enough others.
    """
    companions = {}
    evidence = Path(args.data_dir) / "evidence.csv"
    if "evidence" in args.checks and evidence.is_file():
        word = f"{file_digest(evidence)[:8]}-"
        companions["evidence"] = Companion(read_evidence(evidence), word)
        for old in folder.glob("rows/evidence-*"):
            if not old.name.startswith(f"evidence-{word}"):
                old.unlink()
    if "training" in args.checks and args.other_model:
        other = load_other(args, run)
        companions["training"] = Companion(other, f"{other.model.weights[:8]}-")
    if "seeds" in args.checks:
        next_seed = options._replace(seed=options.seed + 1)
        others = explanation_run.load_background(run, next_seed, last=background.names)
        companions["seeds"] = Companion(others)
    return companions


def check_records(args, folder, run, explainer, names):
    """Make the rows of the data folder's records, where they are not kept already."""
    companions, asked = (
        load_companions(args, folder, run, explainer.options, explainer.background),
        {},
    )
    for name, check in checks.RECORD_CHECKS.items():
        drawn = METHODS[explainer.options.method].drawn or not check.drawn
        if name in args.checks and drawn and (name in companions or not check.needs):
            asked[name] = check
    for place, name in enumerate(Progress(names, "checking", unit="record")):
        due = [check for check in asked if place < args.few or asked[check].every]
        if not due:
            continue
        record = run.record(name)
        explanation = kept_explanation(folder, explainer, record)
        subject = checks.Subject(run, explainer, record, explanation)
        for check in due:
            companion = companions.get(check, Companion(None))
            measure = partial(asked[check].measure, subject, companion.content)
            keep_rows(folder, check, name, measure, companion.word)


def mark_measures(folder, run, explainer, record, marks):
    """Return the Measures of the check 'marks' of a Record of LUDB: of its predicted class."""
    explained = next(iter(kept_explanation(folder, explainer, record)))
    regions = ludb.marked_regions(marks, record.n)[explained.start : explained.stop]
    if (regions < 0).all():  # no wave in what the network saw
        return []
    name = run.model.classes[explained.k]
    measures = ludb.check_marks(explained.values, regions)
    return [measure._replace(class_name=name) for measure in measures]


def check_ludb(args, folder, run, explainer):
    """Make the rows of the checks against LUDB's marks, where they are not kept already."""
    paths = sorted(Path(args.ludb_dir).glob("*.hea"), key=lambda path: (len(path.stem), path.stem))
    if not paths:
        raise InputError(
            f"no .hea in {args.ludb_dir}; name the folder of LUDB that holds 1.hea: --ludb-dir"
        )
    scaled = f"-sd{args.ludb_sd:g}" if args.ludb_sd else ""  # kept apart from unscaled ones
    for place, path in enumerate(Progress(paths, "LUDB", unit="record")):
        name, packed = f"ludb{scaled}-{path.stem}", ludb.read_ludb(path, args.ludb_sd)
        marks = ludb.read_marks(path.with_suffix(""))
        if "beats" in args.checks:
            keep_rows(folder, "beats", name, partial(ludb.check_beats, packed, marks))
        if "marks" in args.checks and place < args.records:
            record = Record(name, run.model.network_input(packed), packed.shape[1])
            measure = partial(mark_measures, folder, run, explainer, record, marks)
            keep_rows(folder, "marks", name, measure)


def main(args):
    network, leads = network_name(args.arch, args.width, args.init), leads_text(args.leads)
    path = find_model(args.model_path, network, args.data_dir, args.seed, args.round, leads)
    model = Model.load(path, get_device(args.device), args.leads)
    run = explanation_run.load_run(model, args.data_dir, args.limit, args.round)
    options = explanation_run.options_of(**vars(args))
    refuse_lacking(model, options.method)
    names = explanation_run.choose_records(run, options, args.records, args.patients)
    folder = explanations_path(run.name, "faithfulness")
    table_path, figure = folder.with_suffix(".csv"), folder.with_suffix(".png")
    samples_figure = folder.with_name("samples.png")
    derived = table_path, figure, samples_figure
    made_with = explanation_run.run_options(run, options)
    explanation_run.open_folder(folder, made_with, args.force, args.resume, derived)
    background = explanation_run.load_background(run, options)
    explainer = Explainer(model.network, options, background)
    check_records(args, folder, run, explainer, names)
    if args.ludb_dir:
        check_ludb(args, folder, run, explainer)
    rows = kept_rows(folder)
    if not rows:
        raise InputError(
            f"there was nothing to check in {args.data_dir}; the check 'evidence' needs the "
            "evidence.csv of ecg.synthetic there"
        )
    means = checks.summarise(rows)
    table = checks.summary_table(means)
    write_csv(table, table_path)
    plot_faithfulness(means, model.classes, figure, f"{run.name}: do the maps hold?")
    if any(check == "samples" for check, _, _ in means):
        plot_samples(means, options.method, samples_figure)
    shown = table[table["class"] == "all"].drop(columns="class")
    print(shown.to_string(index=False, float_format="{:.3f}".format))
    print(f"{table_path}: every class; {figure}\n{RESEARCH_USE}")


if __name__ == "__main__":
    run_main(main, parse_args)
