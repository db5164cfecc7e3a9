"""Samples in a table: text of one column per lead (.csv, .tsv, .txt), and .npy of one row per lead.

Tables hold no sampling rate. Text may come from spreadsheets, MATLAB, R or PhysioNet's `rdsamp -c`
in any locale: separated by commas, semicolons, tabs or blanks; with a decimal point or comma; in
UTF-8, UTF-16 or a Windows code page; with lead names such as `II`, `Lead II`, `II (mV)`, `II [uV]`
and `II..mV.`, or a second row of units. Numbers without a unit are mV.
"""

import argparse
import codecs
import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from dataset import LEADS
from ecg.io.physionet import MV_PER_UNIT
from ecg.io.record import IMPLAUSIBLE_MV, MAX_WORD, Record, check_length, check_matrix
from utils import positive_number

LONG_CELL = re.compile(rf"(?<![^\s,;])[^\s,;]{{{MAX_WORD + 1}}}")
UNNAMED = "-"  # in --leads-order, skips a column
UNITS = "[nuµμm]?V"
LEAD_CELL = re.compile(
    rf"(?:(?:lead|ecg|ekg)[ ._]*)?({'|'.join(sorted(LEADS, key=len, reverse=True))})"
    rf"(?:[ ._/(\[]+({UNITS})[ ._)\]]*)?",
    re.IGNORECASE,
)


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


def read_text(path):
    """Return a text file's content with LF line ends, less a first line `sep=;` for Excel."""
    data = Path(path).read_bytes()
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    return re.sub(r"\A\s*sep=.*\n", "", text.replace("\r\n", "\n").replace("\r", "\n")).lstrip("\n")


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
    """Return the (column, unit or None) of each lead in a header's cells `names`.

    Raises ValueError if a lead is missing or there twice.
    """
    columns = {}
    for i, match in enumerate(map(LEAD_CELL.fullmatch, names)):
        if match:
            unit = match[2] and re.sub("[µμ]", "u", match[2].lower())
            columns.setdefault(match[1].upper(), []).append((i, unit))
    missing = [lead for lead in LEADS if lead.upper() not in columns]
    twice = [lead for lead in LEADS if len(columns.get(lead.upper(), [])) > 1]
    if len(missing) == len(LEADS):
        raise ValueError(
            "its first row does not name the leads; delete the rows above the lead names, or, if "
            "the file begins with samples, give the order of its columns: --leads-order "
            f"{','.join(LEADS)}"
        )
    if missing:
        last = "if it was not recorded, leave its column empty"
        if set(missing) <= set(LEADS[2:6]):
            last = "add III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2"
        raise ValueError(f"{name_leads(missing)} missing; {last}")
    if twice:
        raise ValueError(f"{name_leads(twice)} there twice")
    return [columns[lead.upper()][0] for lead in LEADS]


def name_leads(leads):
    """Begin a sentence about leads: 'lead V1 is', 'leads V1, V2 are'."""
    if len(leads) == 1:
        return f"lead {leads[0]} is"
    return f"leads {', '.join(leads)} are"


def read_header(text, leads_order):
    """Split a table into names, the (column, unit) of each lead, its rows, their separator; notes.

    A first row of numbers is a sample: `leads_order` then names the columns; a column of sample
    numbers may stand before them.
    """
    head, _, body = text.partition("\n")
    separator = find_separator(head)
    names = split_line(head, separator)
    if not any(names):
        raise ValueError("it is empty")
    if leads_order and all(map(is_sample, names)):
        columns = [(leads_order.index(lead), None) for lead in LEADS]
        return list(leads_order), columns, text, separator, []
    columns = find_columns(names)
    units = split_line(body.partition("\n")[0], separator)
    if len(units) == len(names) and all(re.fullmatch(UNITS, units[i], re.I) for i, _ in columns):
        columns = [(i, re.sub("[µμ]", "u", units[i].lower())) for i, _ in columns]
        body = body.partition("\n")[2]
    others = [name or "without a name" for i, name in enumerate(names) if i not in dict(columns)]
    notes = [f"column left out: {', '.join(others)}"] if others else []
    if leads_order:
        notes.append("--leads-order does not apply: the first row names the leads")
    return names, columns, body, separator, notes


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


def read_rows(body, separator, columns, n_names):
    """Return a table's samples (12, n) from its rows; an empty cell is NaN.

    `columns` are those of the leads, `n_names` the number of columns that have names. Rows may
    begin with one cell more if it counts the samples: R's row names, or an unnamed sample number.
    """
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
    return table[columns].to_numpy().T.copy()


def read_text_table(path, leads_order=None, units_per_mv=None):
    """Read a text of one column per lead, named in the first row in any order and case.

    `leads_order` names the columns of a file without lead names, `units_per_mv` is the number of
    its units in 1 mV if it names none. Other columns are left out, with a note.
    """
    text = read_text(path)
    if LONG_CELL.search(text):
        raise ValueError(f"a cell of it has more than {MAX_WORD} characters")
    names, columns, body, separator, notes = read_header(text, leads_order)
    signal = read_rows(body, separator, [i for i, _ in columns], len(names))
    factors = [MV_PER_UNIT[unit] if unit else 1 / (units_per_mv or 1) for _, unit in columns]
    if units_per_mv and all(unit for _, unit in columns):
        notes.append("--units-per-mv does not apply: the table says its units")
    empty = np.isnan(signal).all(0)
    end = len(empty) - int(np.argmin(empty[::-1])) if not empty.all() else len(empty)
    if end < len(empty):
        notes.append(f"{len(empty) - end} empty rows at the end are left out")
    return Record(None), signal[:, :end] * np.array(factors)[:, None], notes


def read_npy(path, leads_order=None, units_per_mv=None, sample_rate=None):
    """Read a .npy of one row per lead, never a pickle; arguments as for `read_text_table`.

    With the `sample_rate` (Hz) its length is checked before anything is copied.
    """
    order = list(leads_order or LEADS)
    try:
        # mapped: if the header claims more than the file holds, this fails without using memory
        signal = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(
            f"it is not a complete .npy file of numbers ({error}); write it again with numpy.save"
        ) from None
    check_matrix(signal, len(order))
    if sample_rate:
        check_length(signal.shape[1], sample_rate)
    signal = np.array(signal, np.float64)
    return Record(None), signal[[order.index(lead) for lead in LEADS]] / (units_per_mv or 1), []


def check_unit(signal):
    """Raise ValueError if a table's numbers cannot be mV: the median lead spans more than 20."""
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
