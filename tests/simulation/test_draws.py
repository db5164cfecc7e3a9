"""What is drawn, before it is a signal: ST of patients, old infarcts, failing electrodes."""

import numpy as np
import pytest

from dataset import LEADS
from ecg.simulation import leads
from ecg.simulation.heart import draw_heart
from ecg.simulation.leads import eight_leads, twelve_leads
from ecg.simulation.waves import Waves

PAIRS = [
    [LEADS.index(lead) for lead in pair.split("-")]
    for pair in "aVL-I II-aVF aVF-III V1-V2 V2-V3 V3-V4 V4-V5 V5-V6 I-V6".split()
]
FRONT = [LEADS.index("V2"), LEADS.index("V3")]


def drawn(classes, n, seed=31, **person):
    """Hearts of n patients."""
    return [draw_heart(np.random.default_rng([seed, i]), classes, 10, **person) for i in range(n)]


def heights(heart):
    """ST of the usual beat in the twelve leads, mV, at J + 20 and at J + 60 ms."""
    at_60 = twelve_leads(heart.patient.leads @ heart.forms[0].st)
    return (1 - 0.4 * heart.forms[0].slope) * at_60, at_60


def depth(heart):
    """Depression, mV, that two neighbouring leads reach at both times."""
    smaller = -np.maximum(*heights(heart))
    return max(smaller[pair].min() for pair in PAIRS)


@pytest.mark.parametrize("finding", ["AF", "IAVB", "PAC", "PVC"])
def test_beside_another_finding_only_a_clear_depression_has_the_label(finding):
    normal = [depth(heart) for heart in drawn(["SNR"], 60)]
    alone = [depth(heart) for heart in drawn(["STD"], 60)]
    without = np.array([depth(heart) for heart in drawn([finding], 60)])
    beside = [depth(heart) for heart in drawn([finding, "STD"], 60)]
    assert max(normal) < 0.045 <= min(alone) and max(without) < 0.1 <= min(beside)
    assert min(alone) < 0.055 and 0.1 < (without > 0.045).mean() < 0.4


@pytest.mark.parametrize(
    "sex, age, median, off",
    [("Male", 25, 0.24, 0.05), ("Male", 42, 0.18, 0.03), ("Male", 65, 0.14, 0.03)]
    + [("Female", 55, 0.10, 0.02)],
)
def test_normal_st_in_v2_or_v3_is_nearly_as_high_as_in_healthy_people(sex, age, median, off):
    # medians of the 300 healthy people of PTB-XL: 17, 61 and 78 men, 144 women; the draws are a
    # little lower, as one in seven has hardly any elevation
    front = [heights(heart)[1][FRONT].max() for heart in drawn(["SNR"], 150, sex=sex, age=age)]
    assert np.median(front) == pytest.approx(median, abs=off)


@pytest.mark.parametrize("sex", ["Male", "Female", "Unknown"])
@pytest.mark.parametrize("age", [18, 39, 40, 92])
def test_normal_st_never_reaches_the_limits_of_elevation_at_j(sex, age):
    limits = np.full(12, 0.1)
    limits[FRONT] = 0.15 if sex == "Female" else 0.25 if age < 40 else 0.2
    for heart in drawn(["SNR"], 60, sex=sex, age=age):
        at_20 = heights(heart)[0] - limits
        assert all(at_20[pair].min() < 0 for pair in PAIRS)


def test_three_in_ten_elevations_have_an_inverted_t():
    inverted = []
    for heart in drawn(["STE"], 300):
        highest = heights(heart)[1].argmax()
        inverted.append(twelve_leads(heart.patient.leads @ heart.forms[0].t)[highest] < -0.02)
    assert 0.2 < np.mean(inverted) < 0.45


@pytest.mark.parametrize("scar, seen", [((0.4, 0.1, -0.8), FRONT), ((-0.1, 0.8, 0.1), [2, 5])])
def test_an_old_infarct_takes_the_first_part_of_qrs_from_its_leads(scar, seen):
    def first_part(variant, classes):
        means = []
        for heart in drawn(classes, 60, variant=variant, scar=np.array(scar), turn=0.0, tilt=0.0):
            form = heart.forms[0]
            course = Waves(*form.time.T, form.vector).at(np.linspace(0, 0.5, 21))
            means.append(twelve_leads(heart.patient.leads @ course.T)[seen].mean())
        return np.array(means)

    lower = first_part("infarct", ["SNR"]) - first_part("", ["SNR"])
    assert np.mean(lower < 0) > 0.9 and np.median(lower) < -0.1
    # LBBB hides it
    np.testing.assert_array_equal(first_part("infarct", ["LBBB"]), first_part("", ["LBBB"]))


def test_one_or_two_electrodes_fail_in_an_eighth_of_the_records(monkeypatch):
    monkeypatch.setattr(leads, "failing_electrode", lambda rng, t: np.full(len(t), 1000.0))
    t, counts, chest = np.arange(500) / 500, [], []
    for seed in range(1500):
        failed = leads.rare_disturbances(np.random.default_rng([32, seed]), t).min(1) > 900
        counts.append(failed.sum())
        if failed.any():
            chest.append(not failed[:3].any())
    assert set(counts) == {0, 1, 2} and 0.09 < np.mean(np.array(counts) > 0) < 0.15
    assert 0.65 < np.mean(chest) < 0.92


def test_a_failing_electrode_jumps_and_wanders_and_a_chest_one_disturbs_its_lead_alone():
    t, jumps, swings = np.arange(6000) / 500 - 1, [], []
    for seed in range(200):
        course = leads.failing_electrode(np.random.default_rng([33, seed]), t)
        jumps.append(np.abs(np.diff(course)).max())
        swings.append(np.ptp(course))
    assert np.isfinite(jumps).all() and max(swings) < 30  # mV: within what 16 bits hold
    assert 0.4 < np.mean(np.array(jumps) > 0.1) < 0.95 and np.quantile(swings, 0.1) > 0.02
    electrodes = np.zeros((9, len(t)))
    electrodes[5] = course  # V3
    assert list(np.abs(eight_leads(electrodes)).max(1) > 0) == [i == 4 for i in range(8)]
