"""What a reproduction takes: disk for its models, and time for its jobs."""

from typing import NamedTuple

import pandas as pd

from utils import WIDTH, read_json, results_path

MODEL_GB = {"resnet18": 0.035, "resnet34": 0.067}  # a model in models/; four times this in training
# records of 30 s that one core trains on in a second, without and with amp
RATES = {("resnet34", 64): {False: 1.7, True: 4.6}, ("resnet18", 24): {False: 11, True: 30}}
VALIDATION_COST = 1 / 3  # of a record that is scored, in records that are trained on


class WorkflowSettings(NamedTuple):
    """The settings of config/paper.yaml that the time of an epoch depends on, and the epochs."""

    arch: str
    width: int
    init: str | None
    epochs: int | None
    seconds: int
    batch_size: int
    limit: int | None
    amp: bool
    use_gpu: bool

    @classmethod
    def of(cls, config):
        """Take them from a configuration, a dictionary."""
        return cls(*(config[name] for name in cls._fields))

    def network(self):
        """Return (arch, width) of the runs, those of the model that they start from."""
        if not self.init:
            return self.arch, int(self.width)
        from ecg.inference.model import Model  # torch takes two seconds, seldom needed here

        flags = Model.load(self.init).flags
        return flags.arch, flags.width

    def fits(self, content):
        """Tell whether an epoch takes as long in a run with this run.json, a dictionary."""
        flags, on_gpu = content.get("args", {}), content.get("device", "cpu") != "cpu"
        names = {"init"} if self.init else {"arch", "width"}
        names |= {"amp", "limit", "seconds", "batch_size"}
        same = all(flags.get(name) == getattr(self, name) for name in names)
        return same and on_gpu == bool(self.use_gpu)


class Work(NamedTuple):
    """The models of a workflow, and how they are trained."""

    runs: list[str]  # all models
    left: list[str]  # those still to be trained
    n_records: int
    lanes: int  # models trained at a time
    threads: int  # cores of each


def read_run(run):
    """Return a run's run.json, {} without one."""
    return read_json(results_path(run, "run.json")) or {}


def measured_epoch(settings, work):
    """Return (s an epoch, run) of a run that is there, made with the same settings; or None."""
    for run in work.runs:
        content = read_run(run)
        times = content.get("seconds_per_epoch")
        same_cores = settings.use_gpu or content.get("threads") == work.threads
        if times and settings.fits(content) and same_cores:
            return sum(times) / len(times), run
    return None


def benchmark_epoch(settings, work):
    """Return the s of an epoch on processor cores by benchmarks/training.py, or None."""
    network = settings.network()
    if settings.use_gpu or not work.n_records or network not in RATES:
        return None
    rate = RATES[network][settings.amp] * work.threads * 30 / settings.seconds
    return work.n_records * (0.8 + 0.1 * VALIDATION_COST) / rate


def in_words(seconds):
    """Write a time in minutes, hours or days."""
    hours = seconds / 3600
    if hours >= 48:
        return f"{hours / 24:.0f} days"
    return f"{hours:.1f} hours" if hours >= 2 else counted(60 * hours, "minute")


def counted(number, noun):
    """Write a rounded number and its noun: 1 epoch, 2 epochs."""
    text = f"{number:.0f}"
    return f"{text} {noun}" if text == "1" else f"{text} {noun}s"


def estimate(settings, work):
    """Return sentences on the disk and the time that the models of a workflow take.

    An epoch takes what it took in a run that is there already, made with the same settings; else
    what benchmarks/training.py measured.
    """
    arch, width = settings.network()
    size = MODEL_GB[arch] * (width / WIDTH) ** 2
    n, left = len(work.runs), len(work.left)
    sentences = [
        f"{n} models, {left} to train; networks take {n * size:.1f} GB in models/, and "
        f"{4 * size:.2f} GB more for each in training"
    ]
    if left:
        sentences.append(training_sentence(settings, work))
    return sentences


def training_sentence(settings, work):
    """Say how long the trainings take, as far as that is known."""
    if not settings.epochs:
        return "the time is not known: main.py chooses the epochs"
    passes = len(work.left) * settings.epochs / max(1, min(work.lanes, len(work.left)))
    if measured := measured_epoch(settings, work):
        epoch, source = measured[0], f"measured in {measured[1]}"
    else:
        epoch = benchmark_epoch(settings, work)
        source = f"from the benchmark: {work.threads} processor cores each"
    if epoch is None:
        text = "the time is not known until one model has been trained on this machine; "
        return f"{text}each second of an epoch adds {in_words(passes)}"
    return (
        f"training takes about {in_words(passes * epoch)}: {counted(settings.epochs, 'epoch')} of "
        f"{epoch:.1f} s each ({source}), {work.lanes} at a time"
    )


def job_seconds(rule, folder):
    """Return the times of the finished jobs of a rule, from Snakemake's benchmark files.

    Of a training it is what starts and ends it, without its epochs.
    """
    times = []
    for path in folder.glob(f"{rule}[_.]*tsv"):
        seconds = pd.read_csv(path, sep="\t").s.mean()
        if rule == "train":
            epochs = read_run(path.stem.removeprefix("train_")).get("seconds_per_epoch", [])
            seconds = max(0, seconds - sum(epochs))
        times.append(seconds)
    return times


def estimate_others(left, folder, lanes):
    """Return sentences on the time of all jobs, but for the epochs of the trainings.

    `left` is {rule: jobs to do}, `folder` that of Snakemake's benchmark files: a job takes the mean
    of the finished ones of its rule.
    """
    total, known, unknown = 0, [], []
    for rule, count in left.items():
        times = job_seconds(rule, folder)
        if times:
            mean = sum(times) / len(times)
            total += count * mean
            known.append(f"{rule} {mean:.0f} s")
        else:
            unknown.append(rule)
    sentences = []
    if known:
        source = f"from the times of finished jobs ({', '.join(known)})"
        text = f"everything but the epochs takes about {in_words(total / lanes)}"
        sentences.append(f"{text}, {source}, {lanes} at a time")
    if unknown:
        sentences.append(f"not counted, because none has finished here yet: {', '.join(unknown)}")
    return sentences
