"""Warnings about a record: on a drawn heart with one fault at a time, and on real recordings."""

import csv

import numpy as np
import pytest
from conftest import NEEDS_SHARED, SHARED
from scipy.signal import butter, sosfilt

from dataset import CLASSES, LEADS
from ecg.io import formats, sources
from ecg.processing import quality
from ecg.processing.detection import find_peaks
from ecg.processing.trace import Trace

# P, Q, R, S, T of a beat: (s from R, width in s, mV)
WAVES = [
    (-0.17, 0.025, 0.12),
    (-0.03, 0.008, -0.1),
    (0, 0.01, 1),
    (0.03, 0.008, -0.2),
    (0.28, 0.05, 0.25),
]
CHEST = (-0.6, -0.4, 0.4, 1.2, 1.1, 0.9)  # V1-V6 as shares of lead II


def heart(seconds=10, seed=0):
    """Draw a normal ECG (12, n) in mV at 500 Hz with a little noise, from leads I, II and V1-V6."""
    rng = np.random.default_rng(seed)
    t = np.arange(seconds * 500) / 500
    beat = sum(
        height * np.exp(-(((t - r - at) / width) ** 2) / 2)
        for r in np.arange(0.5, seconds, 0.8)
        for at, width, height in WAVES
    )
    i, ii = 0.6 * beat, beat
    limb = [i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2]
    return np.array([*limb, *(share * ii for share in CHEST)]) + rng.normal(0, 0.01, (12, len(t)))


def swap_arms(signal):
    """Return the leads (12, n) as they are with the two arm electrodes swapped (Einthoven)."""
    i, ii, iii, avr, avl, *rest = signal
    return np.array([-i, iii, ii, avl, avr, *rest])


def warnings(signal, sample_rate=500, window=30):
    cautions = quality.record_warnings(Trace(signal), sample_rate, window)
    return " | ".join(caution.text for caution in cautions)


def test_a_normal_record_has_no_warning():
    for seconds in (7, 10, 30):
        assert warnings(heart(seconds)) == ""


def test_other_rate_and_other_length_are_reported():
    assert "1000 Hz" in warnings(heart(), 1000)
    assert "only 4.0 s" in warnings(heart(4))
    assert "only 5.9 s" in warnings(heart(6)[:, :2965])
    assert "only" not in warnings(heart(6)[:, :2990])  # 5.98 s, reported as 6.0
    assert "54.0 s long; only the last 30 s" in warnings(heart(54))
    assert warnings(heart(4), window=2) == "4.0 s long; only the last 2 s are scored"


def test_only_what_the_network_sees_is_judged():
    signal = heart(40)
    signal[2, :5000] = 0
    assert "flat" not in warnings(signal, window=30)
    assert "flat or missing: III" in warnings(signal[:, :9000], window=30)


@pytest.mark.parametrize("value", [0, -80.0])
def test_flat_leads_are_named_and_not_called_noisy(value):
    signal = heart()
    signal[[2, 9], 1000:] = value  # off, or at the amplifier's limit
    assert warnings(signal) == "flat or missing: III V4"


def test_cautions_are_critical_if_the_findings_may_be_artefacts():
    signal = swap_arms(heart(54)) + 0.5
    signal[5] = 0
    cautions = quality.record_warnings(Trace(signal), 1000, 30)
    critical = [caution.text.split(":")[0] for caution in cautions if caution.critical]
    assert critical == [
        "flat or missing",
        "right and left arm electrodes may be swapped (or dextrocardia)",
    ]
    others = [caution.text for caution in cautions if not caution.critical]
    assert len(others) == 3 and "1000 Hz" in others[0] and "baseline" in others[2]


def test_a_record_without_any_signal_is_refused():
    for signal in (np.zeros((12, 5000)), heart() / 1000):
        with pytest.raises(ValueError, match="all leads are flat; .* --units-per-mv 0.001"):
            warnings(signal)


def test_seconds_in_which_no_sample_changes_are_lost_ones():
    """As where a file has lost a block of its samples; 0.9 s may be chance, 4 s are silence."""
    text = "not one sample changes from 4 to 6 s in all leads: a part of the recording is lost"
    whole = heart()
    for value in (0, whole[:, 2000:2001]):
        signal = whole.copy()
        signal[:, 2000:3000] = value
        assert quality.silence_cautions(signal) == [quality.Caution(text, critical=True)]
        signal[3] = whole[3]
        assert quality.silence_cautions(signal) == []
    whole[:, 2000:2450] = 0
    assert quality.silence_cautions(whole) == []
    whole[:, 1000:3500] = 0
    texts = [caution.text for caution in quality.silence_cautions(whole)]
    assert texts == ["no signal from 2 to 7 s in all leads"]


def test_a_baseline_off_zero_is_reported_by_lead():
    signal = heart()
    assert "baseline" not in warnings(signal + 0.2)
    signal[[1, 7]] += [[0.5], [-0.5]]
    assert "more than 0.3 mV off zero in II V2;" in warnings(signal)


@pytest.mark.parametrize(("factor", "word"), [(12, "high"), (0.1, "low")])
def test_amplitudes_of_another_unit_are_reported(factor, word):
    assert f"unusually {word}" in warnings(factor * heart())


def test_noise_and_drift_are_named_by_lead_and_cause():
    rng, signal = np.random.default_rng(1), heart()
    t = np.arange(5000) / 500
    signal[1] += rng.normal(0, 0.15, 5000)  # muscle
    signal[7] += 1.5 * np.sin(2 * np.pi * 0.4 * t)  # a patient who breathes on a loose electrode
    assert warnings(signal) == "too noisy to read: II (noise), V2 (drift or steps)"


@pytest.mark.parametrize(("height", "text"), [(0.8, ""), (1.3, "V2 (drift or steps)")])
def test_a_baseline_may_move_by_1_mv_in_a_second(height, text):
    """A sine of 0.25 Hz moves by its height in each second: from zero to a peak or back."""
    signal = heart(12)
    signal[7] += height * np.sin(2 * np.pi * 0.25 * np.arange(6000) / 500)
    assert warnings(signal) == (text and f"too noisy to read: {text}")


def test_a_short_disturbance_is_let_pass():
    signal = heart()
    signal[:, :500] += np.random.default_rng(2).normal(0, 0.5, (12, 500))
    signal[5, 1000:1500] += 3
    signal[6, :1000] = 0
    assert warnings(signal) == ""


def test_noise_in_the_band_of_the_qrs_does_not_pass_for_beats():
    noise = np.random.default_rng(3).normal(0, 1, (12, 5000))
    noise = sosfilt(butter(2, (2, 12), "band", fs=500, output="sos"), noise)
    assert "no QRS complex that repeats" in warnings(noise)


@NEEDS_SHARED
def test_noise_of_one_lead_does_not_pass_for_beats():
    # of 24 deflections many have one that looks like them, by chance; the real RR is 0.9 s
    signal = read_challenge_2011(SHARED / "cinc2011_quality" / "2749655.txt")
    signal[[0, *range(2, 12)]] = 0
    assert "no QRS complex that repeats" in warnings(signal)
    for path in sources.find_sources(SHARED / "cpsc2018_feb2020")[:20]:  # single leads of ECGs
        signal = formats.read_record(path)[1]
        signal[[0, *range(2, 12)]] = 0
        assert "no QRS complex that repeats" not in warnings(signal)


def test_beats_of_two_forms_repeat():
    """Every other beat wide and upside down, as in bigeminy."""
    signal, t = heart(), np.arange(5000) / 500
    for r in np.arange(0.5, 10, 1.6):
        near = np.abs(t - r) < 0.1
        signal[:, near] = 0
        signal += np.outer(-1.5 * np.sign(signal[:, 700]), np.exp(-(((t - r) / 0.04) ** 2) / 2))
    assert quality.has_beats(signal, find_peaks(1000 * signal))


def test_swapped_arm_electrodes_are_suspected():
    assert "right and left arm" in warnings(swap_arms(heart()))
    right_axis = heart()
    right_axis[0] = heart()[0] * np.where(heart(seed=5)[0] > 0.3, -1, 1)  # QRS down, P and T up
    assert "arm" not in warnings(right_axis)


def read_challenge_2011(path):
    """Read a text file of set-a: sample number, twelve leads, 200 units per mV: (12, n) mV."""
    return np.loadtxt(path, delimiter=",")[:, 1:13].T / 200


def unreadable(signal):
    try:
        text = warnings(signal)
    except ValueError:  # all leads are flat
        return True
    return any(word in text for word in ("flat", "noisy"))


@NEEDS_SHARED
def test_unacceptable_recordings_are_told_from_acceptable_ones():
    folder = SHARED / "cinc2011_quality"
    found = {"acceptable": [], "unacceptable": []}
    with open(folder / "quality.csv", newline="") as file:
        for row in csv.DictReader(file):
            signal = read_challenge_2011(folder / f"{row['record']}.txt")
            found[row["quality"]].append(unreadable(signal))
    assert [len(votes) for votes in found.values()] == [20, 20]
    assert sum(found["unacceptable"]) >= 16
    assert sum(found["acceptable"]) <= 2


@NEEDS_SHARED
@pytest.mark.parametrize("folder", ["cpsc2018_feb2020", "ludb"])
def test_clinical_recordings_are_rarely_warned_of_and_their_arms_are_right(folder):
    noisy, arms, swapped = [], [], []
    for path in sources.find_sources(SHARED / folder)[::2]:
        signal = formats.read_record(path)[1]
        noisy.append(unreadable(signal))
        arms.append(quality.arms_reversed(signal, find_peaks(1000 * signal)))
        signal = swap_arms(signal)
        swapped.append(quality.arms_reversed(signal, find_peaks(1000 * signal)))
    assert len(noisy) == 50
    assert sum(noisy) <= 2 and sum(arms) <= 1
    # the rule wants P, QRS and T: it misses AF, axes near 90 degrees and flat P waves
    assert sum(swapped) >= 15


@NEEDS_SHARED
def test_leads_that_are_missing_in_chapman_are_named():
    signal = formats.read_record(SHARED / "chapman" / "JS11438.hea")[1]
    assert "flat or missing: " + " ".join(LEADS[6:]) in warnings(signal)


def test_limb_leads_that_do_not_add_up_are_reported():
    signal, text = heart(), "do not add up"
    assert text not in warnings(signal) and text not in warnings(swap_arms(signal))
    for order in (range(11, -1, -1), (1, 0, *range(2, 12)), (0, 1, 2, 4, 5, 3)):
        changed = signal.copy()
        changed[: len(order)] = signal[list(order)]
        assert text in warnings(changed), order
    signal[1] *= -1  # a negative gain
    assert text in warnings(signal)
    signal[1] = 0  # a lead that is off says nothing
    assert text not in warnings(signal)


@NEEDS_SHARED
@pytest.mark.parametrize("folder", ["cpsc2018_feb2020", "ptbxl", "georgia", "chapman"])
def test_limb_leads_of_recordings_add_up_and_not_in_reversed_order(folder):
    for path in sources.find_sources(SHARED / folder):
        signal = formats.read_record(path)[1]
        assert quality.limb_leads_agree(signal)
        assert not quality.limb_leads_agree(signal[::-1]) or not np.ptp(signal[6:], axis=1).all()


def test_a_z_scored_record_is_known_by_its_leads_one_in_mv_never_is():
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 0.3, (2, 5000))
    # the limb leads nearest to equal: I and II of one size, and III = II - I too
    limb = np.array([one, one / 2 + two * np.sqrt(3) / 2])
    six = [*limb, limb[1] - limb[0], -limb.sum(0) / 2, limb[0] - limb[1] / 2, limb[1] - limb[0] / 2]
    signal = np.array([*six, *rng.normal(0, 0.3, (6, 5000))])
    assert quality.standard_deviation(signal) is None
    assert "standard deviation" not in warnings(heart())
    text = warnings(heart() / heart().std(1, keepdims=True))
    assert "divided by its own standard deviation" in text and "add up" not in text
    scored = 0.2 * signal / signal.std(1, keepdims=True)
    scored[7] = 0  # a flat lead stays one
    assert quality.standard_deviation(scored.round(3)) == pytest.approx(0.2, rel=0.01)


@NEEDS_SHARED
def test_z_scored_sets_are_told_from_those_in_mv():
    for folder in ("ptbxl_zscored", "ptbxl", "cpsc2018_feb2020", "ludb"):
        for path in sorted((SHARED / folder).rglob("*.hea"))[:8]:
            signal = np.nan_to_num(formats.read_record(path)[1])
            scored = quality.standard_deviation(signal) is not None
            assert scored == (folder == "ptbxl_zscored"), path


@pytest.mark.parametrize(
    ("flat", "leads", "blocked"),
    [
        ("", LEADS, ""),
        ("V1", LEADS, ""),  # V2 shows a block, II the P wave
        ("V6", LEADS, ""),
        ("V1 V2", LEADS, "LBBB RBBB"),
        ("V1 V2 V3", LEADS, "LBBB RBBB STD STE"),  # one lead of the anterior wall is left
        ("I V6", LEADS, "RBBB"),  # V5 shows a left block
        ("I V5 V6", LEADS, "LBBB RBBB STD STE"),
        ("II V1", LEADS, "SNR AF IAVB PAC"),
        ("II III", LEADS, "STD STE"),  # aVF alone is left of the inferior wall
        ("V1 V2 V3 V4 V5 V6", LEADS, "LBBB RBBB STD STE"),
        (" ".join(LEADS[:11]), LEADS, "SNR AF IAVB LBBB RBBB PAC STD STE"),
        # a model of one lead answers for all classes, as long as it sees something
        ("V1 V2 II", ["I"], ""),
        ("I", ["I"], "SNR AF IAVB LBBB RBBB PAC PVC STD STE"),
        ("V1", ["I", "V1"], "SNR AF IAVB LBBB RBBB PAC STD STE"),
    ],
)
def test_findings_that_rest_on_lost_leads_are_left_open(flat, leads, blocked):
    found = quality.not_assessable(flat.split(), leads)
    assert set(found) == set(blocked.split())
    for why in found.values():
        assert why.startswith("flat or missing: ")
        assert set(why.removeprefix("flat or missing: ").split()) <= set(flat.split())


def test_every_class_says_what_it_is_seen_in():
    assert tuple(quality.SEEN_IN) == CLASSES
    assert {lead for g in quality.SEEN_IN.values() for _, leads in g for lead in leads} <= {*LEADS}


@NEEDS_SHARED
def test_two_augmented_leads_exchanged_are_noticed_and_no_clinical_record_is(tmp_path):
    n = 0
    for folder in ("cpsc2018_feb2020", "georgia", "chapman", "ptbxl", "cpsc_extra", "cpsc2018"):
        for path in sources.find_sources(SHARED / folder):
            signal = np.nan_to_num(formats.read_record(path)[1])
            assert quality.limb_leads_agree(signal), path
            live = (np.ptp(signal[:6], axis=1) > 0).all()
            for a, b in ((3, 4), (3, 5), (4, 5)):
                order = np.arange(12)
                order[[a, b]] = b, a
                assert not live or not quality.limb_leads_agree(signal[order]), (path, a, b)
            n += live
    assert n > 140


def test_leads_that_the_model_does_not_read_are_not_reported_as_flat():
    signal = np.zeros((12, 5000))
    signal[0] = heart()[0]
    texts = [each.text for each in quality.record_warnings(Trace(signal), 500, None, leads=("I",))]
    assert not any(text.startswith(quality.FLAT) for text in texts)
    with pytest.raises(ValueError, match="all leads are flat"):
        quality.record_warnings(Trace(signal), 500, None, leads=("V1", "V2"))


def test_of_less_than_a_second_no_lead_is_called_flat_or_noisy():
    signal = np.zeros((12, 300))
    assert quality.flat_leads(signal) == [] and quality.noisy_leads(signal) == {}
