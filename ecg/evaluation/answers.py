"""Answers to files as they come, so that thousands take no memory: JSON, and csv of one row each.

Both begin with what the model is. A file appears when all of it is written; '-' is stdout.
"""

import contextlib
import csv
import json
import sys
import textwrap
import tomllib
from pathlib import Path

from ecg.evaluation.findings import DIGITS, FULL_NAMES
from utils import RESEARCH_USE, fail, git_revision, replacing

COLUMNS = ("record", "path", "sample_rate", "seconds", "heart_rate", "leading", "leading_name",
           "findings", "not_assessable", "page", "explained")  # fmt: skip


def software():
    """Return the name, version and revision of this software."""
    with open(Path(__file__).parents[2] / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    return f"{project['name']} {project['version']}, revision {git_revision()}"


def answer_head(model, model_text, checkpoint):
    """Return what is true of all answers of a model, for the JSON."""
    classes, limits = checkpoint["classes"], checkpoint["thresholds"]
    return {
        "about": model_text,
        "use": RESEARCH_USE,
        "model": model,
        "software": software(),
        "names": {name: FULL_NAMES.get(name, name) for name in classes},
        "thresholds": {name: round(float(limits[name]), DIGITS) for name in classes},
        "threshold_rule": checkpoint["threshold_rule"],
        "rule": "a finding is probability >= threshold, before both are rounded; null is not "
        "assessable",
    }


def parse_target(text):
    """Return what --json and --csv name, '-' for stdout by any name, for argparse."""
    return "-" if text == "/dev/stdout" else text


def check_targets(json_target, csv_target, sources):
    """Stop if what --json and --csv name cannot be written, or is a record of `sources`."""
    read = {path.resolve() for path in sources}
    read |= {path.with_suffix(suffix) for path in read for suffix in (".mat", ".dat")}
    for name, path in (("json", json_target), ("csv", csv_target)):
        if path and (Path(path).is_dir() or Path(path).parent.is_file()):
            fail(f"--{name} {path} cannot be a file; name one, or - for stdout")
        if path and Path(path).resolve() in read:
            fail(f"--{name} {path} is one of the records to answer for; name another file")
    if json_target and json_target == csv_target:
        fail(f"--json and --csv cannot both go to {json_target}; name another file")


@contextlib.contextmanager
def open_target(target):
    """Yield the open text file that becomes `target` if the block ends well, or stdout."""
    if target == "-":
        yield sys.stdout
        return
    with replacing(target) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        yield file


@contextlib.contextmanager
def json_answers(target, head, bad):
    """Yield a function that writes one answer; at the end `bad`, the records without one, follow.

    `head` is what `answer_head` gives, `bad` a list of (path, reason) that grows meanwhile.
    """
    before = "\n"
    with open_target(target) as file:

        def write(row):
            nonlocal before
            row = row | {"warnings": [caution.text for caution in row["warnings"]]}
            file.write(before + textwrap.indent(json.dumps(row, indent=2), "    "))
            before = ",\n"

        file.write(json.dumps(head, indent=2)[:-2] + ',\n  "records": [')
        yield write
        skipped = json.dumps([{"path": path, "reason": why} for path, why in bad], indent=2)
        file.write("\n  ]," + textwrap.indent(f'\n"skipped": {skipped}', "  ") + "\n}\n")


@contextlib.contextmanager
def csv_answers(target, head, bad):
    """Yield a function that writes one answer as a row; arguments as of `json_answers`.

    The first line is a remark (read the file with skiprows=1), the second names the columns. A
    class's own column holds its probability, empty where it is not assessable; `skipped` says why
    a record has no answer.
    """
    classes = list(head["names"])
    with open_target(target) as file:
        rows = csv.writer(file, lineterminator="\n")

        def write(row):
            values = {"leading_name": head["names"].get(row["leading"]), **row}
            for name in ("findings", "not_assessable"):
                values[name] = " ".join(row[name])
            texts = "; ".join(caution.text for caution in row["warnings"])
            numbers = [row["probabilities"][name] for name in classes]
            rows.writerow([*map(values.get, COLUMNS), *numbers, texts, ""])

        about = " ".join(f"{head['about']}; {head['software']}".split())
        file.write(f"# {about}. {RESEARCH_USE}\n")
        rows.writerow([*COLUMNS, *classes, "warnings", "skipped"])
        yield write
        for path, why in bad:
            blank = [""] * (len(COLUMNS) - 2 + len(classes) + 1)
            rows.writerow([Path(path).stem, path, *blank, why])


@contextlib.contextmanager
def open_answers(json_target, csv_target, head, bad):
    """Yield a function that writes an answer to the targets that are not None."""
    with contextlib.ExitStack() as stack:
        kinds = ((json_answers, json_target), (csv_answers, csv_target))
        writers = [stack.enter_context(kind(target, head, bad)) for kind, target in kinds if target]
        yield lambda row: [write(row) for write in writers]
