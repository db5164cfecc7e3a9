"""Damaged files by the thousand: each ends in a record read or a record skipped with a reason."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from conftest import noise, write_record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset import CLASSES
from ecg.io import matlab, packing, physionet, sources

MEMORY = 3 << 30  # bytes above what the process has: an allocation beyond is a failure
FUZZ = settings(
    max_examples=1000,
    deadline=None,
    derandomize=True,  # the same cases on every machine
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ODD_WORDS = st.sampled_from(
    "0 -1 1e400 nan inf 99999999999999999999 4294967295 2147483648 0x10 ../../x /etc/passwd "
    "..\\x NUL 16+99999999999 16x2+24 16+24:3 212 (5) 1000(nan)/mV /mV 1000/kg ² ١٢ x/2 #".split()
    + ["", " ", "\x00", "\n", "é" * 50]
)


@pytest.fixture(autouse=True)
def bounded_memory():
    """Make an unbounded allocation fail at once, instead of filling the machine."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (bound, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the bytes of a valid record's files by suffix; those of a struct, by compression."""
    folder = tmp_path_factory.mktemp("whole")
    write_record(folder, "A0001", noise(0, 600), "164889003,59118001")
    content = {suffix: (folder / f"A0001{suffix}").read_bytes() for suffix in (".hea", ".mat")}
    ecg = {"sex": "Male", "age": 61, "data": noise(0, 520) / 1000}
    for compressed in (False, True):
        scipy.io.savemat(folder / "S.mat", {"ECG": ecg}, do_compression=compressed)
        content[compressed] = (folder / "S.mat").read_bytes()
    return content


@pytest.fixture
def opened(monkeypatch):
    """Collect the paths that the reader opens, or hands to wfdb as links."""
    seen = []

    def watch(function):
        def watched(path, *args, **kwargs):
            seen.append(str(path))
            return function(path, *args, **kwargs)

        return watched

    monkeypatch.setattr(matlab, "open", watch(open), raising=False)
    monkeypatch.setattr(physionet.os, "symlink", watch(os.symlink))
    return seen


def check(path, opened, folder):
    """Read a damaged record as preprocess.py does; it must be read, or skipped with a reason."""
    row, packed = packing.read_source(sources.Source(path, "fuzz"), ["AF"])
    assert row.skipped == (packed is None)
    if row.skipped:
        assert row.note.startswith("skipped: ") and len(row.note) > 12
        assert "MemoryError" not in row.note
        assert "\n" not in row.note
    else:
        assert packed.shape[0] == 12 and packed.dtype == np.int16
        assert row.sample_rate > 0 and packed.shape[1] >= 50
    assert all(str(folder) in name and ".." not in name for name in opened)
    opened.clear()


def mutate(draw, data):
    """Return bytes with a few of them replaced, removed, repeated or cut off."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(("set", "cut", "insert", "delete", "swap")))
        if kind == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at:]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "swap":
            data[at : at + 4] = data[at : at + 4][::-1]  # a number in the wrong byte order
    return bytes(data)


@FUZZ
@given(data=st.data())
def test_any_header_is_read_or_skipped(data, tmp_path, opened, whole):
    (tmp_path / "A0001.mat").write_bytes(whole[".mat"])
    path = tmp_path / "A0001.hea"
    lines = [line.split(" ") for line in whole[".hea"].decode().splitlines()]
    for _ in range(data.draw(st.integers(1, 3))):
        line = data.draw(st.integers(0, len(lines) - 1))
        word = data.draw(st.integers(0, len(lines[line]) - 1))
        lines[line][word] = data.draw(ODD_WORDS | st.text(max_size=12))
    text = "\n".join(" ".join(words) for words in lines)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    check(path, opened, tmp_path)


@FUZZ
@given(data=st.data())
def test_any_header_bytes_are_read_or_skipped(data, tmp_path, opened, whole):
    (tmp_path / "A0001.mat").write_bytes(whole[".mat"])
    path = tmp_path / "A0001.hea"
    path.write_bytes(mutate(data.draw, whole[".hea"]))
    check(path, opened, tmp_path)


@FUZZ
@given(data=st.data())
def test_any_signal_file_is_read_or_skipped(data, tmp_path, opened, whole):
    (tmp_path / "A0001.hea").write_bytes(whole[".hea"])
    path, original = tmp_path / "A0001.mat", whole[".mat"]
    head = mutate(data.draw, original[:24]) if data.draw(st.booleans()) else original[:24]
    body = original[24:]
    if data.draw(st.booleans()):
        body = mutate(data.draw, body)
    path.write_bytes(head + body)
    check(path.with_suffix(".hea"), opened, tmp_path)


@FUZZ
@given(data=st.data(), compressed=st.booleans())
def test_any_struct_is_read_or_skipped(data, compressed, tmp_path, opened, whole):
    path, content = tmp_path / "A0001.mat", whole[compressed]
    # the tags and dimensions lie at the front, where a change does most harm
    front = data.draw(st.sampled_from((200, 400, len(content))))
    path.write_bytes(mutate(data.draw, content[:front]) + content[front:])
    check(path, opened, tmp_path)


@FUZZ
@given(data=st.data())
def test_any_reference_table_is_read_or_refused(data, tmp_path):
    text = b"Recording,First_label,Second_label,Third_label\r\nA0001,5,,\r\nA0002,1,10,\r\n"
    (tmp_path / "REFERENCE.csv").write_bytes(mutate(data.draw, text))
    try:
        labels, _ = sources.read_reference(tmp_path)
    except ValueError as error:
        assert "REFERENCE.csv" in str(error)
    else:
        assert {name for found in labels.values() for name in found} <= set(CLASSES)
