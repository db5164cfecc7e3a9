"""Explain a model: SHAP values of test records, figures, heat maps, and a page to browse them.

Reads   models/<run>.pth (from main.py), labels.csv and the packed signals of the data folder.
Writes  explanations/<run>/: run.json (the options), values/<patient_id>.npz, values.csv,
        patient/<patient_id>.png and .pdf, population.csv and .png (mean shares of |phi| per lead),
        population_signed.csv and .png (the paper's signed sums, each row divided by its sum),
        population_both.png (these beside each other),
        beats.csv (shares of |phi| before QRS, in QRS and in ST-T), beats/<class>.png (the average
        beat of a typical record) and index.html to browse all of it.

    python shap_values.py --data-dir data/CPSC --use-gpu
    python shap_values.py --data-dir data/CPSC --patients A0001 A0013 --classes all
    python shap_values.py --model-path models/general.pth --record ward/A0001.hea
    torchrun --nproc-per-node 2 shap_values.py --data-dir data/CPSC

A record's values depend on its name, the seed and the other options in run.json alone (to the last
bit on one machine with one --batch-size), so a killed run goes on where it was. The tables and the
figures cover every finished record of the folder. The background comes from the training folds,
the explained records from the test fold; of a data set that the model was not trained on, every
record may be explained, against a background that leaves that record out. With --record, the
leading finding of files as for predict.py is explained on a page each, in
results/<model>_records/explained: against the training folds where --data-dir holds what the model
was trained on, else from a flat line (--method ig).
"""

from utils import run_main  # first, as it also knows of Ctrl-C while the others load

# isort: split

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dataset import CLASSES, SAMPLE_RATE, add_data_args, add_round_arg, add_signal_args, leads_text
from ecg.explanation import maps, own, values
from ecg.explanation.attributions import METHODS
from ecg.io.text_table import add_table_args
from ecg.plot.explained import plot_patient, plot_records
from ecg.plot.maps import plot_average_beats
from ecg.plot.scores import plot_heat_maps
from ecg.processing.beats import BeatAverages
from ecg.processing.detection import find_peaks
from ecg.reporting.pages import write_page
from ecg.training import distributed
from resnet import add_model_args, add_model_path_arg, find_model, load_model, network_name
from utils import RESEARCH_USE, Progress, fail, make_parser, write_csv

LISTED = 10  # maps that are named where too many are not reliable
DERIVED = ("patient/*.p*", "values.csv", "population*", "beats.csv", "beats/*.*", "index.html")
FEW = 5  # records, below which a row of the heat maps says so
CANCELLED = 0.05  # a row whose signed sum is below this part of its absolute sum is not divided


def parse_args(argv=None):
    parser = make_parser(__doc__)
    group = parser.add_argument_group("one's own records")
    text = "explain the leading finding of these files instead; needs --model-path"
    group.add_argument("--record", nargs="+", metavar="PATH", help=text)
    add_table_args(group)
    add_data_args(parser)
    group = maps.add_explain_args(parser, records=200, samples=200)
    text = "explain the logit of the predicted class, or those of all classes"
    group.add_argument("--classes", choices=("predicted", "all"), default="predicted", help=text)
    add_signal_args(parser)
    group = add_model_args(parser)
    add_model_path_arg(group)
    add_round_arg(group)
    args = parser.parse_args(argv)
    maps.refuse_unused(parser, args.method, args.reliability)
    if args.record and not args.model_path:
        parser.error("--record needs --model-path, such as models/general.pth")
    if args.record and (args.classes == "all" or args.patients):
        parser.error("--record explains the leading finding of files; leave --classes and "
                     "--patients out")  # fmt: skip
    return args


def is_finished(folder, name):
    """Tell whether a record has its values and its figure."""
    figure = folder / "patient" / f"{name}.png"
    return figure.exists() and values.read_values(folder / "values" / f"{name}.npz") is not None


def explain_records(folder, names, run, options, every_class):
    """Write values/<patient_id>.npz and its figure for each of the names that has none yet."""
    background = maps.load_background(run, options)
    if options.amp:
        error = amp_error(run, options, background)
        print(f"bfloat16 changes the values of {background.names[0]} by {error:.1%} (relative L2)")
    classes = range(len(CLASSES)) if every_class else None
    for name in Progress(names, "explaining", unit="record"):
        path, figure = folder / "values" / f"{name}.npz", folder / "patient" / f"{name}.png"
        x, y = maps.load_record(run, name)
        stored = values.read_values(path)
        if stored is None:
            packed = run.data.signals[name]  # the whole record, in all leads
            n = packed.shape[1]
            stored = values.make_values(run.model, options, name, x, background, classes, n)
            values.write_values(path, stored | {"peaks": find_peaks(packed)})
            figure.unlink(missing_ok=True)
        if not figure.exists():
            true = [CLASSES[k] for k in np.flatnonzero(y)]
            packed, leads = run.data.signals[name], run.checkpoint["leads"]
            plot_patient(figure, name, packed, stored, leads, true)


def amp_error(run, options, background):
    """Return the relative L2 change that bfloat16 makes to the values of the first background."""
    name, x = background.names[0], background.signals[0].cpu().numpy()
    exact, rough = (
        values.make_values(run.model, options._replace(amp=amp), name, x, background)["phi"]
        for amp in (False, True)
    )
    return np.linalg.norm(rough - exact) / np.linalg.norm(exact)


def value_rows(name, stored, true):
    """Return a stored record's rows of values.csv, one per class."""
    padding = stored["phi"].shape[2] - int(stored["n"])
    rows = []
    for i, (k, phi) in enumerate(zip(stored["classes"], stored["phi"].astype(float), strict=True)):
        logit, base, size = stored["logits"][k], stored["base"][k], np.abs(phi).sum()
        rows.append(
            {
                "patient_id": name,
                "labels": true,
                "class": CLASSES[k],
                "predicted": int(k == stored["logits"].argmax()),
                "probability": 1 / (1 + np.exp(-logit)),
                "logit": logit,
                "base_logit": base,
                "phi_sum": phi.sum(),
                "residual": phi.sum() - (logit - base),
                "reliability": stored["reliability"][i, 0],
                "reliability_leads": stored["reliability"][i, 1],
                "samples": stored["samples"][i],
                "start": stored["starts"][i] / SAMPLE_RATE,
                "padding_share": np.abs(phi[:, : max(0, padding)]).sum() / max(size, 1e-30),
            }
        )
    return rows


def write_tables(folder, run):
    """Write values.csv, both heat maps and the average beats from the stored records, streaming.

    `run` is a Run. One record is in memory at a time; returns the table of values.csv.
    """
    leads, true = run.checkpoint["leads"], run.labels.set_index("patient_id")[list(CLASSES)]
    rows = []
    count = np.zeros(len(CLASSES), int)
    shares, sums = np.zeros((2, len(CLASSES), len(leads)))
    averages = BeatAverages(leads)
    for path in sorted(folder.glob("values/*.npz")):
        stored = values.read_values(path)
        if stored is None:
            print(f"note: {path} is damaged and left out; explain the record again")
            continue
        k, phi = values.predicted_values(stored)
        names = [CLASSES[i] for i in np.flatnonzero(true.loc[path.stem])]
        rows += value_rows(path.stem, stored, ";".join(names))
        size = np.abs(phi).sum(1)
        shares[k] += size / max(size.sum(), 1e-30)
        sums[k] += phi.sum(1)
        count[k] += 1
        end = int(stored["starts"][values.predicted_place(stored)]) + phi.shape[1]
        peaks = stored["peaks"][stored["peaks"] < end]
        averages.add(k, path.stem, phi, run.data.signals[path.stem][:, :end], peaks)
    table = pd.DataFrame(rows)
    write_csv(table, folder / "values.csv")
    write_heat_maps(folder, run.name, leads, count, shares, sums)
    write_csv(averages.table(), folder / "beats.csv")
    for k, name in enumerate(CLASSES):
        path = folder / "beats" / f"{name}.png"
        if averages.kept[k]:
            plot_average_beats(*averages.beat(k), leads, path, averages.title(k))
        else:
            for suffix in (".png", ".svg"):
                path.with_suffix(suffix).unlink(missing_ok=True)
    return table


def write_heat_maps(folder, run, leads, count, shares, sums):
    """Write population.* and population_signed.* from sums over the records of a class (K, L)."""
    totals = sums.sum(1, keepdims=True)
    cancelled = np.abs(totals[:, 0]) < CANCELLED * np.abs(sums).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares, signed = shares / count[:, None], sums / totals
    signed[cancelled | (totals[:, 0] == 0)] = np.nan
    notes = np.where(count, "", "no record predicted as this").astype(object)
    notes[(count > 0) & (count < FEW)] = f"fewer than {FEW} records"
    label = "mean share of |SHAP value|"
    _, first = write_population(
        folder / "population", run, leads, count, shares, notes.copy(), label
    )
    notes[cancelled & (count > 0)] = "signed sums cancel: not divided by a sum near zero"
    label = "sum of SHAP values, of the row's sum"
    path = folder / "population_signed"
    rows, second = write_population(path, run, leads, count, signed, notes, label)
    title = f"{run}: the paper's signed sums, and shares that cannot cancel, by predicted class"
    title += few_text(count)
    plot_heat_maps([second, first], rows, leads, folder / "population_both.png", title)


def few_text(count):
    """Return what a heat map's title says of classes with few records, from counts (K,)."""
    some = ((count > 0) & (count < FEW)).any()
    return f"\nfew: fewer than {FEW} records, read with care" if some else ""


def write_population(path, run, leads, count, cells, notes, label):
    """Write class x lead cells (K, L), with an AVG row over the classes, as csv and heat map.

    Returns the labels of the rows, and the arguments that `draw_heat_map` draws it with.
    """
    filled = cells[np.isfinite(cells).all(1)]
    average = filled.mean(0) if len(filled) else np.full(len(leads), np.nan)
    cells = np.vstack([cells, average])
    frame = pd.DataFrame({"class": [*CLASSES, "AVG"], "n": [*count, count.sum()]})
    frame[list(leads)] = cells
    frame["note"] = [*notes, f"mean of {len(filled)} classes"]
    write_csv(frame, path.with_suffix(".csv"))
    rows = [
        f"{name} (n = {n}{', few' if 0 < n < FEW else ''})"
        for name, n in zip(frame["class"], frame["n"], strict=True)
    ]
    title = f"{run}: {label}, by predicted class{few_text(count)}"
    figure = path.with_suffix(".png")
    parts = cells, label, frame["note"]
    plot_heat_maps([parts], rows, leads, figure, title)
    return rows, parts


def reliable_text(table, options):
    """Say how reliable the values of values.csv are, and which do not reach --reliability."""
    found, samples = table["reliability"], table["samples"].median()
    text = f"reliability of the windows: median {found.median():.2f} ({found.min():.2f} to "
    text += f"{found.max():.2f}), with a median of {samples:.0f} samples"
    if options.reliability:
        short = table[~(found >= options.reliability)]
        names = short["patient_id"] + " " + short["class"]
        listed = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
        text += f"\n{len(short)} of {len(table)} maps do not reach {options.reliability:g} with "
        text += f"{options.samples} samples" + (f": {listed} (values.csv)" if len(short) else "")
    return text


def wait():
    """Wait until every process has reached this point."""
    if distributed.world_size() > 1:
        torch.distributed.barrier()


def explain_files(args):
    """Explain the files that --record names, by the method asked for or the one at hand."""
    path = find_model(args.model_path, "", args.data_dir, args.seed, args.round, "")
    device = distributed.start(args.use_gpu)
    model, checkpoint = load_model(path, device, args.leads)
    options, background = maps.options_of(**vars(args)), None
    if args.method is None or not METHODS[args.method].from_zero:
        background = own.training_background(args.data_dir, path, checkpoint, device, options)
        if background is None and (args.method or args.reliability):
            fail(
                f"{args.data_dir} is not what {path} was trained on, which --method shap and "
                "--reliability draw from; name it with --data-dir, or leave them out"
            )
        if background is None:
            options = options._replace(method="ig")
    names = ("sample_rate", "leads_order", "units_per_mv")
    table = {name: getattr(args, name) for name in names}
    plot_records(path, model, checkpoint, args.record, table, (options, background))


def main(args):
    if args.record:
        return explain_files(args)
    leads = leads_text(args.leads)
    network = network_name(args.arch, args.width, args.init)
    path = find_model(args.model_path, network, args.data_dir, args.seed, args.round, leads)
    device = distributed.start(args.use_gpu)
    run = maps.load_run(args.data_dir, args.limit, path, args.leads, args.round, device)
    options = maps.options_of(**vars(args))
    names = maps.choose_records(run, options, args.records, args.patients)
    folder = Path("explanations") / run.name
    if distributed.rank() == 0:
        derived = [path for pattern in DERIVED for path in folder.glob(pattern)]
        written = maps.run_options(run, options, classes=args.classes)
        maps.open_folder(folder, written, args.force, args.resume, derived)
    wait()
    # what is there already is not shared out, so that no process waits for long at the end
    missing = [name for name in names if not is_finished(folder, name)]
    wait()
    share = distributed.share(missing)
    explain_records(folder, share, run, options, args.classes == "all")
    wait()
    if distributed.rank() == 0:
        table = write_tables(folder, run)
        write_page(folder, run.name, run.checkpoint["leads"])
        change = (table["logit"] - table["base_logit"]).abs().median()
        print(
            f"{table['patient_id'].nunique()} records in {folder}; to browse: "
            f"{folder / 'index.html'}\nmedian change of the logit from the background "
            f"{change:.3f}, of which the values miss {table['residual'].abs().median():.3f}; "
            f"more --samples make it less\n{reliable_text(table, options)}\n{RESEARCH_USE}"
        )
    distributed.stop()


if __name__ == "__main__":
    run_main(main, parse_args)
