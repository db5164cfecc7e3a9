"""Check explanations: against known truth, by removing samples, with random layers, other seeds.

Reads   models/<run>.pth (from main.py), labels.csv and the packed signals of the data folder, its
        evidence.csv if synthetic.py made it, and LUDB (physionet.org/content/ludb) if named.
Writes  explanations/<run>/faithfulness.csv and .png, samples.png, and what they are made of in
        explanations/<run>/faithfulness/, so that a killed run goes on where it was.

    python -m ecg.faithfulness --data-dir data/synthetic
    python -m ecg.faithfulness --data-dir data/ptbxl --ludb-dir data/ludb --ludb-sd 0.2
    python -m ecg.faithfulness --data-dir data/CPSC --checks halves samples --few 40

The classes explained are those a record is labelled with (the predicted one if none; on LUDB the
predicted one). faithfulness.csv has a row per check, class and measure of all in the folder:
n records, the mean, its 95 % interval over resampled records, and the median.

evidence   positive phi inside the criterion in time, in leads and in both, beside the part a
           uniform map would have there; pointing game: is the highest window inside?
curves     how far the logit falls as the 1-20 % of samples with the highest, random or lowest
           values become a background record's (deletion), or rises from there (insertion)
halves     how reliable the values are: the agreement of two halves of their samples
layers     agreement with the values of a network re-initialised from the output on
seeds      agreement with the values of another --seed, which draws another background too
training   agreement with the values of another model: --other-model
samples    agreement of the halves of 100 to 600 samples, what those miss of the logit's change,
           and how many a reliability of 0.9 takes
beats      found R peaks and borders against LUDB's marks; marks: |phi| by the marked borders

Agreement is Pearson's correlation of values in the figures' windows, of single samples and of the
leads' shares, and Spearman's of single samples.
"""

from utils import run_main  # first, as it also knows of Ctrl-C while the others load

# isort: split

import json
from functools import partial
from pathlib import Path

import numpy as np

from dataset import (
    CLASSES,
    LEADS,
    add_data_args,
    add_round_arg,
    add_signal_args,
    leads_text,
    pad_signal,
    to_mv,
)
from ecg.explanation import checks, ludb, maps, measures, values
from ecg.plot.maps import plot_faithfulness, plot_samples
from resnet import (
    add_model_args,
    add_model_path_arg,
    find_model,
    network_name,
    weights_digest,
)
from utils import (
    RESEARCH_USE,
    Progress,
    fail,
    file_digest,
    get_device,
    make_parser,
    positive,
    positive_number,
    read_json,
    replacing,
    write_csv,
)

CHECKS = (*checks.CHECKS, "beats", "marks")  # the last two: of LUDB's records


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    group = parser.add_argument_group("checks")
    group.add_argument(
        "--checks", nargs="+", metavar="CHECK", choices=CHECKS, default=CHECKS, help="which to run"
    )
    text = "number of records for the checks layers, seeds, training and samples"
    group.add_argument("--few", type=positive, default=checks.FEW, help=text)
    text = "checkpoint of a training with another seed, for the check training"
    group.add_argument("--other-model", help=text)
    group.add_argument("--ludb-dir", help="folder of LUDB, for the checks beats and marks")
    text = (
        "scale LUDB's leads to this standard deviation in mV, for a model trained on such signals"
    )
    group.add_argument("--ludb-sd", type=positive_number, help=text)
    maps.add_explain_args(parser, checks.RECORDS, checks.SAMPLES)
    add_signal_args(parser)
    group = add_model_args(parser)
    add_model_path_arg(group)
    add_round_arg(group)
    args = parser.parse_args(argv)
    maps.refuse_unused(parser, args.method, args.reliability)
    needs = {"training": args.other_model, "beats": args.ludb_dir, "marks": args.ludb_dir}
    if not any(needs.get(check, True) for check in args.checks):
        parser.error("--checks training needs --other-model, beats and marks need --ludb-dir")
    return args


def kept_rows(folder, check, record, make, word=""):
    """Keep the rows (class, measure, value, weight) that `make` gives, unless a run before has.

    `word` tells apart what else the rows depend on.
    """
    path = folder / "rows" / f"{check}-{word}{record}.json"
    if read_json(path) is None:
        rows = [[check, record, k, m, float(v), float(w)] for k, m, v, w in make()]
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(rows) + "\n")


def all_rows(folder):
    """Return the rows of every check and record that the folder keeps, in the checks' order."""
    found = [read_json(path) or [] for path in sorted(folder.glob("rows/*.json"))]
    return sorted((row for rows in found for row in rows), key=lambda row: CHECKS.index(row[0]))


def kept_values(folder, given, name, x, n, classes=None):
    """Return the values of a record x (L, T) of n samples, made now or by a run before.

    `given` are its Run, Options and Background.
    """
    path = folder / "values" / f"{name}.npz"
    if values.read_values(path) is None:
        run, options, background = given
        stored = values.make_values(run.model, options, name, x, background, classes, n)
        values.write_values(path, stored)
    return values.read_values(path)


def load_other(args, run):
    """Load the model of another training; stop if it does not see the records as this one does."""
    device = next(run.model.parameters()).device
    path = args.other_model
    other = maps.load_run(args.data_dir, args.limit, path, args.leads, args.round, device)
    for name in ("leads", "seconds", "pad"):
        if run.checkpoint["args"].get(name) != other.checkpoint["args"].get(name):
            fail(
                f"{path} has other {name} than {run.name}; name a model that was trained alike, "
                "but for --seed"
            )
    return other


def load_companions(args, folder, run, options):
    """Return what else some checks compare a record with, and a word for it in file names.

    Rows of the folder that were made with another table of evidence go.
    """
    others, words = {}, {}
    evidence = Path(args.data_dir) / "evidence.csv"
    if "evidence" in args.checks and evidence.is_file():
        others["evidence"] = measures.read_evidence(evidence)
        words["evidence"] = f"{file_digest(evidence)[:8]}-"
        for old in folder.glob("rows/evidence-*"):  # of another table
            if not old.name.startswith(f"evidence-{words['evidence']}"):
                old.unlink()
    if "training" in args.checks and args.other_model:
        others["training"] = load_other(args, run)
        state_dict = others["training"].checkpoint["state_dict"]
        words["training"] = f"{weights_digest(state_dict)[:8]}-"
    if "seeds" in args.checks:
        others["seeds"] = maps.load_background(run, options._replace(seed=options.seed + 1))
    return others, words


def check_records(args, folder, given, names):
    """Make the rows of the data folder's records, where they are not kept already."""
    run, options, _ = given
    others, words = load_companions(args, folder, run, options)
    asked = {
        name: check
        for name, check in checks.CHECKS.items()
        if name in args.checks and (name in others or not check.needs)
    }
    for place, name in enumerate(Progress(names, "checking", unit="record")):
        due = [check for check in asked if place < args.few or asked[check].every]
        if not due:
            continue
        x, y = maps.load_record(run, name)
        classes = np.flatnonzero(y) if y.any() else None
        n = run.data.signals[name].shape[1]
        stored = kept_values(folder, given, name, x, n, classes)
        subject = checks.Subject(*given, name, x, stored)
        for check in due:
            make = partial(asked[check].rows, subject, others.get(check))
            kept_rows(folder, check, name, make, words.get(check, ""))


def beat_rows(packed, marks):
    """Return the rows of the check 'beats' of a record of LUDB."""
    return [("all", *row) for row in ludb.check_beats(packed, marks)]


def mark_rows(folder, given, name, packed, marks):
    """Return the rows of the check 'marks' of a record of LUDB."""
    run = given[0]
    rows = [LEADS.index(lead) for lead in run.checkpoint["leads"]]
    x = to_mv(packed, rows, None if run.data.windows else run.data.n_samples)
    if run.data.pad == "window":
        x = pad_signal(x, max(x.shape[1], run.data.n_samples))
    stored = kept_values(folder, given, name, x, packed.shape[1])
    (k, phi), start = next(values.each_class(stored)), int(stored["starts"][0])
    regions = ludb.marked_regions(marks, packed.shape[1])[start : start + phi.shape[1]]
    if (regions < 0).all():  # no wave in what the network saw
        return []
    return [(CLASSES[k], *row) for row in ludb.check_marks(phi, regions)]


def check_ludb(args, folder, given):
    """Make the rows of the checks against LUDB's marks, where they are not kept already."""
    paths = sorted(Path(args.ludb_dir).glob("*.hea"), key=lambda path: (len(path.stem), path.stem))
    if not paths:
        fail(f"no .hea in {args.ludb_dir}; name the folder of LUDB that holds 1.hea: --ludb-dir")
    scaled = f"-sd{args.ludb_sd:g}" if args.ludb_sd else ""  # kept apart from unscaled ones
    for place, path in enumerate(Progress(paths, "LUDB", unit="record")):
        name, packed = f"ludb{scaled}-{path.stem}", ludb.read_ludb(path, args.ludb_sd)
        marks = ludb.read_marks(path.with_suffix(""))
        if "beats" in args.checks:
            kept_rows(folder, "beats", name, partial(beat_rows, packed, marks))
        if "marks" in args.checks and place < args.records:
            make = partial(mark_rows, folder, given, name, packed, marks)
            kept_rows(folder, "marks", name, make)


def main(args):
    leads = leads_text(args.leads)
    network = network_name(args.arch, args.width, args.init)
    path = find_model(args.model_path, network, args.data_dir, args.seed, args.round, leads)
    device = get_device(args.use_gpu)
    run = maps.load_run(args.data_dir, args.limit, path, args.leads, args.round, device)
    options = maps.options_of(**vars(args))
    names = maps.choose_records(run, options, args.records, args.patients)
    folder = Path("explanations") / run.name / "faithfulness"
    table_path, figure = folder.with_suffix(".csv"), folder.with_suffix(".png")
    samples_figure = folder.with_name("samples.png")
    derived = table_path, figure, samples_figure
    maps.open_folder(folder, maps.run_options(run, options), args.force, args.resume, derived)
    given = run, options, maps.load_background(run, options)
    check_records(args, folder, given, names)
    if args.ludb_dir:
        check_ludb(args, folder, given)
    rows = all_rows(folder)
    if not rows:
        fail(
            f"there was nothing to check in {args.data_dir}; the check 'evidence' needs the "
            "evidence.csv of ecg.synthetic there"
        )
    table = checks.summarise(rows)
    write_csv(table, table_path)
    plot_faithfulness(table, figure, f"{run.name}: do the maps hold?")
    if (table["check"] == "samples").any():
        plot_samples(table, options.method, samples_figure)
    shown = table[table["class"] == "all"].drop(columns="class")
    print(shown.to_string(index=False, float_format="{:.3f}".format))
    print(f"{table_path}: every class; {figure}\n{RESEARCH_USE}")


if __name__ == "__main__":
    run_main(main, parse_args)
