"""What the report shows of the runs themselves: their time and memory, versions and options."""

from pathlib import Path

import pandas as pd

from ecg.reporting.tables import Table, number, read_table
from utils import read_json

OPTIONS = ["seed", "round", "limit", "seconds", "windows", "epochs", "batch_size", "lr"]
OPTIONS += ["schedule", "patience", "pad"]


def read_runs(names):
    """Return {run: its run.json} of those runs that have one."""
    runs = {run: read_json(Path("results", run, "run.json")) for run in names}
    needed = {"args", "versions"}
    return {run: content for run, content in runs.items() if needed <= set(content or ())}


def training_table(runs):
    """Return the time and memory of each training, or None if there is none."""
    rows = []
    for run, content in runs.items():
        seconds = content.get("seconds_per_epoch")
        if seconds:
            texts = [content["device"], content["threads"], content["precision"], len(seconds)]
            times = [number(sum(seconds) / len(seconds), 1), number(sum(seconds) / 60, 1)]
            memory = [content["peak_memory_mb"], content.get("peak_gpu_memory_mb") or ""]
            rows.append([run, *map(str, texts), *times, *map(str, memory)])
    head = ["run", "device", "threads", "precision", "epochs", "s an epoch", "min", "MB", "GPU MB"]
    return Table("Training", head, rows) if rows else None


def job_table(folder):
    """Return the time and memory of each job, or None, from Snakemake's benchmark files.

    They are tables with a row a repetition: s (seconds), max_rss (MB), cpu_time (seconds).
    """
    rows = []
    for path in sorted(folder.glob("*.tsv")):
        table = read_table(path, "s", sep="\t", na_values=["-", "NA"])
        if table is not None:
            table = table.reindex(columns=["s", "max_rss", "cpu_time"])
            wall, memory, cpu = table.apply(pd.to_numeric, errors="coerce").mean()
            rows.append([path.stem, number(wall / 60, 1), number(memory, 0), number(cpu / 60, 1)])
    head = ["job", "min", "peak MB", "processor min"]
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
    options = []
    for run, content in runs.items():
        values = [content["args"].get(name) for name in OPTIONS]
        values.append(content.get("trained_on"))
        options.append([run, *("" if value is None else str(value) for value in values)])
    title = "Versions (git: revision of the code, + with changes) and hardware"
    return [
        Table(title, ["what", "version"], rows),
        Table("Options", ["run", *OPTIONS, "trained on"], options),
    ]


def run_notes(runs):
    """Return the notes of the runs, each with the name of its run."""
    return [f"{run}: {note}" for run, content in runs.items() for note in content.get("notes", [])]
