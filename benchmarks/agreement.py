"""Check explanations for docs/explanations.md: where they are, and how far others find the same.

    python -m benchmarks.agreement truth --model models/general.pth
    python -m benchmarks.agreement truth --model first.pth --name first --methods shap ig
    python -m benchmarks.agreement reliability --model models/general.pth --methods shap evidence

truth        positive values against evidence.csv and the null map, and equal beats: 4 records of
             each class of data/synthetic (python -m ecg.synthetic, preprocess.py); removal of
             samples: --few of them
reliability  of 100 samples: claimed by the halves, and found with another background and, if OTHER
             is given, another training of the recipe (--seed 42); --few records of data/synthetic

The csv files of ecg.faithfulness go to results/faithfulness/; python -m benchmarks.tables writes
the tables. Methods of benchmarks/other_methods.py are known here too. Ten minutes of one core each;
ask for fewer --methods at a time to divide the work.
"""

import pandas as pd

from benchmarks import other_methods
from dataset import CLASSES, load_labels
from ecg import faithfulness
from ecg.evaluation.scored_run import write_research_json
from ecg.explanation.methods import METHODS
from ecg.inference.model import Model
from ecg.running.command import make_parser, run_main
from utils import explanations_path, positive, results_path, software_versions, write_csv

OUT = results_path("faithfulness")
DATA = "data/synthetic"
METHODS_OF_THE_PRODUCT = ("shap", "ig", "evidence")
SAMPLES = {"shap": 100, "ig": 50, "averaged": 50}
BACKGROUND = 60  # records: twice as many, for another background, are in the training folds


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("what", choices=("truth", "reliability"))
    parser.add_argument("--model", required=True, help="model whose maps are checked")
    parser.add_argument("--name", default="general", help="its name in the tables")
    text = "another training of it; for the method averaged: any number"
    parser.add_argument("--other", nargs="+", default=[], help=text)
    known = [*METHODS, *other_methods.NAMES]
    parser.add_argument(
        "--methods", nargs="+", choices=known, default=METHODS_OF_THE_PRODUCT, help="of truth"
    )
    parser.add_argument("--each", type=positive, default=4, help="records of each class, for truth")
    text = "records for reliability, and for removal in truth"
    parser.add_argument("--few", type=positive, default=20, help=text)
    return parser.parse_args(argv)


def choose(labels, each):
    """Return the first records that together show each class at least so many times."""
    names, shown = [], dict.fromkeys(CLASSES, 0)
    for row in labels.itertuples():
        own = [name for name in CLASSES if getattr(row, name) == 1]
        if any(shown[name] < each for name in own):
            names.append(row.patient_id)
            for name in own:
                shown[name] += 1
    return names


def check(model, names, method, *flags):
    """Run ecg.faithfulness for a method and some records; return its table."""
    given = ["--data-dir", DATA, "--model-path", str(model), "--method", method, "--resume", "auto"]
    given += ["--patients", *names, "--background", str(BACKGROUND)]
    faithfulness.main(faithfulness.parse_args([*given, *map(str, flags)]))
    run = Model.load(model).run_on(DATA)
    return pd.read_csv(explanations_path(run, "faithfulness.csv"), keep_default_na=False)


def keep(table, stem, model, name, method):
    """Write a table to results, with the model's name, weights and method."""
    weights = Model.load(model).weights[:8]
    write_csv(table.assign(model=name, weights=weights, method=method), OUT / f"{stem}.csv")
    write_research_json(OUT / f"{stem}.json", {"versions": software_versions()})


def main(args):
    other_methods.register(METHODS, args.other)
    OUT.mkdir(parents=True, exist_ok=True)
    names = choose(load_labels(DATA), args.each)
    if args.what == "truth":
        for method in args.methods:
            flags = ["--samples", SAMPLES.get(method, 1), "--checks"]
            table = check(args.model, names, method, *flags, "evidence", "equal", "head")
            if method in METHODS_OF_THE_PRODUCT:
                table = check(args.model, names[: args.few], method, *flags, "curves")
            keep(table, f"truth_{args.name}_{method}", args.model, args.name, method)
        return
    training = ["training", "--other-model", args.other[0]] if args.other else []
    for method in args.methods:
        flags = ["--few", args.few, "--samples", 100, "--checks", "halves", "seeds", *training]
        table = check(args.model, names[: args.few], method, *flags)
        keep(table, f"reliability_{args.name}_{method}", args.model, args.name, method)


if __name__ == "__main__":
    run_main(main, parse_args)
