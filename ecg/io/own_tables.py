"""The tables that preprocess.py writes into a data folder, told apart from those of the user.

tables.json holds the SHA-256 of each. A file of the same name with another content is the user's.
"""

import hashlib

from dataset import CLASSES
from utils import InputError, file_digest, read_json, write_csv, write_json

MARK = "tables.json"
# the columns that a version without tables.json wrote
COLUMNS = {
    "reference.csv": "patient_id,sample_rate,signal_len,age,sex,dx,note",
    "labels.csv": f"patient_id,{','.join(CLASSES)},fold",
    "dataset_table.csv": (
        "class,records,percent,male_percent,age_mean,age_sd,seconds_mean,seconds_sd"
    ),
}


def written_digests(data_dir):
    """Return the digests of the tables that preprocess.py wrote there; None if it kept none."""
    content = read_json(data_dir / MARK)
    return set(content["sha256"]) if isinstance(content, dict) and "sha256" in content else None


def has_index(data_dir):
    """Tell whether signals.json is that of preprocess.py, whole or damaged."""
    try:
        return b'"fingerprint"' in (data_dir / "signals.json").read_bytes()
    except OSError:
        return False


def is_own(path):
    """Tell whether preprocess.py wrote a table."""
    digests = written_digests(path.parent)
    if digests is not None:
        return file_digest(path) in digests
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n") == COLUMNS[path.name] and has_index(path.parent)


def stop_if_foreign(data_dir):
    """Raise InputError if a file that preprocess.py would replace is not its own."""
    present = {path.name for path in data_dir.iterdir() if path.is_file()}  # in their true case
    foreign = [name for name in COLUMNS if name in present and not is_own(data_dir / name)]
    foreign += ["signals.json"] if "signals.json" in present and not has_index(data_dir) else []
    foreign += [MARK] if MARK in present and written_digests(data_dir) is None else []
    if not foreign:
        return
    names, own = ", ".join(str(data_dir / name) for name in foreign), data_dir / "own"
    text = f"preprocess.py writes {names}, but did not write what is there; move it to {own}"
    if "labels.csv" in foreign:
        text += f" and name it: --labels {own / 'labels.csv'}, or --folds for its folds alone"
    raise InputError(f"{text}; nothing was changed")


def write_tables(data_dir, tables):
    """Write DataFrames by name; their digests first, so that a killed run leaves only own files."""
    new = {name: to_digest(frame) for name, frame in tables.items()}
    old = {file_digest(data_dir / name) for name in tables if (data_dir / name).is_file()}
    write_mark(data_dir, {*old, *new.values()})
    for name, frame in tables.items():
        write_csv(frame, data_dir / name)
    write_mark(data_dir, set(new.values()))


def write_mark(data_dir, digests):
    """Write tables.json, unless it holds these digests."""
    if written_digests(data_dir) != digests:
        write_json(data_dir / MARK, {"sha256": sorted(digests)})


def to_digest(frame):
    """Return the SHA-256 of the file that `write_csv` makes of a DataFrame."""
    text = frame.to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()
