"""Chapman-Shaoxing as figshare has it: Diagnostics.xlsx and ECGData/*.csv in microvolts at 500 Hz.

ECGDataDenoised/ holds the same records filtered, and is not read. No two are of one patient.
"""

from ecg.io.catalogue import Catalogue, Facts
from ecg.io.record import parse_age, parse_sex
from ecg.io.sources import Source
from ecg.io.text_table import TableFormat

WORDS = {"SR": "SNR", "STDD": "STD", "STTU": "STE"}  # others are as in ecg/io/diagnoses.py
NONE = "NONE"
MICROVOLTS = TableFormat(sample_rate=500, units_per_mv=1000)


def read(table):
    """Return the Catalogue of a Table, Diagnostics.xlsx, or the same saved as csv."""
    folder, sources, facts = table.path.parent, [], {}
    for cell in table.cells():
        path = folder / "ECGData" / f"{cell('FileName')}.csv"
        if not path.is_file():
            continue
        words = [cell("Rhythm"), *cell("Beat").split()]
        dx = tuple(WORDS.get(word, word) for word in words if word not in ("", NONE))
        age, sex = parse_age(cell("PatientAge")), parse_sex(cell("Gender"))
        sources.append(Source(path, path.stem))
        facts[path.stem] = Facts(dx, age=age, sex=sex)
    return Catalogue(
        sources,
        facts,
        tables=(table.path,),
        table_format=MICROVOLTS,
        layout="Chapman-Shaoxing on figshare",
    )
