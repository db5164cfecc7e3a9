"""CODE-15 %: exams.csv and the arrays exams_part0 ... 17.hdf5, at 400 Hz, zeros at both ends.

The table is in another order than the arrays, so they are joined by exam_id. PAC, PVC, STD and STE
were not looked for, and are unknown.
"""

from dataset import CLASSES
from ecg.io.catalogue import Catalogue, Facts
from ecg.io.record import parse_age
from ecg.io.sources import Source
from ecg.io.tables import INSTALL
from ecg.io.text_table import TableFormat

COLUMNS = {"AF": "AF", "1dAVb": "IAVB", "LBBB": "LBBB", "RBBB": "RBBB"}
RATE = 400  # Hz


def exam_rows(path):
    """Return the exam_id of each record of a part; 0 for the last one, which is empty."""
    try:
        import h5py
    except ImportError:
        raise ValueError(f"HDF5 files need h5py: {INSTALL}") from None
    with h5py.File(path, "r") as file:
        return [str(number) for number in file["exam_id"][()]]


def read(table):
    """Return the Catalogue of a Table, exams.csv; parts that are not there are left out."""
    folder, facts = table.path.parent, {}
    for row in table.rows:
        cell = dict(zip(table.names, row, strict=True)).__getitem__
        true = {name: int(cell(column).lower() == "true") for column, name in COLUMNS.items()}
        true["SNR"] = int(cell("normal_ecg").lower() == "true" and not any(true.values()))
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
    notes = (f"not there, and left out: {', '.join(lost)}",) if lost else ()
    return Catalogue(
        sorted(sources, key=lambda source: source.name),
        facts,
        tables=(table.path,),
        table_format=TableFormat(RATE),
        layout="CODE-15 %",
        notes=notes,
    )
