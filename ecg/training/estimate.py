"""What a reproduction takes: disk for its models, and time for its jobs."""

import functools
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from utils import WIDTH, read_json, results_path

MODEL_GB = {"resnet18": 0.035, "resnet34": 0.067}  # a model in models/; four times this in training
# records of 30 s that one core trains on in a second, without and with amp (with AMX)
RATES = {("resnet34", 64): {False: 1.7, True: 4.6}, ("resnet18", 24): {False: 9.4, True: 30}}
IN_SOFTWARE = 12  # times slower is bfloat16 than float32 on a processor that lacks it
# of a record that is scored, in records that are trained on: its end alone, or all its windows (of
# CPSC2018's lengths)
VALIDATION_COST, WINDOWS_COST = 1 / 3, 0.85
MADE_COST = 1.3  # of a synthetic record that is made, and trained on beside real ones
START = 9  # s of each training or scoring: packages, data, digests
DRAWING = 6  # s of each scoring: intervals, figures, page
EXPLAINED, CHECKED = (200, 200), (40, 100)  # records and samples that explain and check by default
CHECKS = 3  # times the explanation of a record: random networks, seeds, halves


class Cost(NamedTuple):
    """Seconds of a job on one core: of any data, and more for each 1,000 records."""

    fixed: float
    per_1000: float = 0


# measured on CPSC2018's twin (docs/reproduce.md)
COSTS = {
    "preprocess": Cost(5, 12),
    "dataset_table": Cost(1),
    "features": Cost(5, 7),
    "LR": Cost(6, 1),
    "RF": Cost(6, 22),
    "LGB": Cost(40, 5),
    "MLP": Cost(6, 6),
    "compare_rounds": Cost(8, 1),
    "compare_pair": Cost(8, 1),
    "compare_leads": Cost(12, 3),
    "report": Cost(8),
    "all": Cost(0),
}


class WorkflowSettings(NamedTuple):
    """The settings of config/paper.yaml that the time of its jobs depends on."""

    arch: str
    width: int
    init: str | None
    epochs: int | None
    seconds: int
    windows: bool
    batch_size: int
    limit: int | None
    amp: bool
    no_evidence: bool
    use_gpu: bool
    records: int | None
    checked: int | None
    samples: int | None

    @classmethod
    def of(cls, config):
        """Take them from a configuration, a dictionary."""
        return cls(*(config[name] for name in cls._fields))

    def network(self):
        """Return (arch, width) of the runs, those of the model that they start from."""
        return start_of(self.init)[:2] if self.init else (self.arch, int(self.width))

    def training_cost(self):
        """Return the cost of a record in an epoch with the synthetic ones beside it, if any."""
        if not self.init or self.no_evidence or not start_of(self.init).evidence:
            return 1
        from ecg.training.loop import BESIDE  # start_of has imported torch

        return 1 + MADE_COST / BESIDE

    def rate(self):
        """Return the records that one core trains on in a second; None if that is not known."""
        rates = RATES.get(self.network())
        if self.use_gpu or not rates:
            return None
        rate = rates[bool(self.amp)] if has_bfloat16() else rates[False]
        slower = IN_SOFTWARE if self.amp and not has_bfloat16() else 1
        return rate / slower * 30 / self.seconds

    def scoring_cost(self):
        """Return the cost of a record that is scored, in records that are trained on."""
        return WINDOWS_COST if self.windows else VALIDATION_COST

    def fits(self, content):
        """Tell whether an epoch takes as long in a run with this run.json, a dictionary."""
        flags, on_gpu = content.get("args", {}), content.get("device", "cpu") != "cpu"
        names = {"init"} if self.init else {"arch", "width"}
        names |= {"amp", "limit", "seconds", "batch_size"}
        same = all(flags.get(name) == getattr(self, name) for name in names)
        dropped = flags.get("evidence") is False  # None: kept where --init has it
        return same and dropped == bool(self.no_evidence) and on_gpu == bool(self.use_gpu)


class Work(NamedTuple):
    """The models of a workflow, and how its jobs are done."""

    jobs: dict[str, list[str]]  # the models that each training job makes, by the job's name
    left: list[str]  # models still to be trained
    n_records: int
    lanes: int  # jobs at a time
    threads: int  # cores of each

    @property
    def runs(self):
        """Names of all models."""
        return [run for runs in self.jobs.values() for run in runs]

    @property
    def busy(self):
        """Number of trainings at a time: all models of a job are trained one after another."""
        left = set(self.left)
        jobs = sum(not left.isdisjoint(runs) for runs in self.jobs.values())
        return max(1, min(self.lanes, jobs))


class Start(NamedTuple):
    """What the time of a training depends on, of the model that it starts from."""

    arch: str
    width: int
    evidence: bool  # it has a head for the place of each criterion


@functools.cache
def start_of(path):
    """Return the Start of a model file."""
    from ecg.inference.model import Model  # torch takes two seconds, seldom needed here

    settings = Model.load(path).settings
    return Start(settings.flags.arch, settings.flags.width, settings.evidence)


@functools.cache
def has_bfloat16():
    """Tell whether this processor multiplies bfloat16 itself, as far as Linux says."""
    path = Path("/proc/cpuinfo")
    return not path.is_file() or bool(re.search(r"amx_bf16|avx512_bf16", path.read_text()))


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
    rate = settings.rate()
    if not work.n_records or not rate:
        return None
    records = work.n_records * (0.8 * settings.training_cost() + 0.1 * settings.scoring_cost())
    return records / rate / work.threads


def job_cost(rule, settings, work):
    """Return the s that a job of a rule takes; None if that is not known.

    Of a training it is what starts and ends it, without its epochs. A baseline is named by its
    classifier.
    """
    thousands, fold = work.n_records / 1000, 0.1 * work.n_records
    if cost := COSTS.get(rule.removesuffix("-rhythm")):
        return cost.fixed + cost.per_1000 * thousands / work.threads
    if not settings.rate():
        return None
    rate = settings.rate() * work.threads
    if rule == "train":
        return START + fold * settings.scoring_cost() / rate
    if rule == "score":
        return START + DRAWING + 2 * fold * settings.scoring_cost() / rate
    if rule == "explain":
        (records, samples), times, given = EXPLAINED, 1, settings.records
    elif rule == "faithfulness":
        (records, samples), times, given = CHECKED, CHECKS, settings.checked or settings.records
    else:
        return None
    return START + times * min(given or records, fold) * (settings.samples or samples) / rate


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


def size_sentence(settings, work):
    """Say how much disk the models take."""
    arch, width = settings.network()
    n, size = len(work.runs), MODEL_GB[arch] * (width / WIDTH) ** 2
    return (
        f"{n} models, {len(work.left)} to train; networks take {n * size:.1f} GB in models/, and "
        f"{4 * size:.2f} GB more for each in training"
    )


def estimate_training(settings, work):
    """Return the s that all epochs take, None if that is not known, and a sentence on them.

    An epoch takes what it took in a run that is there already, made with the same settings; else
    what benchmarks/training.py measured.
    """
    if not settings.epochs:
        return None, "the time of the epochs is not known: main.py chooses their number"
    passes = len(work.left) * settings.epochs / work.busy
    if measured := measured_epoch(settings, work):
        epoch, source = measured[0], f"measured in {measured[1]}"
    else:
        epoch = benchmark_epoch(settings, work)
        source = f"from the benchmark: {counted(work.threads, 'processor core')} each"
        source += ", which lack bfloat16" if settings.amp and not has_bfloat16() else ""
    if epoch is None:
        text = "the time is not known until one model has been trained on this machine; "
        return None, f"{text}each second of an epoch adds {in_words(passes)}"
    return passes * epoch, (
        f"the epochs take about {in_words(passes * epoch)}: {counted(settings.epochs, 'epoch')} of "
        f"{epoch:.1f} s each ({source}), {work.busy} at a time"
    )


def job_seconds(rule, folder, work):
    """Return the times of the finished jobs of a rule, from Snakemake's benchmark files.

    Of trainings and scores it is the time of each model, and without the epochs.
    """
    if rule not in ("train", "score"):
        paths = [
            path for part in (f"{rule}[_.]*", f"baseline_{rule}_*") for path in folder.glob(part)
        ]
        return [pd.read_csv(path, sep="\t").s.mean() for path in paths]
    times = []
    for name, runs in work.jobs.items():
        if (path := folder / f"{rule}_{name}.tsv").is_file():
            seconds = pd.read_csv(path, sep="\t").s.mean()
            if rule == "train":
                seconds -= sum(sum(read_run(run).get("seconds_per_epoch", [])) for run in runs)
            times.append(max(0, seconds) / len(runs))
    return times


def estimate_others(left, folder, settings, work):
    """Return the s of all jobs but for the epochs, None if some is not known, and sentences.

    `left` is {rule: jobs to do}, models for trainings and scores, by classifier for baselines. A
    job takes the mean of the finished ones of its rule, whose times are in `folder`, else what it
    took on CPSC2018's twin for each record.
    """
    total, parts, unknown = 0, {"finished jobs": [], "the twin": []}, []
    for rule, count in left.items():
        times = job_seconds(rule, folder, work)
        mean = sum(times) / len(times) if times else job_cost(rule, settings, work)
        if mean is None:
            unknown.append(rule)
            continue
        total += count * mean / work.lanes
        if rule not in ("all", "dataset_table"):
            parts["finished jobs" if times else "the twin"].append(f"{rule} {mean:.0f} s")
    sources = [f"from {name}: {', '.join(texts)}" for name, texts in parts.items() if texts]
    sentences = []
    if sources:
        text = f"everything but the epochs takes about {in_words(total)}, {work.lanes} at a time"
        sentences.append(f"{text} ({'; '.join(sources)})")
    if unknown:
        sentences.append(f"not counted, because none has finished here yet: {', '.join(unknown)}")
    return None if unknown else total, sentences


def estimate(settings, work, left, folder):
    """Return sentences on the disk and the time that the jobs of a workflow take."""
    sentences, epochs = [size_sentence(settings, work)], 0
    if work.left:
        epochs, text = estimate_training(settings, work)
        sentences.append(text)
    others, texts = estimate_others(left, folder, settings, work)
    sentences += texts
    if None not in (epochs, others):
        sentences.append(f"in all about {in_words(epochs + others)}")
    return sentences
