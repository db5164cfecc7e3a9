"""Score a model on the test fold, as the paper does, or on another data set.

Reads   models/<run>.pth (from main.py), data/CPSC/labels.csv and the packed signals beside it
Writes  results/<run>/predictions.csv   patient_id, fold, the probabilities: validation and test
        results/<run>/scores.csv        class, n, precision, recall, f1, auc, accuracy, specificity,
                                        ap, brier, ece, and 95 % intervals; last row AVG
        results/<run>/challenge.json    the CPSC2018 challenge's own score
        results/<run>/confusion.png     a confusion matrix per class; roc.png, precision_recall.png
                                        and reliability.png; each as .svg too
        results/<run>/scores.html       a page with all of these
        results/<run>/thresholds.json   per class, and their rule; written last, so it marks
                                        finished scores

    python predict.py --data-dir data/CPSC --leads all --use-gpu
    python predict.py --data-dir data/other --model-path models/general.pth

On a data set the model was not trained on, every record is scored with the thresholds inside the
model; the results go to results/<model>_on_<folder>. For single ECGs of your own there is
python -m ecg.read.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from dataset import (
    PackedSignals,
    add_data_args,
    add_round_arg,
    add_signal_args,
    each_lead_set,
    labels_digest,
    leads_text,
    load_labels,
    round_folds,
    split_labels,
)
from ecg.evaluation.metrics import add_threshold_arg, format_table
from ecg.evaluation.runs import is_training_data
from ecg.evaluation.scored_run import (
    Digests,
    Scored,
    Thresholds,
    evaluate_run,
    whole_answers,
    write_results,
    write_thresholds,
)
from ecg.inference.device import get_device
from ecg.inference.flags import (
    add_model_args,
    add_model_path_arg,
    find_model,
    parse_without,
)
from ecg.inference.model import Model
from ecg.io.diagnoses import NORMAL
from ecg.plot.scores import plot_scores
from ecg.reporting import pages
from ecg.running.command import make_parser, run_main
from utils import RESEARCH_USE, InputError, network_name, results_path

NAMED = 10  # of the records that are left out, on the screen
OWN = ("--record", "--json", "--csv", "--pages", "--no-pages", "--explain")


class Evaluation(NamedTuple):
    """What `main` shows and marks as finished."""

    part: str  # which records, in words
    scored: Scored
    table: pd.DataFrame  # scores.csv
    thresholds: Thresholds


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    group = parser.add_argument_group("scoring")
    text = "which records to score; not given: the test fold, or all of another data set"
    group.add_argument("--part", choices=("test", "all"), help=text)
    add_model_path_arg(group)
    add_round_arg(group)
    add_threshold_arg(group)
    add_signal_args(parser, several=True)
    add_model_args(parser)
    args = parse_without(parser, argv, OWN, "python -m ecg.read FILE")
    if args.model_path and args.lead_sets:
        parser.error("--model-path is one model; leave out --lead-sets")
    return args


def score(model, signals, labels, args):
    """Return the Scored records of `labels`."""
    dataset = model.dataset(signals, labels)
    y_score = model.score(dataset, args.batch_size, args.num_workers, args.amp)
    return Scored(labels, y_score, model.limits)


def score_folds(model, signals, labels, args, folder):
    """Score the test fold, with the model's thresholds or new ones of the validation fold."""
    _, *parts = split_labels(labels, args.round)
    validation, test = (score(model, signals, part, args) for part in parts)
    own = None if args.thresholds else Thresholds(model.thresholds, model.threshold_rule)
    parts = validation, test, args.seed, args.thresholds
    table, thresholds = evaluate_run(folder, *parts, thresholds=own)
    for note in thresholds.notes:
        print(f"note: {note}")
    return Evaluation("test fold", test, table, thresholds)


def leave_out_seen(model, signals, labels, data_dir):
    """Return the labels of the records that the model has not seen, and a note on the others."""
    seen = np.array([model.has_seen(signals[name]) for name in labels["patient_id"]])
    if not seen.any():
        return labels, ()
    names = list(labels["patient_id"][seen])
    text = f"{len(names)} records with signals that the model was trained or chosen on: "
    if seen.all():
        raise InputError(
            f"{data_dir} holds nothing but {text}{names[0]} ...; name another data set"
        )
    more = f" and {len(names) - NAMED} more" * (len(names) > NAMED)
    print(f"left out: {text}{', '.join(names[:NAMED])}{more}")
    return labels[~seen].reset_index(drop=True), (f"left out: {text}{', '.join(names)}",)


def score_other_data(model, signals, labels, args, folder):
    """Score another data set, but for what the model has seen, with the model's own thresholds."""
    labels, notes = leave_out_seen(model, signals, labels, args.data_dir)
    scored = score(model, signals, labels, args)
    rule = f"those inside the model: {model.threshold_rule}"
    thresholds = Thresholds(model.thresholds, rule, notes)
    table = write_results(folder, [scored], thresholds, args.seed)
    return Evaluation("all records", scored, table, thresholds)


def choose_evaluation(model, labels, signals, args):
    """Return how to score and which labels: the folds of the training data, or another data set."""
    if is_training_data(model, labels, signals, args.limit, args.round):
        if args.part == "all":
            raise InputError(
                f"the model was trained on {args.data_dir}: --part all would score records it has "
                "seen; leave it out, or name another data set"
            )
        return score_folds, labels
    if args.thresholds:
        raise InputError(
            "on another data set the thresholds inside the model are used; leave --thresholds out"
        )
    if args.part == "test":
        labels = labels[labels["fold"] == round_folds(args.round)[2]].reset_index(drop=True)
        if labels.empty:
            raise InputError(f"the test fold of {args.data_dir} holds no record; use --part all")
    return score_other_data, labels


def find(args):
    """Return the path of the model that the flags name."""
    network, leads = network_name(args.arch, args.width, args.init), leads_text(args.leads)
    return find_model(args.model_path, network, args.data_dir, args.seed, args.round, leads)


def score_run(args, device):
    """Score the model of some flags."""
    labels = load_labels(args.data_dir, args.limit)
    signals = PackedSignals(args.data_dir)
    model = Model.load(find(args), device, args.leads)
    run = model.run_on(args.data_dir)
    digests = Digests(model.weights, labels_digest(labels), signals.fingerprint)
    evaluate, labels = choose_evaluation(model, labels, signals, args)
    folder = results_path(run)
    part, scored, table, thresholds = evaluate(model, signals, labels, args, folder)
    title = f"{run}, {part}, n = {len(scored.labels)}"
    plot_scores(scored._replace(thresholds=thresholds.array(scored.classes)), table, folder, title)
    pages.write_scores(folder, thresholds)
    write_thresholds(folder, thresholds, digests)
    found = model.findings(scored.y_score, thresholds.array(model.classes))
    name = model.settings.normal or NORMAL
    normal = model.classes.index(name) if name in model.classes else None
    answers = whole_answers(scored.y_true, found, normal)
    print(f"\n{title}\n{format_table(table)}\n{answers}\n{RESEARCH_USE}")
    print(f"\nwrote predictions, scores, thresholds, figures and the page scores.html to {folder}")


def main(args):
    device = get_device(args.device)
    for own in each_lead_set(**vars(args)):
        score_run(own, device)


if __name__ == "__main__":
    run_main(main, parse_args)
