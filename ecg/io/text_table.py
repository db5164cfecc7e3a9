"""Samples in a table: text of one column per lead (.csv, .tsv, .txt), and .npy of one row per lead.

Tables hold no sampling rate, or a column of times. Text may come from spreadsheets, MATLAB, R or
PhysioNet's `rdsamp -c`
in any locale: separated by commas, semicolons, tabs or blanks; with a decimal point or comma; in
UTF-8, UTF-16 or a Windows code page; with lead names such as `II`, `Lead II`, `II (mV)`, `II [uV]`
and `II..mV.`, or a second row of units. Numbers without a unit are mV.
"""

import argparse
import csv
import io
import math
import re
from typing import NamedTuple

import numpy as np

from dataset import LEADS
from ecg.io.physionet import MV_PER_UNIT
from ecg.io.record import IMPLAUSIBLE_MV, LEAD_WORD, MAX_WORD, SPELLING, Record
from ecg.io.tables import read_text
from utils import positive_number

LONG_CELL = re.compile(rf"(?<![^\s,;])[^\s,;]{{{MAX_WORD + 1}}}")
UNNAMED = "-"  # in --leads-order, skips a column
UNITS = "[nuµμm]?V"
LEAD_CELL = re.compile(rf"{LEAD_WORD}(?:[ ._/(\[]+({UNITS})[ ._)\]]*)?", re.IGNORECASE)
TIME_CELL = re.compile(
    r"(?:elapsed[ _])?(?:time|zeit|t)"
    r"[ _]*[\[(/]?[ _]*(s|sec|seconds?|ms|msec|milliseconds?)?[\])]?",
    re.IGNORECASE,
)
MAX_HEAD = 50  # lines among which the lead names are looked for
SAME_RATE = 0.01  # relative difference of two sampling rates that are the same


class TableFormat(NamedTuple):
    """What a table of samples does not say of itself; None where it is not given."""

    sample_rate: float | None = None  # Hz
    leads_order: tuple | None = None  # the leads of its columns
    units_per_mv: float | None = None


def add_table_args(parser):
    """Add the flags for what a table does not say itself."""
    parser.add_argument("--sample-rate", type=float, help="of tables (.csv, .txt, .npy), in Hz")
    parser.add_argument(
        "--units-per-mv", type=positive_number, help="units per mV in a table (1000 = microvolts)"
    )
    parser.add_argument(
        "--leads-order",
        type=parse_leads_order,
        metavar="I,II,...",
        help="leads of a table's columns without names; '-' skips a column",
    )


def parse_leads_order(text):
    """Turn 'I,II,...,V6' into the leads of a table's columns, for argparse; '-' skips a column."""
    spelling = {lead.upper(): lead for lead in LEADS}
    cells = [cell.strip() for cell in text.split(",")]
    names = [spelling.get(cell.upper(), cell) for cell in cells]
    if sorted(name for name in names if name != UNNAMED) != sorted(LEADS):
        raise argparse.ArgumentTypeError(
            f"{text!r} does not name each of {','.join(LEADS)} once, with - for other columns"
        )
    return tuple(names)


def find_separator(line):
    """Return what separates the cells of a line: a tab, semicolon, comma or blanks.

    If tabs or semicolons are frequent enough, commas are decimal commas.
    """
    frequent = [mark for mark in "\t;," if line.count(mark) >= len(LEADS) - 1]
    return [*frequent, max("\t;, ", key=line.count)][0]


def split_line(line, separator):
    """Return the cells of a line, without the blanks and quotes around them."""
    row = next(csv.reader([line.strip(" ")], delimiter=separator, skipinitialspace=True), [])
    return [cell.strip(" '\"") for cell in row]


def is_sample(cell):
    """Tell whether a cell holds a number, with a point or a comma, or the mark of a missing one."""
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return cell in ("", "NA")
    return True


def find_columns(names):
    """Return lead -> (column, unit or None) of a header's cells `names`.

    Raises ValueError if no lead is named, or one twice.
    """
    columns = {}
    for i, match in enumerate(map(LEAD_CELL.fullmatch, names)):
        if match:
            unit = match[2] and re.sub("[µμ]", "u", match[2].lower())
            columns.setdefault(SPELLING[match[1].upper()], []).append((i, unit))
    twice = [lead for lead in LEADS if len(columns.get(lead, [])) > 1]
    if not columns:
        raise ValueError(
            f"none of its first {MAX_HEAD} rows names the leads; add a row of lead names, or, if "
            "the file begins with samples, give the order of its columns: --leads-order "
            f"{','.join(LEADS)}"
        )
    if twice:
        verb = "is" if len(twice) == 1 else "are"
        raise ValueError(f"lead{'s' * (verb == 'are')} {', '.join(twice)} {verb} there twice")
    return {lead: columns[lead][0] for lead in LEADS if lead in columns}


class Header(NamedTuple):
    """What stands above the samples of a table."""

    names: list[str]  # of all columns
    leads: dict  # lead -> (column, unit or None)
    time: tuple | None  # column and unit of the time, where there is one
    separator: str
    notes: list[str]


def count_leads(line):
    """Return how many cells of a line are names of leads."""
    if LEAD_CELL.fullmatch(line.strip(" '\"")):
        return 1
    return sum(map(bool, map(LEAD_CELL.fullmatch, split_line(line, find_separator(line)))))


def split_head(text):
    """Return the cells of the row that names the leads, their separator, and the rows below it.

    It is the first of the rows with the most lead names; names may go on in the next row.
    """
    lines = text.split("\n", MAX_HEAD)[:MAX_HEAD]
    counts = [count_leads(line) for line in lines]
    place = counts.index(max(counts))
    one = LEAD_CELL.fullmatch(lines[place].strip(" '\""))  # 'Lead I' is one name
    separator = "," if one else find_separator(lines[place])
    names = split_line(lines[place], separator)
    while place + 1 < len(lines) and counts[place] and counts[place + 1]:
        more = split_line(lines[place + 1], separator)
        if not all(map(LEAD_CELL.fullmatch, filter(None, more))):
            break
        place += 1
        names = [*names, *more] if names[-1] else [*names[:-1], *more]
    return names, separator, text.split("\n", place + 1)[place + 1 :]


def read_header(text, leads_order):
    """Return the Header of a table and the text of its samples.

    A first row of numbers is a sample: `leads_order` then names the columns; a column of sample
    numbers may stand before them.
    """
    head = text.partition("\n")[0]
    separator = find_separator(head)
    names = split_line(head, separator)
    if not any(names):
        raise ValueError("it is empty")
    if leads_order and all(map(is_sample, names)):
        columns = {lead: (leads_order.index(lead), None) for lead in LEADS}
        return Header(list(leads_order), columns, None, separator, []), text
    names, separator, rest = split_head(text)
    columns, body = find_columns(names), "".join(rest)
    units = split_line(body.partition("\n")[0], separator)
    places = [i for i, _ in columns.values()]
    if len(units) == len(names) and all(re.fullmatch(UNITS, units[i], re.I) for i in places):
        unit = {i: re.sub("[µμ]", "u", units[i].lower()) for i in places}
        columns = {lead: (i, unit[i]) for lead, (i, _) in columns.items()}
        body = body.partition("\n")[2]
    times = [(i, match[1]) for i, match in enumerate(map(TIME_CELL.fullmatch, names)) if match]
    time = times[0] if len(times) == 1 else None
    known = {*places, *([time[0]] if time else [])}
    others = [name or "without a name" for i, name in enumerate(names) if i not in known]
    notes = [f"column left out: {', '.join(others)}"] if others else []
    if leads_order:
        notes.append("--leads-order does not apply: the first row names the leads")
    return Header(names, columns, time, separator, notes), body


def refuse_thousands(body, mark):
    """Raise ValueError if the marks in all numbers separate thousands, as in 1,234.

    They do if three digits follow each, and none of the numbers with one begins with a zero.
    """
    number = None
    for number in re.finditer(rf"\d*[{mark}]\d+(?:[{mark}]\d+|[eE][+-]?\d+)*", body):
        if not re.fullmatch(rf"[1-9]\d{{0,2}}(?:[{mark}]\d{{3}})+", number[0]):
            return
    if number:
        raise ValueError(
            f"the {mark} in its numbers, as in {number[0]}, seems to separate thousands; write "
            "the numbers without it"
        )


def first_error(body, separator, columns, n):
    """Say which line of the samples, from 1, has more than `n` cells or holds a word."""
    for i, text in enumerate(body.strip("\n").split("\n"), start=1):
        cells = split_line(text, separator)
        if text.strip() and len(cells) > n:
            return f"line {i} of the samples has {len(cells)} cells, the first {n}"
        wrong = [cells[k] for k in columns if k < len(cells) and not is_sample(cells[k])]
        if wrong:
            return f"{wrong[0]!r} in line {i} of the samples"
    return "decimal points beside decimal commas"


def read_rows(body, separator, columns, n_names, time=None):
    """Return a table's samples (L, n) from its rows, NaN for an empty cell, and its times (n,).

    `columns` are those of the leads, `n_names` the number of columns that have names, `time` the
    column of the times (of None: None). Rows may begin with one cell more if it counts the samples:
    R's row names, or an unnamed sample number.
    """
    import pandas as pd  # here, because an answer waits for imports, and only tables need it

    first = body.lstrip("\n").partition("\n")[0]
    n = len(split_line(first, separator)) if first.strip() else 0
    shift = int(n == n_names + 1)
    columns = [column + shift for column in columns]
    comma = "," in body if separator != "," else re.search(r'"-?\d+,\d+"', body)
    refuse_thousands(body, "," if comma else ".")
    try:
        # index_col=False: in longer rows pandas would use the first column as the index
        table = pd.read_csv(
            io.StringIO(body),
            sep=r"\s+" if separator == " " else separator,
            decimal="," if comma else ".",
            header=None,
            index_col=False,
            dtype={i: np.float64 if i in columns or i < shift else str for i in range(n)},
            skipinitialspace=True,
        )
    except pd.errors.EmptyDataError:
        raise ValueError("it holds no samples") from None
    except ValueError:
        raise ValueError(
            f"its samples are not all numbers ({first_error(body, separator, columns, n)}); use "
            "one decimal mark throughout, and leave the cell of a missing sample empty"
        ) from None
    counts = not shift or (np.diff(table[0]) > 0).all()
    if table.shape[1] != n_names + shift or not counts:
        raise ValueError(
            f"its rows have {table.shape[1]} cells, not the {n_names} that its first row or "
            "--leads-order names"
        )
    times = None
    if time is not None:
        times = np.array([to_seconds(cell) for cell in table[time + shift].astype(str)])
    return table[columns].to_numpy().T.copy(), times


def to_seconds(cell):
    """Return a time such as 0.002, 0,002 or '0:01.002' as a number, NaN if it is none."""
    total = 0.0
    try:
        for part in cell.strip(" '\"").replace(",", ".").split(":"):
            total = 60 * total + float(part)
    except ValueError:
        return math.nan
    return total


def rate_of(times, unit):
    """Return the sampling rate (Hz) of a column of times (n,), None if they are not regular.

    Without a unit, steps of one and more are milliseconds.
    """
    steps = np.diff(times)
    if not len(steps) or not np.isfinite(times).all() or steps.min() < 0 or times[-1] <= times[0]:
        return None
    mean, rounded = steps.mean(), np.unique(np.round(steps[steps > 0], 9)).min()
    if steps.max() > 2 * max(mean, rounded):
        return None
    milli = unit.lower().startswith("m") if unit else mean >= 1
    rate = (1000 if milli else 1) / mean
    return float(round(rate)) if abs(rate / max(round(rate), 1) - 1) < SAME_RATE / 2 else rate


def agreed_rate(table_rate, flag):
    """Return the sampling rate of a table whose times say `table_rate`; either may be None."""
    if table_rate and flag and abs(table_rate / flag - 1) > SAME_RATE:
        raise ValueError(
            f"its time column says {table_rate:g} Hz, --sample-rate {flag:g}; leave the flag out, "
            "or correct the column"
        )
    return flag or table_rate


def read_text_table(path, table):
    """Read a text of one column per lead, named in any order and case; `table` is a TableFormat.

    A column of times gives the sampling rate. Other columns are left out, with a note.
    """
    text = read_text(path)
    if LONG_CELL.search(text):
        raise ValueError(f"a cell of it has more than {MAX_WORD} characters")
    header, body = read_header(text, table.leads_order)
    columns, time = list(header.leads.values()), header.time or (None, None)
    places = [i for i, _ in columns]
    signal, times = read_rows(body, header.separator, places, len(header.names), time[0])
    factors = [MV_PER_UNIT[unit] if unit else 1 / (table.units_per_mv or 1) for _, unit in columns]
    notes = list(header.notes)
    if table.units_per_mv and all(unit for _, unit in columns):
        notes.append("--units-per-mv does not apply: the table says its units")
    empty = np.isnan(signal).all(0)
    end = len(empty) - int(np.argmin(empty[::-1])) if not empty.all() else len(empty)
    if end < len(empty):
        notes.append(f"{len(empty) - end} empty rows at the end are left out")
    rate = None if times is None else rate_of(times[:end], time[1])
    if times is not None and not rate:
        notes.append(f"column left out: {header.names[time[0]]}")
    signal = signal[:, :end] * np.array(factors)[:, None]
    rows = dict(zip(header.leads, signal, strict=True))
    return Record(agreed_rate(rate, table.sample_rate)), rows, notes


def check_unit(rows):
    """Raise ValueError if a table's numbers cannot be mV: the median lead spans more than 20.

    `rows` is lead -> samples.
    """
    signal = np.array(list(rows.values()))
    if np.isinf(signal).any():
        raise ValueError("it holds infinite values")
    if signal.size:
        # percentiles, to ignore a few spikes
        ends = np.percentile(np.nan_to_num(signal), (1, 99), axis=1)
        span = np.median(ends[1] - ends[0])
        if span > IMPLAUSIBLE_MV:
            raise ValueError(
                f"its median lead spans {span:.0f} mV, implausible for an ECG; give the number of "
                "its units in 1 mV: --units-per-mv 1000 for microvolts, the device's gain (often "
                "200) for its own units"
            )
