"""What the report shows of the runs themselves: their time and memory, versions and options."""

import re
from collections import defaultdict
from typing import NamedTuple

import pandas as pd

from ecg.reporting.tables import Table, load_csv, number
from utils import read_json, results_path

OPTIONS = ["seed", "limit", "seconds", "windows", "epochs", "batch_size", "lr"]
OPTIONS += ["schedule", "patience"]


class Described(NamedTuple):
    """A run's run.json, as far as the report shows it; the fields of a baseline are None."""

    args: dict
    versions: dict
    device: str | None = None
    threads: int | None = None
    precision: str | None = None
    seconds_per_epoch: list | None = None
    peak_memory_mb: float | None = None
    peak_gpu_memory_mb: float | None = None
    trained_on: str | None = None
    notes: list | None = None

    @property
    def kind(self):
        """What was run: a network with the model that it started from, or a classifier."""
        names = ("arch", "width", "init", "classifier")
        return tuple(str(self.args.get(name)) for name in names)


def read_runs(names):
    """Return {run: Described} of those runs that have a run.json."""
    runs = {}
    for run in names:
        content = read_json(results_path(run, "run.json")) or {}
        if {"args", "versions"} <= set(content):
            runs[run] = Described(*map(content.get, Described._fields))
    return runs


def group_runs(runs, key):
    """Return {key: [run, ...]} of runs, leaving out those whose key is None."""
    groups = defaultdict(list)
    for run, described in runs.items():
        if (value := key(described)) is not None:
            groups[value].append(run)
    return groups


def together(names):
    """Name runs that share a row by the first of them."""
    first, *others = names
    return f"{first} and {len(others)} more" if others else first


def training_kind(run):
    """Return what trainings that share a row have in common, None for what is no training."""
    if not run.seconds_per_epoch:
        return None
    return run.device, run.threads, run.precision, len(run.seconds_per_epoch)


def training_table(runs):
    """Return the time and memory of the trainings of one kind, or None if there is none."""
    rows = []
    for kind, names in group_runs(runs, training_kind).items():
        group = [runs[name] for name in names]
        seconds = [s for run in group for s in run.seconds_per_epoch]
        times = [number(sum(seconds) / len(seconds), 1), number(sum(seconds) / 60, 1)]
        memory = max(run.peak_memory_mb or 0 for run in group) or ""
        gpu_memory = max(run.peak_gpu_memory_mb or 0 for run in group) or ""
        rows.append([together(names), *map(str, kind), *times, str(memory), str(gpu_memory)])
    head = ["run", "device", "threads", "precision", "epochs", "s an epoch", "min", "MB", "GPU MB"]
    return Table("Training", head, rows) if rows else None


def job_table(folder):
    """Return the time and memory of the jobs by rule, or None, from Snakemake's benchmark files.

    They are tables with a row a repetition: s (seconds), max_rss (MB), cpu_time (seconds); their
    names begin with that of the rule.
    """
    rules = defaultdict(list)
    for path in sorted(folder.glob("*.tsv")):
        table = load_csv(path, "s", sep="\t", na_values=["-", "NA"])
        if table is not None:
            table = table.reindex(columns=["s", "max_rss", "cpu_time"])
            rule = re.match(r"compare_[a-z]+|[^_]+|", path.stem)[0]
            rules[rule].append(table.apply(pd.to_numeric, errors="coerce").mean())
    rows = []
    for rule, jobs in rules.items():
        table = pd.DataFrame(jobs)
        sums = table.sum(min_count=1) / 60
        times = number(table.s.mean(), 1), number(table.s.max(), 1), number(sums.s, 1)
        more = number(sums.cpu_time, 1), number(table.max_rss.max(), 0)
        rows.append([rule, str(len(jobs)), *times, *more])
    head = ["rule", "jobs", "s a job", "longest", "min", "processor min", "peak MB"]
    return Table("Jobs of the reproduction", head, rows) if rows else None


def options_of(run):
    """Return a run's options as text, and last its kind."""
    values = [run.args.get(name) for name in OPTIONS]
    return *("" if value is None else str(value) for value in values), run.kind


def run_tables(runs):
    """Return the versions and the options of what was run; [] if nothing was."""
    if not runs:
        return []
    versions = pd.DataFrame({name: run.versions for name, run in runs.items()})
    found = versions.apply(lambda row: ", ".join(sorted(set(row.dropna().astype(str)))), axis=1)
    # runs that differ in their round and leads alone share a row
    groups = group_runs(runs, options_of)
    options = [[together(names), *texts] for (*texts, _), names in groups.items()]
    title = "Versions (git: revision of the code, + with changes) and hardware"
    return [
        Table(title, list(map(str, found.index)), [list(found)] if len(found) else []),
        Table("Options", ["run", *OPTIONS], options),
    ]


def run_notes(runs):
    """Return what the runs were trained on, and their notes, each with the name of its run."""
    groups = group_runs(runs, lambda run: run.trained_on or None)
    notes = [f"{together(names)}: trained on {text}" for text, names in groups.items()]
    for name, run in runs.items():
        notes += [f"{name}: {note}" for note in run.notes or []]
    return notes
