"""DICOM waveforms: the 12-lead and general ECG of a hospital archive (DICOM PS3.3, C.10.9).

Needs pydicom (requirements-dicom.txt).
"""

import math
import re
import zlib

import numpy as np

from dataset import LEADS
from ecg.io.matlab import MAX_BYTES
from ecg.io.physionet import MV_PER_UNIT
from ecg.io.record import Record, check_rate, parse_age, parse_sex

# The last number of a lead's code, in both schemes of DICOM PS3.16, CID 3001: MDC 2:61 and
# SCPECG 5.6.3-9-61 are III.
LEAD_NUMBERS = dict(
    zip((1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), LEADS, strict=True)
)  # I II III aVR aVL aVF V1-V6


def channel_lead(channel):
    """Return the lead of a channel definition, from its code or its words, or None."""
    source = channel.ChannelSourceSequence[0]
    number = re.search(r"[:-](\d+)$", str(source.get("CodeValue", "")))
    if number and int(number[1]) in LEAD_NUMBERS:
        return LEAD_NUMBERS[int(number[1])]
    words = re.findall(r"\w+", f"{source.get('CodeMeaning', '')} {channel.get('ChannelLabel', '')}")
    return next((lead for word in words for lead in LEADS if word.upper() == lead.upper()), None)


def channel_factor(channel, lead):
    """Return the factor that turns a channel's values, scaled by its sensitivity, into mV."""
    units = channel.get("ChannelSensitivityUnitsSequence")
    unit = str(units[0].CodeValue).strip().lower() if units else ""
    if unit not in MV_PER_UNIT:
        raise ValueError(f"lead {lead}: its unit {unit!r} cannot become mV")
    return MV_PER_UNIT[unit]


def read_samples(data, i):
    """Return the samples (n, channels) of a waveform group in the units of each channel.

    Samples with the group's padding value are missing (NaN).
    """
    from pydicom.waveforms import multiplex_array

    values = data.waveform_array(i)
    padding = data.WaveformSequence[i].get("WaveformPaddingValue")
    if isinstance(padding, bytes):  # of the samples' width, little-endian
        raw = multiplex_array(data, i, as_raw=True)
        mark = np.frombuffer(padding[: raw.itemsize], raw.dtype.newbyteorder("<"))
        values[raw == mark] = np.nan
    return values


def parse_dicom_age(text):
    """Return the years of an age such as 061Y; NaN if it is in months, weeks, days, or missing."""
    return parse_age(text[:-1]) if str(text).endswith("Y") else math.nan


def check_inflated(path):
    """Raise ValueError if a deflated DICOM file inflates to more than is read of any file."""
    from pydicom.filereader import _read_file_meta_info, read_preamble

    with open(path, "rb") as file:
        read_preamble(file, force=False)
        syntax = _read_file_meta_info(file).get("TransferSyntaxUID")
        if syntax is not None and syntax.is_deflated:
            inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
            while data := inflater.unconsumed_tail or file.read(1 << 16):
                size += len(inflater.decompress(data, 1 << 20))
                if size > MAX_BYTES:
                    raise ValueError("it inflates to more than 256 MB")


def read_dicom(path):
    """Read the twelve leads of a DICOM waveform object, from the first group that has them all."""
    try:
        import pydicom
    except ImportError:
        raise ValueError(
            "reading DICOM takes pydicom: python -m pip install -r requirements-dicom.txt"
        ) from None
    try:
        check_inflated(path)
        data = pydicom.dcmread(path)
    except pydicom.errors.InvalidDicomError:
        raise ValueError("it is not a DICOM file") from None
    for i, group in enumerate(data.get("WaveformSequence", ())):
        channels = list(group.ChannelDefinitionSequence)
        leads = [channel_lead(channel) for channel in channels]
        if not set(LEADS) <= set(leads):
            continue
        record = Record(
            float(group.SamplingFrequency),
            parse_dicom_age(data.get("PatientAge", "")),
            parse_sex(data.get("PatientSex", "")),
            dx=(),
            patient=str(data.get("PatientID", "")),
        )
        check_rate(record.sample_rate)
        order = [leads.index(lead) for lead in LEADS]  # the first of each
        factors = [channel_factor(channels[k], LEADS[n]) for n, k in enumerate(order)]
        return record, read_samples(data, i)[:, order].T * np.array(factors)[:, None], []
    raise ValueError("it is a DICOM object without a waveform of the twelve leads")
