"""Check the explanations of the demo's model and of the general one: for docs/explanations.md.

    python -m benchmarks.agreement --demo MODEL OTHER --general models/general.pth OTHER

OTHER is another training of the same recipe (--seed 43). The data are data/synthetic, of make demo,
and data/cpsc2018_feb2020, preprocessed. The csv files of ecg.faithfulness, 40 records each, go to
results/faithfulness/; python -m benchmarks.tables writes the tables. It takes 15 minutes.
"""

import shutil

from ecg import faithfulness
from ecg.evaluation.scored_run import write_research_json
from ecg.inference.model import Model
from ecg.running.command import make_parser, run_main
from utils import explanations_path, results_path, software_versions

OUT = results_path("faithfulness")
PLACES = ["--checks", "evidence"]
IG = [*PLACES, *"--method ig --samples 50 --force".split()]
NOISE = [["--checks", *"curves halves samples --few 40".split()]]
NOISE += [["--checks", *"layers seeds training --few 9".split()]]


def parse_args(argv=None):
    parser = make_parser(__doc__)
    for name in ("--demo", "--general"):
        parser.add_argument(name, nargs=2, required=True, help="model, and another training of it")
    return parser.parse_args(argv)


def measure(name, data_dir, models, runs):
    """Run some checks of a model on a data folder; keep the csv of the last as results' `name`."""
    for flags in runs:
        given = ["--data-dir", data_dir, "--model-path", models[0], "--resume", "auto"]
        other = ["--other-model", models[1]] if "training" in flags else []
        faithfulness.main(faithfulness.parse_args([*given, *flags, *other]))
    table = explanations_path(Model.load(models[0]).run_on(data_dir), "faithfulness.csv")
    OUT.mkdir(parents=True, exist_ok=True)
    shutil.copy(table, OUT / f"{name}.csv")
    write_research_json(OUT / f"{name}.json", {"versions": software_versions()})


def main(args):
    synthetic, real = "data/synthetic", "data/cpsc2018_feb2020"
    measure("demo", synthetic, args.demo, [PLACES, *NOISE])
    measure("demo_ig", synthetic, args.demo, [IG])
    measure("general", synthetic, args.general, [PLACES])
    measure("general_ig", synthetic, args.general, [IG])
    measure("real", real, args.general, NOISE)


if __name__ == "__main__":
    run_main(main, parse_args)
