"""What the report shows of the runs themselves: their time and memory, versions and options."""

import re
from pathlib import Path

import pandas as pd

from ecg.reporting.tables import Table, number, read_table
from utils import read_json

OPTIONS = ["seed", "limit", "seconds", "windows", "epochs", "batch_size", "lr"]
OPTIONS += ["schedule", "patience", "pad"]


def read_runs(names):
    """Return {run: its run.json} of those runs that have one."""
    runs = {run: read_json(Path("results", run, "run.json")) for run in names}
    needed = {"args", "versions"}
    return {run: content for run, content in runs.items() if needed <= set(content or ())}


def training_table(runs):
    """Return the time and memory of the trainings that were alike, or None if there is none."""
    alike = {}
    for run, content in runs.items():
        if content.get("seconds_per_epoch"):
            epochs = len(content["seconds_per_epoch"])
            key = content["device"], content["threads"], content["precision"], epochs
            alike.setdefault(key, {})[run] = content
    rows = []
    for key, found in alike.items():
        seconds = [s for content in found.values() for s in content["seconds_per_epoch"]]
        times = [number(sum(seconds) / len(seconds), 1), number(sum(seconds) / 60, 1)]
        memory = [
            max(content.get(name) or 0 for content in found.values()) or ""
            for name in ("peak_memory_mb", "peak_gpu_memory_mb")
        ]
        rows.append([together(found), *map(str, key), *times, *map(str, memory)])
    head = ["run", "device", "threads", "precision", "epochs", "s an epoch", "min", "MB", "GPU MB"]
    return Table("Training", head, rows) if rows else None


def together(runs):
    """Name runs that share a row by the first of them."""
    first, *others = runs
    return f"{first} and {len(others)} more" if others else first


def job_table(folder):
    """Return the time and memory of the jobs by rule, or None, from Snakemake's benchmark files.

    They are tables with a row a repetition: s (seconds), max_rss (MB), cpu_time (seconds); their
    names begin with that of the rule.
    """
    found = {}
    for path in sorted(folder.glob("*.tsv")):
        table = read_table(path, "s", sep="\t", na_values=["-", "NA"])
        if table is not None:
            table = table.reindex(columns=["s", "max_rss", "cpu_time"])
            rule = re.match(r"compare_[a-z]+|[^_]+|", path.stem)[0]
            found.setdefault(rule, []).append(table.apply(pd.to_numeric, errors="coerce").mean())
    rows = []
    for rule, jobs in found.items():
        table = pd.DataFrame(jobs)
        wall, sums = table["s"], table.sum(min_count=1) / 60
        times = number(wall.mean(), 1), number(wall.max(), 1), number(sums["s"], 1)
        more = number(sums["cpu_time"], 1), number(table["max_rss"].max(), 0)
        rows.append([rule, str(len(jobs)), *times, *more])
    head = ["rule", "jobs", "s a job", "longest", "min", "processor min", "peak MB"]
    return Table("Jobs of the reproduction", head, rows) if rows else None


def run_tables(runs):
    """Return the versions and the options of what was run; [] if nothing was."""
    if not runs:
        return []
    versions = pd.DataFrame({run: content["versions"] for run, content in runs.items()})
    rows = [
        [name, ", ".join(sorted(set(values.dropna().astype(str))))]
        for name, values in versions.iterrows()
    ]
    alike = {}  # runs that differ in their round and leads alone
    for run, content in runs.items():
        values = [content["args"].get(name) for name in OPTIONS]
        texts = ["" if value is None else str(value) for value in values]
        alike.setdefault((*texts, kind_of(content)), []).append(run)
    options = [[together(found), *key[:-1]] for key, found in alike.items()]
    title = "Versions (git: revision of the code, + with changes) and hardware"
    return [
        Table(title, ["what", "version"], rows),
        Table("Options", ["run", *OPTIONS], options),
    ]


def kind_of(content):
    """Return what a run is of: its network with the model it started from, or its classifier."""
    names = ("arch", "width", "init", "classifier")
    return tuple(str(content["args"].get(name)) for name in names)


def run_notes(runs):
    """Return what the runs were trained on, and their notes, each with the name of its run."""
    alike = {}
    for run, content in runs.items():
        if content.get("trained_on"):
            alike.setdefault(content["trained_on"], []).append(run)
    notes = [f"{together(found)}: trained on {text}" for text, found in alike.items()]
    return notes + [
        f"{run}: {note}" for run, content in runs.items() for note in content.get("notes", [])
    ]
