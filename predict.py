"""Score a trained model: thresholds from the validation fold, the paper's table on the test fold.

Reads   models/<run>.pth (from main.py), data/CPSC/labels.csv and the packed signals beside it
Writes  results/<run>/thresholds.json   per class, from the validation fold
        results/<run>/predictions.csv   patient_id, fold, nine probabilities: validation and test
        results/<run>/scores.csv        class, n, precision, recall, f1, auc, accuracy, specificity,
                                        ap, brier, ece, and 95 % bootstrap intervals; last row AVG
        results/<run>/challenge.json    the CPSC2018 challenge's own score
        results/<run>/confusion.png     a confusion matrix per class; roc.png, precision_recall.png
                                        and reliability.png; each as .svg too
        results/<run>/scores.html       a page with all of these

    python predict.py --data-dir data/CPSC --leads all --use-gpu

On a data set the model was not trained on, every record is scored with the thresholds stored with
the model's own results, and <run> becomes <model>_on_<folder>:

    python predict.py --data-dir data/ptbxl --model-path models/resnet34_CPSC_all_42.pth --folds all

With --record it answers for one's own records instead: WFDB, challenge structs, .csv, .npy, or a
folder of them. A table and warnings for each record go to stdout, and the ECG on paper to
results/<model>_records/<record>.pdf, true to scale, and .png:

    python predict.py --model-path models/resnet34_CPSC_all_42.pth --record A0001.hea
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from dataset import (
    CLASSES,
    SAMPLE_RATE,
    ECGDataset,
    PackedSignals,
    add_data_args,
    add_round_arg,
    add_signal_args,
    is_training_data,
    leads_text,
    load_labels,
    round_folds,
    split_labels,
    to_mv,
)
from ecg.evaluation.findings import (
    add_findings,
    answer_text,
    find_all,
    read_batches,
    write_json,
)
from ecg.evaluation.metrics import (
    NO_POSITIVES_THRESHOLD,
    evaluate_run,
    format_table,
    write_predictions,
    write_scores,
    write_thresholds,
)
from ecg.processing.quality import SHORTEST
from resnet import (
    add_model_args,
    add_model_path_arg,
    find_model,
    load_model,
    scored_run,
    weights_digest,
)
from utils import (
    RESEARCH_USE,
    fail,
    get_device,
    make_parser,
    predict_scores,
)

DRAWN_UNASKED = 20  # records; a page takes half a second to draw


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    add_round_arg(parser)
    add_signal_args(parser)
    add_model_args(parser)
    add_model_path_arg(parser)
    parser.add_argument(
        "--folds",
        choices=("test", "all"),
        help="what to score (None: test; all on a data set the model was not trained on)",
    )
    group = parser.add_argument_group("one's own records")
    group.add_argument("--record", nargs="+", metavar="PATH", help="records or folders to answer "
                       "for, instead of scoring --data-dir")  # fmt: skip
    group.add_argument("--sample-rate", type=float, help="Hz, of .csv and .npy records")
    group.add_argument("--json", metavar="FILE", help="write the answers there; -: to stdout, "
                       "without the tables")  # fmt: skip
    group.add_argument("--pages", action=argparse.BooleanOptionalAction, help="draw the ECG on "
                       f"paper (None: for up to {DRAWN_UNASKED} records)")  # fmt: skip
    return parser.parse_args(argv)


def find(args):
    """Return the checkpoint that the flags name."""
    leads = leads_text(args.leads)
    return find_model(args.model_path, args.arch, args.data_dir, args.seed, args.round, leads)


def score(model, checkpoint, signals, labels, args, device):
    """Return the probabilities (N, K) of the records of `labels`."""
    trained = checkpoint["args"]
    dataset = ECGDataset(
        signals, labels, checkpoint["leads"], trained["seconds"], pad=trained["pad"]
    )
    loader = dataset.loader(args.batch_size, args.num_workers)
    return predict_scores(model, loader, device, args.amp)[1]


def stored_thresholds(model_run, classes):
    """Read the thresholds that scoring the model on its own data has left: (K,)."""
    path = Path("results") / model_run / "thresholds.json"
    try:
        stored = json.loads(path.read_text())["thresholds"]
        return np.array([float(stored[name]) for name in classes])
    except FileNotFoundError:
        fail(f"no {path}, the model's thresholds; first run python predict.py on the data set it "
             "was trained on")  # fmt: skip
    except (ValueError, KeyError, TypeError):
        fail(f"{path} is damaged; run python predict.py again on the data set of the model")


def score_folds(model, checkpoint, signals, labels, args, device, folder):
    """Find thresholds on the validation fold, score the test fold; return what `main` shows."""
    _, validation, test = split_labels(labels, args.round)
    scores = [score(model, checkpoint, signals, part, args, device) for part in (validation, test)]
    weights = weights_digest(checkpoint["state_dict"])
    names = checkpoint["classes"]
    table = evaluate_run(folder, validation, test, scores, names, args.seed, weights)
    return "test fold", test, scores[1], table


def score_other_data(model, checkpoint, signals, labels, args, device, folder):
    """Score every record of another data set with the model's stored thresholds."""
    classes = checkpoint["classes"]
    model_run = folder.name.removesuffix(f"_on_{Path(args.data_dir).resolve().name}")
    thresholds = stored_thresholds(model_run, classes)
    y_score = score(model, checkpoint, signals, labels, args, device)
    write_thresholds(folder / "thresholds.json", thresholds, classes, rule=f"as in {model_run}")
    write_predictions(folder / "predictions.csv", [labels], [y_score], classes)
    y_true = labels[classes].to_numpy()
    table = write_scores(folder, y_true, y_score, thresholds, classes, args.seed)
    return "all records", labels, y_score, table


def thresholds_or_half(model_run, classes):
    """Return the model's stored thresholds and no warning, or 0.5 and one."""
    path = Path("results") / model_run / "thresholds.json"
    if path.is_file():
        return stored_thresholds(model_run, classes), []
    half = NO_POSITIVES_THRESHOLD
    return np.full(len(classes), half), [f"no {path}, so every threshold is {half}, which fits no "
        "class; python predict.py on the model's own data set finds them"]  # fmt: skip


def answer_batch(model, checkpoint, batch, thresholds, args, device, folder):
    """Score, print and draw (None: not) a batch of records; complete its answers."""
    rows, signals = batch
    # labels that nobody reads: scoring is that of a data set
    labels = pd.DataFrame({"patient_id": list(signals)}).assign(**dict.fromkeys(CLASSES, 0))
    y_score = score(model, checkpoint, signals, labels, args, device)
    for row, scores in zip(rows, y_score, strict=True):
        add_findings(row, scores, thresholds, checkpoint["classes"])
        if args.json != "-":
            tqdm.write(answer_text(row, thresholds))
            sys.stdout.flush()  # the answer first, the page takes longer
        row["page"] = None
        if folder:
            draw_answer(row, signals[row["record"]], folder)


def draw_answer(row, packed, folder):
    """Write the ECG pages of an answer, with the findings in the title; note the PDF's path."""
    from ecg.plot.ecg_paper import plot_ecg_pages  # matplotlib only where it is drawn with

    found = ", ".join(f"{name} {row['probabilities'][name]:.2f}" for name in row["findings"])
    title = f"{row['record']}: {found or 'no finding reaches its threshold'}"
    path = Path(folder) / f"{row['record']}.pdf"
    plot_ecg_pages(to_mv(packed), SAMPLE_RATE, path, title, row["warnings"])
    row["page"] = str(path)


def tell_skipped(bad):
    for path, why in bad:
        tqdm.write(f"skipped: {path}: {why}", file=sys.stderr)


def answer_records(args):
    """Answer for the records that --record names, a batch at a time; the bad ones are named."""
    device = get_device(args.use_gpu)
    if args.json and (Path(args.json).is_dir() or Path(args.json).parent.is_file()):
        fail(f"--json {args.json} cannot be a file; name one, or - for stdout")
    sources, bad = find_all(args.record)
    several, told = len(sources) + len(bad) > 1, len(bad)
    if several:
        tell_skipped(bad)
    if not sources:
        fail("none of the records can be read" if several else ": ".join(bad[0]))
    path = find(args)
    model, checkpoint = load_model(path, device, args.leads)
    run = path.stem
    window, shortest = checkpoint["args"]["seconds"], checkpoint.get("shortest", SHORTEST)
    thresholds, caveats = thresholds_or_half(run, checkpoint["classes"])
    drawn = len(sources) <= DRAWN_UNASKED if args.pages is None else args.pages
    folder, answered = Path("results") / f"{run}_records" if drawn else None, []
    progress = tqdm(total=len(sources) + told, initial=told, unit="record", disable=not several)
    for batch in read_batches(sources, args.batch_size, args.sample_rate, window, shortest, bad):
        tell_skipped(bad[told:] if several else ())
        told = len(bad)
        for row in batch[0]:
            row["warnings"] += caveats
        if batch[0]:
            answer_batch(model, checkpoint, batch, thresholds, args, device, folder)
        answered += batch[0]
        progress.update(len(answered) + len(bad) - progress.n)
    progress.close()
    if args.json:
        write_json(args.json, run, thresholds, checkpoint["classes"], answered, bad)
    if not answered:
        fail("none of the records can be read" if several else ": ".join(bad[0]))
    if args.json != "-":
        print(f"\nwrote the ECG pages (pdf, png) to {folder}" if folder else
              "\nno ECG pages drawn; add --pages")  # fmt: skip


def main(args):
    if args.record:
        return answer_records(args)
    if args.json or args.sample_rate or args.pages is not None:
        fail("--json, --sample-rate and --pages go with --record PATH; add it")
    # not needed for --record, whose answer then comes sooner
    from ecg.plot.scores import plot_scores
    from ecg.reporting import pages

    device = get_device(args.use_gpu)
    labels = load_labels(args.data_dir, args.limit)
    signals = PackedSignals(args.data_dir)
    path = find(args)
    model, checkpoint = load_model(path, device, args.leads)
    run = scored_run(path, checkpoint, args.data_dir)
    if is_training_data(checkpoint, labels, args.data_dir, args.limit, args.round):
        if args.folds == "all":
            fail(f"the model was trained on {args.data_dir}: --folds all would score what it has "
                 "seen; leave it out, or name another data set")  # fmt: skip
        evaluate = score_folds
    else:
        evaluate = score_other_data
        if args.folds == "test":
            labels = labels[labels["fold"] == round_folds(args.round)[2]].reset_index(drop=True)
            if labels.empty:
                fail(f"the test fold of {args.data_dir} holds no record; use --folds all")
    folder = Path("results") / run
    name, scored, y_score, table = evaluate(
        model, checkpoint, signals, labels, args, device, folder
    )

    classes = checkpoint["classes"]
    thresholds = stored_thresholds(run, classes)
    title = f"{run}, {name}, n = {len(scored)}"
    plot_scores(scored[classes].to_numpy(), y_score, thresholds, table, folder, title)
    pages.write_scores(folder)
    print(f"\n{title}\n{format_table(table)}\n{RESEARCH_USE}")
    print(
        "\nwrote thresholds.json, predictions.csv, scores.csv, challenge.json, the page scores.html"
    )
    print("and the figures confusion, roc, precision_recall and reliability (png, svg) to", folder)


if __name__ == "__main__":
    main(parse_args())
