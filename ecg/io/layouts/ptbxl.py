"""PTB-XL: ptbxl_database.csv, records500/ and records100/; and CPSC2018 in the same layout.

Of the two rates the 500 Hz one is read, or the other if it is not there. A statement counts
whatever its likelihood: 0 means that the likelihood is unknown. SR is the rhythm alone.
"""

import ast

from dataset import N_FOLDS
from ecg.io.catalogue import Catalogue, Facts
from ecg.io.record import parse_age
from ecg.io.sources import Source
from ecg.io.tables import parse_fold

OVER_89 = 300  # in the column age; counted as 90
RHYTHM = "SR"


def statements(text):
    """Return the codes of scp_codes, a Python dictionary as text."""
    try:
        codes = ast.literal_eval(text)
        return tuple(code for code in codes if code != RHYTHM)
    except (ValueError, SyntaxError, TypeError):
        raise ValueError(f"scp_codes {text[:40]!r} is no dictionary") from None


def official_paths(cell):
    """Return a row's files without ending, the preferred one first; `cell(column)` is text."""
    return cell("filename_hr"), cell("filename_lr")


def read(table, paths=official_paths, sexes=("Male", "Female")):
    """Return the Catalogue of a Table; `paths(cell)` names a row's files, `sexes` are 0 and 1."""
    sources, facts, folder = [], {}, table.path.parent
    for line, cell in enumerate(table.cells(), start=2):
        files = [folder / f"{name}.hea" for name in paths(cell) if name]
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            continue
        age = parse_age(cell("age"))
        if cell("age").removesuffix(".0") == str(OVER_89):
            age = 90.0
        try:
            dx, fold = statements(cell("scp_codes")), parse_fold(cell("strat_fold"), N_FOLDS)
        except ValueError as error:
            raise ValueError(f"{table.path}, line {line}: {error}") from None
        sex = dict(zip("01", sexes, strict=True)).get(cell("sex").removesuffix(".0"), "")
        sources.append(Source(path, path.stem))
        patient = cell("patient_id").removesuffix(".0")
        facts[path.stem] = Facts(dx, None, patient, fold, age, sex)
    lost = len(table.rows) - len(sources)
    notes = (f"{lost} records of {table.path} are not there",) if lost else ()
    return Catalogue(sources, facts, tables=(table.path,), layout="PTB-XL", notes=notes)


def read_icbeb(table):
    """Return the Catalogue of CPSC2018 as a benchmark converts it: records500/1 and so on."""
    return read(
        table,
        lambda cell: [f"records{rate}/{cell('ecg_id')}" for rate in (500, 100)],
        ("Female", "Male"),
    )._replace(layout="CPSC2018 in PTB-XL's layout")
