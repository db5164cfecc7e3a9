"""The packed signals of a data folder: signals-<hash>.i16, and signals.json, which names it."""

import errno
import fcntl
import hashlib
import json
import os

import numpy as np

from dataset import LEADS, SAMPLE_RATE
from ecg.io.formats import read_record
from ecg.io.physionet import signal_files
from ecg.io.records import pack_signal, reason
from ecg.processing.quality import DISAGREE, limb_leads_agree
from utils import Progress, is_safe_name, read_json, remove, replacing, workers

FORMAT_VERSION = 2  # of signals.json and what it names; a change packs again
CHUNK = 256  # records handed to the workers at a time, so that memory stays flat


def sources_digest(sources, references, data_dir):
    """Hash the names, sizes and times of all source files; any change packs again."""
    digest = hashlib.sha256(f"{FORMAT_VERSION} {SAMPLE_RATE} {LEADS}".encode())
    stems = {path.with_suffix("") for path in sources}
    files = {
        path
        for folder in {path.parent for path in sources}
        for path in folder.iterdir()
        if path.with_suffix("") in stems
    }
    for path in sources:
        if path.suffix.lower() == ".hea":  # its signal files may have any name
            files.update(signal_files(path))
    for path in [*sorted(path for path in files if path.is_file()), *references]:
        info = path.stat()
        name = os.fsencode(path.relative_to(data_dir))
        digest.update(name + f" {info.st_size} {info.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def record_name(path):
    """Return a record's patient_id: its file's name without the ending."""
    return os.fsencode(path.stem).decode("utf-8", "replace")


def read_source(path, labels):
    """Return (row of reference.csv, packed signal) of a record, or (row, None) if it is skipped."""
    row = {"patient_id": record_name(path)}
    try:
        if not is_safe_name(row["patient_id"]):
            raise ValueError("a name with a backslash or a control character; rename its files")
        record, signal, notes = read_record(path, labels)
        packed, more = pack_signal(signal, record.sample_rate)
    except Exception as error:  # a damaged file makes the libraries raise almost anything
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise  # not the record's fault
        return row | {"note": f"skipped: {reason(error)}"}, None
    if not limb_leads_agree(packed):
        more.append(DISAGREE)
    age = None if np.isnan(record.age) else record.age
    row |= {"sample_rate": record.sample_rate, "signal_len": signal.shape[1], "age": age}
    row |= {"sex": record.sex, "dx": ";".join(record.dx), "note": "; ".join(notes + more)}
    return row | {"patient": record.patient}, packed


def read_all(sources, labels, jobs):
    """Yield read_source's result of every source, in order, a bounded number at a time."""
    listed = [labels.get(path.stem) for path in sources]
    if jobs == 1:
        yield from map(read_source, sources, listed)
        return
    import wfdb  # noqa: F401  (half a second, here once for all processes)

    with workers(jobs) as pool:
        for start in range(0, len(sources), CHUNK):
            part = slice(start, start + CHUNK)
            yield from pool.map(read_source, sources[part], listed[part], chunksize=8)


def pack(data_dir, sources, labels, key, jobs, check):
    """Write signals-<hash>.i16 and signals.json, which names it; return the index.

    The hash is that of the records' names and samples: the same signals have the same name,
    wherever they were packed. `key` is the digest of the sources; `check(rows)` may stop the run
    before anything is replaced. The index is renamed into place last: a run killed before leaves
    the old index and the old file.
    """
    rows, records, seen, start = [], [], {}, 0
    digest, written = hashlib.sha256(), data_dir / f"signals-{key}.i16"
    with replacing(written) as temporary, open(temporary, "wb") as file:
        results = read_all(sources, labels, jobs)
        read = zip(sources, results, strict=True)
        for path, (row, packed) in Progress(read, "reading", len(sources), unit="record"):
            name = row["patient_id"]
            if packed is not None and name in seen:
                row, packed = {"patient_id": name}, None
                row["note"] = f"skipped: same name as {seen[name]}"
            if packed is not None:
                seen[name] = path.relative_to(data_dir).as_posix()
                content = packed.tobytes()
                row["signal"] = hashlib.sha256(content).hexdigest()[:16]
                records.append([name, start, packed.shape[1], row["note"]])
                digest.update(f"{name} {len(content)}\n".encode() + content)
                file.write(content)
                start += packed.size
            rows.append(row)
        name_repeats(rows)
        check(rows)
    fingerprint = digest.hexdigest()[:16]
    index = {"sources": key, "fingerprint": fingerprint, "file": f"signals-{fingerprint}.i16"}
    index |= {"sample_rate": SAMPLE_RATE, "records": records, "reference": rows}
    written.replace(data_dir / index["file"])
    with replacing(data_dir / "signals.json") as temporary:
        temporary.write_text(json.dumps(index))
    return index


def name_repeats(rows):
    """Note in each row whose signal an earlier one has, sample by sample, the name of that one."""
    first = {}
    for row in rows:
        other = first.setdefault(row.get("signal"), row["patient_id"])
        if "signal" in row and other != row["patient_id"]:
            row["note"] = "; ".join(filter(None, (row["note"], f"same signal: {other}")))


def read_index(data_dir, key):
    """Return the index if it stands, whole, for the same sources; else None."""
    index = read_json(data_dir / "signals.json")
    try:
        size = sum(n for _, _, n, _ in index["records"]) * len(LEADS) * 2
        current = index["sources"] == key and index["reference"]
        return index if current and (data_dir / index["file"]).stat().st_size == size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_unused(data_dir, kept):
    """Remove packed signals but the file `kept`; what a process reads stays until a later run."""
    for path in data_dir.glob("signals-*.i16"):
        if path.name != kept and is_read(path):
            print(f"{path.name} is being read by another process; a later run removes it")
        elif path.name != kept:
            remove(path)


def is_read(path):
    """Tell whether a process reads a packed file: PackedSignals holds a lock on it."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # gone, or a file system without locks
        pass
    return False
