"""Score a trained model: thresholds from the validation fold, the paper's table on the test fold.

Reads   models/<run>.pth (from main.py), data/CPSC/labels.csv and the packed signals beside it
Writes  results/<run>/thresholds.json   per class, from the validation fold
        results/<run>/predictions.csv   patient_id, fold, nine probabilities: validation and test
        results/<run>/scores.csv        class, n, precision, recall, f1, auc, accuracy; last row AVG
        results/<run>/confusion.png     a confusion matrix per class

    python predict.py --data-dir data/CPSC --leads all --use-gpu

On a data set the model was not trained on, every record is scored with the thresholds stored with
the model's own results, and <run> becomes <model>_on_<folder>:

    python predict.py --data-dir data/ptbxl --model-path models/resnet34_CPSC_all_42.pth
"""

import json
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from dataset import (
    ECGDataset,
    PackedSignals,
    add_data_args,
    add_round_arg,
    add_signal_args,
    is_training_data,
    leads_text,
    load_labels,
    split_labels,
)
from metrics import (
    apply_thresholds,
    evaluate_run,
    format_table,
    score_table,
    write_predictions,
    write_thresholds,
)
from plots import plot_confusions
from resnet import add_model_args, add_model_path_arg, load_model
from utils import (
    RESEARCH_USE,
    fail,
    get_device,
    make_parser,
    predict_scores,
    write_csv,
)


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    add_round_arg(parser)
    add_signal_args(parser)
    add_model_args(parser)
    add_model_path_arg(parser)
    return parser.parse_args(argv)


def score(model, checkpoint, signals, labels, args, device):
    """Return the probabilities (N, K) of the records of `labels`."""
    seconds = checkpoint["args"]["seconds"]
    dataset = ECGDataset(signals, labels, checkpoint["leads"], seconds)
    loader = DataLoader(dataset, args.batch_size, num_workers=args.num_workers)
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
    table = evaluate_run(folder, validation, test, scores, checkpoint["classes"])
    return "test fold", test, scores[1], table


def score_other_data(model, checkpoint, signals, labels, args, device, folder):
    """Score every record of another data set with the model's stored thresholds."""
    classes = checkpoint["classes"]
    model_run = folder.name.removesuffix(f"_on_{Path(args.data_dir).resolve().name}")
    thresholds = stored_thresholds(model_run, classes)
    y_score = score(model, checkpoint, signals, labels, args, device)
    table = score_table(labels[classes].to_numpy(), y_score, thresholds, classes)
    write_thresholds(folder / "thresholds.json", thresholds, classes, rule=f"as in {model_run}")
    write_predictions(folder / "predictions.csv", [labels], [y_score], classes)
    write_csv(table, folder / "scores.csv")
    return "all records", labels, y_score, table


def main(args):
    device = get_device(args.use_gpu)
    labels = load_labels(args.data_dir, args.limit)
    signals = PackedSignals(args.data_dir)
    model, checkpoint, run = load_model(args, leads_text(args.leads), device)
    evaluate = score_folds if is_training_data(checkpoint, labels, args) else score_other_data
    folder = Path("results") / run
    name, scored, y_score, table = evaluate(
        model, checkpoint, signals, labels, args, device, folder
    )

    classes = checkpoint["classes"]
    y_pred = apply_thresholds(y_score, stored_thresholds(run, classes))
    title = f"{run}, {name}, n = {len(scored)}"
    plot_confusions(scored[classes].to_numpy(), y_pred, classes, folder / "confusion.png", title)
    print(f"\n{title}\n{format_table(table)}\n{RESEARCH_USE}")
    print(f"\nwrote thresholds.json, predictions.csv, scores.csv and confusion.png to {folder}")


if __name__ == "__main__":
    main(parse_args())
