"""DICOM waveforms against what they were written from, and a file of another maker."""

import copy
import sys

import numpy as np
import pytest
from conftest import noise

from dataset import LEADS
from ecg.io import formats, sources

# MDC codes of DICOM PS3.16, CID 3001
CODES = ("2:1", "2:2", "2:61", "2:62", "2:63", "2:64", "2:3", "2:4", "2:5", "2:6", "2:7", "2:8")


@pytest.fixture
def pydicom():
    return pytest.importorskip("pydicom", reason="pydicom is not installed (optional)")


def channel(pydicom, code, meaning, unit="uV", sensitivity=2.5, correction=1, baseline=0):
    """Make one channel's definition: its lead, and how its whole numbers become `unit`."""
    source, units, item = (pydicom.Dataset() for _ in range(3))
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = code, "MDC", meaning
    units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = unit, "UCUM", unit
    item.ChannelSourceSequence, item.ChannelSensitivityUnitsSequence = [source], [units]
    item.ChannelSensitivity, item.ChannelSensitivityCorrectionFactor = sensitivity, correction
    item.ChannelBaseline, item.WaveformBitsStored = baseline, 16
    return item


def group(pydicom, samples, channels, rate=1000):
    item = pydicom.Dataset()
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = samples.shape
    item.SamplingFrequency, item.ChannelDefinitionSequence = rate, channels
    item.WaveformOriginality = "ORIGINAL"
    item.WaveformBitsAllocated, item.WaveformSampleInterpretation = 16, "SS"
    item.WaveformData = samples.T.astype("<i2").tobytes()
    return item


def write(pydicom, path, *groups):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.TwelveLeadECGWaveformStorage
    data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data.SOPClassUID, data.PatientID = data.file_meta.MediaStorageSOPClassUID, "p7"
    data.PatientAge, data.PatientSex = "061Y", "F"
    data.WaveformSequence = list(groups)
    data.save_as(path, enforce_file_format=True)
    return path


def test_leads_are_found_by_code_or_words_and_scaled_to_mv(pydicom, tmp_path):
    samples = noise(1, 1200)
    order = np.random.default_rng(0).permutation(12)
    channels = [
        channel(pydicom, CODES[i], f"Lead {LEADS[i]}")
        if i % 2
        else channel(pydicom, "local", f"Lead {LEADS[i]} (x)", "mV", 0.0025, 2, 0.1)
        for i in order
    ]
    short = group(pydicom, samples[:8], [copy.deepcopy(c) for c in channels[:8]])
    path = write(pydicom, tmp_path / "a.dcm", short, group(pydicom, samples[order], channels))
    assert sources.find_records(tmp_path / "a") == [path]
    record, signal, notes = formats.read_record(path)
    expected = samples * 2.5 / 1000
    expected[::2] = expected[::2] * 2 + 0.1
    np.testing.assert_allclose(signal, expected, atol=1e-6)
    assert record == (1000, 61, "Female", (), "p7") and not notes


def test_padding_is_a_missing_sample(pydicom, tmp_path):
    samples = noise(1, 1200)
    samples[3, 10:17] = -32768
    item = group(
        pydicom, samples, [channel(pydicom, *pair) for pair in zip(CODES, LEADS, strict=True)]
    )
    item.WaveformPaddingValue = np.int16(-32768).tobytes()
    _, signal, _ = formats.read_record(write(pydicom, tmp_path / "a.dcm", item))
    assert np.argwhere(np.isnan(signal)).tolist() == [[3, n] for n in range(10, 17)]


def test_what_cannot_become_twelve_leads_in_mv_is_refused(pydicom, tmp_path):
    channels = [channel(pydicom, *pair) for pair in zip(CODES, LEADS, strict=True)]
    path = write(pydicom, tmp_path / "a.dcm", group(pydicom, noise(1, 600)[:11], channels[:11]))
    with pytest.raises(ValueError, match="without a waveform of the twelve leads"):
        formats.read_record(path)
    channels[3].ChannelSensitivityUnitsSequence[0].CodeValue = "mm[Hg]"
    write(pydicom, path, group(pydicom, noise(1, 600), channels))
    with pytest.raises(ValueError, match="lead aVR: its unit 'mm.hg.' cannot become mV"):
        formats.read_record(path)
    path.write_bytes(b"no DICOM" * 40)
    with pytest.raises(ValueError, match="not a DICOM file"):
        formats.read_record(path)


def test_the_file_that_comes_with_pydicom_keeps_einthoven(pydicom):
    """Of another maker: II = I + III, and aVR, aVL, aVF follow, if leads and units are right."""
    path = pydicom.data.get_testdata_file("waveform_ecg.dcm", download=False)
    record, signal, _ = formats.read_record(path)
    raw = np.frombuffer(pydicom.dcmread(path).WaveformSequence[0].WaveformData, "<i2")
    np.testing.assert_allclose(signal, raw.reshape(-1, 12).T * 1.25 / 1000, atol=1e-6)
    i, ii, iii, avr, avl, avf = signal[:6]
    for made, lead in ((ii - i, iii), (-(i + ii) / 2, avr), (i - ii / 2, avl), (ii - i / 2, avf)):
        assert np.abs(made - lead).max() < 0.02
    assert record.sample_rate == 1000 and signal.shape == (12, 10_000)


def test_without_pydicom_the_refusal_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "a.dcm").touch()
    with pytest.raises(ValueError, match="takes pydicom: .*requirements-dicom.txt"):
        formats.read_record(tmp_path / "a.dcm")
