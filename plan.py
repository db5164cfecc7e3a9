"""The plan of a reproduction: which commands there are, what they hang on, how long they take."""

import json
import time
from argparse import Namespace
from glob import escape
from pathlib import Path

import torch

import map_checks
from dataset import LEADS, SAMPLE_RATE, SECONDS, parse_leads
from resnet import ResNet1d
from runs import named_run
from steps import Step, contents_digest, list_pending, read_stamp

RESULT_FILES = ("predictions.csv", "thresholds.json", "scores.csv")
DATA_FILES = ("labels.csv", "signals.json", "dataset_table.csv")
CLASSIFIERS = ("LR", "RF", "LGB", "MLP")
EPOCHS, BATCH_SIZE, RECORDS, SAMPLES = 40, 32, 200, 200  # defaults of main.py and shap_values.py
VALIDATION_COST = 1 / 3  # of a record scored, in training records: forward alone
RANDOM_NETWORKS = 6  # of a faithfulness check: with a new output layer, stages and stem
CLASSES_A_RECORD = 1.07  # labelled, of CPSC2018
FORWARD_COST = 1 / 2  # of a prediction, in gradients that explain
MEASURED_RECORDS = 4  # enough for a CPU; a GPU is given a whole batch
MODEL_GB = 0.4  # a resnet34 with Adam's state, best and last epoch


def read_lead_sets(text):
    """Turn 'all I aVR I,II,V5' into a tuple of tuples of lead names, each once, in that order."""
    return tuple(dict.fromkeys(parse_leads(part) for part in text.split()))


def given(args, *names):
    """Return the flags that were given, as argument list; the others keep the step's default."""
    words = []
    for name in names:
        value, flag = getattr(args, name), "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:  # 0 is a value
            words += [flag, str(value)]
    return words


def with_arch(args, arch):
    """Return the flags with another --arch, such as a classifier, for the names of its runs."""
    return Namespace(**{**vars(args), "arch": arch})


def lead_words(leads):
    """Return the --leads flag of a choice of leads."""
    return ["--leads", "all" if leads == LEADS else ",".join(leads)]


def baseline_runs(args, number):
    """Name the runs of the chosen classifiers in a round."""
    chosen = CLASSIFIERS if args.classifier == "all" else (args.classifier,)
    return {name: named_run(with_arch(args, name), None, number)
            for name in chosen}  # fmt: skip


def model_step(args, leads, number, data, first):
    """Return the step that trains and scores one model: one command line on a cluster."""
    run = named_run(args, leads, number)
    flags = [*given(args, "data_dir", "seed", "limit"), "--round", str(number)]
    flags += [*lead_words(leads), "--arch", args.arch]
    flags += given(args, "batch_size", "num_workers", "use_gpu", "amp")
    epochs = ["--epochs", str(args.epochs or EPOCHS)]  # by which `continues` knows more from fewer
    train = ["main.py", *flags, *given(args, "seconds"), *epochs]
    train += given(args, "lr", "patience", "pad")
    return Step(
        run,
        (train, ["predict.py", *flags]),
        inputs=data,
        outputs=(f"models/{run}.pth", *(f"results/{run}/{file}" for file in RESULT_FILES)),
        needs=(first,),
        begun=f"models/{run}.last.pth",
        resume=("--resume",),
    )


def baseline_steps(args, data, first, jobs):
    """Return a step for each round of the baselines; the first one leaves the features cached."""
    steps = []
    for number in range(args.rounds):
        name = named_run(with_arch(args, "baselines"), None, number)
        command = ["baselines.py", *given(args, "data_dir", "seed", "limit", "classifier")]
        command += ["--round", str(number), "--jobs", str(jobs)]
        needs = (steps[0].name,) if steps else (first,)
        outputs = tuple(f"results/{run}/scores.csv" for run in baseline_runs(args, number).values())
        steps.append(Step(name, (command,), data, outputs, needs))
    return steps


def compared(name, table):
    """Return the files of a comparison by which it is known to be made."""
    return f"results/{name}/{table}", f"results/{name}/sources.json"


def compare_steps(args, lead_sets, baselines, data):
    """Return the steps that look across runs: rounds, leads, network against each baseline.

    They go on without the runs that have failed, and name them.
    """
    main_run = named_run(args, lead_sets[0], 0)
    common = given(args, "data_dir", "seed", "limit")
    models = [named_run(args, leads, i) for leads in lead_sets for i in range(args.rounds)]
    files = [f"results/{run}/{name}" for run in models for name in RESULT_FILES]
    head = ["compare.py", "--rounds", *common]
    rounds = Step(
        f"compare_rounds_{main_run}",
        ([*head, "--arch", args.arch, *lead_words(lead_sets[0])],),
        inputs=(*data, *(escape(path) for path in files if f"/{main_run}" in path)),
        outputs=compared(f"compare_rounds_{main_run}", "rounds.csv"),
        after=tuple(models[: args.rounds]),
    )
    steps = [rounds]
    if any(len(leads) == 1 for leads in lead_sets):
        command = ["compare.py", "--leads", *common, "--arch", args.arch]
        name = f"compare_leads_{named_run(args, LEADS, 0)}"
        outputs = compared(name, "single_lead.csv")
        inputs = (*data, *map(escape, files))
        steps.append(Step(name, (command,), inputs, outputs, after=tuple(models)))
    for classifier, run in baseline_runs(args, 0).items():
        pair = [f"compare_rounds_{name}" for name in (main_run, run)]
        name = "_vs_".join([pair[0], pair[1].removeprefix("compare_")])
        steps.append(
            Step(
                name,
                ([*head, "--arch", classifier], ["compare.py", *pair, *common]),
                (
                    *data,
                    escape(f"results/{pair[0]}/pooled.csv"),
                    f"results/{escape(run)}*/predictions.csv",
                ),
                compared(name, "differences.csv"),
                needs=(rounds.name,),
                after=tuple(step.name for step in baselines),
            )
        )
    return steps


def explain_steps(args, leads, data):
    """Return the steps that explain the first round's model, and check the explanations."""
    run = named_run(args, leads, 0)
    flags = [*given(args, "data_dir", "seed", "limit"), "--arch", args.arch, *lead_words(leads)]
    # not --batch-size: a small one, for training, would slow the gradients down
    flags += given(args, "num_workers", "use_gpu", "background", "records", "samples")
    inputs = (*data, escape(f"models/{run}.pth"))
    explain = Step(
        f"shap_values_{run}",
        (["shap_values.py", *flags],),
        inputs,
        (f"shap/{run}/values.csv", f"shap/{run}/index.html"),
        needs=(run,),
        begun=f"shap/{run}/run.json",
        anew=("--force",),
    )
    check = Step(
        f"faithfulness_{run}",
        (["faithfulness.py", *flags],),
        (*inputs, f"{escape(args.data_dir)}/evidence.csv"),
        (f"shap/{run}/faithfulness.csv",),
        needs=(run,),
        after=(explain.name,),
        begun=f"shap/{run}/faithfulness/run.json",
        anew=("--force",),
    )
    return [explain, check]


def make_plan(args, jobs):
    """Return the steps in the order in which they are started, and the names of the models."""
    name, folder = Path(args.data_dir).resolve().name, Path(args.data_dir)
    pattern = escape(args.data_dir)
    data = (f"{pattern}/labels.csv", f"{pattern}/signals-*.i16")
    # labels made by hand (with other folds, say) stay as they are, and so does a folder that was
    # copied without its records; else preprocess.py looks itself for what is new, in no time
    here = any(next(folder.rglob(f"*.{ending}"), None) for ending in ("hea", "mat"))
    labels, stamp = (f"{pattern}/labels.csv",), read_stamp(f"preprocess_{name}")
    by_hand = (folder / "labels.csv").is_file() and (
        stamp is None or stamp["signed"] != contents_digest(labels)
    )
    first = Step(
        f"preprocess_{name}",
        (["preprocess.py", *given(args, "data_dir", "limit"), "--jobs", str(jobs)],),
        inputs=(f"{pattern}/**/*.hea", f"{pattern}/**/REFERENCE*.csv"),
        outputs=tuple(str(folder / file) for file in DATA_FILES),
        adopt=by_hand or not here,
        always=here and not by_hand,
        signed=labels,
    )
    lead_sets = args.lead_sets
    models = [
        model_step(args, leads, number, data, first.name)
        for leads in lead_sets
        for number in range(args.rounds)
    ]
    baselines = baseline_steps(args, data, first.name, jobs)
    others = compare_steps(args, lead_sets, baselines, data)
    others += explain_steps(args, lead_sets[0], data)
    before = tuple(step.name for step in [*baselines, *models, *others])
    command = ["report.py", *given(args, "data_dir", "seed", "arch"), *lead_words(lead_sets[0])]
    report = Step(f"report_{name}", (command,), after=(first.name, *before), always=True)
    return [first, *baselines, *models, *others, report], [step.name for step in models]


def count_records(args):
    """Return about how many records a round trains on and validates on: of labels.csv, or found."""
    labels, folder = Path(args.data_dir, "labels.csv"), Path(args.data_dir)
    if labels.is_file():
        n = len(labels.read_text().splitlines()) - 1
    else:
        n = max(sum(1 for _ in folder.rglob(f"*.{ending}")) for ending in ("hea", "mat")) or 1
    n = min(n, args.limit or n)
    return round(0.8 * n), round(0.1 * n)


def recorded_epoch(args, models):
    """Return (seconds per epoch, run) of a run of this plan made under the same settings."""
    for run in models:
        try:
            content = json.loads(Path("results", run, "run.json").read_text())
            seconds, then = content["seconds_per_epoch"], content["args"]
        except (OSError, ValueError, KeyError):
            continue
        wanted = {"amp": args.amp, "arch": args.arch, "use_gpu": args.use_gpu, "limit": args.limit}
        wanted |= {"seconds": args.seconds or SECONDS, "batch_size": args.batch_size or BATCH_SIZE}
        if seconds and all(then.get(name) == value for name, value in wanted.items()):
            return sum(seconds) / len(seconds), run
    return None


def measure_record(args, explaining=False):
    """Train an untrained network on zeros for two small steps; return seconds per record.

    With `explaining`, without the weights' gradients and in float32, as explanations are made.
    """
    device = torch.device("cuda:0" if args.use_gpu else "cpu")
    n = (args.batch_size or BATCH_SIZE) if args.use_gpu else MEASURED_RECORDS
    x = torch.zeros(n, len(LEADS), (args.seconds or SECONDS) * SAMPLE_RATE, device=device)
    model = ResNet1d(args.arch, len(LEADS), 9).to(device).requires_grad_(not explaining)
    x.requires_grad_(explaining)
    for _ in range(2):  # the first one warms up
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=args.amp and not explaining):
            loss = model(x).float().mean()
        loss.backward()
        if args.use_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return seconds / n


def explaining_gradients(args, n):
    """Return how many gradients shap_values.py takes for n records of the test fold."""
    return min(args.records or RECORDS, n) * (args.samples or SAMPLES)


def check_gradients(args, n):
    """Return how many gradients the checks of faithfulness.py take, predictions counted in."""
    n, samples = min(args.records or map_checks.RECORDS, n), args.samples or map_checks.SAMPLES
    points = 2 * len(map_checks.ORDERS) * len(map_checks.FRACTIONS)  # removed, and put in
    curve = points * map_checks.REPLACEMENTS  # predictions
    few = (RANDOM_NETWORKS + 1) * samples + sum(map_checks.SAMPLES_STEPS)
    classes = n * CLASSES_A_RECORD
    return classes * (samples + curve * FORWARD_COST) + min(map_checks.FEW, n) * few


def estimate(args, steps, models, lanes):
    """Return what is left and how long it takes, as a dictionary of numbers and the source.

    `lanes` models are trained at a time at full speed: one on a CPU, whose cores they share, and
    one a GPU.
    """
    train, validation = count_records(args)
    todo = {step.name for step in steps} if args.force else list_pending(steps)
    left = sum(name in todo for name in models)
    per_record = train + VALIDATION_COST * validation
    measured = recorded_epoch(args, models) if left else (0, "")
    if measured is None:
        measured = (measure_record(args) * per_record, f"{MEASURED_RECORDS} records, measured now")
    epoch, source = measured
    counts = {"shap_values": explaining_gradients, "faithfulness": check_gradients}
    gradients = sum(  # the test fold, which is explained, is about as large as the validation fold
        counts[name](args, validation)
        for name in counts
        if any(step.startswith(name) for step in todo)
    )
    explain = gradients * measure_record(args, explaining=True) if gradients else 0
    training = left * (args.epochs or EPOCHS) * epoch
    return {
        "models": len(models),
        "models_left": left,
        "records": [train, validation],
        "seconds_per_epoch": round(epoch, 2),
        "source": source,
        "training_seconds": round(training / max(1, min(lanes, left))),
        "explaining_seconds": round(explain),
        "gigabytes": round(len(models) * MODEL_GB, 1),
    }
