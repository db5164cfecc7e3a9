"""Run all that the paper reports: preprocess, train, score, compare, explain, check, report.

Reads   the data folder; runs the other scripts, each as a process of its own
Writes  what they write; results/report.html and report.md; results/dataset_<data>/; and in
        results/.reproduce/ a stamp and a log of each step. Steps that are finished for the same
        commands and the same data are not done again; a model goes on after its last epoch.

    python reproduce.py --data-dir data/CPSC --use-gpu
    python reproduce.py --data-dir data/CPSC --rounds 1 --lead-sets "all I aVR V5" --dry-run

On a cluster --list prints one command a model, to be run anywhere on the same file system, in any
order, side by side; the same command without --list then does the rest. A step that fails stops
only what depends on it, and is listed at the end (exit status 1).
"""

import os
import shlex
import shutil
import signal
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import torch

from dataset import LEADS, N_FOLDS, add_data_args
from plan import CLASSIFIERS, EPOCHS, estimate, given, make_plan, read_lead_sets
from resnet import add_model_args
from steps import (
    Runner,
    add_invocation,
    command_text,
    forget,
    is_finished,
    keep_failures,
    list_pending,
)
from utils import fail, get_device, make_parser, natural, positive, positive_number

TABLE = "dataset_table.csv"


def parse_args(argv=None):
    """Return the flags; those of a step that are not given keep the step's own default."""
    parser = make_parser(__doc__)
    add_data_args(parser)
    add_model_args(parser)
    group = parser.add_argument_group("what is run")
    group.add_argument(
        "--rounds", type=int, choices=range(1, N_FOLDS + 1), default=N_FOLDS, metavar="N",
        help="rotations of the folds, 1 to 10",
    )  # fmt: skip
    group.add_argument(
        "--lead-sets", type=read_lead_sets, default=" ".join(["all", *LEADS]),
        help="models, separated by spaces; the first one is explained",
    )  # fmt: skip
    group.add_argument(
        "--classifier", choices=(*CLASSIFIERS, "all"), default="all", help="of the baselines"
    )
    group.add_argument("--only", nargs="+", metavar="STEP", help="just these steps of the plan")
    group.add_argument("--force", action="store_true", help="do again what is finished, anew")
    group.add_argument("--jobs", type=positive, help="steps at a time (None: 1, or one a GPU)")
    group.add_argument("--dry-run", action="store_true", help="print the plan and its time")
    group.add_argument("--list", action="store_true", help="print one command a model, and leave")
    group = parser.add_argument_group("training (None: as main.py)")
    for name in ("batch-size", "seconds", "epochs", "patience"):
        group.add_argument(f"--{name}", type=positive, help=f"--{name} of main.py")
    group.add_argument("--num-workers", type=natural, help="--num-workers of main.py")
    group.add_argument("--lr", type=positive_number, help="--lr of main.py")
    group.add_argument("--pad", choices=("window", "batch"), help="--pad of main.py")
    group = parser.add_argument_group("explanations (None: as shap_values.py and faithfulness.py)")
    for name in ("background", "records", "samples"):
        group.add_argument(f"--{name}", type=positive, help=f"--{name} of both")
    args = parser.parse_args(argv)
    args.data_dir = os.path.normpath(args.data_dir)  # the same folder is the same command
    if not args.lead_sets:
        parser.error("--lead-sets is empty; name leads, or leave it out")
    return args


def find_slots(args):
    """Return the environment of each job slot: its GPU, or its share of the cores."""
    if args.list:  # a machine without a GPU may list what others run
        return [dict(os.environ)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TQDM_MININTERVAL": "30"}
    if args.use_gpu:
        get_device(True)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = (visible or ",".join(map(str, range(torch.cuda.device_count())))).split(",")
        jobs = args.jobs or len(gpus)
        names = [gpus[i % len(gpus)] for i in range(jobs)]
        return [{**environment, "CUDA_VISIBLE_DEVICES": gpu} for gpu in names]
    jobs = args.jobs or 1
    if jobs > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, os.cpu_count() // jobs))
    return [environment] * jobs


def count_lanes(args, slots):
    """Return how many models are trained at full speed at a time: one, or one a GPU."""
    return len({slot["CUDA_VISIBLE_DEVICES"] for slot in slots}) if args.use_gpu else 1


def model_commands(args, models):
    """Return one command line a model, with the flags of this one."""
    names = ("data_dir", "seed", "limit", "arch", "use_gpu", "amp", "rounds", "batch_size")
    names += ("num_workers", "seconds", "epochs", "patience", "lr", "pad", "force")
    lead_sets = " ".join("all" if leads == LEADS else ",".join(leads) for leads in args.lead_sets)
    words = ["reproduce.py", *given(args, *names), "--lead-sets", lead_sets]
    return [command_text([*words, "--only", run]) for run in models]


def text_of_time(seconds):
    """Return a time as '45 s', '12 min', '3.4 h' or '2.5 days'."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.{0 if seconds >= 10 else 1}f} s"


def print_estimate(numbers, epochs):
    """Say how many models there are, how long they take, and where that is known from."""
    train, validation = numbers["records"]
    print(f"{numbers['models']} models, {numbers['models_left']} to train; {train} training and "
          f"{validation} validation records; models/ takes {numbers['gigabytes']} GB")  # fmt: skip
    if numbers["models_left"]:
        print(f"an epoch takes {text_of_time(numbers['seconds_per_epoch'])} (from "
              f"{numbers['source']}), at most {epochs or EPOCHS} a model: training about "
              f"{text_of_time(numbers['training_seconds'])}")  # fmt: skip
    print(f"explanations and their checks about {text_of_time(numbers['explaining_seconds'])}; "
          "baselines and tables not counted")  # fmt: skip


def print_plan(steps, force):
    """Print each step's state and commands."""
    pending = {step.name for step in steps} if force else list_pending(steps)
    for step in steps:
        state = "to do" if step.name in pending else "finished"
        print(f"{state:9} {step.name}")
        for command in step.commands:
            print(f"          {command_text(command)}")


def run_steps(steps, runner, slots):
    """Run the steps as soon as what they hang on has ended; return {name: what became of it}.

    '' is finished; other text says why not. KeyboardInterrupt stops what is running.
    """
    ended, running, free = {}, {}, list(slots)
    names = {step.name for step in steps}
    with ThreadPoolExecutor(len(slots)) as pool:
        try:
            while len(ended) < len(steps):
                for step in steps:
                    if step.name not in ended and step.name not in running:
                        start_step(step, names, ended, running, free, runner, pool)
                if running:
                    futures = [future for future, _, _ in running.values()]
                    wait(futures, timeout=1, return_when=FIRST_COMPLETED)
                for name, (future, slot, started) in list(running.items()):
                    if future.done():
                        del running[name]
                        free.append(slot)
                        ended[name] = future.result()
                        told = ended[name] or f"done in {text_of_time(time.monotonic() - started)}"
                        print(f"[{len(ended)}/{len(steps)}] {name}: {told}", flush=True)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
            print("interrupted; stopping what is running", file=sys.stderr, flush=True)
            runner.stop()
            raise
    return ended


def start_step(step, names, ended, running, free, runner, pool):
    """Start a step if it can be, or note that it is finished or cannot be done."""
    if any(name in names and name not in ended for name in (*step.needs, *step.after)):
        return
    failed = [name for name in step.needs if ended.get(name)]
    if failed:
        ended[step.name] = f"not done, as it needs {failed[0]}"
    elif is_finished(step):
        ended[step.name] = ""
        print(f"[{len(ended)}/{len(names)}] {step.name}: finished before", flush=True)
    elif free:
        slot = free.pop(0)
        print(f"  {step.name} ...", flush=True)
        running[step.name] = pool.submit(runner.run, step, slot), slot, time.monotonic()


def choose(steps, only):
    """Return the steps that --only names, or all; stop at an unknown name."""
    names = [step.name for step in steps]
    for name in only or []:
        if name not in names:
            fail(f"no step {name} in this plan; see: python reproduce.py --dry-run, same flags")
    return [step for step in steps if not only or step.name in only]


def keep_table(args):
    """Copy the data set table to where the report reads it."""
    name = Path(args.data_dir).resolve().name
    source, folder = Path(args.data_dir, TABLE), Path("results", f"dataset_{name}")
    if source.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / TABLE)


def print_failures(ended):
    """List the steps that have not ended well; return how many they are."""
    failed = {name: reason for name, reason in ended.items() if reason}
    if failed:
        print(f"\n{len(failed)} of {len(ended)} steps have not ended well:")
    for name, reason in failed.items():
        print(f"  {name}: {reason}")
    if failed:
        print("the same command tries them again; with --only STEP --force one starts anew")
    return len(failed)


def run_plan(args, steps, models, slots):
    """Run the chosen steps, the report last; return {name: what became of it}."""
    data = Path(args.data_dir).resolve().name
    runner, started = Runner(data), time.time()
    numbers = {} if args.only else estimate(args, steps, models, count_lanes(args, slots))
    if numbers:
        print_estimate(numbers, args.epochs)
    if args.force:  # what was made by hand is only made anew if it is named
        forget([step for step in steps if args.only or not step.adopt], data)
    for step in steps:
        if step.adopt and is_finished(step):
            name = shlex.quote(step.name)
            print(f"note: {step.outputs[0]} was not made by this script and is kept; to make it "
                  f"anew: the same command with --only {name} --force")  # fmt: skip
    ended, report = {}, [step for step in steps if step.commands[0][0] == "report.py"]
    try:
        ended |= run_steps([step for step in steps if step not in report], runner, slots)
        keep_table(args)
        keep_failures(data, ended)
        ended |= run_steps(report, runner, slots)
    finally:
        numbers |= {"started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started))}
        numbers |= {"seconds": round(time.time() - started), "jobs": len(slots)}
        if not args.only:
            add_invocation(data, numbers)
    return ended


def main(args):
    """Print the plan or the commands, or run the steps and say how they ended."""
    if not Path(args.data_dir).is_dir():
        fail(f"no folder {args.data_dir}; put the records there, or make some: python synthetic.py "
             "--data-dir data/synthetic")  # fmt: skip
    slots = find_slots(args)
    steps, models = make_plan(args, max(1, os.cpu_count() // len(slots)))
    if args.list and not Path(args.data_dir, "labels.csv").is_file():
        folder = shlex.quote(args.data_dir)
        fail(f"no labels.csv in {args.data_dir}, which every model needs; make it first: "
             f"python reproduce.py --data-dir {folder} --only {steps[0].name}")  # fmt: skip
    if args.list:
        print("\n".join(model_commands(args, models)))
        return
    steps = choose(steps, args.only)
    if args.dry_run:
        print_plan(steps, args.force)
        print_estimate(estimate(args, steps, models, count_lanes(args, slots)), args.epochs)
        return
    # Ctrl-C works even where the shell has switched it off; a cluster's SIGTERM is one too
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        ended = run_plan(args, steps, models, slots)
    except KeyboardInterrupt:
        again = "the same command without --force" if args.force else "the same command"
        print(f"{again} goes on after the last finished epoch", file=sys.stderr)
        raise SystemExit(130) from None
    if print_failures(ended):
        raise SystemExit(1)


if __name__ == "__main__":
    main(parse_args())
