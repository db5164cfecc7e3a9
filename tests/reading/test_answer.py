"""Answers: the measured heart rate, their words and their order, and the lines of a notebook."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import noise
from thin_model import make_model

from dataset import CLASSES, LEADS, signal_digest, to_mv
from ecg.inference.model import Model
from ecg.io.record import Record
from ecg.io.text_table import TableFormat
from ecg.processing import trace
from ecg.processing.ecg_intervals import Intervals
from ecg.processing.quality import Caution
from ecg.processing.trace import Trace
from ecg.reading import recording
from ecg.reading.answer import Answer, answer_signal, join_parts
from ecg.reading.recording import Person, Recording
from ecg.reading.windows import Windows
from ecg.simulation import heart
from utils import RESEARCH_USE

LIMITS = {name: 0.4 for name in CLASSES} | {"PAC": 0.02}
MODEL = make_model(limits=LIMITS)
SCORES = np.array([0.12345678, 0.5, 0.1, 0.9, 0.3, 0.03, 0.2, 0.42, 0.0])
BUNDLED = Path(__file__).parents[2] / "models" / "general.pth"


def answer(flat=(), scores=SCORES, warnings=(), model=MODEL, heart_rate=74.6, why=None, **more):
    """Return the answer of a record with these probabilities (9,) and leads without a signal."""
    content = {"seconds": 10.0, "notes": ()} | more
    read = Recording(
        "A1",
        "own/A1.hea",
        500.0,
        packed=noise(0, 600),
        heart_rate=heart_rate,
        heart_rate_unknown=why,
        flat=tuple(flat),
        warnings=tuple(warnings),
        **content,
    )
    return Answer.of(model, read, scores)


def texts(an_answer):
    return [warning.text for warning in an_answer.warnings]


def pulses(seconds, interval):
    """Draw (12, n) int16 microvolts with a QRS complex every `interval` seconds."""
    t = np.arange(seconds * 500) / 500
    beats = np.arange(0.4, seconds, interval)[:, None]
    wave = np.exp(-(((t - beats) / 0.012) ** 2)) - 0.2 * np.exp(
        -(((t - beats - 0.04) / 0.015) ** 2)
    )
    size = np.linspace(0.5, 1.5, 12)[:, None]
    rng = np.random.default_rng(0)
    return np.rint(1000 * (size * wave.sum(0)) + rng.normal(0, 5, (12, len(t)))).astype(np.int16)


@pytest.mark.parametrize(("interval", "rate"), [(1.5, 40), (0.8, 75), (0.4, 150)])
def test_heart_rate_is_that_of_the_drawn_beats(interval, rate):
    measured, why = recording.heart_rate(Trace(to_mv(pulses(20, interval))))
    assert measured == pytest.approx(rate, abs=0.5) and why is None


def test_heart_rate_is_that_of_the_last_minute():
    packed = np.concatenate([pulses(60, 0.5), pulses(60, 1)], axis=1)
    assert recording.heart_rate(Trace(to_mv(packed)))[0] == pytest.approx(60, abs=1)


def test_heart_rate_that_cannot_be_measured_is_none_with_a_reason(monkeypatch):
    assert recording.heart_rate(Trace(to_mv(noise(3, 5000)))) == (None, "no QRS complex repeats")
    few = recording.heart_rate(Trace(to_mv(pulses(2, 1.5))))
    assert few == (None, "fewer than three beats were found")
    text = answer(heart_rate=None, why="no QRS complex repeats").text()
    assert "Heart rate: cannot be measured (no QRS complex repeats)" in text
    # a detector that takes T waves for beats
    monkeypatch.setattr(trace, "find_peaks", lambda _: np.arange(20) * 86)
    monkeypatch.setattr(recording.quality, "has_beats", lambda *_: True)
    assert recording.heart_rate(Trace(to_mv(pulses(20, 0.8)))) == (None, "349 bpm is implausible")


def test_the_sentence_names_the_finding_furthest_above_its_threshold_in_full():
    some = answer()
    assert some.findings == ("AF", "LBBB", "PAC", "STD") and some.leading == "LBBB"
    assert some.sentence() == (
        "Leading finding: left bundle branch block (LBBB), probability 0.900; also atrial "
        "fibrillation (AF), ST-segment depression (STD), premature atrial contraction (PAC)."
    )
    assert "left bundle branch block (LBBB), AF, PAC, STD; 75" in some.page_title()
    none = answer(scores=SCORES / 100)
    assert none.leading is None and not none.findings
    assert none.sentence() == "No finding reaches its threshold."
    assert "no finding reaches its threshold" in none.page_title()


def test_without_a_finding_the_sentence_says_of_which_classes_that_is_known():
    some = answer(flat=["V1", "V2", "V3"], scores=SCORES / 100)
    assert some.sentence() == "4 of 9 findings cannot be assessed; no SNR, AF, IAVB, PAC or PVC."
    one = answer(flat=set(LEADS) - {"V4"}, scores=SCORES / 100)
    assert one.sentence() == "8 of 9 findings cannot be assessed; no PVC."
    assert "8 of 9 findings cannot be assessed; no PVC; 75 beats" in one.page_title()
    all_of_it = answer(flat=["I"], scores=np.zeros(9), model=make_model(["I"], limits=LIMITS))
    assert all_of_it.sentence() == "9 of 9 findings cannot be assessed."
    assert all_of_it.leading is None


def test_the_table_is_in_order_of_margin_and_warnings_stand_above():
    cautions = [Caution("recorded at 250 Hz"), Caution("flat or missing: V1", True)]
    cautions += [Caution("only 4.0 s long"), Caution("beyond 20 mV in V2", True)]
    some = answer(warnings=cautions, notes=("column left out: Time",))
    lines = some.text().splitlines()
    assert lines[0] == "A1: 10.0 s at 500 Hz"
    assert lines[1:6] == [
        "!!! WARNING: flat or missing: V1",
        "!!! WARNING: beyond 20 mV in V2",
        "warning: recorded at 250 Hz",
        "warning: only 4.0 s long",
        "note: column left out: Time",
    ]
    assert lines[6] == some.sentence() and lines[7] == "Heart rate: 75 beats per minute"
    assert some.page_warnings() == [
        "!!! WARNING: flat or missing: V1 | beyond 20 mV in V2",
        "warning: recorded at 250 Hz | only 4.0 s long",
    ]
    margins = [float(line.split()[-2]) for line in lines[10:19]]
    expected = SCORES - np.array([LIMITS[name] for name in CLASSES])
    assert margins == pytest.approx(np.sort(expected)[::-1], abs=6e-4)
    assert lines[-1] == RESEARCH_USE
    assert some.one_line() == (
        f"A1: {some.sentence()} Heart rate: 75 beats per minute. !!! flat or missing: V1; beyond "
        "20 mV in V2"
    )


def test_a_finding_at_a_low_probability_is_explained():
    (line,) = [line for line in answer().text().splitlines() if "probability below 0.5" in line]
    assert line.startswith("PAC, STD: ") and "(0.020, 0.400; best F1 on the validation" in line
    one = answer(scores=np.where(np.arange(9) == 7, 0.42, 0)).text()
    assert "STD: probability below 0.5 but above its threshold (0.400; best F1" in one
    assert "below 0.5" not in answer(scores=np.eye(9)[3]).text()


def test_what_rests_on_leads_without_a_signal_has_no_number():
    some = answer(flat=["V1", "V2", "V3"])
    blocked = ["LBBB", "RBBB", "STD", "STE"]
    assert list(some.not_assessable) == blocked
    assert [name for name, p in some.probabilities.items() if p is None] == blocked
    assert some.findings == ("AF", "PAC") and some.leading == "AF"
    assert some.sentence().endswith("; 4 not assessable.")
    assert some.page_title().endswith("; 4 not assessable")
    text = some.text()
    (line,) = [line for line in text.splitlines() if line.startswith("left bundle")]
    assert line.split()[-7:] == "not assessable (flat or missing: V1 V2)".split()
    assert "0.900" not in text


def test_a_record_that_the_model_has_seen_gets_a_critical_warning():
    model = make_model(limits=LIMITS, seen=[signal_digest(noise(0, 600))])
    first = answer(warnings=[Caution("only 4.0 s long")], model=model).warnings[0]
    assert first.text.startswith("the model was trained or chosen on this record")
    assert first.critical


@pytest.mark.parametrize(("rate", "warned"), [(59, True), (60, False), (131, True), (None, False)])
def test_a_sinus_rhythm_of_another_rate_than_normal_gets_a_warning(rate, warned):
    for scores, found in ((np.eye(9)[0], True), (np.eye(9)[1], False)):
        cautions = texts(answer(scores=scores, heart_rate=rate))
        expected = [f"rate {rate}/min is outside 60-100 (adults); SNR does not imply a normal rate"]
        assert cautions == expected * (warned and found)


def test_sinus_rhythm_beside_another_finding_is_a_contradiction():
    alone, af, ste = np.eye(9)[0], np.eye(9)[1], np.eye(9)[8]
    text = "contradiction: SNR means no other finding, but"
    assert texts(answer(scores=alone + af)) == [f"{text} AF was found too"]
    assert texts(answer(scores=alone + af + ste)) == [f"{text} AF and STE were found too"]
    assert not texts(answer(scores=alone)) and not texts(answer(scores=af + ste))


@pytest.mark.parametrize(
    ("seconds", "window", "warned"), [(60, 5000, False), (115, 5000, True), (115, None, False)]
)
def test_false_positives_are_expected_in_a_record_of_many_windows(seconds, window, warned):
    model = make_model(window=window, seconds=10, limits=LIMITS)
    some = answer(model=model, seconds=seconds, heart_rate=70.2)
    text = "long record: a finding in one 10 s window is enough; expect false positives"
    assert (text in texts(some)) == warned
    assert some.rate_text().endswith("minute in the last 60 s") == (seconds > 60)


def test_measurements_stand_beside_their_class_and_contradict_it():
    far, near = Intervals(rate=70, rr_spread=0.02, pr=150.4, qrs=90, qt=400), Intervals(pr=232)
    some = answer(scores=np.eye(9)[2], intervals=near)
    assert "atrioventricular block (IAVB: PR 232 ms), probability 1.000" in some.sentence()
    assert "IAVB: PR 232 ms" in some.page_title() and not some.warnings
    for k, text in (
        (2, "PR 150 ms contradicts IAVB"),
        (3, "QRS 90 ms contradicts LBBB"),
        (1, "RR varies by 2% contradicts AF"),
    ):
        first = answer(scores=np.eye(9)[k], intervals=far).warnings[0]
        assert first == Caution(text, critical=True)
    assert not answer(scores=np.eye(9)[6], intervals=far).warnings
    line = next(line for line in some.text().splitlines() if line.startswith("Research measure"))
    assert "PR 232, QRS -," in line
    assert answer(intervals=far).to_dict()["intervals"]["qtc_bazett"] == round(
        400 / (60 / 70) ** 0.5
    )


@pytest.mark.parametrize(("age", "rate", "warned"), [(4, 131, False), (4, 60, True), (30, 101, 1)])
def test_the_usual_rate_is_that_of_the_age(age, rate, warned):
    some = answer(scores=np.eye(9)[0], heart_rate=rate, person=Person(age=age))
    assert any("is outside" in text for text in texts(some)) == bool(warned)


def test_a_contradiction_is_in_the_title_and_the_abnormal_finding_leads():
    some = answer(scores=np.eye(9)[0] + 0.41 * np.eye(9)[1])
    assert some.leading == "AF"
    assert "contradiction: SNR means no other finding" in some.page_title()


def test_windows_that_show_a_finding_are_told():
    starts = tuple(range(0, 110, 5))
    found = {"RBBB": starts[:20], "LBBB": (40,), "PVC": (0, 100), "AF": starts, "PAC": (5, 10)}
    windows = Windows(10, starts, found, 40)
    assert windows.text() == (
        "RBBB in 20 of 22 windows; LBBB only from 40 to 50 s; PVC in 2 of 22 windows; "
        "AF in all 22 windows; PAC only from 5 to 20 s"
    )
    assert windows.to_dict()["findings"]["LBBB"] == [40]


def test_the_windows_of_an_answer_are_those_at_the_threshold():
    model, packed = make_model(window=1000, seconds=2, limits=LIMITS), noise(0, 3300)
    scores = model.packed_probabilities(packed)
    read = Recording("A1", "", 500.0, 6.6, packed, None, "why", (), ())
    some = Answer.of(model, read, scores)
    assert some.windows.starts == (0, 1, 2, 3, 4, 4.6)
    with torch.no_grad():
        x = torch.from_numpy(packed.astype(np.float32) / 1000)
        each = [
            torch.sigmoid(model.network(x[None, :, round(s * 500) : round(s * 500) + 1000]))[0]
            for s in some.windows.starts
        ]
    for name, shown in some.windows.findings.items():
        k = CLASSES.index(name)
        expected = [
            s for s, p in zip(some.windows.starts, each, strict=True) if p[k] >= LIMITS[name]
        ]
        assert list(shown) == expected and shown
    k = CLASSES.index(some.leading)
    assert some.windows.shown == some.windows.starts[int(np.argmax([p[k] for p in each]))]
    assert answer().windows is None


def test_a_file_says_whose_recording_it_is_unless_it_is_anonymous():
    record = Record(500.0, 61.0, "Male", None, "12", "2020-01-02 10:11", "Doe, Jane")
    assert Person.of(record).text() == "Doe, Jane, 12, 61 years, male, 2020-01-02 10:11"
    assert Person.of(record, anonymous=True) == Person(age=61.0, sex="Male")
    assert Person.of(Record(500.0)) == Person() and Person().text() == ""
    assert Person.of(Record(500.0, -1.0)).age is None
    some = answer(person=Person.of(record))
    assert "Doe, Jane" in some.text() and some.page_header().startswith("Doe, Jane, 12, 61 years")


def test_a_lead_that_jumps_off_gets_a_warning():
    packed = pulses(10, 0.8)
    assert recording.jumping_leads(Trace(to_mv(packed))) == []
    packed[11, 3500:4500] += 2000
    text = "more than 1.5 mV off its baseline: V6 (7-9 s)"
    assert recording.jumping_leads(Trace(to_mv(packed))) == [Caution(text, critical=True)]


def test_a_lead_of_noise_does_not_count_for_the_rate():
    packed = pulses(20, 0.9)
    packed[1] = 10 * noise(1, 10_000)[1] // 3
    assert recording.heart_rate(Trace(to_mv(packed)))[0] == pytest.approx(60 / 0.9, abs=0.5)
    packed[[0, *range(2, 12)]] = 0
    assert recording.heart_rate(Trace(to_mv(packed)))[0] is None


def test_the_dictionary_is_plain_and_rounded():
    some = answer(flat=["V1", "V2"], warnings=[Caution("a")], notes=("b",)).to_dict()
    assert json.loads(json.dumps(some)) == some
    assert some["probabilities"]["SNR"] == 0.1235 and some["probabilities"]["LBBB"] is None
    assert some["warnings"] == ["a", "b"] and some["page"] is some["explained"] is None


# --- a notebook


def test_three_lines_of_a_notebook_give_probabilities_thresholds_and_warnings():
    signal = pulses(12, 0.8)[:, :6000] / 1000  # (12, 6000) in mV
    model = Model.load(BUNDLED)
    answer = answer_signal(model, signal, sample_rate=500)
    probabilities, thresholds, warnings = answer.probabilities, answer.thresholds, answer.warnings

    content = torch.load(BUNDLED, weights_only=True)
    network = content["state_dict"]
    x = torch.from_numpy(np.rint(signal * 1000).astype(np.float32) / 1000)
    x = x - torch.from_numpy(np.median(x, axis=1, keepdims=True))
    with torch.no_grad():  # windows of 10 s, the last of which ends with the record
        logits = torch.stack([by_hand(network, x[None, :, s : s + 5000])[0] for s in (0, 1000)])
    assert content["centred"] and content["normal"] == "SNR"
    largest = logits.amax(0)
    largest[0] = logits[:, 0].amin()  # of SNR the smallest
    expected = torch.sigmoid(largest).tolist()
    assert list(probabilities.values()) == pytest.approx(expected, abs=6e-5)
    assert list(probabilities) == list(CLASSES) and thresholds == content["thresholds"]
    above = [n for n, p in zip(CLASSES, expected, strict=True) if p >= thresholds[n]]
    assert "SNR" not in above or len(above) == 1  # else the further one would remain
    assert list(answer.findings) == above
    assert any("limb leads do not add up" in text for text, critical in warnings if critical)


def by_hand(weights, x):
    """Map (N, 12, T) to logits with a ResNet-18's weights, layer after layer."""
    weights = {name: weight.float() for name, weight in weights.items()}

    def conv(x, name, stride):
        weight = weights[f"{name}.weight"]
        return torch.conv1d(x, weight, stride=stride, padding=weight.shape[2] // 2)

    def norm(x, name):
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale = weights[f"{name}.weight"] / torch.sqrt(variance + 1e-5)
        return (x - mean[:, None]) * scale[:, None] + weights[f"{name}.bias"][:, None]

    x = torch.relu(norm(conv(x, "stem.0", 2), "stem.1"))
    x = torch.max_pool1d(x, 3, 2, 1)
    for i in range(8):
        block, widens = f"stages.{i}", i in (2, 4, 6)
        y = torch.relu(norm(conv(x, f"{block}.conv1", 1 + widens), f"{block}.bn1"))
        y = norm(conv(y, f"{block}.conv2", 1), f"{block}.bn2")
        if widens:
            x = norm(conv(x, f"{block}.shortcut.0", 2), f"{block}.shortcut.1")
        x = torch.relu(x + y)
    pooled = torch.cat([x.mean(2), x.amax(2)], 1)
    return pooled @ weights["fc.weight"].T + weights["fc.bias"]


def test_an_array_gets_the_warnings_of_a_file(tmp_path):
    signal = pulses(8, 0.8) / 1000
    signal[3] = np.nan
    signal[5, 100:107] = np.nan
    signal[7, 50] = 25
    model = make_model()
    np.save(tmp_path / "a.npy", signal)
    table = TableFormat(sample_rate=400)
    read = recording.read_recording(tmp_path / "a.npy", "a", model, table)
    some = answer_signal(model, signal, 400)
    assert set(some.warnings) >= set(read.warnings)
    assert "1 lead was not recorded" in texts(some)
    assert "7 samples are missing and count as 0 mV" in texts(some)
    assert any(text.startswith("recorded at 400 Hz") for text in texts(some))
    text = "beyond 20 mV in V2: probably an artefact; the findings may be wrong"
    assert some.warnings[0] == (text, True) and (text, True) in read.warnings
    assert some.seconds == read.seconds == 10.0 and some.heart_rate == read.heart_rate


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.T, "transpose"),
        (lambda x: x[:8], "12 x n"),
        (lambda x: 1000 * x, "mV"),
        (lambda x: 0 * x, "all leads are flat"),
        (lambda x: x[:, :300], "shorter than 1 s"),
        (lambda x: x + np.inf, "infinite"),
    ],
)
def test_an_array_that_can_be_no_ecg_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        answer_signal(MODEL, change(pulses(8, 0.8) / 1000), 500)
    with pytest.raises(ValueError, match="20000 Hz"):
        answer_signal(MODEL, pulses(8, 0.8) / 1000, 20_000)


@pytest.fixture(scope="module")
def bundled():
    return Model.load(BUNDLED)


def silenced(seconds):
    """Return 10 s of a synthetic ECG, so many s of zeros, and 10 s of it again, in mV."""
    from ecg.simulation.heart import make_record

    signal = make_record(3, 8, 10).signal / 1000
    return np.concatenate([signal, np.zeros((12, seconds * 500)), signal], axis=1), signal


@pytest.mark.parametrize("seconds", [5, 9, 19, 40])
def test_a_recording_that_falls_silent_is_read_as_what_is_left_of_it(seconds, bundled):
    signal, part = silenced(seconds)
    whole, alone = answer_signal(bundled, signal, 500), answer_signal(bundled, part, 500)
    text = f"no signal from 10 to {10 + seconds} s in all leads"
    assert Caution(text, critical=True) in whole.warnings
    assert whole.findings == alone.findings and whole.probabilities == alone.probabilities
    assert whole.heart_rate == pytest.approx(alone.heart_rate, abs=0.1)
    assert not whole.flat and not whole.not_assessable


@pytest.mark.parametrize("name", ["RBBB", "PVC"])
def test_windows_and_intervals_of_a_recording_that_falls_silent_are_those_of_its_parts(
    name, bundled
):
    # a window of 10 s that began or ended in the silence would show another ECG
    ecg, _ = heart.simulate(np.random.default_rng([5, 1]), [name], 10)
    signal = np.concatenate([ecg, np.zeros((12, 3500)), ecg], axis=1) / 1000
    whole, alone = answer_signal(bundled, signal, 500), answer_signal(bundled, ecg / 1000, 500)
    assert name in alone.findings and whole.windows.starts == (0, 17)
    assert whole.windows.findings[name] == (0, 17)
    assert f"{name} in both windows" in whole.sentence()
    assert whole.intervals == alone.intervals._replace(rate=whole.heart_rate)


def test_a_pause_of_a_heart_is_no_silence_and_all_of_it_is_none_either(bundled):
    for seconds, texts_ in ((3, 0), (4, 1)):
        signal, _ = silenced(seconds)
        warnings = answer_signal(bundled, signal, 500).warnings
        assert sum("no signal" in each.text for each in warnings) == texts_
    with pytest.raises(ValueError, match="all leads are flat"):
        answer_signal(bundled, np.zeros((12, 5000)), 500)


def test_of_the_normal_class_the_smallest_of_the_parts_between_silences_counts():
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.4]])
    for normal, expected in ((None, [0.9, 0.8, 0.4]), ("SNR", [0.2, 0.8, 0.4])):
        settings = SimpleNamespace(normal=normal)
        model = SimpleNamespace(settings=settings, classes=("SNR", "AF", "PVC"))
        assert join_parts(model, scores).tolist() == expected
    assert join_parts(model, scores[:1]).tolist() == scores[0].tolist()
