"""MIMIC-IV-ECG: record_list.csv and files/p1000/p.../s.../N.hea; the patient is the subject_id.

It holds no classes, only the machine's text (machine_measurements.csv): give --labels.
"""

from ecg.io.catalogue import Catalogue, Facts
from ecg.io.sources import Source


def read(table):
    """Return the Catalogue of a Table, record_list.csv."""
    folder, sources, facts = table.path.parent, [], {}
    for cell in table.cells():
        path = folder / f"{cell('path')}.hea"
        if path.is_file():
            sources.append(Source(path, path.stem))
            facts[path.stem] = Facts(patient=cell("subject_id"))
    text = "MIMIC-IV-ECG (record_list.csv)"
    return Catalogue(sources, facts, tables=(table.path,), layout=text)
