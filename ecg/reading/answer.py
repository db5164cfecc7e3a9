"""What a model says of a recording: probabilities, findings, and what a reader must know of them.

model = Model.load("models/general.pth")  # of ecg.inference.model
answer = answer_signal(model, signal, sample_rate=500)  # signal (12, n) in mV
answer.probabilities, answer.thresholds, answer.warnings
"""

import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np

from dataset import LEADS, SAMPLE_RATE
from ecg.inference.device import use_one_thread
from ecg.io.diagnoses import NORMAL
from ecg.io.record import check_length, check_matrix, check_rate, describe_error
from ecg.io.text_table import check_unit
from ecg.processing import quality
from ecg.processing.ecg_intervals import Intervals
from ecg.processing.quality import Caution
from ecg.reading.recording import COUNTED, Person, Skipped, examine, read_recording
from ecg.reading.support import contradictions, measured, rate_cautions
from ecg.reading.windows import Windows, scored_parts
from ecg.running.workers import spread
from utils import RESEARCH_USE, Progress

FULL_NAMES = {
    "SNR": "normal sinus rhythm",
    "AF": "atrial fibrillation",
    "IAVB": "first-degree atrioventricular block",
    "LBBB": "left bundle branch block",
    "RBBB": "right bundle branch block",
    "PAC": "premature atrial contraction",
    "PVC": "premature ventricular contraction",
    "STD": "ST-segment depression",
    "STE": "ST-segment elevation",
}
DIGITS = 4  # of a probability
SHARE = 8  # recordings that a process is given at a time
LONG = 60  # s; in longer records false positives of single windows accumulate


def full_name(name):
    """Return a class's name in words, with the short one."""
    return f"{FULL_NAMES[name]} ({name})" if name in FULL_NAMES else name


def join(words, last):
    """Return words separated by commas, and by `last` before the last one."""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


@dataclass(frozen=True)
class Answer:
    """A model's answer for one recording."""

    record: str  # its name
    path: str
    sample_rate: float  # Hz
    seconds: float
    heart_rate: float | None  # beats per minute
    heart_rate_unknown: str | None  # why it cannot be measured
    flat: tuple[str, ...]  # leads without a signal
    warnings: tuple[Caution, ...]  # critical ones first
    notes: tuple[str, ...]  # on the file; none of them changes the answer
    probabilities: dict[str, float | None]  # class -> 4 digits, None where it cannot be assessed
    thresholds: dict[str, float]
    threshold_rule: str
    not_assessable: dict[str, str]  # class -> why
    findings: tuple[str, ...]  # with a probability >= threshold before it was rounded
    leading: str | None  # the finding furthest above its threshold; the normal class if alone
    intervals: Intervals = Intervals()
    person: Person = Person()
    lost: tuple[str, ...] = ()  # leads that were not recorded
    windows: Windows | None = None  # None: one alone
    page: str | None = None  # the ECG on paper
    explained: str | None = None  # the page that explains the leading finding

    @classmethod
    def of(cls, model, recording, y_score):
        """Return the answer of a Model that gives a Recording the probabilities `y_score` (K,).

        A class that rests on leads without a signal gets neither a probability nor a finding.
        """
        blocked = quality.not_assessable(recording.flat, model.leads)
        above = dict(zip(model.classes, model.findings(y_score), strict=True))
        margins = dict(zip(model.classes, y_score - model.limits, strict=True))
        findings = tuple(name for name in above if above[name] and name not in blocked)
        probabilities = dict.fromkeys(model.classes)
        for name, p in zip(model.classes, y_score, strict=True):
            if name not in blocked:
                probabilities[name] = round(float(p), DIGITS)
        abnormal = [name for name in findings if name != NORMAL]
        leading = max(abnormal or findings, key=margins.get, default=None)
        warnings = [*recording.warnings, *answer_warnings(model, recording, findings)]
        return cls(
            record=recording.name,
            path=recording.path,
            sample_rate=recording.sample_rate,
            seconds=recording.seconds,
            heart_rate=recording.heart_rate,
            heart_rate_unknown=recording.heart_rate_unknown,
            flat=recording.flat,
            warnings=tuple(sorted(warnings, key=lambda warning: not warning.critical)),
            notes=recording.notes,
            probabilities=probabilities,
            thresholds=model.thresholds,
            threshold_rule=model.threshold_rule,
            not_assessable={name: why for name, why in blocked.items() if name in probabilities},
            findings=findings,
            leading=leading,
            intervals=recording.intervals,
            person=recording.person,
            lost=recording.lost,
            windows=Windows.of(model, recording.packed, findings, leading),
        )

    @property
    def assessed(self):
        """The probabilities of the classes that can be assessed."""
        return {name: p for name, p in self.probabilities.items() if p is not None}

    @property
    def margins(self):
        """How far the assessed classes lie above their thresholds, furthest first."""
        margins = [(name, p - self.thresholds[name]) for name, p in self.assessed.items()]
        return dict(sorted(margins, key=lambda item: item[1], reverse=True))

    def no_finding(self):
        """Say that there is no finding, and of which classes that is known."""
        if not self.not_assessable:
            return "No finding reaches its threshold"
        n_left, n = len(self.not_assessable), len(self.probabilities)
        text = f"{n_left} of {n} findings cannot be assessed"
        return f"{text}; no {join(list(self.assessed), 'or')}" if self.assessed else text

    def named(self, name):
        """Return a finding in words, with what was measured of it."""
        number = measured(name, self.intervals)
        text = full_name(name)
        return f"{text.removesuffix(')')}: {number})" if number else text

    def sentence(self):
        """Say in one sentence which finding leads, and which others there are, or that none is."""
        name = self.leading
        if name is None:
            return f"{self.no_finding()}."
        text = f"Leading finding: {self.named(name)}, probability {self.probabilities[name]:.3f}"
        others = [each for each in self.margins if each in self.findings and each != name]
        text += f"; also {', '.join(map(self.named, others))}" if others else ""
        text += f"; {self.windows.text()}" if self.windows else ""
        left = len(self.not_assessable)
        return f"{text}; {left} not assessable." if left else f"{text}."

    def rate_text(self):
        """Say how fast the heart beats, or why that cannot be measured."""
        if self.heart_rate is None:
            return f"Heart rate: cannot be measured ({self.heart_rate_unknown})"
        part = f" in the last {COUNTED} s" if self.seconds > COUNTED else ""
        return f"Heart rate: {self.heart_rate:.0f} beats per minute{part}"

    def intervals_text(self):
        """Return what was measured of the beats, in a line."""
        return f"Research measurements: {self.intervals.text()}"

    def page_header(self):
        """Return whose recording the page shows and what was measured, in a line."""
        rate = "-" if self.heart_rate is None else f"{self.heart_rate:.0f}"
        parts = [self.person.text(), f"research measurements: rate {rate}, {self.intervals.text()}"]
        return "   ".join(filter(None, parts))

    def table(self):
        """Return the table of the classes, furthest above its threshold first, as lines."""
        lines = [f"{'':42}{'probability':>12}{'threshold':>11}{'margin':>9}  finding"]
        for name, margin in self.margins.items():
            finding = "yes" if name in self.findings else "no"
            numbers = f"{self.probabilities[name]:12.3f}{self.thresholds[name]:11.3f}{margin:+9.3f}"
            lines.append(f"{full_name(name):42}{numbers}  {finding}")
        for name, why in self.not_assessable.items():
            blank = f"{'-':>12}{self.thresholds[name]:11.3f}{'-':>9}"
            lines.append(f"{full_name(name):42}{blank}  not assessable ({why})")
        return lines

    def low_thresholds(self):
        """Return a line, in a list, on findings that are less likely than not."""
        low = [name for name in self.findings if self.probabilities[name] < 0.5]
        if not low:
            return []
        numbers = ", ".join(f"{self.thresholds[name]:.3f}" for name in low)
        limit = "its threshold" if len(low) == 1 else "their thresholds"
        text = f"{', '.join(low)}: probability below 0.5 but above {limit}"
        return [f"{text} ({numbers}; {self.threshold_rule})"]

    def text(self):
        """Return all there is to say, in lines: warnings, findings, heart rate, all classes."""
        head = f"{self.record}: {self.seconds:.1f} s at {self.sample_rate:g} Hz"
        cautions = [f"{prefix(caution)}: {caution.text}" for caution in self.warnings]
        cautions += [f"note: {note}" for note in self.notes]
        person = [self.person.text()] if self.person.text() else []
        lines = [self.sentence(), self.rate_text(), self.intervals_text()]
        lines += [*self.table(), *self.low_thresholds()]
        return "\n".join([head, *person, *cautions, *lines, RESEARCH_USE])

    def one_line(self):
        """Return the answer in a line, for the screen where there are many."""
        critical = [warning.text for warning in self.warnings if warning.critical]
        marked = f" !!! {'; '.join(critical)}" if critical else ""
        return f"{self.record}: {self.sentence()} {self.rate_text()}.{marked}"

    def page_title(self):
        """Return the title of the page: the leading finding, the other ones, heart rate."""
        left = ""
        if self.leading:
            others = [name for name in self.findings if name != self.leading]
            findings = ", ".join([self.named(self.leading), *others])
            clash = NORMAL in others
            findings += f" (contradiction: {NORMAL} means no other finding)" if clash else ""
            left = f"; {len(self.not_assessable)} not assessable" if self.not_assessable else ""
        else:
            findings = self.no_finding()[0].lower() + self.no_finding()[1:]
        rate = "" if self.heart_rate is None else f"; {self.heart_rate:.0f} beats per minute"
        return f"{self.record}: {findings}{rate}{left}"

    def page_windows(self):
        """Say in a line, in a list, in which windows the findings show."""
        text = self.windows.text() if self.windows else ""
        return [f"windows of {self.windows.seconds:g} s: {text}"] if text else []

    def page_warnings(self):
        """Return the warnings in at most two notes, of which the first has the critical ones."""
        groups = itertools.groupby(self.warnings, prefix)
        return [f"{word}: {' | '.join(each.text for each in group)}" for word, group in groups]

    def to_dict(self):
        """Return plain lists, dictionaries, numbers and text, as the JSON has them."""
        return {
            "record": self.record,
            "path": self.path,
            "sample_rate": self.sample_rate,
            "seconds": self.seconds,
            "heart_rate": self.heart_rate,
            "heart_rate_unknown": self.heart_rate_unknown,
            "flat": list(self.flat),
            "warnings": [*(warning.text for warning in self.warnings), *self.notes],
            "findings": list(self.findings),
            "probabilities": self.probabilities,
            "not_assessable": self.not_assessable,
            "leading": self.leading,
            "person": self.person._asdict(),
            "intervals": self.intervals.to_dict(),
            "windows": self.windows.to_dict() if self.windows else None,
            "answer": self.sentence(),
            "explained": self.explained,
            "page": self.page,
        }


def prefix(warning):
    """Return the word in front of a warning."""
    return "!!! WARNING" if warning.critical else "warning"


def answer_warnings(model, recording, findings):
    """Return the warnings that rest on what the model is and on what it found."""
    warnings, others = [], [name for name in findings if name != NORMAL]
    if model.has_seen(recording.packed):
        text = "the model was trained or chosen on this record"
        warnings.append(Caution(f"{text}; the answer says nothing about new ones", critical=True))
    if NORMAL in findings and others:
        was = "was" if len(others) == 1 else "were"
        text = f"contradiction: {NORMAL} means no other finding"
        text += f", but {join(others, 'and')} {was} found too"
        warnings.append(Caution(text, critical=True))
    warnings += contradictions(findings, recording.intervals)
    if model.window and recording.seconds > LONG:
        text = f"long record: a finding in one {model.window / SAMPLE_RATE:g} s window is enough"
        warnings.append(Caution(f"{text}; expect false positives"))
    warnings += rate_cautions(findings, recording.heart_rate, recording.person.age)
    return warnings


def answer_signal(model, signal, sample_rate, name="signal"):
    """Return a Model's Answer for a signal (12, n) in mV, its leads in the order of LEADS.

    NaN is a missing sample; a lead that was not recorded is all NaN. Raises ValueError if the
    signal can be no ECG, as for a file.
    """
    signal = np.array(check_matrix(np.asarray(signal)), float)
    check_rate(sample_rate)
    check_length(signal.shape[1], sample_rate)
    check_unit(dict(zip(LEADS, signal, strict=True)))
    recording = examine(signal, sample_rate, model, name)
    parts = scored_parts(model, recording.packed)
    scores = np.stack([model.packed_probabilities(part) for part in parts])
    return Answer.of(model, recording, join_parts(model, scores))


def join_parts(model, scores):
    """Return the probabilities (K,) of a recording of those of its parts (n, K): the largest.

    Of the normal class it is the smallest: one part with a finding contradicts it.
    """
    joined = scores.max(axis=0)
    if model.settings.normal is not None:
        place = model.classes.index(model.settings.normal)
        joined[place] = scores[:, place].min()
    return joined


def answer_files(files, model, table, anonymous, batch_size, amp, keep):
    """Return (Answer, packed signal (12, n)) of each file that can be read, and the Skipped others.

    `files` are (path, name), `table` is a TableFormat; `batch_size` recordings are scored at a
    time. `keep` is whether the signals are needed: they are None else.
    """
    batch, skipped = [], []
    for path, name in files:
        try:
            batch.append(read_recording(path, name, model, table, anonymous))
        except Exception as error:  # a damaged file makes libraries raise almost anything
            skipped.append(Skipped(str(path), describe_error(error)))
    if not batch:
        return [], skipped
    parts = [scored_parts(model, recording.packed) for recording in batch]
    signals = {
        f"{recording.name}, part {k}": part
        for recording, of in zip(batch, parts, strict=True)
        for k, part in enumerate(of, start=1)
    }
    y_score = model.score_signals(signals, batch_size, amp)
    ends = np.cumsum([len(of) for of in parts])
    answers = []
    for recording, scores in zip(batch, np.split(y_score, ends[:-1]), strict=True):
        answer = Answer.of(model, recording, join_parts(model, scores))
        answers.append((answer, recording.packed if keep else None))
    return answers, skipped


def answer_recordings(model, recordings, table, batch_size, amp=False, jobs=1, keep=True):
    """Yield (Answer, packed signal (12, n)) of each of some Recordings that can be read.

    `jobs` processes read and score them, each a few at a time; the others are as of `answer_files`.
    """
    n = recordings.n
    given = {"batch_size": batch_size, "amp": amp, "keep": keep}
    answer = partial(
        answer_files, model=model, table=table, anonymous=recordings.anonymous, **given
    )
    size = batch_size if jobs == 1 else min(batch_size, SHARE)
    answered = spread(answer, recordings.batches(size), jobs, use_one_thread)
    done = len(recordings.skipped)
    progress = Progress(desc="answering", total=n, initial=done, unit="record", disable=n == 1)
    for answers, skipped in answered:
        recordings.skip(skipped)
        progress.update(len(skipped))
        for each in answers:
            yield each
            progress.update()
    progress.close()
