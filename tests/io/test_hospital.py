"""Files of hospitals against what they were written from, by hand and after their standards."""

import base64
import copy
import importlib.util
import json
import os
import resource
import socket
import struct
import sys
import time
import zlib
from binascii import crc_hqx

import numpy as np
import pytest
from conftest import SHARED, noise

from dataset import LEADS
from ecg.io import bounds, formats, hospital, sources

CASES = SHARED.parent / "cases" / "tables"
EIGHT = [0, 1, *range(6, 12)]  # of LEADS, those that MUSE and SCP-ECG store
# MDC codes of DICOM PS3.16, CID 3001
CODES = ("2:1", "2:2", "2:61", "2:62", "2:63", "2:64", "2:3", "2:4", "2:5", "2:6", "2:7", "2:8")
LEAD_NUMBERS = (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)  # the same in SCP-ECG and MFER
SAMPLES = noise(1, 1200)
needs_ecgdatakit = pytest.mark.skipif(
    importlib.util.find_spec("ecgdatakit") is None,
    reason="ecgdatakit is not installed (optional)",
)


def b64(samples):
    return base64.b64encode(np.asarray(samples, "<i2").tobytes()).decode()


def muse(samples, crc=None):
    """GE MUSE: eight leads in base64, 4.88 uV a unit; `crc` in place of the right ones."""

    def waveform(kind, samples):
        leads = ""
        for i in EIGHT:
            checksum = zlib.crc32(samples[i].astype("<i2").tobytes()) if crc is None else crc
            leads += (
                "<LeadData><LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit>"
                f"<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>{LEADS[i]}</LeadID>"
                f"<LeadDataCRC32>{checksum}</LeadDataCRC32>"
                f"<WaveFormData>{b64(samples[i])}</WaveFormData></LeadData>"
            )
        kind = f"<WaveformType>{kind}</WaveformType>"
        return f"<Waveform>{kind}<SampleBase>500</SampleBase>{leads}</Waveform>"

    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><!DOCTYPE RestingECG SYSTEM "restecg.dtd">'
        "<RestingECG><PatientDemographics><PatientID>p7</PatientID><PatientAge>61</PatientAge>"
        "<AgeUnits>YEARS</AgeUnits><DateofBirth>02-03-1960</DateofBirth><Gender>FEMALE</Gender>"
        "<PatientLastName>Müller</PatientLastName></PatientDemographics><TestDemographics>"
        "<AcquisitionTime>09:41:00</AcquisitionTime><AcquisitionDate>03-05-2021</AcquisitionDate>"
        f"</TestDemographics>{waveform('Median', samples[::-1, :300])}"
        f"{waveform('Rhythm', samples)}</RestingECG>"
    ).encode("latin-1")


def aecg(samples):
    """HL7 aECG: digits, with a scale of 2.5 uV and an origin of 10 uV; 4 ms apart."""
    sequences = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead}"/><value><origin value="10" '
        f'unit="uV"/><scale value="2.5" unit="uV"/><digits>{" ".join(map(str, row))}</digits>'
        "</value></sequence></component>"
        for lead, row in zip(LEADS, samples, strict=True)
    )
    return (
        '<AnnotatedECG xmlns="urn:hl7-org:v3"><effectiveTime><low value="20210305094100"/>'
        "</effectiveTime><componentOf><timepointEvent><componentOf><subjectAssignment><subject>"
        '<trialSubject><id extension="p7"/><subjectDemographicPerson><name>Müller</name>'
        '<administrativeGenderCode code="F"/><birthTime value="19600203"/>'
        "</subjectDemographicPerson></trialSubject></subject></subjectAssignment></componentOf>"
        "</timepointEvent></componentOf><component><series><code code='RHYTHM'/><component>"
        "<sequenceSet><component><sequence><code code='TIME_ABSOLUTE'/><value><head "
        "value='20210305094100'/><increment value='4' unit='ms'/></value></sequence></component>"
        f"{sequences}</sequenceSet></component></series></component></AnnotatedECG>"
    ).encode()


def philips(samples):
    """Philips Sierra 1.04: all leads one after the other in base64, 5 uV a unit."""
    n_ms = samples.shape[1] * 2
    return (
        "<restingecgdata><documentinfo><documenttype>PhilipsECG</documenttype><documentversion>"
        "1.04</documentversion></documentinfo><dataacquisition date='2021-03-05' time='09:41:00'>"
        "<signalcharacteristics><samplingrate>500</samplingrate><resolution>5</resolution>"
        "</signalcharacteristics></dataacquisition><patient><generalpatientdata><patientid>p7"
        "</patientid><name><lastname>Müller</lastname></name><age><years>61</years><dateofbirth>"
        "1960-02-03</dateofbirth></age><sex>Female</sex></generalpatientdata></patient><waveforms>"
        f"<parsedwaveforms dataencoding='Base64' compressflag='False' durationperchannel='{n_ms}' "
        f"leadlabels='{' '.join(LEADS)}'>{b64(samples)}</parsedwaveforms></waveforms>"
        "</restingecgdata>"
    ).encode()


def mortara(samples):
    """Mortara ELI: base64 in an attribute of each channel, 400 units a mV, 1000 Hz."""
    channels = "".join(
        f'<CHANNEL OFFSET="0" BITS="16" FORMAT="SIGNED" UNITS_PER_MV="400" SAMPLE_FREQ="1000" '
        f'DURATION="{len(row)}" NAME="{lead}" ENCODING="BASE64" DATA="{b64(row)}"/>'
        for lead, row in zip(LEADS, samples, strict=True)
    )
    return (
        '<ECG ACQUISITION_TIME="20210305094100"><SUBJECT ID="p7" LAST_NAME="Müller" AGE="61" '
        f'GENDER="FEMALE" DOB="19600203"/>{channels}</ECG>'
    ).encode()


def edf(samples, seconds="1       ", labels=LEADS, per_record=500):
    """EDF+: records of 500 samples a lead, -32768..32767 for -40..40 mV."""
    n, n_records = len(labels), samples.shape[1] // per_record
    fields = (
        ("0", 8),
        ("p7 F 03-FEB-1960 Müller", 80),
        ("Startdate 05-MAR-2021 X X X", 80),
        ("05.03.21", 8),
        ("09.41.00", 8),
        (str(256 * (n + 1)), 8),
        ("EDF+C", 44),
        (str(n_records), 8),
        (seconds, 8),
        (str(n), 4),
    )
    head = "".join(text.ljust(width) for text, width in fields)
    for text, width in (
        ("", 80),
        ("mV", 8),
        ("-40", 8),
        ("40", 8),
        ("-32768", 8),
        ("32767", 8),
        ("", 80),
        (str(per_record), 8),
        ("", 32),
    ):
        if text == "" and width == 80 and len(head) == 256:
            head += "".join(f"ECG {lead}".ljust(16) for lead in labels)
        head += text.ljust(width) * n
    cut = samples[:, : n_records * per_record].reshape(n, n_records, per_record)
    return head.encode("latin-1") + cut.transpose(1, 0, 2).astype("<i2").tobytes()


def ishne(samples):
    """ISHNE Holter 1.0: samples by turns, nV a unit of each lead's own, a CRC over the header."""
    head = bytearray(512)
    struct.pack_into("<iiiih", head, 0, 0, samples.shape[1], 522, 522, 1)
    head[18:58] = b"Jane".ljust(40, b"\0")
    head[58:98] = "Müller".encode("latin-1").ljust(40, b"\0")
    head[98:118] = b"p7".ljust(20, b"\0")
    struct.pack_into("<hh3h3h3h3h", head, 118, 2, 0, 3, 2, 1960, 5, 3, 2021, 5, 3, 2021, 9, 41, 0)
    struct.pack_into("<h12h12h12h", head, 146, 12, *range(5, 17), *[1] * 12, *range(2000, 2012))
    struct.pack_into("<h", head, 262, 250)
    crc = crc_hqx(bytes(head), 0xFFFF)
    return b"ISHNE1.0" + struct.pack("<H", crc) + bytes(head) + samples.T.astype("<i2").tobytes()


def mfer(samples):
    """MFER, big-endian: 0.5 uV a unit, an interval of 2 ms, blocks of 600 samples a channel."""

    def item(tag, value):
        length = (
            bytes([len(value)]) if len(value) < 128 else b"\x84" + struct.pack(">I", len(value))
        )
        return bytes([tag]) + length + value

    blocks = samples.reshape(12, -1, 600).transpose(1, 0, 2).astype(">i2").tobytes()
    channels = b"".join(
        bytes([0x3F, i]) + bytes([4, 9, 2]) + struct.pack(">H", number)
        for i, number in enumerate(LEAD_NUMBERS)
    )
    return (
        item(0x40, b"MFR ECG")
        + item(0x01, b"\0")
        + item(0x82, b"p7")
        + item(0x81, b"Doe^^Jane")
        + item(0x0B, struct.pack(">Bbh", 1, -3, 2))  # s
        + item(0x0C, struct.pack(">Bbh", 0, -7, 5))  # V
        + item(0x04, struct.pack(">H", 600))
        + item(0x05, b"\x0c")
        + channels
        + item(0x1E, blocks)
    )


def huffman(values):
    """Encode numbers with the default table of SCP-ECG (EN 1064, C.3.7.6)."""
    bits = ""
    for value in map(int, values):
        if abs(value) <= 8:
            bits += f"{'1' * abs(value)}0{int(value < 0)}" if value else "0"
        elif -128 <= value < 128:
            bits += f"1111111110{value & 0xFF:08b}"
        else:
            bits += f"1111111111{value & 0xFFFF:016b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def scp(samples, packed=True, start=1):
    """SCP-ECG of eight leads, 2.5 uV a unit; second differences, Huffman-coded, or plain.

    `start` is the first sample of the last lead.
    """

    def crc(data):
        return crc_hqx(data, 0xFFFF)

    def section(number, body):
        body += b"\0" * (len(body) % 2)
        data = struct.pack("<HIBB6s", number, 16 + len(body), 13, 13, b"") + body
        return struct.pack("<H", crc(data)) + data

    def tag(number, value):
        return struct.pack("<BH", number, len(value)) + value

    rows = [samples[i].astype(np.int64) for i in EIGHT]
    n = samples.shape[1]
    if packed:
        chunks = [huffman([*row[:2], *np.diff(row, 2)]) for row in rows]
    else:
        chunks = [row.astype("<i2").tobytes() for row in rows]
    patient = [
        (0, "Müller\0".encode("latin-1")),
        (2, b"p7\0"),
        (4, struct.pack("<HB", 61, 1)),
        (5, struct.pack("<HBB", 1960, 2, 3)),
        (8, b"\x02"),
        (25, struct.pack("<HBB", 2021, 3, 5)),
        (26, bytes([9, 41, 0])),
    ]
    leads = b"".join(
        struct.pack("<IIB", first, first + n - 1, LEAD_NUMBERS[i])
        for i, first in zip(EIGHT, [1] * 7 + [start], strict=True)
    )
    bodies = {1: b"".join(tag(*pair) for pair in patient) + b"\xff\0\0"}
    bodies |= {2: struct.pack("<H", 19999)} if packed else {}
    bodies[3] = bytes([8, 4 | 8 << 3 if start == 1 else 0]) + leads
    sizes = struct.pack("<8H", *map(len, chunks))
    bodies[6] = struct.pack("<HHBB", 2500, 2000, 2 * packed, 0) + sizes + b"".join(chunks)
    parts, at = {k: section(k, body) for k, body in bodies.items()}, 7 + 16 + 10 * (1 + len(bodies))
    pointers = struct.pack("<HII", 0, at - 7, 7)
    for number, data in parts.items():
        pointers += struct.pack("<HII", number, len(data), at)
        at += len(data)
    record = section(0, pointers) + b"".join(parts.values())
    record = struct.pack("<I", len(record) + 6) + record
    return struct.pack("<H", crc(record)) + record


def twelve(eight):
    """Return the twelve leads of I, II, V1-V6: the Einthoven and Goldberger sums."""
    i, ii = eight[:2]
    return np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2, *eight[2:]])


WRITTEN = {  # file name -> its bytes, the leads in mV, the rate
    "muse.xml": (muse(SAMPLES), twelve(SAMPLES[EIGHT] * 0.00488), 500),
    "aecg.xml": (aecg(SAMPLES), SAMPLES * 0.0025 + 0.01, 250),
    "philips.xml": (philips(SAMPLES), SAMPLES * 0.005, 500),
    "mortara.xml": (mortara(SAMPLES), SAMPLES / 400, 1000),
    "own.scp": (scp(SAMPLES), twelve(SAMPLES[EIGHT] * 0.0025), 500),
    "plain.scp": (scp(SAMPLES, packed=False), twelve(SAMPLES[EIGHT] * 0.0025), 500),
    "own.edf": (edf(SAMPLES), (SAMPLES[:, :1000] + 32768.0) * 80 / 65535 - 40, 500),
    "own.ecg": (ishne(SAMPLES), SAMPLES * np.arange(2000, 2012)[:, None] / 1e6, 250),
    "own.mwf": (mfer(SAMPLES), SAMPLES * 0.0005, 500),
}


def write(folder, name, data=None):
    path = folder / name
    path.write_bytes(WRITTEN[name][0] if data is None else data)
    return path


def refusal(path):
    """Return the reason, in one line, why a file is refused."""
    with pytest.raises(ValueError) as stop:
        formats.read_record(path)
    return " ".join(str(stop.value).split())


@needs_ecgdatakit
@pytest.mark.parametrize("name", WRITTEN)
def test_samples_are_those_that_were_written(name, tmp_path):
    path = write(tmp_path, name)
    assert sources.find_records(tmp_path) == sources.find_records(path.with_suffix("")) == [path]
    record, signal, notes = formats.read_record(path)
    _, expected, rate = WRITTEN[name]
    np.testing.assert_allclose(signal, expected, atol=1e-9)
    stored = 8 if name.endswith(".scp") or name == "muse.xml" else 12
    assert notes == ["calculated from I and II: III aVR aVL aVF"] * (stored == 8)
    assert record.sample_rate == rate and record.dx == ()
    assert record.patient == "p7"
    if name == "own.mwf":
        assert record.identity == "Doe, Jane" and np.isnan(record.age) and record.sex == ""
        return
    assert record.identity.startswith("Müller") and record.identity.endswith("born 1960-02-03")
    assert (record.age, record.sex, record.recorded) == (61, "Female", "2021-03-05 09:41:00")


@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases")
@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("muse.xml", 0.00488),
        ("aecg.xml", 0.005),
        ("philips.xml", 0.005),
        ("own.scp", 0.005),
        ("own.edf", 0.001),
        ("own.ecg", 0.005),
        ("own8.dcm", 0.005),
    ],
)
@needs_ecgdatakit
def test_one_record_in_seven_formats_is_the_same_record(name, unit):
    """Each equals the table in microvolts within the rounding to its own unit."""
    table = np.loadtxt(CASES / "microvolt.csv", delimiter=",", skiprows=1).T / 1000
    record, signal, _ = formats.read_record(CASES / name)
    limb = 1.5 if name in ("muse.xml", "own.scp", "own8.dcm") else 0.5  # sums of two roundings
    assert record.sample_rate == 500 and record.recorded == "2024-03-05 09:41:00"
    assert np.abs(signal - table[:, : signal.shape[1]]).max() <= limb * unit + 5e-4


@needs_ecgdatakit
def test_a_wrong_checksum_is_noted(tmp_path):
    path = write(tmp_path, "muse.xml", muse(SAMPLES, crc=1))
    _, signal, notes = formats.read_record(path)
    np.testing.assert_allclose(signal, WRITTEN["muse.xml"][1], atol=1e-9)
    assert notes[0].startswith("CRC32 mismatch in lead I ") and notes[0].endswith(" of muse.xml")
    assert "more such notes" in notes[hospital.MAX_NOTES] and len(notes) == hospital.MAX_NOTES + 2
    data = bytearray(WRITTEN["plain.scp"][0])
    data[-4] ^= 1  # a sample of V6
    notes = formats.read_record(write(tmp_path, "own.scp", data))[2]
    assert notes[0] == "SCP-ECG CRC mismatch in: record, Section 6"
    data = bytearray(WRITTEN["own.ecg"][0])
    data[100] ^= 1  # the name
    assert "checksum mismatch" in formats.read_record(write(tmp_path, "own.ecg", data))[2][0]


@needs_ecgdatakit
def test_missing_samples_are_nan_and_leads_lie_where_they_were_recorded(tmp_path):
    samples = SAMPLES.copy()
    samples[3, 10:17] = -32768  # what ISHNE proposes where a lead has failed
    signal = formats.read_record(write(tmp_path, "own.ecg", ishne(samples)))[1]
    assert np.argwhere(np.isnan(signal)).tolist() == [[3, n] for n in range(10, 17)]
    path = write(tmp_path, "own.scp", scp(SAMPLES, start=101))  # V6 begins 100 samples later
    signal = formats.read_record(path)[1]
    assert signal.shape == (12, 1300) and np.isnan(signal[:11, 1200:]).all()
    np.testing.assert_allclose(signal[11, 100:], SAMPLES[11] * 0.0025, atol=1e-9)
    assert np.isnan(signal[11, :100]).all() and not np.isnan(signal[:11, :1200]).any()
    assert refusal(write(tmp_path, "own.scp", scp(SAMPLES, start=1 << 31))) == (
        "it is longer than an hour"
    )


@needs_ecgdatakit
def test_rates_that_are_no_whole_numbers_are_kept(tmp_path):
    record = formats.read_record(write(tmp_path, "own.edf", edf(SAMPLES, "1.6")))[0]
    assert record.sample_rate == 500 / 1.6  # 312.5 Hz


@needs_ecgdatakit
def test_a_patient_that_edf_leaves_open_is_none(tmp_path):
    plus = edf(SAMPLES).replace("p7 F 03-FEB-1960 Müller".encode("latin-1"), b"X X X X".ljust(23))
    for data in (plus, plus.replace(b"EDF+C", b"     ")):
        record = formats.read_record(write(tmp_path, "own.edf", data))[0]
        assert record.patient == record.identity == record.sex == ""


@needs_ecgdatakit
@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("own.edf", b"ECG III ", b"ECG II  ", "lead II is there twice"),
        ("own.edf", b"ECG V6 ", b"ECG V7 ", "lead V6 is missing"),
        ("own.edf", b"ECG V", b"ECG X", "leads V1, V2, V3, V4, V5, V6 are missing"),
        ("own.edf", b"ECG ", b"EEG ", "it holds none of the twelve leads"),
        ("own.edf", b"mV      mV      ", b"mmHg    mV      ", "lead I: a gain in 'mmHg' cannot"),
        ("own.edf", b"32767   32767   ", b"-32768  32767   ", "lead I: a gain in 'mV' cannot"),
        ("own.edf", b"-40     -40     ", b"nan     -40     ", "lead I: its gain nan is no gain"),
        ("own.edf", b"1       12  ", b"100     12  ", "a sample rate of 5 Hz is outside"),
        ("own.edf", b"1       12  ", b"1e-320  12  ", "cannot be read as EDF"),
        ("aecg.xml", b"<digits>", b"<digits>inf ", "lead I holds infinite values"),
        ("aecg.xml", b'unit="uV"/><digits>', b"/><digits>", "lead I: a gain in '' cannot become"),
        ("muse.xml", b"MICROVOLTS", b"FURLONGS", "lead I: a gain in 'FURLONGS' cannot become mV"),
        ("philips.xml", b">1.04<", b">1.05<", "PhilipsECG 1.05 are unsupported"),
    ],
)
def test_what_cannot_become_twelve_leads_in_mv_is_refused(name, old, new, reason, tmp_path):
    data = WRITTEN[name][0]
    assert old in data
    path = write(tmp_path, name, data.replace(old, new))
    assert reason in refusal(path)


@needs_ecgdatakit
def test_six_leads_of_a_kardia_are_read_and_the_others_missed(tmp_path):
    names = ("leadI", "leadII", "leadIII", "AVR", "AVL", "AVF")
    rows = {name: row.tolist() for name, row in zip(names, SAMPLES, strict=False)}
    raw = {"frequency": 300, "amplitudeResolution": 500, "samples": rows}  # Hz, nV a unit
    text = json.dumps(
        {"recordedAt": "2021-03-05T09:41:00Z", "patientID": "p7", "data": {"raw": raw}}
    )
    path = write(tmp_path, "kardia.json", text.encode())
    assert sources.find_records(path) == [path]  # by its content
    assert refusal(path) == "leads V1, V2, V3, V4, V5, V6 are missing"
    source, _ = hospital.parse(path)
    rows = hospital.align(source.leads, np.nan, 300)
    np.testing.assert_allclose(list(rows.values()), SAMPLES[:6] * 0.0005)


@pytest.fixture
def pydicom():
    pytest.importorskip("ecgdatakit", reason="ecgdatakit is not installed (optional)")
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


def write_dicom(pydicom, path, *groups, syntax="ExplicitVRLittleEndian"):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
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
    # of more samples, but fewer leads
    short = group(pydicom, np.tile(samples[:8], 2), [copy.deepcopy(c) for c in channels[:8]])
    path = write_dicom(pydicom, tmp_path / "a.dcm", short, group(pydicom, samples[order], channels))
    assert sources.find_records(tmp_path / "a") == [path]
    record, signal, notes = formats.read_record(path)
    expected = samples * 2.5 / 1000
    expected[::2] = expected[::2] * 2 + 0.1
    np.testing.assert_allclose(signal, expected, atol=1e-6)
    assert record[:5] == (1000, 61, "Female", (), "p7") and not record.identity
    assert notes == ["DICOM file has 1 additional multiplex group(s) that are not loaded"]


def test_padding_is_a_missing_sample(pydicom, tmp_path):
    samples = noise(1, 1200)
    samples[3, 10:17] = -32768
    item = group(
        pydicom, samples, [channel(pydicom, *pair) for pair in zip(CODES, LEADS, strict=True)]
    )
    item.WaveformPaddingValue = np.int16(-32768).tobytes()
    _, signal, _ = formats.read_record(write_dicom(pydicom, tmp_path / "a.dcm", item))
    assert np.argwhere(np.isnan(signal)).tolist() == [[3, n] for n in range(10, 17)]


def test_eight_leads_of_a_dicom_are_completed_and_what_holds_no_leads_is_refused(pydicom, tmp_path):
    channels = [channel(pydicom, *pair) for pair in zip(CODES, LEADS, strict=True)]
    samples = noise(1, 1200)
    eight = group(pydicom, samples[EIGHT], [channels[i] for i in EIGHT], rate=500.5)
    path = write_dicom(pydicom, tmp_path / "a.dcm", eight)
    record, signal, _ = formats.read_record(path)
    np.testing.assert_allclose(signal, twelve(samples[EIGHT] * 0.0025), atol=1e-9)
    assert record.sample_rate == 500.5
    write_dicom(pydicom, path, group(pydicom, samples[:11], channels[:11]))
    assert refusal(path) == "lead V6 is missing"
    channels[3].ChannelSensitivityUnitsSequence[0].CodeValue = "mm[Hg]"
    channels[3].ChannelSensitivityUnitsSequence[0].CodeMeaning = "mmHg"
    write_dicom(pydicom, path, group(pydicom, samples, channels))
    assert refusal(path) == "lead aVR: a gain in 'mm[Hg]' cannot become mV"
    write_dicom(pydicom, path)  # as a picture or a report is
    assert refusal(path).startswith("this DICOM Waveform file holds no waveform (")
    path.write_bytes(b"no DICOM" * 40)
    assert refusal(path).startswith("its content is none of the recording formats that are read")


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


@pytest.mark.parametrize("package", ["ecgdatakit", "pydicom"])
def test_without_a_package_the_refusal_names_it(package, pydicom, tmp_path, monkeypatch):
    channels = [channel(pydicom, *pair) for pair in zip(CODES, LEADS, strict=True)]
    path = write_dicom(pydicom, tmp_path / "a.dcm", group(pydicom, noise(1, 600), channels))
    monkeypatch.setitem(sys.modules, package, None)
    assert f"files need {package}: " in refusal(path)
    assert refusal(path).endswith("requirements-hospital.txt")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (
            "a.jpg",
            b"\xff\xd8\xff\xe0\0\x10JFIF",
            "a picture holds no samples; export the recording",
        ),
        ("a.png", b"\x89PNG\r\n\x1a\n", "a picture holds no samples; export the recording"),
        ("a.xml", b"\x89PNG\r\n\x1a\n", "a picture holds no samples; export the recording"),
        ("a.tif", b"II*\0", "a picture holds no samples; export the recording"),
        ("a.heic", b"\0\0\0\x18ftypheic", "a picture holds no samples; export the recording"),
        ("a.pdf", b"%PDF-1.7", "a PDF holds a picture of the ECG, not its samples; export"),
        ("a.bdf", b"\xffBIOSEMI", "BDF is not read; EDFbrowser makes EDF of it"),
        ("a.edf", b"\xffBIOSEMI", "BDF is not read; EDFbrowser makes EDF of it"),
    ],
)
def test_pictures_and_bdf_are_refused_with_a_way_out(name, data, reason, tmp_path):
    path = write(tmp_path, name, data)
    with pytest.raises(ValueError, match=reason):
        sources.find_records(path)
        formats.read_record(path)


@needs_ecgdatakit
@pytest.mark.parametrize("data", [b"hello", b"<svg></svg>", b"\0" * 600, b"{}", b"\x1f\x8b\x08"])
def test_other_content_is_refused_whatever_its_name(data, tmp_path):
    for name in ("a.xml", "a.scp", "a.dcm", "a.docx"):
        path = write(tmp_path, name, data)
        with pytest.raises(ValueError, match="none of the recording formats that are read; export"):
            sources.find_records(path)
            formats.read_record(path)


def test_an_empty_file_is_called_that(tmp_path):
    for name in ("a.xml", "a.scp", "a.dcm", "a.docx"):
        with pytest.raises(ValueError, match="^the file is empty; copy it again$"):
            formats.read_record(write(tmp_path, name, b""))


LAUGHS = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 20}">' for i in range(12))
ENTITIES = {
    "laughs": f'[<!ENTITY e0 "ha">{LAUGHS}]',
    "file": '[<!ENTITY e12 SYSTEM "file:///etc/passwd">]',
    "network": 'SYSTEM "http://127.0.0.1:9/a.dtd" [<!ENTITY % p SYSTEM "http://127.0.0.1:9/"> %p;]',
}


@needs_ecgdatakit
@pytest.mark.parametrize("kind", ENTITIES)
@pytest.mark.parametrize("name", ["muse.xml", "aecg.xml", "philips.xml", "mortara.xml"])
def test_entities_are_refused_and_nothing_is_fetched(name, kind, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("the network is asked"))
    sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)
    text = WRITTEN[name][0].decode("latin-1").replace("Müller", "&e12;")
    text = text.replace('<!DOCTYPE RestingECG SYSTEM "restecg.dtd">', "")
    head, end, body = text.rpartition("?>")
    path = write(
        tmp_path, name, f"{head}{end}<!DOCTYPE a {ENTITIES[kind]}>{body}".encode("latin-1")
    )
    start = time.perf_counter()
    assert "entity declarations are not allowed" in refusal(path)
    assert time.perf_counter() - start < 5
    assert "/etc/passwd" not in map(str, opened)


def test_a_file_is_not_read_if_it_is_too_large(tmp_path):
    for name in ("a.edf", "a.xml", "a.dcm"):
        path = write(tmp_path, name, b"0       ")
        os.truncate(path, 1 << 40)  # sparse: no disk is filled
        assert refusal(path) == "the file is larger than 64 MB; export an hour of it, or less"


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_deflated_file_that_has_no_end_is_refused(pydicom, tmp_path, monkeypatch):
    channels = [channel(pydicom, *pair) for pair in zip(CODES, LEADS, strict=True)]
    item = group(pydicom, noise(1, 1200), channels)
    syntax = "DeflatedExplicitVRLittleEndian"
    path = write_dicom(pydicom, tmp_path / "a.dcm", item, syntax=syntax)
    assert formats.read_record(path)[1].shape == (12, 1200)
    length = pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
    # one element of 4 GB of zeros, which 4 MB hold
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = struct.pack("<HH2sHI", 9, 0x1001, b"OB", 0, 0xFFFFFFF0), bytes(1 << 24)
    head, zeros = (deflate.compress(part) + deflate.flush(zlib.Z_FULL_FLUSH) for part in parts)
    body = head + zeros * 256 + deflate.flush()
    path.write_bytes(path.read_bytes()[: 144 + length] + body)
    assert path.stat().st_size < 5 << 20
    monkeypatch.setattr(hospital, "MAX_MEMORY", 256 << 20)
    before = peak_bytes()
    assert refusal(path).startswith("it cannot be read as DICOM Waveform: Failed to read")
    assert peak_bytes() - before < 300 << 20


@needs_ecgdatakit
def test_a_packed_lead_that_has_no_end_is_refused(tmp_path, monkeypatch):
    """Philips' LZW codes of 10 bits stand for up to 766 bytes each."""
    codes = [0, *(256 + min(i, 765) for i in range(400_000))]
    bits = "".join(f"{code:010b}" for code in codes)
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    lead = struct.pack("<iHh", len(packed), 0, 0) + packed
    text = philips(SAMPLES).decode().replace("'False'", "'True' compression='XLI'")
    text = text.replace(b64(SAMPLES), base64.b64encode(lead).decode())
    monkeypatch.setattr(hospital, "MAX_MEMORY", 256 << 20)
    before = peak_bytes()
    reason = refusal(write(tmp_path, "a.xml", text.encode()))
    assert reason == "it is a damaged Philips Sierra XML file: it asks for more than 1 GB"
    assert peak_bytes() - before < 300 << 20
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


@needs_ecgdatakit
def test_a_file_that_takes_for_ever_is_refused(tmp_path, monkeypatch):
    """A signature with so many blanks keeps an expression of ecgdatakit's busy for hours."""
    line = f"<mdsignatureline>Confirmed by: A{' ' * 400_000}x</mdsignatureline>"
    text = (
        philips(SAMPLES)
        .decode()
        .replace(
            "</waveforms>",
            f"</waveforms><interpretations><interpretation>{line}</interpretation></interpretations>",
        )
    )
    text = text.replace("<restingecgdata>", "<restingecgdata status='Confirmed'>")
    monkeypatch.setattr(hospital, "MAX_SECONDS", 1)
    start = time.perf_counter()
    assert "it takes longer than 1 s to read" in refusal(write(tmp_path, "a.xml", text.encode()))
    assert time.perf_counter() - start < 5


def test_bounds_end_with_their_block():
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(MemoryError), bounds.bounded(1 << 28, 60):
        np.ones(1 << 28)
    assert resource.getrlimit(resource.RLIMIT_AS) == limits
    with bounds.bounded(1 << 28, 0.01):
        pass
    time.sleep(0.03)  # no alarm is left
    assert resource.getrlimit(resource.RLIMIT_AS) == limits


def damaged(data, rng):
    """Return bytes cut off, changed, taken out or put in, most often near the front."""
    data = bytearray(data)
    front = int(rng.choice((len(data), 2000, 600)))
    at = int(rng.integers(min(front, len(data))))
    kind = rng.integers(4)
    if kind == 0:
        del data[at:]
    elif kind == 1:
        for place in rng.integers(0, min(front, len(data)), rng.integers(1, 9)):
            data[place] = rng.integers(256)
    elif kind == 2:
        del data[at : at + int(rng.integers(1, 400))]
    else:
        data[at:at] = rng.bytes(int(rng.integers(1, 200)))
    return bytes(data)


@pytest.mark.parametrize("name", [*WRITTEN, "own.dcm"])
def test_damaged_files_are_read_or_refused_in_one_line(name, pydicom, tmp_path, long):
    channels = [channel(pydicom, *pair) for pair in zip(CODES, LEADS, strict=True)]
    path = write_dicom(pydicom, tmp_path / "own.dcm", group(pydicom, SAMPLES, channels))
    whole = WRITTEN[name][0] if name in WRITTEN else path.read_bytes()
    rng = np.random.default_rng(len(name))
    for _ in range(400 if long else 40):
        write(tmp_path, name, damaged(whole, rng))
        start = time.perf_counter()
        try:
            record, signal, notes = formats.read_record(tmp_path / name)
        except ValueError as error:
            assert 10 < len(" ".join(str(error).split()))
            assert str(tmp_path) not in str(error)
        else:
            assert signal.shape[0] == 12 and not np.isinf(signal).any()
            assert 50 <= record.sample_rate <= 10_000 and all(map(str.isprintable, notes))
        assert time.perf_counter() - start < 5
