"""SPH, of Shandong Provincial Hospital: metadata.csv and records/A00001.h5, in mV at 500 Hz.

AHA_Code holds statements separated by ;, each with modifiers after +. ST deviation (145, 146) is
STD or STE by its modifier, whose words are in code.csv; where these do not say, both are unknown.
"""

import re

from dataset import CLASSES
from ecg.io.catalogue import Catalogue, Facts
from ecg.io.diagnoses import NORMAL, classes_of
from ecg.io.record import parse_age, parse_sex
from ecg.io.sources import Source
from ecg.io.tables import read_table
from ecg.io.text_table import TableFormat

CLASS = {
    "1": "SNR",
    "50": "AF",
    "82": "IAVB",
    "104": "LBBB",
    "106": "RBBB",
    "30": "PAC",
    "60": "PVC",
}
ST = ("145", "146")
RATE = 500  # Hz


def read_words(folder):
    """Return code -> words of code.csv; none if it is not there."""
    path = folder / "code.csv"
    table = read_table(path) if path.is_file() else None
    if table is None or table.find(("code",)) is None or table.find(("description",)) is None:
        return {}
    code, words = table.find(("code",)), table.find(("description",))
    return {row[code]: row[words] for row in table.rows}


def interpret(text, words):
    """Return the diagnoses of a cell of AHA_Code, and whether ST deviation is unclear."""
    dx, unclear = [], False
    for statement in filter(None, text.split(";")):
        code, *modifiers = (part.strip() for part in statement.split("+"))
        if code in ST:
            said = " ".join(words.get(modifier, "") for modifier in modifiers).lower()
            ways = [name for word, name in (("depress", "STD"), ("elevat", "STE")) if word in said]
            dx += ways or [words.get(code, "ST deviation")]
            unclear = unclear or not ways
        else:
            dx.append(CLASS.get(code) or re.sub(r"[;,]", " ", words.get(code, f"AHA {code}")))
    return tuple(dx), unclear


def read(table):
    """Return the Catalogue of a Table, metadata.csv."""
    folder, sources, facts = table.path.parent, [], {}
    words = read_words(folder)
    for cell in table.cells():
        path = folder / "records" / f"{cell('ECG_ID')}.h5"
        if not path.is_file():
            continue
        dx, unclear = interpret(cell("AHA_Code"), words)
        present = classes_of(dx) - {NORMAL} if unclear else classes_of(dx)
        cells = tuple(
            None if name in ("STD", "STE") and name not in present else int(name in present)
            for name in CLASSES
        )
        sources.append(Source(path, cell("ECG_ID")))
        facts[cell("ECG_ID")] = Facts(
            dx,
            cells if unclear else None,
            cell("Patient_ID"),
            age=parse_age(cell("Age")),
            sex=parse_sex(cell("Sex")),
        )
    return Catalogue(
        sources,
        facts,
        tables=(table.path,),
        table_format=TableFormat(RATE),
        layout="SPH",
    )
