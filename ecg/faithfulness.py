"""Check explanations: against known truth, by removing samples, with random layers, other seeds.

Reads   models/<run>.pth (from main.py), labels.csv and the packed signals of the data folder, its
        evidence.csv if synthetic.py made it, and LUDB (physionet.org/content/ludb) if named.
Writes  explanations/<run>/faithfulness.csv and .png, samples.png, and what they are made of in
        explanations/<run>/faithfulness/, so that a killed run goes on where it was.

    python -m ecg.faithfulness --data-dir data/synthetic
    python -m ecg.faithfulness --data-dir data/ptbxl --ludb-dir data/ludb --ludb-sd 0.2

The classes explained are those a record is labelled with (the predicted one if none; on LUDB the
predicted one). faithfulness.csv has a row per check, class and measure of all in the folder:
n records, the mean, and its 95 % interval over resampled records.

evidence   positive phi inside the criterion in time, in leads and in both, beside the part a
           uniform map would have there; pointing game: is the highest value (20 ms) inside?
curves     how far the logit falls as the 1-20 % of samples with the highest, random or lowest
           values become a background record's (deletion), or rises from there (insertion)
layers     rank correlation with the values of a network re-initialised from the output on
seeds      rank correlation with the values of another --seed, which draws another background too
training   rank correlation with the values of another model: --other-model
samples    what the values miss of the change of the logit, over --samples
beats      found R peaks and borders against LUDB's marks; marks: |phi| by the marked borders
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from dataset import (
    CLASSES,
    LEADS,
    add_data_args,
    add_round_arg,
    add_signal_args,
    pad_signal,
    to_mv,
)
from ecg.explanation import checks, ludb
from ecg.explanation.maps import (
    add_explain_args,
    choose_records,
    load_background,
    load_record,
    load_run,
    make_values,
    open_folder,
    read_values,
    run_options,
    write_values,
)
from ecg.plot.maps import plot_faithfulness, plot_samples
from resnet import add_model_args, add_model_path_arg
from utils import (
    RESEARCH_USE,
    fail,
    file_digest,
    get_device,
    make_parser,
    positive,
    read_json,
    replacing,
    write_csv,
)

PER_RECORD = ("evidence", "curves", "layers", "seeds", "training", "samples")  # first two: all
CHECKS = (*PER_RECORD, "beats", "marks")
NORM_RECORDS = 32  # background records that set the batch norms of a network with random layers


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    add_round_arg(parser)
    add_signal_args(parser)
    add_model_args(parser)
    add_model_path_arg(parser)
    add_explain_args(parser, checks.RECORDS, checks.SAMPLES)
    group = parser.add_argument_group("checks")
    group.add_argument("--checks", nargs="+", choices=CHECKS, default=CHECKS, help="which to run")
    group.add_argument(
        "--few",
        type=positive,
        default=checks.FEW,
        help="records of layers, seeds, training and samples",
    )
    group.add_argument("--other-model", help="checkpoint of another training seed (None: no check)")
    group.add_argument("--ludb-dir", help="LUDB's folder of .hea, .dat and marks (None: no check)")
    group.add_argument(
        "--ludb-sd",
        type=float,
        help="scale LUDB's leads to this sd in mV, for a model trained on such (None: as they are)",
    )
    args = parser.parse_args(argv)
    needs = {"training": args.other_model, "beats": args.ludb_dir, "marks": args.ludb_dir}
    if not any(needs.get(check, True) for check in args.checks):
        parser.error("--checks training needs --other-model, beats and marks need --ludb-dir")
    return args


def kept_rows(folder, check, record, file, make):
    """Keep a record's rows of one check as <check>-<file>.json, unless a run before has."""
    path = folder / "rows" / f"{check}-{file}.json"
    if read_json(path) is None:
        with replacing(path) as temporary:
            checks.write_rows(temporary, check, record, make())


def all_rows(folder):
    """Return the rows of every check and record that the folder keeps, in the checks' order."""
    found = [read_json(path) or [] for path in sorted(folder.glob("rows/*.json"))]
    return sorted((row for rows in found for row in rows), key=lambda row: CHECKS.index(row[0]))


def kept_values(folder, name, make):
    """Return a record's values, made now or by a run before."""
    path = folder / "values" / f"{name}.npz"
    if read_values(path) is None:
        write_values(path, make())
    return read_values(path)


def on_device(run, x):
    return torch.from_numpy(x).to(next(run.model.parameters()).device)


def record_values(args, folder, run, pool, name):
    """Return (x (L, T), stored values for the record's labelled classes)."""
    x, y = load_record(run, name)

    def make():
        classes = np.flatnonzero(y) if y.any() else None
        stored = make_values(args, name, on_device(run, x), run.model, pool, classes)
        return {**stored, "n": np.array(run.data.signals[name].shape[1])}

    return x, kept_values(folder, name, make)


def each_class(stored):
    """Yield the class, its number and its values (L, t) without the padding."""
    for k, phi in zip(stored["classes"], stored["phi"], strict=True):
        yield CLASSES[k], k, phi[:, max(0, phi.shape[1] - int(stored["n"])) :]


def evidence_rows(run, name, stored, evidence):
    rows, evidence = [], evidence[evidence["patient_id"] == name]
    for label, _, phi in each_class(stored):
        own = evidence[evidence["class"] == label]
        n = phi.shape[1]
        mask = checks.evidence_mask(own, run.checkpoint["leads"], n, int(stored["n"]) - n)
        if mask.any():
            rows += [(label, *row) for row in checks.check_evidence(phi, mask)]
    return rows


def curve_rows(args, run, pool, name, x, stored):
    rows, others = [], [i for i, other in enumerate(pool[0]) if other != name]
    others = pool[1][others[: checks.REPLACEMENTS]]
    for label, k, phi in each_class(stored):
        padding = x.shape[1] - phi.shape[1]

        def logit_of(part, k=k, padding=padding):
            with torch.no_grad():
                return run.model(functional.pad(part, (padding, 0)))[:, k].cpu().numpy()

        seen = on_device(run, x)[:, padding:]
        rng = np.random.default_rng([args.seed, 2])
        ends = others[:, :, -phi.shape[1] :]
        found = checks.check_curves(logit_of, seen, ends, phi, rng)
        rows += [(label, *row) for row in found]
    return rows


def values_again(args, run, pool, name, x, stored, model=None, **flags):
    """Return the values of the record's first class again, of another model or with other flags."""
    args = argparse.Namespace(**{**vars(args), **flags})
    again = make_values(
        args, name, on_device(run, x), model or run.model, pool, stored["classes"][:1]
    )
    return {**again, "n": stored["n"]}


def correlation_row(what, stored, again):
    (label, _, a), (_, _, b) = next(each_class(stored)), next(each_class(again))
    return label, f"rank correlation, {what}", checks.rank_correlation(a, b), 1


def layer_rows(args, run, *given):
    signals = given[0][1][:NORM_RECORDS]
    for layer, network in checks.random_layers(run.model, signals, args.batch_size, args.seed):
        again = values_again(args, run, *given, model=network)
        yield correlation_row(f"random from output to {layer}", given[-1], again)


def seed_rows(args, run, pool, *given, other_pool):
    again = values_again(args, run, other_pool, *given, seed=args.seed + 1)
    yield correlation_row("another seed", given[-1], again)


def training_rows(args, run, *given, other):
    again = values_again(args, run, *given, model=other.model)
    yield correlation_row("another training", given[-1], again)


def sample_rows(args, run, *given):
    for samples in checks.SAMPLES_STEPS:
        again = values_again(args, run, *given, samples=samples)
        k = again["classes"][0]
        change = again["logits"][k] - again["base"][k]
        miss = abs(again["phi"].sum(dtype=float) - change)
        yield CLASSES[k], f"|residual| of {samples} samples", miss, 1
        yield CLASSES[k], f"|residual| / |change| of {samples} samples", miss / abs(change), 1


def load_other(args, run):
    """Load the model of another training; stop if it does not see the records as this one does."""
    flags = argparse.Namespace(**{**vars(args), "model_path": args.other_model})
    other = load_run(flags, next(run.model.parameters()).device)
    for name in ("leads", "seconds", "pad"):
        values = [one.checkpoint["args"].get(name) for one in (run, other)]
        if values[0] != values[1]:
            fail(f"{args.other_model} has other {name} than {run.name}; name a model that was "
                 "trained alike, but for --seed")  # fmt: skip
    return other


def check_records(args, folder, run, pool, names):
    """Make the rows of the data folder's checks, where they are not kept already."""
    evidence = None
    if "evidence" in args.checks and (Path(args.data_dir) / "evidence.csv").is_file():
        path = Path(args.data_dir) / "evidence.csv"
        evidence, evidence_file = checks.read_evidence(path), file_digest(path)[:8]
        for old in folder.glob("rows/evidence-*"):  # of another table
            if not old.name.startswith(f"evidence-{evidence_file}-"):
                old.unlink()
    other = other_pool = None
    if "training" in args.checks and args.other_model:
        other = load_other(args, run)
        other_file = run_options(args, other)["weights"][:8]
    if "seeds" in args.checks:
        flags = argparse.Namespace(**{**vars(args), "seed": args.seed + 1})
        other_pool = load_background(flags, run)
    has = {"evidence": evidence is not None, "training": other is not None}
    for place, name in enumerate(tqdm(names, desc="checking", unit="record")):
        asked = PER_RECORD if place < args.few else PER_RECORD[:2]
        asked = [check for check in asked if check in args.checks and has.get(check, True)]
        if not asked:
            continue
        x, stored = record_values(args, folder, run, pool, name)
        given = args, run, pool, name, x, stored
        jobs = {
            "evidence": lambda s=stored, name=name: evidence_rows(run, name, s, evidence),
            "curves": lambda given=given: curve_rows(*given),
            "layers": lambda given=given: layer_rows(*given),
            "seeds": lambda given=given: seed_rows(*given, other_pool=other_pool),
            "samples": lambda given=given: sample_rows(*given),
            "training": lambda given=given: training_rows(*given, other=other),
        }
        for check in asked:
            file = name
            if check in ("evidence", "training"):  # what else they hang on is in the name
                file = f"{evidence_file if check == 'evidence' else other_file}-{name}"
            kept_rows(folder, check, name, file, jobs[check])


def check_ludb(args, folder, run, pool):
    """Make the rows of the checks against LUDB's marks, where they are not kept already."""
    paths = sorted(Path(args.ludb_dir).glob("*.hea"), key=lambda path: (len(path.stem), path.stem))
    if not paths:
        fail(f"no .hea in {args.ludb_dir}; name the folder of LUDB that holds 1.hea: --ludb-dir")
    leads = run.checkpoint["leads"]
    for place, path in enumerate(tqdm(paths, desc="LUDB", unit="record")):
        scaled = f"-sd{args.ludb_sd:g}" if args.ludb_sd else ""  # kept apart from unscaled ones
        name, packed = f"ludb{scaled}-{path.stem}", ludb.read_ludb(path, args.ludb_sd)
        marks = ludb.read_marks(path.with_suffix(""))

        def beat_rows(packed=packed, marks=marks):
            return [("all", *row) for row in ludb.check_beats(packed, marks)]

        def mark_rows(name=name, packed=packed, marks=marks):
            x = to_mv(packed, [LEADS.index(lead) for lead in leads], run.data.n_samples)
            if run.data.pad == "window":
                x = pad_signal(x, run.data.n_samples)

            def make():
                stored = make_values(args, name, on_device(run, x), run.model, pool)
                return {**stored, "n": np.array(packed.shape[1])}

            label, _, phi = next(each_class(kept_values(folder, name, make)))
            regions = ludb.marked_regions(marks, packed.shape[1])[-phi.shape[1] :]
            if (regions < 0).all():  # no wave in what the network saw
                return []
            return [(label, *row) for row in ludb.check_marks(phi, regions)]

        if "beats" in args.checks:
            kept_rows(folder, "beats", name, name, beat_rows)
        if "marks" in args.checks and place < args.records:
            kept_rows(folder, "marks", name, name, mark_rows)


def main(args):
    run = load_run(args, get_device(args.use_gpu))
    names = choose_records(args, run.labels, run.trained_here)
    folder = Path("explanations") / run.name / "faithfulness"
    derived = [folder.with_suffix(".csv"), folder.with_suffix(".png")]
    derived.append(folder.with_name("samples.png"))
    open_folder(folder, run_options(args, run), args.force, derived)
    pool = load_background(args, run)
    check_records(args, folder, run, pool, names)
    if args.ludb_dir:
        check_ludb(args, folder, run, pool)
    rows = all_rows(folder)
    if not rows:
        fail(f"there was nothing to check in {args.data_dir}; the check 'evidence' needs the "
             "evidence.csv of synthetic.py there")  # fmt: skip
    table = checks.summarise(rows)
    write_csv(table, folder.with_suffix(".csv"))
    plot_faithfulness(table, folder.with_suffix(".png"), f"{run.name}: do the maps hold?")
    if (table["check"] == "samples").any():
        plot_samples(table, args.method, folder.with_name("samples.png"))
    shown = table[table["class"] == "all"].drop(columns="class")
    print(shown.to_string(index=False, float_format="{:.3f}".format))
    print(
        f"{folder.with_suffix('.csv')}: every class; {folder.with_suffix('.png')}\n{RESEARCH_USE}"
    )


if __name__ == "__main__":
    main(parse_args())
