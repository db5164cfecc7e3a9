"""Make a model that has seen no patient ready to be given away: half precision, no history, scores.

Reads   models/<run>.pth (from main.py), labels.csv and the packed signals of real records, if named
Writes  models/general.pth, which predict.py --record uses when no model is named

    python -m ecg.release --model-path models/resnet18w24_general_all_42.pth
    python -m ecg.release --model-path models/resnet18w24_general_all_42.pth --data-dir data/CPSC

The scores on the records of --data-dir, none of which the model has seen, are kept in the model and
shown with each of its answers.
"""

from utils import run_main  # first, as it also knows of Ctrl-C while the others load

# isort: split

from pathlib import Path

import torch

from dataset import CLASSES, ECGDataset, PackedSignals, load_labels
from ecg.evaluation import metrics
from resnet import MODEL, NO_PATIENT, add_model_path_arg, load_model, save_checkpoint
from utils import RESEARCH_USE, fail, make_parser, predict_scores

KEPT = {*MODEL, "window", "origin", "trained_on"}


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_model_path_arg(parser, required=True)
    parser.add_argument("--to", default="models/general.pth", metavar="FILE", help="model to write")
    parser.add_argument("--data-dir", help="folder of real records to score the model on")
    return parser.parse_args(argv)


def score(model, checkpoint, data_dir):
    """Say in a sentence how well a model does on the records of a folder, and print the table."""
    labels, signals = load_labels(data_dir), PackedSignals(data_dir)
    data = ECGDataset.of_model(signals, labels, checkpoint)
    found = predict_scores(model, data.loader(32), torch.device("cpu"))
    thresholds = [checkpoint["thresholds"][name] for name in CLASSES]
    table = metrics.score_table(*found, thresholds, CLASSES)
    print(metrics.format_table(table))
    average = table.set_index("class").loc["AVG"]
    return (
        f"macro AUC {average['auc']:.2f} and F1 {average['f1']:.2f} on {len(labels)} records of "
        f"patients ({Path(data_dir).resolve().name})"
    )


def main(args):
    model, checkpoint = load_model(args.model_path, "cpu")
    if NO_PATIENT not in checkpoint.get("trained_on", ""):
        fail(f"{args.model_path} has learnt from patients, and weights can give away whom they "
             "have seen; release a model that main.py --fresh has made")  # fmt: skip
    content = {name: value for name, value in checkpoint.items() if name in KEPT}
    content["state_dict"] = {
        name: value.half() if value.is_floating_point() else value
        for name, value in checkpoint["state_dict"].items()
    }
    model.load_state_dict(content["state_dict"])  # scored as it will be used
    if args.data_dir:
        content["scored_on"] = score(model, checkpoint, args.data_dir)
    save_checkpoint(args.to, **content)
    size = Path(args.to).stat().st_size
    print(f"wrote {args.to}, {size / 1e6:.1f} MB; trained on {content['trained_on']}; "
          f"{content.get('scored_on', 'not scored on patients')}\n{RESEARCH_USE}")  # fmt: skip


if __name__ == "__main__":
    run_main(main, parse_args)
