"""Where answers go as they come, so that thousands take no memory: the screen, JSON and csv.

Both kinds of file begin with what the model is. A file appears when all of it is written; '-' is
stdout.
"""

import contextlib
import csv
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ecg.reading.answer import DIGITS, FULL_NAMES
from utils import RESEARCH_USE, InputError, git_revision, printable, replacing

# The columns of the csv in front of the classes: entries of an answer's dictionary, and the name of
# its leading finding in words. Behind everything else stand the measured intervals.
COLUMNS = (
    *("record", "path", "sample_rate", "seconds", "heart_rate", "leading", "leading_name"),
    *("findings", "not_assessable", "page", "explained"),
)
INTERVALS = (
    *("pr", "qrs", "qt", "qtc_fridericia", "qtc_bazett"),
    *("p_axis", "qrs_axis", "t_axis"),
)


class Head(NamedTuple):
    """What is true of all answers of a model: the first entries of the JSON."""

    about: str
    use: str
    model: str
    software: str
    names: dict[str, str]  # class -> in words
    thresholds: dict[str, float]
    threshold_rule: str
    rule: str

    @classmethod
    def of(cls, model):
        """Return that of a Model."""
        return cls(
            model.describe(),
            RESEARCH_USE,
            model.name,
            software(),
            {name: FULL_NAMES.get(name, name) for name in model.classes},
            {name: round(model.thresholds[name], DIGITS) for name in model.classes},
            model.threshold_rule,
            "a finding is probability >= threshold, before both are rounded; null is not "
            "assessable",
        )


def software():
    """Return the name, version and revision of this software."""
    with open(Path(__file__).parents[2] / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    return f"{project['name']} {project['version']}, revision {git_revision()}"


def show(text):
    """Print an answer at once, before its page, which takes longer; stop if nobody reads on."""
    try:
        tqdm.write("\n".join(map(printable, text.split("\n"))))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's last flush
        raise InputError(
            "stdout was closed before the last answer; for all of them give --csv or --json FILE"
        ) from None


def parse_target(text):
    """Return what --json and --csv name, '-' for stdout by any name, for argparse."""
    return "-" if text == "/dev/stdout" else text


def check_targets(json_target, csv_target, sources):
    """Stop if what --json and --csv name cannot be written, or is a record of `sources`."""
    inputs = {path.resolve() for path in sources}
    inputs |= {path.with_suffix(suffix) for path in inputs for suffix in (".mat", ".dat")}
    for name, path in (("json", json_target), ("csv", csv_target)):
        if path and (Path(path).is_dir() or Path(path).parent.is_file()):
            raise InputError(f"--{name} {path} cannot be a file; name one, or - for stdout")
        if path and Path(path).resolve() in inputs:
            raise InputError(f"--{name} {path} is one of the records to read; name another file")
    if json_target and json_target == csv_target:
        raise InputError(f"--json and --csv cannot both go to {json_target}; name another file")


@contextlib.contextmanager
def open_target(target):
    """Yield the open text file that becomes `target` if the block ends well, or stdout."""
    if target == "-":
        yield sys.stdout
        return
    with replacing(target) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        yield file


@contextlib.contextmanager
def json_writer(target, head, skipped):
    """Yield a function that writes one Answer, in a line; at the end `skipped` follows.

    `head` is a Head, `skipped` a list of Skipped that grows meanwhile.
    """
    with open_target(target) as file:
        before = "\n"

        def write(answer):
            nonlocal before
            file.write(before + json.dumps(answer.to_dict()))
            before = ",\n"

        file.write("{\n")
        for key, value in head._asdict().items():
            file.write(f"{json.dumps(key)}: {json.dumps(value)},\n")
        file.write('"records": [')
        yield write
        file.write(f'\n],\n"skipped": {json.dumps([each._asdict() for each in skipped])}\n}}\n')


def neutral(cell):
    """Return a cell of a csv that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in tuple("=+-@\t\r") else cell


@contextlib.contextmanager
def csv_writer(target, head, skipped):
    """Yield a function that writes one Answer as a row; arguments as of `json_writer`.

    The first line is a remark (read the file with skiprows=1), the second names the columns. A
    class's own column holds its probability, empty where it is not assessable; `skipped` says why
    a record has no answer.
    """
    with open_target(target) as file:
        rows = csv.writer(file, lineterminator="\n")

        def write(answer):
            content = answer.to_dict() | {"leading_name": head.names.get(answer.leading)}
            content["findings"] = " ".join(answer.findings)
            content["not_assessable"] = " ".join(answer.not_assessable)
            texts = "; ".join(content["warnings"])
            measured = map(content["intervals"].get, INTERVALS)
            scores = answer.probabilities.values()
            row = [*map(content.get, COLUMNS), *scores, texts, "", *measured]
            rows.writerow(map(neutral, row))

        about = " ".join(f"{head.about}; {head.software}".split())
        file.write(f"# {about}. {RESEARCH_USE}\n")
        rows.writerow([*COLUMNS, *head.names, "warnings", "skipped", *INTERVALS])
        yield write
        blank = [""] * (len(COLUMNS) - 2 + len(head.names) + 1)
        for path, why in skipped:
            row = [*map(printable, (Path(path).stem, path)), *blank, why]
            rows.writerow([*map(neutral, row), *[""] * len(INTERVALS)])


@contextlib.contextmanager
def open_writers(json_target, csv_target, head, skipped):
    """Yield a function that writes an Answer to the targets that are not None."""
    writers = []
    with contextlib.ExitStack() as stack:
        for target, writer in ((json_target, json_writer), (csv_target, csv_writer)):
            if target:
                writers.append(stack.enter_context(writer(target, head, skipped)))
        yield lambda answer: [write(answer) for write in writers]
