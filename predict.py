"""Score a trained model: thresholds from the validation fold, the paper's table on the test fold.

Reads   models/<run>.pth (from main.py), data/CPSC/labels.csv and the packed signals beside it
Writes  results/<run>/predictions.csv   patient_id, fold, nine probabilities: validation and test
        results/<run>/scores.csv        class, n, precision, recall, f1, auc, accuracy, specificity,
                                        ap, brier, ece, and 95 % bootstrap intervals; last row AVG
        results/<run>/challenge.json    the CPSC2018 challenge's own score
        results/<run>/confusion.png     a confusion matrix per class; roc.png, precision_recall.png
                                        and reliability.png; each as .svg too
        results/<run>/scores.html       a page with all of these
        results/<run>/thresholds.json   per class, and what they come from; written last, so that
                                        it marks finished scores

    python predict.py --data-dir data/CPSC --leads all --use-gpu

On a data set the model was not trained on, every record is scored with the thresholds inside the
model, and <run> becomes <model>_on_<folder>; records that the model has seen are left out:

    python predict.py --data-dir data/ptbxl --model-path models/resnet34_CPSC_all_42.pth --folds all

With --record it answers for one's own records instead: WFDB, challenge structs, .csv, .npy, or a
folder of them. A table and warnings for each record go to stdout, and the ECG on paper to
results/<model>_records/<record>.pdf, true to scale, and .png. Without a model it uses the one that
comes with it, which has learnt from synthetic records alone (docs/model.md):

    python predict.py --record A0001.hea
    python predict.py --model-path models/resnet34_CPSC_all_42.pth --record A0001.hea

With --explain a page of each record, in explained/ there, shows in colour which parts of it raise
and lower the leading finding: integrated gradients from a flat line.
"""

import argparse
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
    labels_digest,
    leads_text,
    load_labels,
    round_folds,
    signal_digest,
    split_labels,
    to_mv,
)
from ecg.evaluation import findings
from ecg.evaluation.files import evaluate_run, write_results, write_thresholds
from ecg.evaluation.metrics import add_threshold_arg, format_table
from ecg.evaluation.runs import is_training_data
from ecg.processing.quality import SHORTEST
from resnet import (
    add_model_args,
    add_model_path_arg,
    describe,
    find_model,
    load_model,
    network_name,
    scored_run,
    weights_digest,
)
from utils import RESEARCH_USE, fail, get_device, make_parser, predict_scores

DRAWN_UNASKED = 20  # records; a page takes half a second to draw
GENERAL = Path(__file__).parent / "models" / "general.pth"  # trained on no patient
NAMED = 10  # of the records that are left out, on the screen


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
        help="which records to score; not given: the test fold, or all of another data set",
    )
    add_threshold_arg(parser)
    group = parser.add_argument_group("one's own records")
    group.add_argument("--record", nargs="+", metavar="PATH", help="records or folders to answer "
                       "for, instead of scoring --data-dir")  # fmt: skip
    group.add_argument("--sample-rate", type=float, help="of .csv and .npy records, in Hz")
    group.add_argument("--json", metavar="FILE", type=stdout_or_file, help="write the answers to "
                       "this file; - for stdout, without the tables")  # fmt: skip
    group.add_argument("--pages", action=argparse.BooleanOptionalAction, help="draw the ECG on "
                       f"paper; not given: for up to {DRAWN_UNASKED} records")  # fmt: skip
    group.add_argument("--explain", action="store_true", help="draw what raises and lowers the "
                       "leading finding, on a page of its own")  # fmt: skip
    args = parser.parse_args(argv)
    naming = ("data_dir", "arch", "width", "init", "leads", "seed", "round", "model_path")
    unnamed = all(getattr(args, name) == parser.get_default(name) for name in naming)
    args.general = bool(args.record) and unnamed
    return args


def stdout_or_file(text):
    return "-" if text == "/dev/stdout" else text


def find(args):
    """Return the checkpoint that the flags name; with --record alone, the one in the box."""
    network, leads = network_name(args.arch, args.width, args.init), leads_text(args.leads)
    if args.general:
        return GENERAL
    return find_model(args.model_path, network, args.data_dir, args.seed, args.round, leads)


def score(model, checkpoint, signals, labels, args, device):
    """Return the probabilities (N, K) of the records of `labels`."""
    trained = checkpoint["args"]
    dataset = ECGDataset(
        signals,
        labels,
        checkpoint["leads"],
        trained["seconds"],
        pad=trained["pad"],
        windows=model.window is not None,
    )
    loader = dataset.loader(args.batch_size, args.num_workers)
    y_score = predict_scores(model, loader, device, args.amp)[1]
    bad = labels["patient_id"][~np.isfinite(y_score).all(1)].tolist()
    if bad:
        fail(f"{find(args)} gives values that are not finite for {len(bad)} records (first "
             f"{bad[0]}); train it again: python main.py")  # fmt: skip
    return y_score


def own_thresholds(checkpoint):
    """Return the thresholds inside a model, in the order of its classes: (K,)."""
    return np.array([float(checkpoint["thresholds"][name]) for name in checkpoint["classes"]])


def score_folds(model, checkpoint, signals, labels, args, device, folder):
    """Find thresholds on the validation fold, score the test fold; return what `main` shows."""
    _, *parts = split_labels(labels, args.round)
    scores = [score(model, checkpoint, signals, part, args, device) for part in parts]
    rule = args.thresholds or "middle"
    table, found = evaluate_run(folder, *parts, scores, checkpoint["classes"], args.seed, rule)
    return "test fold", parts[1], scores[1], table, found


def score_other_data(model, checkpoint, signals, labels, args, device, folder):
    """Score another data set, but for what the model has seen; return what `main` shows."""
    classes, seen = checkpoint["classes"], set(checkpoint["training_records"].values())
    known = [signal_digest(signals[name]) in seen for name in labels["patient_id"]]
    notes = []
    if any(known):
        names = list(labels["patient_id"][known])
        text = f"{len(names)} records with signals that the model was trained or chosen on: "
        if all(known):
            fail(f"{args.data_dir} holds nothing but {text}{names[0]} ...; name another data set")
        notes = [f"left out: {text}{', '.join(names)}"]
        more = f" and {len(names) - NAMED} more" * (len(names) > NAMED)
        print(f"left out: {text}{', '.join(names[:NAMED])}{more}")
        labels = labels[~np.array(known)].reset_index(drop=True)
    thresholds = own_thresholds(checkpoint)
    y_score = score(model, checkpoint, signals, labels, args, device)
    table = write_results(folder, [labels], [y_score], thresholds, classes, args.seed)
    rule = f"those inside the model: {checkpoint['threshold_rule']}"
    found = {"thresholds": checkpoint["thresholds"], "rule": rule, "notes": notes}
    return "all records", labels, y_score, table, found


def answer_batch(model, checkpoint, batch, thresholds, args, device, folder, model_text):
    """Score, print and draw (None: not) a batch of records; complete its answers."""
    rows, signals = batch
    # labels that nobody reads: scoring is that of a data set
    labels = pd.DataFrame({"patient_id": list(signals)}).assign(**dict.fromkeys(CLASSES, 0))
    y_score = score(model, checkpoint, signals, labels, args, device)
    for row, scores in zip(rows, y_score, strict=True):
        findings.add_findings(row, scores, thresholds, checkpoint["classes"])
        if args.json != "-":
            tqdm.write(findings.answer_text(row, thresholds))
            sys.stdout.flush()  # the answer first, the page takes longer
        row["page"] = None
        if folder:
            draw_answer(row, signals[row["record"]], folder, model_text)
        if args.explain:
            from ecg.plot.explained import plot_own  # matplotlib only where it is drawn with

            place = Path("results") / f"{find(args).stem}_records" / "explained"
            plot_own(place, row, signals[row["record"]], model, checkpoint, model_text)


def draw_answer(row, packed, folder, model_text):
    """Write the ECG pages of an answer, findings in the title, the model below; note the path."""
    from ecg.plot.ecg_paper import plot_ecg_pages  # matplotlib only where it is drawn with

    found = ", ".join(f"{name} {row['probabilities'][name]:.2f}" for name in row["findings"])
    title = f"{row['record']}: {found or 'no finding reaches its threshold'}"
    path = Path(folder) / f"{row['record']}.pdf"
    plot_ecg_pages(to_mv(packed), SAMPLE_RATE, path, title, row["warnings"], model_text)
    row["page"] = str(path)


def tell_skipped(bad):
    for path, why in bad:
        tqdm.write(f"skipped: {path}: {why}", file=sys.stderr)


def answer_records(args):
    """Answer for the records that --record names, a batch at a time; the bad ones are named."""
    device = get_device(args.use_gpu)
    if args.json and (Path(args.json).is_dir() or Path(args.json).parent.is_file()):
        fail(f"--json {args.json} cannot be a file; name one, or - for stdout")
    sources, bad = findings.find_all(args.record)
    several, told = len(sources) + len(bad) > 1, len(bad)
    if several:
        tell_skipped(bad)
    if not sources:
        fail("none of the records can be read" if several else ": ".join(bad[0]))
    path = find(args)
    model, checkpoint = load_model(path, device, args.leads)
    run = path.stem
    window = None if model.window else checkpoint["args"]["seconds"]
    shortest, model_text = checkpoint.get("shortest", SHORTEST), describe(path, checkpoint)
    thresholds, seen = own_thresholds(checkpoint), set(checkpoint["training_records"].values())
    drawn = len(sources) <= DRAWN_UNASKED if args.pages is None else args.pages
    folder, answered = Path("results") / f"{run}_records" if drawn else None, []
    if args.json != "-":
        print(model_text)
    progress = tqdm(total=len(sources) + told, initial=told, unit="record", disable=not several)
    for batch in findings.read_batches(
        sources, args.batch_size, args.sample_rate, window, shortest, bad
    ):
        tell_skipped(bad[told:] if several else ())
        told = len(bad)
        for row in batch[0]:
            if signal_digest(batch[1][row["record"]]) in seen:
                row["warnings"].append("the model was trained or chosen on this record: the answer "
                                       "does not show what it makes of new ones")  # fmt: skip
        if batch[0]:
            answer_batch(model, checkpoint, batch, thresholds, args, device, folder, model_text)
        answered += batch[0]
        progress.update(len(answered) + len(bad) - progress.n)
    progress.close()
    if args.json:
        findings.write_json(
            args.json, run, model_text, thresholds, checkpoint["classes"], answered, bad
        )
    if not answered:
        fail("none of the records can be read" if several else ": ".join(bad[0]))
    if args.json != "-":
        print(f"\nwrote the ECG pages (pdf, png) to {folder}" if folder else
              "\nno ECG pages drawn; add --pages")  # fmt: skip
        if args.explain:
            print(f"wrote what explains each (pdf, png) to results/{run}_records/explained")


def choose(checkpoint, labels, signals, args):
    """Return how to score and which labels: the folds of the training data, or another data set."""
    if is_training_data(checkpoint, labels, signals, args.data_dir, args.limit, args.round):
        if args.folds == "all":
            fail(f"the model was trained on {args.data_dir}: --folds all would score what it has "
                 "seen; leave it out, or name another data set")  # fmt: skip
        return score_folds, labels
    if args.thresholds:
        fail("another data set takes the thresholds inside the model; leave --thresholds out")
    if args.folds == "test":
        labels = labels[labels["fold"] == round_folds(args.round)[2]].reset_index(drop=True)
        if labels.empty:
            fail(f"the test fold of {args.data_dir} holds no record; use --folds all")
    return score_other_data, labels


def main(args):
    if args.record:
        if args.thresholds:
            fail("--record takes the thresholds inside the model; leave --thresholds out")
        return answer_records(args)
    if args.json or args.sample_rate or args.pages is not None or args.explain:
        fail("--json, --sample-rate, --pages and --explain go with --record PATH; add it")
    # not needed for --record, whose answer then comes sooner
    from ecg.plot.scores import plot_scores
    from ecg.reporting import pages

    device = get_device(args.use_gpu)
    labels = load_labels(args.data_dir, args.limit)
    signals = PackedSignals(args.data_dir)
    path = find(args)
    model, checkpoint = load_model(path, device, args.leads)
    run, classes = scored_run(path, checkpoint, args.data_dir), checkpoint["classes"]
    digests = {"labels": labels_digest(labels), "signals": signals.fingerprint}
    digests["weights"] = weights_digest(checkpoint["state_dict"])
    evaluate, labels = choose(checkpoint, labels, signals, args)
    folder = Path("results") / run
    name, scored, y_score, table, found = evaluate(
        model, checkpoint, signals, labels, args, device, folder
    )
    title = f"{run}, {name}, n = {len(scored)}"
    thresholds = np.array([found["thresholds"][name] for name in classes])
    plot_scores(scored[classes].to_numpy(), y_score, thresholds, table, folder, title)
    pages.write_scores(folder, found)
    write_thresholds(folder, found, **digests)
    print(f"\n{title}\n{format_table(table)}\n{RESEARCH_USE}")
    print(f"\nwrote predictions, scores, thresholds, figures and the page scores.html to {folder}")


if __name__ == "__main__":
    main(parse_args())
