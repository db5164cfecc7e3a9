"""Prepare a model that has seen no patient to be given away: half precision, no history, scores.

Reads   models/<run>.pth (from main.py), labels.csv and the packed signals of real records, if named
Writes  models/general.pth, the bundled model that ecg.read uses when no model is named

    python -m ecg.release --model-path models/resnet18w24_general_all_43.pth
    python -m ecg.release --model-path models/resnet18w24_general_all_43.pth --data-dir data/CPSC

Weights may reveal training patients: a model is refused if patients' records shaped it or any model
that it started from. The scores on the records of --data-dir, none of which the model has seen, are
kept in the model and shown with each of its answers.
"""

import dataclasses
from pathlib import Path

from dataset import PackedSignals, classes_of, load_labels
from ecg.evaluation import metrics
from ecg.inference.flags import add_model_path_arg
from ecg.inference.model import Model
from ecg.io.sources import is_synthetic
from ecg.running.command import make_parser, run_main
from utils import RESEARCH_USE, InputError


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_model_path_arg(parser, required=True)
    parser.add_argument("--to", default="models/general.pth", metavar="FILE", help="model to write")
    parser.add_argument("--data-dir", help="folder of real records to score the model on")
    return parser.parse_args(argv)


def score_on(model, data_dir):
    """Say in a sentence how well a model does on the records of a folder, and print the table."""
    labels, signals = load_labels(data_dir), PackedSignals(data_dir)
    classes = classes_of(labels)
    if classes != tuple(model.classes):
        raise InputError(
            f"{data_dir} has other classes than the model; give a folder with the model's"
        )
    y_true = labels[list(classes)].to_numpy()
    y_score = model.score(model.dataset(signals, labels))
    table = metrics.score_table(y_true, y_score, model.limits, classes)
    print(metrics.format_table(table))
    average, name = table.iloc[-1], Path(data_dir).resolve().name
    auc, f1 = (metrics.in_words(score, 2) for score in (average.auc, average.f1))
    kind = "synthetic records" if is_synthetic(data_dir) else "records"
    return f"macro AUC {auc} and F1 {f1} on {len(labels)} {kind} of {name}"


def main(args):
    model = Model.load(args.model_path)
    if model.provenance.ever_saw_patients:
        raise InputError(
            f"{args.model_path} was trained on {model.provenance}: patients, or records of unknown "
            "origin, and weights may reveal them; release a model that main.py --fresh has trained "
            "on a synthetic data folder"
        )
    model.network.half().float()  # scored as it will be used
    if args.data_dir:
        model = dataclasses.replace(model, scored_on=score_on(model, args.data_dir))
    model.save(args.to, half=True)
    size = Path(args.to).stat().st_size
    print(
        f"wrote {args.to}, {size / 1e6:.1f} MB; trained on {model.provenance}; "
        f"{model.scored_on or 'not scored'}\n{RESEARCH_USE}"
    )


if __name__ == "__main__":
    run_main(main, parse_args)
