"""Read ECGs of your own: findings in words, warnings, the ECG on paper, what a finding rests on.

Reads   WFDB records, challenge structs, hospitals' files (docs/own.md), .csv, .txt and .npy tables,
        or folders of them, and a model: models/general.pth, trained on no patient, or --model-path
Writes  results/<model>_records/<record>.pdf, true to scale, and .png     the ECG on paper
        results/<model>_records/explained/<record>.pdf and .png           with --explain
        the files that --json and --csv name

    python -m ecg.read A0001.hea --explain
    python -m ecg.read own.csv --sample-rate 500
    python -m ecg.read own.txt --sample-rate 500 --units-per-mv 200 --leads-order I,II,...
    python -m ecg.read folder --csv answers.csv
    python -m ecg.read A0001.hea --model-path models/resnet34_CPSC_all_42.pth

Warnings, the leading finding, heart rate and a table of the classes go to stdout (of more than 20
records a line each). Explanations show the place of the criterion that the model's evidence head
gives (--method evidence). --method ig is attribution from a flat line, --method shap against the
training folds in --data-dir; a model without the head is explained by these.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from dataset import BATCH_SIZE
from ecg.explanation.attributions import Options
from ecg.explanation.methods import EVIDENCE, METHODS, lacks_head, refuse_lacking, refuse_unused
from ecg.inference.device import get_device
from ecg.inference.flags import add_device_args, add_model_path_arg
from ecg.inference.model import Model
from ecg.io.text_table import TableFormat, add_table_args
from ecg.plot.papers import PAPERS
from ecg.reading.answer import answer_recordings
from ecg.reading.recording import Recordings
from ecg.reading.writers import Head, check_targets, open_writers, parse_target, show
from ecg.running.command import make_parser, run_main
from utils import RESEARCH_USE, InputError, fraction, natural, positive, results_path

FEW = 20  # records; more get a line each on the screen, and no page unasked: half a second each
BUNDLED = Path(__file__).parents[1] / "models" / "general.pth"  # trained on no patient
DATA_DIR = "data/CPSC"


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="records, or folders of records")
    add_model_path_arg(parser, help="model to use; not given: the bundled models/general.pth")
    group = parser.add_argument_group("answers")
    target = {"metavar": "FILE", "type": parse_target}
    text = "write the answers to this file; '-' prints JSON and nothing else"
    group.add_argument("--json", **target, help=text)
    group.add_argument("--csv", **target, help="the same, a row each")
    text = f"draw the ECG on paper; not given: for up to {FEW} records"
    group.add_argument("--pages", action=argparse.BooleanOptionalAction, help=text)
    group.add_argument("--paper", choices=PAPERS, default="A4", help="paper of the pages")
    text = "leave name, number and date of the patient out of answers and pages"
    group.add_argument("--anonymous", action="store_true", help=text)
    text = "draw what the leading finding rests on, on a page of its own"
    group.add_argument("--explain", action="store_true", help=text)
    add_table_args(parser.add_argument_group("tables (.csv, .tsv, .txt, .npy)"))
    group = parser.add_argument_group("computing")
    group.add_argument("--batch-size", type=positive, default=BATCH_SIZE, help="records in a batch")
    text = f"processes that answer for more than {FEW} records"
    group.add_argument("--jobs", type=positive, default=os.cpu_count(), help=text)
    add_device_args(group)
    add_explain_args(parser)
    args = parser.parse_args(argv)
    given = [f"--{name.replace('_', '-')}" for name in explain_options(args)]
    given += ["--data-dir"] if args.data_dir else []
    if given and not args.explain:
        parser.error(f"{', '.join(given)}: only used for explanations; add --explain")
    refuse_unused(parser, args.method, args.reliability)
    return args


def add_explain_args(parser):
    """Add the flags of explanations; what is not given is the default of Options."""
    group = parser.add_argument_group("explanations (with --explain)")
    text = f"data set the model was trained on, to compare with; not given: {DATA_DIR}"
    group.add_argument("--data-dir", help=text)
    text = "; ".join(f"{name}: {method.text}" for name, method in METHODS.items())
    group.add_argument("--method", choices=METHODS, help=text)
    number = {"type": positive, "metavar": "N"}
    group.add_argument("--samples", help="samples (shap) or steps (ig)", **number)
    group.add_argument("--background", help="training records to compare with", **number)
    text = "stop drawing samples where the windows reach this reliability, such as 0.9"
    group.add_argument("--reliability", type=fraction, help=text)
    group.add_argument("--seed", type=natural, help="random seed")


def explain_options(args):
    """Return the options of explanations that were given."""
    names = ("method", "samples", "background", "reliability", "seed")
    given = {name: getattr(args, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def choose_method(args, model):
    """Return how to explain: by the evidence head, else against the training set, else from zeros.

    The head is asked unless the options of another method are given. Stops if --method or
    --reliability need a head or a training set that is not at hand.
    """
    # here, because an answer waits for imports, and this brings the statistics of test folds
    from ecg.explanation import own_record

    given = explain_options(args) | {"amp": args.amp, "batch_size": args.batch_size}
    refuse_lacking(model, args.method)
    chosen = args.method
    if chosen is None and not explain_options(args) and not args.data_dir:
        chosen = None if lacks_head(EVIDENCE, model.network) else EVIDENCE
    if chosen == EVIDENCE:
        return own_record.MethodAtHand(own_record.FROM_HEAD.options._replace(**given))
    options, data_dir = Options(**given), args.data_dir or DATA_DIR
    if chosen is None or METHODS[chosen].background:
        background = own_record.training_background(data_dir, model, options)
        if background is not None:
            return own_record.MethodAtHand(options, background)
        if chosen or args.reliability:
            raise InputError(
                "--method shap and --reliability need the model's training set, but "
                f"{data_dir} is not what {model.path} was trained on; name the training set with "
                "--data-dir, or leave these flags out"
            )
    return own_record.MethodAtHand(own_record.FROM_ZERO.options._replace(**given))


def main(args):
    device = get_device(args.device)
    recordings = Recordings(args.files, args.anonymous)
    check_targets(args.json, args.csv, recordings.sources)
    model = Model.load(args.model_path or BUNDLED, device)
    table = TableFormat(args.sample_rate, args.leads_order, args.units_per_mv)
    few, quiet = len(recordings.sources) <= FEW, "-" in (args.json, args.csv)
    drawn = few if args.pages is None else args.pages
    folder, about = results_path(f"{model.name}_records"), model.describe()
    method, paper = choose_method(args, model) if args.explain else None, PAPERS[args.paper]
    if not quiet:
        show(about if few else f"{about}\n{RESEARCH_USE}")
    with open_writers(args.json, args.csv, Head.of(model), recordings.skipped) as write:
        keep = drawn or args.explain
        jobs = 1 if few or device.type != "cpu" else args.jobs
        answered = answer_recordings(
            model, recordings, table, args.batch_size, args.amp, jobs, keep
        )
        n_explained = 0
        for answer, packed in answered:
            if not quiet:
                show(f"\n{answer.text()}" if few else answer.one_line())
            if keep:
                from ecg.reading import pages  # matplotlib, after the first answer

            if drawn:
                answer = replace(answer, page=pages.draw_ecg(folder, answer, packed, about, paper))
            if args.explain:
                where = folder / "explained"
                page = pages.draw_explained(where, answer, packed, model, method, paper)
                answer = replace(answer, explained=page)
                n_explained += page is not None
            write(answer)
        if len(recordings.skipped) == recordings.n:
            recordings.fail_unread()  # within the block: a file that is there stays
    if not quiet:
        done = f"wrote the ECG pages (pdf, png) to {folder}"
        print(f"\n{done if drawn else 'no ECG pages drawn; add --pages'}")
        if n_explained:
            print(f"wrote the explanations (pdf, png) to {folder / 'explained'}")
        elif args.explain:
            print("nothing is explained: there is no finding")


if __name__ == "__main__":
    run_main(main, parse_args)
