"""What a reproduction takes: disk for its models, and time for its jobs."""

import json
from pathlib import Path

import pandas as pd

MODEL_GB = {"resnet18": 0.035, "resnet34": 0.067}  # a model in models/; four times this in training
# records of 30 s that one core trains on in a second, without and with amp
RATES = {("resnet34", 64): {False: 1.7, True: 4.6}, ("resnet18", 24): {False: 11, True: 30}}
VALIDATION_COST = 1 / 3  # of a record that is scored, in records that are trained on


def network_of(config):
    """Return (arch, width) of a configuration's runs, those of the model that they start from."""
    if not config["init"]:
        return config["arch"], int(config["width"])
    from resnet import load_checkpoint  # two seconds, which a run without it does not need

    trained = load_checkpoint(config["init"])["args"]
    return trained["arch"], trained["width"]


def read_run(run):
    """Return a run's run.json, {} without one."""
    try:
        return json.loads(Path("results", run, "run.json").read_text())
    except (OSError, ValueError):
        return {}


def measured_epoch(runs, config, threads):
    """Return (s an epoch, run) of a run that is there, made with the same settings; or None."""
    names = ("init",) if config["init"] else ("arch", "width")
    names += ("amp", "use_gpu", "limit", "seconds", "batch_size")
    for run in runs:
        described = read_run(run)
        times, then = described.get("seconds_per_epoch"), described.get("args", {})
        same = all(then.get(name) == config[name] for name in names)
        if times and same and (config["use_gpu"] or described.get("threads") == threads):
            return sum(times) / len(times), run
    return None


def benchmark_epoch(network, config, threads, n_records):
    """Return the s of an epoch on processor cores by benchmarks/training.py, or None."""
    if config["use_gpu"] or not n_records or network not in RATES:
        return None
    rate = RATES[network][config["amp"]] * threads * 30 / config["seconds"]
    return n_records * (0.8 + 0.1 * VALIDATION_COST) / rate


def in_words(seconds):
    """Write a time in minutes, hours or days."""
    hours = seconds / 3600
    minutes = f"{60 * hours:.0f}"
    text = f"{minutes} minute{'s' * (minutes != '1')}" if hours < 2 else f"{hours:.1f} hours"
    return text if hours < 48 else f"{hours / 24:.0f} days"


def estimate(runs, left, config, lanes, n_records, threads):
    """Return sentences on the disk and the time that the models of a workflow take.

    `runs` are all models, `left` those still to be trained, `lanes` the number trained at a time,
    `threads` the cores of each; `config` holds the settings of config/paper.yaml. An epoch takes
    what it took in a run that is there already, made with the same settings; else what
    benchmarks/training.py measured.
    """
    arch, width = network_of(config)
    size = MODEL_GB[arch] * (width / 64) ** 2
    told = [
        f"{len(runs)} models, {len(left)} to train; networks take {len(runs) * size:.1f} GB in "
        f"models/, and {4 * size:.2f} GB more for each in training"
    ]
    if not left:
        return told
    epoch, source = measured_epoch(runs, config, threads) or (None, "")
    source = f"measured in {source}"
    if epoch is None:
        epoch = benchmark_epoch((arch, width), config, threads, n_records)
        source = f"from the benchmark: {threads} processor cores each"
    if not config["epochs"]:
        return [*told, "the time is not known: main.py chooses the epochs"]
    passes = len(left) * config["epochs"] / max(1, min(lanes, len(left)))
    if epoch is None:
        text = "the time is not known before one model has been trained on this machine: "
        return [*told, f"{text}each second of an epoch is {in_words(passes)} of the whole"]
    total = in_words(passes * epoch)
    count = f"{config['epochs']} epoch{'s' * (config['epochs'] != 1)}"
    return [
        *told,
        f"training takes about {total}: {count} of {epoch:.1f} s each "
        f"({source}), {lanes} at a time",
    ]


def job_seconds(rule, folder):
    """Return the times of the jobs of a rule that have been done, from Snakemake's benchmark files.

    Of a training it is what starts and ends it, without its epochs.
    """
    times = []
    for path in folder.glob(f"{rule}[_.]*tsv"):
        seconds = pd.read_csv(path, sep="\t")["s"].mean()
        if rule == "train":
            epochs = read_run(path.stem.removeprefix("train_")).get("seconds_per_epoch", [])
            seconds = max(0, seconds - sum(epochs))
        times.append(seconds)
    return times


def estimate_others(left, folder, lanes):
    """Return sentences on the time of all jobs, but for the epochs of the trainings.

    `left` is {rule: jobs to do}, `folder` that of Snakemake's benchmark files: a job takes the mean
    of those of its rule that have been done.
    """
    total, counted, unknown = 0, [], []
    for rule, count in left.items():
        times = job_seconds(rule, folder)
        if times:
            mean = sum(times) / len(times)
            total += count * mean
            counted.append(f"{rule} {mean:.0f} s")
        else:
            unknown.append(rule)
    told = []
    if counted:
        text = f"{in_words(total / lanes)}, as they did before ({', '.join(counted)}), {lanes}"
        told.append(f"all but the epochs takes about {text} at a time")
    if unknown:
        told.append(f"not counted, as none has been done here: {', '.join(unknown)}")
    return told
