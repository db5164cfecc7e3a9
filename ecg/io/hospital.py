"""Files of electrocardiographs and hospital archives: XML, DICOM, SCP-ECG, EDF and others.

Needs ecgdatakit, which nothing else does: requirements-hospital.txt. It knows a format by its
content, asks nothing of the network, runs nothing from the file, and refuses entities in XML.
"""

import math
import re
import warnings
from pathlib import Path

import numpy as np

from dataset import LEADS
from ecg.io.bounds import bounded, raise_if_of_machine
from ecg.io.physionet import MV_PER_UNIT
from ecg.io.record import Record, check_length, check_rate, parse_age, parse_sex

MAX_BYTES, MAX_MEMORY, MAX_SECONDS = 64 << 20, 1 << 30, 20  # an hour of 12 leads at 500 Hz: 43 MB
MAX_NOTES = 3  # of a file; ecgdatakit warns of each lead with a wrong checksum
SUFFIXES = (".dcm", ".dicom", ".xml", ".scp", ".edf", ".ecg", ".ishne", ".mwf", ".mfer")
# Those whose samples were compared with their source (tests/io/test_hospital.py). ecgdatakit also
# reads EDAN and XLE files, whose layout, rate and leads it had to guess.
FORMATS = (
    "GE MUSE XML",
    "HL7 aECG",
    "Philips Sierra XML",
    "Mortara ELI (EL250/ELI280)",
    "DICOM Waveform",
    "SCP-ECG",
    "EDF/EDF+",
    "ISHNE Holter",
    "MFER",
    "AliveCor Kardia JSON",
)
INSTALL = "python -m pip install -r requirements-hospital.txt"
EXPORT = "export the recording itself, for example as XML, DICOM, SCP-ECG or EDF"
PICTURE = f"a picture holds no samples; {EXPORT}"
REFUSED = {  # opening bytes of a file -> what to do instead
    b"\xff\xd8\xff": PICTURE,
    b"\x89PNG": PICTURE,
    b"GIF8": PICTURE,
    b"BM": PICTURE,
    b"II*\0": PICTURE,
    b"MM\0*": PICTURE,
    b"%PDF": f"a PDF holds a picture of the ECG, not its samples; {EXPORT}",
    b"\xffBIOSEMI": "BDF is not read; EDFbrowser makes EDF of it (Tools, Convert BDF to EDF)",
}
SEE_ALSO = re.compile(r"\W+(see|record start times are in) raw_metadata\['\w+'\]\)?")
FAULT = -32768  # what ISHNE proposes for a sample that is missing


def find_format(path):
    """Return ecgdatakit's description of a file's format; raises ValueError if it is not read."""
    with open(path, "rb") as file:
        opening = file.read(16)
    if not opening:
        raise ValueError("the file is empty; copy it again")
    if opening[4:8] == b"ftyp":  # HEIC, as telephones take them
        raise ValueError(PICTURE)
    for mark, reason in REFUSED.items():
        if opening.startswith(mark):
            raise ValueError(reason)
    try:
        from ecgdatakit import FileParser
    except ImportError:
        raise ValueError(f"hospital files need ecgdatakit: {INSTALL}") from None
    found = FileParser.detect_format(path)
    if found is None or found["name"] not in FORMATS:
        raise ValueError(f"its content is none of the recording formats that are read; {EXPORT}")
    return found


def best_group_first(parser):
    """Return a parser of DICOM that reads the waveform group with the most leads, then samples.

    ecgdatakit reads the first, which may be a rhythm strip of three leads.
    """

    class BestGroupFirst(parser):
        def _parse_dataset(self, data, path):
            def size(group):
                return (
                    min(len(LEADS), int(group.get("NumberOfWaveformChannels") or 0)),
                    int(group.get("NumberOfWaveformSamples") or 0),
                )

            if data.get("WaveformSequence"):
                data.WaveformSequence = sorted(data.WaveformSequence, key=size, reverse=True)
            return super()._parse_dataset(data, path)

    return BestGroupFirst


def parse(path):
    """Return ecgdatakit's record of a file, as stored, and its warnings; raises ValueError."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError("the file is larger than 64 MB; export an hour of it, or less")
    found = find_format(path)
    from ecgdatakit import MissingElementError

    name, parser = found["name"], found["parser_class"]
    if name == "DICOM Waveform":
        parser = best_group_first(parser)
    try:
        with warnings.catch_warnings(record=True) as caught, bounded(MAX_MEMORY, MAX_SECONDS):
            warnings.simplefilter("always")
            source = parser().parse(path)
    except ImportError:
        raise ValueError(f"DICOM files need pydicom: {INSTALL}") from None
    except MemoryError:
        raise ValueError(f"it is a damaged {name} file: it asks for more than 1 GB") from None
    except MissingElementError as error:
        raise ValueError(f"this {name} file holds no waveform ({error}); {EXPORT}") from None
    except Exception as error:  # a damaged file makes the libraries raise almost anything
        raise_if_of_machine(error)
        text = str(error).replace(str(path), path.name).rstrip(": ") or type(error).__name__
        raise ValueError(f"it cannot be read as {name}: {text}") from None
    own = [w for w in caught if "pydicom" not in w.filename]  # on values that are not read here
    notes = [SEE_ALSO.sub("", " ".join(str(w.message).split()))[:200] for w in own]
    more = [f"and {len(notes) - MAX_NOTES} more such notes"] if len(notes) > MAX_NOTES else []
    return source, notes[:MAX_NOTES] + more


def to_mv(lead, fault):
    """Return a lead's stored samples in mV; `fault` is the number of a missing one."""
    if lead.resolution_unit.lower() not in MV_PER_UNIT:
        unit = lead.resolution_unit or lead.adc_resolution_unit
        raise ValueError(f"lead {lead.label}: a gain in {unit[:20]!r} cannot become mV")
    factor = MV_PER_UNIT[lead.resolution_unit.lower()]
    gain, offset = lead.resolution * factor, lead.offset * factor
    if not (math.isfinite(gain) and math.isfinite(offset) and gain):
        raise ValueError(f"lead {lead.label}: its gain {lead.resolution:g} is no gain")
    if np.isinf(lead.samples).any():
        raise ValueError(f"lead {lead.label} holds infinite values")
    return np.where(lead.samples == fault, np.nan, lead.samples) * gain + offset


def find_rates(source, leads):
    """Return the sample rates of leads in Hz; `sampling_rate` of a lead is a rounded one."""
    meta, rates = source.raw_metadata, {lead.label: lead.sampling_rate for lead in source.leads}
    rates |= meta.get("exact_sampling_rates", {})  # of EDF
    rates |= dict(zip(rates, meta.get("sampling_rates", ()), strict=False))  # of MFER
    for group in meta.get("multiplex_groups", ()):  # of DICOM
        if (group["channels"], group["samples"]) == (len(rates), len(source.leads[0].samples)):
            rates = dict.fromkeys(rates, group["sampling_frequency"])
            break
    return {round(float(rates[lead.label]), 6) for lead in leads}


def align(leads, fault, sample_rate):
    """Return lead -> samples in mV, NaN where a lead does not reach; all begin together.

    The leads of an SCP-ECG record may begin and end at samples of their own.
    """
    starts = [int(lead.annotations.get("start_sample", 1)) - 1 for lead in leads]
    ends = [start + len(lead.samples) for start, lead in zip(starts, leads, strict=True)]
    n = max(ends) - min(starts)
    check_length(n, sample_rate)
    rows = {}
    for lead, start in zip(leads, starts, strict=True):
        row = np.full(n, np.nan)
        row[start - min(starts) :][: len(lead.samples)] = to_mv(lead, fault)
        rows[lead.label] = row
    return rows


def describe_person(patient):
    """Return name and date of birth as one text, empty if the file holds neither."""
    born = patient.birth_date.strftime("born %Y-%m-%d") if patient.birth_date else ""
    return ", ".join(filter(None, (patient.last_name, patient.first_name, born)))


def read_hospital(path):
    """Read the twelve leads of a hospital's file; what ecgdatakit warns of becomes notes."""
    source, notes = parse(Path(path))
    leads = [lead for lead in source.leads if lead.label in LEADS]
    for lead in source.leads:
        name, _, number = lead.label.partition("_")  # II_2 for a second II
        if name in LEADS and number:
            raise ValueError(f"lead {name} is there twice")
    if not leads:
        raise ValueError("it holds none of the twelve leads")
    rate, *others = find_rates(source, leads)
    if others:
        raise ValueError("its leads have different sample rates")
    check_rate(rate)
    fault = FAULT if source.source_format == "ishne_holter" else np.nan
    rows = align(leads, fault, rate)
    when, meta, patient = source.recording.date, source.raw_metadata, source.patient
    unknown = set(patient.patient_id.split()) == {"X"}  # as EDF writes it
    record = Record(
        sample_rate=rate,
        age=parse_age(patient.age),
        sex=parse_sex(patient.sex),
        dx=(),
        patient="" if unknown else patient.patient_id,
        recorded=when.isoformat(" ", "seconds") if when else meta.get("acquisition_date", ""),
        identity=describe_person(patient),
    )
    return record, rows, notes
