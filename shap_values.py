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
    torchrun --nproc-per-node 2 shap_values.py --data-dir data/CPSC

A record's values depend on its name, the seed and the other options in run.json alone (to the last
bit on one machine with one --batch-size), so a killed run resumes where it stopped. The tables and
the figures cover every finished record of the folder. The background comes from the training folds,
the explained records from the test fold; of a data set that the model was not trained on, every
record may be explained, against a background without that record. For single ECGs of your own
there is python -m ecg.read FILE --explain.
"""

import numpy as np
import pandas as pd

from dataset import SAMPLE_RATE, add_data_args, add_round_arg, add_signal_args, leads_text
from ecg.explanation import run as explanation_run
from ecg.explanation.beat_averages import BeatAverages
from ecg.explanation.explanation import Explainer, Explanation, Record
from ecg.explanation.methods import METHODS, refuse_lacking, refuse_unused
from ecg.explanation.population import Population
from ecg.inference.flags import (
    add_model_args,
    add_model_path_arg,
    find_model,
    parse_without,
)
from ecg.inference.model import Model
from ecg.plot.explained_page import plot_patient
from ecg.plot.explanation_figures import plot_average_beats
from ecg.plot.scores import plot_heat_maps
from ecg.processing.detection import find_peaks
from ecg.reporting.pages import write_page
from ecg.running.command import make_parser, run_main
from ecg.training import distributed
from utils import RESEARCH_USE, Progress, explanations_path, network_name, remove, write_csv

LISTED = 10  # maps that are named where too many are not reliable
DERIVED = ("patient/*.p*", "values.csv", "population*", "beats.csv", "beats/*.*", "index.html")
MOVED = ("--record", "--sample-rate", "--leads-order", "--units-per-mv")  # to ecg.read


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    group = explanation_run.add_explain_args(parser, records=200, samples=200)
    text = "explain the logit of the predicted class, or those of all classes"
    group.add_argument("--classes", choices=("predicted", "all"), default="predicted", help=text)
    add_signal_args(parser)
    group = add_model_args(parser)
    add_model_path_arg(group)
    add_round_arg(group)
    args = parse_without(parser, argv, MOVED, "python -m ecg.read FILE --explain")
    refuse_unused(parser, args.method, args.reliability)
    return args


def paths_of(folder, name):
    """Return where a record's values and its figure are kept."""
    return folder / "values" / f"{name}.npz", folder / "patient" / f"{name}.png"


def is_finished(folder, name):
    """Tell whether a record has its values and its figure."""
    path, figure = paths_of(folder, name)
    return figure.exists() and Explanation.load(path) is not None


def explain_records(folder, names, run, explainer, classes):
    """Write values/<patient_id>.npz and its figure for each of the names that has none yet."""
    for name in Progress(names, "explaining", unit="record"):
        path, figure = paths_of(folder, name)
        packed = run.data.signals[name]  # the whole record, in all leads
        explanation, record = Explanation.load(path), run.record(name)
        if explanation is None:
            explanation = explainer.explain(record, classes).with_peaks(find_peaks(packed))
            explanation.save(path)
            remove(figure)
        if not figure.exists():
            plot_patient(figure, packed, explanation, record, run.model)


def amp_error(explainer):
    """Return the relative L2 change that bfloat16 makes to the values of the first background."""
    background, phi = explainer.background, []
    x = background.signals[0].cpu().numpy()
    record = Record(background.names[0], x, x.shape[1])
    for amp in (False, True):
        options = explainer.options._replace(amp=amp)
        phi.append(Explainer(explainer.network, options, background).explain(record).phi)
    exact, rough = phi
    return np.linalg.norm(rough - exact) / np.linalg.norm(exact)


def value_rows(name, explanation, labels, classes):
    """Return a record's rows of values.csv, one per explained class."""
    rows = []
    for explained, phi in zip(explanation, explanation.phi.astype(float), strict=True):
        k, logit, size = explained.k, explained.logit, np.abs(phi).sum()
        windows, leads = explained.reliability
        row = {
            "patient_id": name,
            "labels": labels,
            "class": classes[k],
            "predicted": int(k == explanation.predicted),
            "probability": explained.probability,
            "logit": logit,
            "base_logit": explanation.base[k],
            "phi_sum": phi.sum(),
            "residual": phi.sum() - explained.change,
            "reliability": windows,
            "reliability_leads": leads,
            "samples": explained.samples,
            "start": explained.start / SAMPLE_RATE,
            "difference": explained.difference,
            "padding_share": np.abs(phi[:, : explanation.padding]).sum() / max(size, 1e-30),
        }
        rows.append(row)
    return rows


def write_tables(folder, run, unit="SHAP value"):
    """Write values.csv, both heat maps and the average beats from the stored records, streaming.

    `unit` is what a value is. One record is in memory at a time; returns the table of values.csv.
    """
    leads, classes = run.model.leads, run.model.classes
    y_true = run.labels.set_index("patient_id")[list(classes)]
    rows, averages = [], BeatAverages(classes, leads)
    population = Population(classes, leads, unit)
    for path in sorted(folder.glob("values/*.npz")):
        name, explanation = path.stem, Explanation.load(path)
        if explanation is None:
            print(f"note: {path} is damaged and left out; explain the record again")
            continue
        labels = ";".join(classes[k] for k in np.flatnonzero(y_true.loc[name] == 1))
        rows += value_rows(name, explanation, labels, classes)
        explained = explanation.of(explanation.predicted)
        population.add(explained)
        packed = run.data.signals[name][:, : explained.stop]
        peaks = explanation.peaks[explanation.peaks < explained.stop]
        averages.add(explained.k, name, explained.values, packed, peaks)
    table = pd.DataFrame(rows)
    write_csv(table, folder / "values.csv")
    write_heat_maps(folder, run.name, population)
    write_csv(averages.table(), folder / "beats.csv")
    for k, name in enumerate(classes):
        path = folder / "beats" / f"{name}.png"
        if averages.kept[k]:
            plot_average_beats(averages.beat(k), leads, path, averages.title(k), unit)
        else:
            for suffix in (".png", ".svg"):
                remove(path.with_suffix(suffix))
    return table


def write_heat_maps(folder, run_name, population):
    """Write population.* (mean shares), population_signed.* (signed sums) and population_both.*."""
    shares, signed = population.mean_shares(), population.signed_sums()
    rows, leads, few = population.row_labels(), population.leads, population.few_text()
    for name, heat_map in (("population", shares), ("population_signed", signed)):
        path = folder / f"{name}.png"
        write_csv(population.table(heat_map), path.with_suffix(".csv"))
        title = f"{run_name}: {heat_map.label}, by predicted class{few}"
        plot_heat_maps([heat_map], rows, leads, path, title)
    title = (
        f"{run_name}: the paper's signed sums, and shares that cannot cancel, by predicted class"
    )
    plot_heat_maps([signed, shares], rows, leads, folder / "population_both.png", title + few)


def reliable_text(table, options):
    """Say how reliable the values of values.csv are, and which do not reach --reliability."""
    reliability, samples = table.reliability, table.samples.median()
    text = f"reliability of the windows: median {reliability.median():.2f} "
    text += f"({reliability.min():.2f} to {reliability.max():.2f}), with a median of "
    text += f"{samples:.0f} samples"
    if options.reliability:
        short = table[~(reliability >= options.reliability)]
        names = short["patient_id"] + " " + short["class"]
        listed = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
        text += f"\n{len(short)} of {len(table)} maps do not reach {options.reliability:g} with "
        text += f"{options.samples} samples" + (f": {listed} (values.csv)" if len(short) else "")
    return text


def quality_texts(table, options):
    """Say how far the values of values.csv add up, how reliable they are and if shap agrees."""
    method, texts = METHODS[options.method], []
    if method.adds_up:
        change = (table.logit - table.base_logit).abs().median()
        texts.append(
            f"median change of the logit from the background {change:.3f}; the values add up to it "
            f"within {table.residual.abs().median():.3f} (median; less with more --samples)"
        )
    if method.drawn:
        texts.append(reliable_text(table, options))
    if table.difference.notna().any():
        median, most = f"{table.difference.median():.2%}", f"{table.difference.max():.2%}"
        text = (
            f"ours, from the same draws, differ by {median} (relative L2, median; {most} at most)"
        )
        texts.append(text)
    return texts


def main(args):
    network, leads = network_name(args.arch, args.width, args.init), leads_text(args.leads)
    path = find_model(args.model_path, network, args.data_dir, args.seed, args.round, leads)
    model = Model.load(path, distributed.start(args.device), args.leads)
    run = explanation_run.load_run(model, args.data_dir, args.limit, args.round)
    options = explanation_run.options_of(**vars(args))
    refuse_lacking(model, options.method)
    names = explanation_run.choose_records(run, options, args.records, args.patients)
    folder = explanations_path(run.name)
    if distributed.rank() == 0:
        derived = [path for pattern in DERIVED for path in folder.glob(pattern)]
        written = explanation_run.run_options(run, options, classes=args.classes)
        explanation_run.open_folder(folder, written, args.force, args.resume, derived)
    distributed.wait()
    # what is there already is not shared out, so that no process waits for long at the end
    missing = [name for name in names if not is_finished(folder, name)]
    distributed.wait()
    needed = METHODS[options.method].background or options.amp
    background = explanation_run.load_background(run, options) if needed else None
    explainer = Explainer(model.network, options, background)
    if options.amp:
        name, error = explainer.background.names[0], amp_error(explainer)
        print(f"bfloat16 changes the values of {name} by {error:.1%} (relative L2)")
    classes = range(len(model.classes)) if args.classes == "all" else None
    explain_records(folder, distributed.share(missing), run, explainer, classes)
    distributed.wait()
    if distributed.rank() == 0:
        unit = METHODS[options.method].unit
        table = write_tables(folder, run, unit)
        write_page(folder, run.name, model.leads, unit)
        print(f"{table.patient_id.nunique()} records in {folder}; open {folder / 'index.html'}")
        print("\n".join([*quality_texts(table, options), RESEARCH_USE]))
    distributed.stop()


if __name__ == "__main__":
    run_main(main, parse_args)
