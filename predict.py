"""Score a model on the test fold, as the paper does, or answer for one's own ECGs (--record).

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

    python predict.py --data-dir data/ptbxl --model-path models/resnet34_CPSC_all_42.pth --part all

With --record it answers for one's own records instead: WFDB, challenge structs, DICOM, .csv, .txt
and .npy tables, or a folder of them. Warnings, the leading finding, heart rate and a table of the
classes go to stdout (of more than 20 records a line each), and the ECG on paper to
results/<model>_records/<record>.pdf, true to scale, and .png. Without a model it uses the one that
comes with it, which has learnt from synthetic records alone (docs/model.md):

    python predict.py --record A0001.hea --explain
    python predict.py --record own.csv --sample-rate 500
    python predict.py --record own.txt --sample-rate 500 --units-per-mv 200 --leads-order I,II,...
    python predict.py --record folder --csv answers.csv
    python predict.py --model-path models/resnet34_CPSC_all_42.pth --record A0001.hea
"""

from utils import run_main  # first, as it also knows of Ctrl-C while the others load

# isort: split

import argparse
from pathlib import Path

import numpy as np

from dataset import (
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
    unlabelled,
)
from ecg.evaluation import answers, findings
from ecg.evaluation.files import evaluate_run, write_results, write_thresholds
from ecg.evaluation.metrics import add_threshold_arg, format_table
from ecg.evaluation.runs import is_training_data
from ecg.io.text_table import add_table_args
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
from utils import (
    RESEARCH_USE,
    Progress,
    fail,
    get_device,
    make_parser,
    predict_scores,
)

FEW = 20  # records; more get a line each on the screen, and no page unasked: half a second each
GENERAL = Path(__file__).parent / "models" / "general.pth"  # trained on no patient
NAMED = 10  # of the records that are left out, on the screen


def parse_args(argv=None):
    parser = make_parser(__doc__)
    group = parser.add_argument_group("one's own records")
    group.add_argument("--record", nargs="+", metavar="PATH", help="records or folders to answer "
                       "for, instead of scoring --data-dir")  # fmt: skip
    add_table_args(group)
    target = {"metavar": "FILE", "type": answers.parse_target}
    text = "write the answers to this file; - for stdout, without the tables"
    group.add_argument("--json", **target, help=text)
    group.add_argument("--csv", **target, help="the same, a row each")
    group.add_argument("--pages", action=argparse.BooleanOptionalAction, help="draw the ECG on "
                       f"paper; not given: for up to {FEW} records")  # fmt: skip
    group.add_argument("--explain", action="store_true", help="draw what raises and lowers the "
                       "leading finding, on a page of its own")  # fmt: skip
    add_data_args(parser)
    group = parser.add_argument_group("scoring a data set")
    group.add_argument(
        "--part",
        choices=("test", "all"),
        help="which records to score; not given: the test fold, or all of another data set",
    )
    add_model_path_arg(group)
    add_round_arg(group)
    add_threshold_arg(group)
    add_signal_args(parser)
    add_model_args(parser)
    args = parser.parse_args(argv)
    naming = ("data_dir", "arch", "width", "init", "leads", "seed", "round", "model_path")
    unnamed = all(getattr(args, name) == parser.get_default(name) for name in naming)
    args.general = bool(args.record) and unnamed
    return args


def find(args):
    """Return the checkpoint that the flags name; with --record alone, the one in the box."""
    network, leads = network_name(args.arch, args.width, args.init), leads_text(args.leads)
    if args.general:
        return GENERAL
    return find_model(args.model_path, network, args.data_dir, args.seed, args.round, leads)


def score(model, checkpoint, signals, labels, args, device, quiet=False):
    """Return the probabilities (N, K) of the records of `labels`; `quiet`: without progress."""
    loader = ECGDataset.of_model(signals, labels, checkpoint).loader(
        args.batch_size, args.num_workers
    )
    y_score = predict_scores(model, loader, device, args.amp, quiet)[1]
    bad = labels["patient_id"][~np.isfinite(y_score).all(1)].tolist()
    if bad:
        fail(f"{find(args)} gives values that are not finite for {len(bad)} records (first "
             f"{bad[0]}); train it again: python main.py")  # fmt: skip
    return y_score


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
    thresholds = np.array([checkpoint["thresholds"][name] for name in classes])
    y_score = score(model, checkpoint, signals, labels, args, device)
    table = write_results(folder, [labels], [y_score], thresholds, classes, args.seed)
    rule = f"those inside the model: {checkpoint['threshold_rule']}"
    found = {"thresholds": checkpoint["thresholds"], "rule": rule, "notes": notes}
    return "all records", labels, y_score, table, found


def own_answers(model, checkpoint, sources, bad, args, device):
    """Yield each record's answer, but for its page, and its packed signal; name the bad ones."""
    window = None if model.window else checkpoint["args"]["seconds"]
    shortest, told = checkpoint.get("shortest", SHORTEST), len(bad)
    n = len(sources) + told
    table = {name: getattr(args, name) for name in ("sample_rate", "leads_order", "units_per_mv")}
    progress = Progress(desc="answering", total=n, initial=told, unit="record", disable=n == 1)
    for rows, signals in findings.read_batches(
        sources, args.batch_size, table, window, shortest, bad
    ):
        findings.tell_skipped(bad[told:] if n > 1 else ())
        progress.update(len(bad) - told)
        told = len(bad)
        if rows:
            y_score = score(model, checkpoint, signals, unlabelled(signals), args, device, n > 1)
        for i, row in enumerate(rows):
            packed = signals[row["record"]]
            findings.add_findings(row, packed, y_score[i], checkpoint)
            yield row, packed
            progress.update()
    progress.close()


def draw_answer(row, packed, folder, model_text):
    """Write the ECG pages of an answer, finding, model and warnings above; return their path."""
    from ecg.plot.ecg_paper import plot_ecg_pages  # matplotlib only where it is drawn with

    path = folder / f"{row['record']}.pdf"
    notes = [model_text, *findings.warning_notes(row)]
    plot_ecg_pages(to_mv(packed), SAMPLE_RATE, path, findings.page_title(row), notes)
    return str(path)


def answer_records(args):
    """Answer for the records that --record names: on the screen, on paper and in files."""
    device = get_device(args.use_gpu)
    sources, bad = findings.find_own(args.record)
    answers.check_targets(args.json, args.csv, sources)
    path, answered = find(args), 0
    model, checkpoint = load_model(path, device, args.leads)
    model_text, few = describe(path, checkpoint), len(sources) <= FEW
    drawn = few if args.pages is None else args.pages
    folder, quiet = Path("results") / f"{path.stem}_records", "-" in (args.json, args.csv)
    if not quiet:
        print(model_text if few else f"{model_text}\n{RESEARCH_USE}")
    head = answers.answer_head(path.stem, model_text, checkpoint)
    if args.explain:
        from ecg.explanation.own import method_at_hand

        method = method_at_hand(args.data_dir, path, checkpoint, device)
    with answers.open_answers(args.json, args.csv, head, bad) as write:
        for row, packed in own_answers(model, checkpoint, sources, bad, args, device):
            if not quiet:
                findings.show(findings.answer_text(row, checkpoint) if few else findings.line(row))
            row["explained"] = None
            row["page"] = draw_answer(row, packed, folder, model_text) if drawn else None
            if args.explain:
                from ecg.plot.explained import plot_own

                parts = folder / "explained", row, packed, model, checkpoint, model_text
                row["explained"] = str(plot_own(*parts, method) or "") or None
            write(row)
            answered += 1
        if not answered:
            findings.fail_unread(bad)  # within the block: a file that is there stays
    if not quiet:
        print(f"\nwrote the ECG pages (pdf, png) to {folder}" if drawn else
              "\nno ECG pages drawn; add --pages")  # fmt: skip
        if args.explain:
            print(f"wrote what explains the leading findings (pdf, png) to {folder / 'explained'}")


def choose(checkpoint, labels, signals, args):
    """Return how to score and which labels: the folds of the training data, or another data set."""
    if is_training_data(checkpoint, labels, signals, args.data_dir, args.limit, args.round):
        if args.part == "all":
            fail(f"the model was trained on {args.data_dir}: --part all would score what it has "
                 "seen; leave it out, or name another data set")  # fmt: skip
        return score_folds, labels
    if args.thresholds:
        fail("another data set takes the thresholds inside the model; leave --thresholds out")
    if args.part == "test":
        labels = labels[labels["fold"] == round_folds(args.round)[2]].reset_index(drop=True)
        if labels.empty:
            fail(f"the test fold of {args.data_dir} holds no record; use --part all")
    return score_other_data, labels


def main(args):
    if args.record:
        if args.thresholds:
            fail("--record takes the thresholds inside the model; leave --thresholds out")
        return answer_records(args)
    own = args.json, args.csv, args.sample_rate, args.units_per_mv, args.leads_order, args.pages
    if any(value is not None for value in own) or args.explain:
        fail("--json, --csv, --pages, --explain and the flags of tables are for one's own "
             "records; add --record PATH")  # fmt: skip
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
    run_main(main, parse_args)
