"""Files that claim or hold more than any record: refused at once, without memory or time."""

import time
import tracemalloc

import numpy as np
import pytest
from conftest import noise, write_table, write_wfdb

from dataset import LEADS
from ecg.io import formats
from ecg.io.record import MAX_WORD

DIGITS = "1" * 200_000


def refused(path, text, **flags):
    """Read a file that must be refused, within a second and 64 MB."""
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(ValueError, match=text):
        formats.read_record(path, **flags)
    seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5 and peak < 64 << 20


@pytest.mark.parametrize("old", [" 1000/mV ", " 16+24 ", "A0001 12 500 700", " 0 I\n"])
def test_a_long_word_of_a_header_is_refused(old, tmp_path):
    path = write_wfdb(tmp_path)
    path.write_text(path.read_text().replace(old, f" {DIGITS}{old}", 1))
    refused(path, f"a word of the header has more than {MAX_WORD} characters")


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
@pytest.mark.parametrize("place", [(0, 3), (5, 3)])
def test_a_long_cell_of_a_table_is_refused(separator, place, tmp_path):
    path = write_table(tmp_path / "a.csv", separator=separator, **{DIGITS: place})
    refused(path, f"a cell of it has more than {MAX_WORD} characters", sample_rate=500)


def test_a_sparse_array_is_refused_by_its_length_before_it_is_copied(tmp_path):
    path = tmp_path / "a.npy"
    np.lib.format.open_memmap(path, "w+", np.int8, (12, 20_000_000))
    refused(path, "it is longer than an hour", sample_rate=500)


@pytest.mark.parametrize("suffix", [".mat", ".dcm", ".csv", ".npy"])
def test_a_file_of_a_terabyte_is_refused_by_its_size(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    refused(path, f"the file is larger than {64 if suffix == '.dcm' else 256} MB", sample_rate=500)


def test_what_an_ordinary_file_holds_is_within_the_bounds(tmp_path):
    samples = noise(4, 600) / 1000
    np.save(tmp_path / "a.npy", samples)
    _, signal, _ = formats.read_record(tmp_path / "a.npy", sample_rate=500)
    np.testing.assert_allclose(signal, samples)
    path = write_table(tmp_path / "a.csv", LEADS, samples)
    np.testing.assert_allclose(formats.read_record(path, sample_rate=500)[1], samples)
