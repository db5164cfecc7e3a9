"""The model of the heart: its criteria measured on written signals, not taken from the model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from conftest import N_MADE
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks
from sklearn.metrics import roc_auc_score

from dataset import CLASSES, LEADS
from ecg import synthetic

ROOT = Path(__file__).parents[2]
FS = 500


@pytest.fixture(scope="module")
def evidence(made):
    return pd.read_csv(made / "evidence.csv")


@pytest.fixture(scope="module")
def records(made, evidence):
    """Read every record as a dictionary: signal (12, T) mV, classes, R (samples)."""
    classes = evidence.groupby("patient_id")["class"].agg(set)
    read = {}
    for path in sorted(made.glob("*.hea")):
        signal, fields = wfdb.rdsamp(str(path.with_suffix("")))
        assert tuple(fields["sig_name"]) == LEADS
        name = path.stem
        read[name] = {"signal": signal.T, "classes": classes[name], "fields": fields}
        read[name]["r"] = find_r(signal.T)
    return read


def speed(signal):
    """How fast the eight independent leads change, root of the sum of squares, in mV/ms."""
    eight = signal[[0, 1, 6, 7, 8, 9, 10, 11]]
    smooth = uniform_filter1d(eight, 5, axis=1, mode="nearest")
    return np.sqrt((np.gradient(smooth, axis=1) ** 2).sum(0)) * FS / 1000


def movement(signal):
    """How much the leads move within about 120 ms."""
    return np.convolve(speed(signal), np.hanning(61), "same")


def find_r(signal):
    """Return the middles of the QRS complexes: where the leads move most within 120 ms."""
    moved = movement(signal)
    peaks, _ = find_peaks(moved, height=0.34 * np.quantile(moved, 0.97), distance=int(0.38 * FS))
    return peaks[(peaks > 50) & (peaks < len(moved) - 50)]  # whole complexes only


def average_beat(record, before=-500, after=500, beats=None):
    """Median over beats of all leads from `before` to `after` ms around R: (12, 500)."""
    signal, offsets = record["signal"], np.arange(before * FS // 1000, after * FS // 1000)
    beats = record["r"] if beats is None else beats
    whole = [r for r in beats if 0 <= r + offsets[0] and r + offsets[-1] < signal.shape[1]]
    cut = np.stack([signal[:, r + offsets] for r in whole])
    # each beat against its own level 92 to 84 ms before R, or the wander would blur the median
    level = cut[..., (offsets >= -46) & (offsets < -42)].mean(-1, keepdims=True)
    return np.median(cut - level, axis=0)


def qrs_bounds(beat, r=250):
    """First and last sample of QRS: faster than 8 % of the fastest, with gaps under 18 ms."""
    trace = speed(beat)
    fast = np.flatnonzero(trace > 0.08 * trace[r - 60 : r + 61].max())
    groups = np.split(fast, np.flatnonzero(np.diff(fast) > 8) + 1)
    group = min(groups, key=lambda group: np.abs(group - r).min())
    return group[0], group[-1]


def of(evidence, name):
    """Rows of one class, with a list of row numbers of their leads."""
    rows = evidence[evidence["class"] == name]
    leads = rows["leads"].str.replace("all", ";".join(LEADS)).str.split(";")
    return rows.assign(rows=[[LEADS.index(lead) for lead in names] for names in leads])


def only(records, *names):
    """Records with no class outside `names`."""
    return [record for record in records.values() if record["classes"] <= set(names)]


def test_limb_leads_obey_einthoven_and_goldberger(records):
    for record in records.values():
        i, ii, iii, avr, avl, avf = record["signal"][:6] * 1000
        np.testing.assert_allclose(ii, i + iii, atol=1e-6)
        np.testing.assert_allclose(avr, -(i + ii) / 2, atol=0.51)
        np.testing.assert_allclose(avl, (i - iii) / 2, atol=0.51)
        np.testing.assert_allclose(avf, (ii + iii) / 2, atol=0.51)
        assert np.abs(avr + avl + avf).max() < 1.51


# --- evidence and mix


def test_evidence_covers_every_class_of_every_record_and_lies_inside(made, evidence, records):
    assert list(evidence.columns) == ["patient_id", "class", "start", "stop", "leads"]
    assert (evidence["start"] >= 0).all() and (evidence["stop"] <= 5000).all()
    assert (evidence["stop"] > evidence["start"]).all()
    order = evidence.assign(order=evidence["class"].map(CLASSES.index))
    assert order.sort_values(
        ["patient_id", "order", "start"], kind="stable"
    ).index.is_monotonic_increasing
    codes = {code: name for name, code in synthetic.SNOMED.items()}
    for record in records.values():
        (dx,) = [line for line in record["fields"]["comments"] if line.startswith("Dx: ")]
        assert {codes[code] for code in dx.removeprefix("Dx: ").split(",")} == record["classes"]
    for leads in evidence["leads"].unique():
        names = leads.split(";")
        assert leads == "all" or names == [lead for lead in LEADS if lead in names]


def test_every_class_is_common_and_pairs_occur(records):
    counts = pd.Series([name for record in records.values() for name in record["classes"]])
    assert set(counts) == set(CLASSES)
    assert counts.value_counts().between(0.14 * N_MADE, 0.18 * N_MADE).all()
    pairs = {frozenset(record["classes"]) for record in records.values()}
    assert {
        frozenset(("AF", "RBBB")),
        frozenset(("IAVB", "LBBB")),
        frozenset(("RBBB", "PVC")),
    } <= pairs
    assert all(
        len(record["classes"]) == 1 for record in records.values() if "SNR" in record["classes"]
    )


def test_nothing_but_the_criterion_tells_a_class(records):
    # the usual rate: early beats and their pauses, the criterion of PAC and PVC, move the mean
    rows = []
    for record in records.values():
        signal, comments = record["signal"], record["fields"]["comments"]
        i = signal[0]
        times = np.arange(len(i)) / FS
        row = {
            "rate": 60 * FS / np.median(np.diff(record["r"])),
            "noise": np.median(np.abs(np.diff(i, 3))),
            "hum": abs(np.mean(signal[11] * np.exp(-2j * np.pi * 50 * times))),
            "age": int(comments[0].removeprefix("Age: ")),
            "male": comments[1] == "Sex: Male",
        }
        rows.append(row | {name: name in record["classes"] for name in CLASSES})
    table = pd.DataFrame(rows)
    assert table["rate"].between(48, 105).all()
    for name in CLASSES:
        for feature in ("rate", "noise", "hum", "age", "male"):
            # about 40 against 200 records: one standard error is 0.05
            assert abs(roc_auc_score(table[name], table[feature]) - 0.5) < 0.16, (name, feature)


# --- criteria


def rr_variation(record):
    rr = np.diff(record["r"])
    return rr.std() / rr.mean()


def test_af_is_irregular_without_p_and_with_fibrillatory_waves(records):
    af, sinus = only(records, "AF"), only(records, "SNR", "IAVB", "STD", "STE", "RBBB", "LBBB")
    assert min(map(rr_variation, af)) > 0.12 > max(map(rr_variation, sinus))

    def p_height(record):
        before = average_beat(record)[1, 120:215]  # II, 260 to 70 ms before R
        return before.max() - np.median(before)

    normal = only(records, "SNR")
    assert np.mean([p_height(r) for r in af]) < 0.5 * np.mean([p_height(r) for r in normal])
    assert min(p_height(record) for record in normal) > 0.05

    def quiet_power(record):  # of V1, 4-9 Hz, in the 320 ms that end 240 ms before a QRS
        v1, power = record["signal"][6], []
        for before, r in zip(record["r"], record["r"][1:], strict=False):
            part = v1[r - 280 : r - 120] if r - before > 480 else v1[:0]
            if len(part):
                spectrum = np.abs(np.fft.rfft((part - part.mean()) * np.hanning(160))) ** 2
                power.append(spectrum[1:4].sum())
        return np.median(power) if power else np.nan

    assert np.nanmedian([quiet_power(r) for r in af]) > 5 * np.nanmedian(
        [quiet_power(r) for r in normal]
    )


def pr_interval(record):
    """From the foot of P in II (a tenth of its height) to the first fast change of QRS, in ms."""
    beat = average_beat(record)
    onset = qrs_bounds(beat)[0]
    ii = uniform_filter1d(beat[1], 5)[onset - 190 : onset - 8]
    base = np.quantile(ii[90:], 0.3)
    peak = 20 + ii[20:].argmax()
    low = np.flatnonzero(ii[:peak] - base < 0.1 * (ii[peak] - base))
    return 2 * (len(ii) + 8 - low[-1])


def test_pr_is_above_200_ms_in_iavb_alone(records, evidence):
    assert all(110 < pr_interval(record) < 190 for record in only(records, "SNR"))
    iavb = {k: r for k, r in records.items() if r["classes"] == {"IAVB"}}
    measured = {name: pr_interval(record) for name, record in iavb.items()}
    assert min(measured.values()) > 220
    rows = of(evidence, "IAVB")
    told = 2 * (rows["stop"] - rows["start"]).groupby(rows["patient_id"]).median()
    assert all(abs(measured[name] - told[name]) <= 24 for name in measured)


def test_qrs_is_wide_in_bundle_branch_block_alone(records, evidence):
    rows = of(evidence, "LBBB"), of(evidence, "RBBB")
    widths = {k: 2 * np.ptp(qrs_bounds(average_beat(r))) + 2 for k, r in records.items()}
    told = 2 * pd.concat([(r["stop"] - r["start"]).groupby(r["patient_id"]).median() for r in rows])
    for name, width in widths.items():
        if name in told:
            assert width >= 120 and told[name] >= 120 and abs(width - told[name]) <= 24
        else:
            assert 70 <= width < 112


def test_v1_v6_and_i_tell_the_bundle_branch_blocks_apart(records):
    for record in only(records, "RBBB"):
        beat = average_beat(record)
        (start, stop), base = qrs_bounds(beat), beat[:, 160:185].mean(1)
        i, v1, v6 = (beat[[0, 6, 11]] - base[[0, 6, 11], None])[:, start : stop + 1]
        dip = v1.argmin()
        r, late = v1[:dip].max(), v1[dip:].max()
        assert 0.05 < r < late and v1.min() < -0.2  # rsR'
        assert 2 * v1.argmax() > 50  # ms to the peak of R'
        for lead in (i, v6):
            assert 2 * (lead[lead.argmax() :] < -0.05).sum() > 40  # S broader than 40 ms
    for record in only(records, "LBBB"):
        beat = average_beat(record)
        (start, stop), base = qrs_bounds(beat), beat[:, 160:185].mean(1)
        beat -= base[:, None]
        qrs, t_wave = beat[:, start : stop + 1], beat[:, stop + 60 : stop + 150]
        assert qrs[[0, 4, 10, 11], :30].min() > -0.05  # no q in I, aVL, V5, V6
        for lead in (0, 10, 11):  # a broad R; that of aVL is flat where the axis is steep
            assert 2 * (qrs[lead] > 0.5 * qrs[lead].max()).sum() > 60
        assert qrs[6].max() < 0.2 and qrs[6].min() < -0.5  # rS or QS in V1
        assert t_wave[11].min() < -0.1 and t_wave[6].max() > 0.1  # opposed to QRS


def st_shift(record):
    """J + 54 to 66 ms against the end of the PR segment, mV per lead, on the average beat."""
    beat = average_beat(record)
    start, stop = qrs_bounds(beat)
    return beat[:, stop + 27 : stop + 34].mean(1) - np.median(
        beat[:, start - 12 : start - 4], axis=1
    )


@pytest.mark.parametrize("name, sign", [("STD", -1), ("STE", 1)])
def test_st_is_shifted_by_a_tenth_of_a_millivolt_in_the_evidence_leads(
    name, sign, records, evidence
):
    for patient_id, rows in of(evidence, name).groupby("patient_id"):
        leads = rows["rows"].iloc[0]
        shift = sign * st_shift(records[patient_id])
        assert len(leads) >= 3
        # the average over the segment is a little off the sample at J + 60 ms
        assert shift[leads].min() > 0.07 and np.sort(shift[leads])[-3] > 0.1
        aside = [i for i in range(12) if i not in leads]
        assert shift[aside].max() < 0.13
        lengths = rows["stop"] - rows["start"]
        assert lengths.between(59, 61).all()


def test_st_is_level_in_the_other_classes(records):
    # not AF, whose fibrillatory waves ride on it, nor LBBB, whose own ST shift is expected
    for record in only(records, "SNR", "IAVB", "RBBB", "PAC", "PVC"):
        assert np.abs(st_shift(record)).max() < 0.1


def early_beats(evidence, records, name, companions):
    """Record, R before, R of the early beat, R after and usual RR, where all are in the record."""
    for row in of(evidence, name).itertuples():
        record = records[row.patient_id]
        # a slow PVC may lie under the threshold for R: look where the evidence says it is
        r = row.start + int(movement(record["signal"])[row.start : row.stop].argmax())
        before, after = record["r"][record["r"] < r - 100], record["r"][record["r"] > r + 100]
        if record["classes"] <= {name, *companions} and len(before) and len(after):
            yield row, record, before[-1], r, after[0], np.median(np.diff(record["r"]))


def test_pvc_is_early_wide_without_p_with_opposed_t_and_a_full_pause(records, evidence):
    count = 0
    for row, record, before, r, after, rr in early_beats(evidence, records, "PVC", ["STD", "STE"]):
        assert r - before < 0.85 * rr
        assert abs((after - before) / (2 * rr) - 1) < 0.08
        signal = record["signal"]
        fast = speed(signal)[row.start - 10 : row.start + 110]
        assert 2 * np.ptp(np.flatnonzero(fast > 0.15 * fast.max())) >= 120
        base = np.median(signal[:, row.start - 12 : row.start - 2], axis=1)[:, None]
        qrs = signal[:, row.start : row.start + 80] - base
        t_wave = signal[:, row.stop - 75 : row.stop] - base
        lead = np.abs(qrs).max(1).argmax()
        peak, opposite = (part[lead][np.abs(part[lead]).argmax()] for part in (qrs, t_wave))
        assert abs(peak) > 0.7 and peak * opposite < 0
        gap = uniform_filter1d(signal[1], 5)[row.start - 20 : row.start]
        assert np.ptp(gap) < 0.08  # level right before QRS, where PR of a sinus beat holds P
        count += 1
    assert count > 10


def test_pac_is_early_narrow_with_another_p_and_no_full_pause(records, evidence):
    polarity = []
    for row, record, before, r, after, rr in early_beats(evidence, records, "PAC", []):
        beat = average_beat(record, beats=[r], after=300)
        onset, end = qrs_bounds(beat)
        assert r - before < 0.85 * rr
        assert (after - before) / (2 * rr) < 0.95
        assert 2 * (end - onset) < 112
        # height of P against its surroundings in II: upright in sinus beats, inverted here
        heights = []
        for average in (beat, average_beat(record)):
            p = average[1, 250 - (r - row.start) : 250 - (r - row.start) + 52]
            heights.append(p[10:42].mean() - np.interp(0.5, [0, 1], [p[:4].mean(), p[-4:].mean()]))
        polarity.append(np.sign(heights))
    early, usual = np.array(polarity).T
    assert len(early) > 10 and (early < 0).mean() > 0.85 and (usual > 0).mean() > 0.95
