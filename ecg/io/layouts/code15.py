"""CODE-15 %: exams.csv and the arrays exams_part0 ... 17.hdf5, at 400 Hz, zeros at both ends.

The table is in another order than the arrays, so they are joined by exam_id. PAC, PVC, STD and STE
were not looked for, and are unknown.
"""

from dataset import CLASSES
from ecg.io.bounds import bounded, raise_if_of_machine
from ecg.io.catalogue import Catalogue, Facts
from ecg.io.diagnoses import NORMAL
from ecg.io.record import parse_age
from ecg.io.sources import Source
from ecg.io.stacks import MAX_MEMORY, MAX_SECONDS
from ecg.io.tables import INSTALL
from ecg.io.text_table import TableFormat

COLUMNS = {"AF": "AF", "1dAVb": "IAVB", "LBBB": "LBBB", "RBBB": "RBBB"}
RATE = 400  # Hz
# its owners write "at the scale 1e-4V", and "multiplied by 1000" where the signal is in V, which is
# mV; others found the heights 1.6 to 2 times those of other sets
UNIT = (
    "the unit of CODE-15 % is not documented: it is taken as mV, or as --units-per-mv says; the "
    "heights are said to be about twice those of other sets (2 halves them)"
)


def exam_rows(path):
    """Return the exam_id of each record of a part; 0 for the last one, which is empty."""
    try:
        import h5py
    except ImportError:
        raise ValueError(f"HDF5 files need h5py: {INSTALL}") from None
    try:
        with bounded(MAX_MEMORY, MAX_SECONDS), h5py.File(path, "r") as file:
            return [str(number) for number in file["exam_id"][()]]
    except (OSError, KeyError, TypeError, MemoryError) as error:
        raise_if_of_machine(error)
        raise ValueError(f"{path} is no whole part of CODE-15 % ({error}); copy it again") from None


def read(table):
    """Return the Catalogue of a Table, exams.csv; parts that are not there are left out."""
    folder, facts = table.path.parent, {}
    for cell in table.cells():
        true = {name: int(cell(column).lower() == "true") for column, name in COLUMNS.items()}
        true[NORMAL] = int(cell("normal_ecg").lower() == "true" and not any(true.values()))
        facts[cell("exam_id")] = Facts(
            tuple(name for name in CLASSES if true.get(name)),
            tuple(map(true.get, CLASSES)),
            cell("patient_id"),
            age=parse_age(cell("age")),
            sex={"true": "Male", "false": "Female"}.get(cell("is_male").lower(), ""),
        )
    parts = sorted({row[table.names.index("trace_file")] for row in table.rows})
    there = [folder / part for part in parts if part and (folder / part).is_file()]
    sources = [
        Source(path, exam, row)
        for path in there
        for row, exam in enumerate(exam_rows(path))
        if exam in facts
    ]
    lost = [part for part in parts if folder / part not in there]
    notes = [UNIT, *([f"not there, and left out: {', '.join(lost)}"] if lost else [])]
    return Catalogue(
        sources,
        facts,
        tables=(table.path,),
        table_format=TableFormat(RATE),
        layout="CODE-15 %",
        notes=tuple(notes),
    )
