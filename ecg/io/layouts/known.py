"""The data sets that are recognised by a table of their own, one module each.

To add one, write a module whose `read(path)` makes the Catalogue of its folder from that table, and
name the table and some of its columns in LAYOUTS.
"""

from typing import NamedTuple

from ecg.io.layouts import chapman, code15, mimic_iv_ecg, ptbxl, sph
from ecg.io.tables import read_table


class Layout(NamedTuple):
    """How a data set is recognised and read."""

    table: str  # the name of its table, in the data folder
    columns: tuple[str, ...]  # some of the table's
    read: callable  # Table -> Catalogue


LAYOUTS = (
    Layout("ptbxl_database.csv", ("ecg_id", "scp_codes", "filename_hr"), ptbxl.read),
    Layout("icbeb_database.csv", ("ecg_id", "scp_codes", "filename"), ptbxl.read_icbeb),
    Layout("exams.csv", ("exam_id", "1dAVb", "trace_file"), code15.read),
    Layout("metadata.csv", ("ECG_ID", "AHA_Code", "Patient_ID"), sph.read),
    Layout("Diagnostics.xlsx", ("FileName", "Rhythm", "Beat"), chapman.read),
    Layout("Diagnostics.csv", ("FileName", "Rhythm", "Beat"), chapman.read),
    Layout("record_list.csv", ("subject_id", "study_id", "path"), mimic_iv_ecg.read),
)


def read_layout(data_dir):
    """Return the Catalogue of a folder that holds a known data set, or None; raises ValueError."""
    for layout in LAYOUTS:
        path = data_dir / layout.table
        if path.is_file():
            table = read_table(path)
            if set(layout.columns) <= set(table.names):
                found = layout.read(table)
                sources = sorted(found.sources, key=lambda source: source.name)
                return found._replace(sources=sources)
    return None
