"""What a reproduction takes: disk for its models, and time for its trainings."""

import json
from pathlib import Path

MODEL_GB = {"resnet18": 0.035, "resnet34": 0.067}  # a model in models/; four times this in training
RATES = {False: 3.4, True: 9.2}  # records of 30 s per second of two CPU cores, without and with amp
VALIDATION_COST = 1 / 3  # of a record that is scored, in records that are trained on


def estimate(runs, left, config, lanes, n_records):
    """Return sentences on the disk and the time that the models of a workflow take.

    `runs` are all models, `left` those still to be trained, `lanes` the number trained at a time;
    `config` holds the settings of config/paper.yaml. An epoch takes what it took in a run that is
    there already, made with the same settings; else what benchmarks/training.py measured.
    """
    size = MODEL_GB[config["arch"]] * (config["width"] / 64) ** 2
    told = [
        f"{len(runs)} models, {len(left)} to train; models/ takes {len(runs) * size:.1f} GB, "
        f"and {4 * size:.2f} GB more for each model in training"
    ]
    if not left:
        return told
    epoch, source = None, ""
    names = ("arch", "width", "amp", "use_gpu", "limit", "seconds", "batch_size")
    for run in runs:
        try:
            described = json.loads(Path("results", run, "run.json").read_text())
            times, then = described["seconds_per_epoch"], described["args"]
        except (OSError, ValueError, KeyError):
            continue
        if times and all(then.get(name) == config[name] for name in names):
            epoch, source = sum(times) / len(times), f"measured in {run}"
    if epoch is None and not config["use_gpu"] and n_records:
        rate = RATES[config["amp"]] * 30 / config["seconds"]
        epoch = n_records * (0.8 + 0.1 * VALIDATION_COST) / rate
        source = "from the benchmark: two CPU cores, resnet34"
    if epoch is None:
        return [*told, "the time is not known before one model has been trained on this machine"]
    hours = len(left) * config["epochs"] * epoch / max(1, min(lanes, len(left))) / 3600
    text = f"{60 * hours:.0f} minutes" if hours < 2 else f"{hours:.1f} hours"
    text = text if hours < 48 else f"{hours / 24:.0f} days"
    return [
        *told,
        f"training takes about {text}: {config['epochs']} epochs of {epoch:.1f} s each "
        f"({source}), {lanes} at a time; explanations and baselines not counted",
    ]
