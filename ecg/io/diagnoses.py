"""The nine classes in the words of each data set: SNOMED CT codes, abbreviations, sentences."""

import re

from dataset import CLASSES

# SNOMED CT codes, and the words of the first generation of headers, for each class.
CODES = {
    "426783006": "SNR",  # sinus rhythm
    "164889003": "AF",  # atrial fibrillation
    "270492004": "IAVB",  # first-degree atrioventricular block
    "164909002": "LBBB",  # left bundle branch block
    "733534002": "LBBB",  # complete left bundle branch block
    "59118001": "RBBB",  # right bundle branch block
    "713427006": "RBBB",  # complete right bundle branch block
    "284470004": "PAC",  # premature atrial contraction
    "63593006": "PAC",  # supraventricular premature beats
    "164884008": "PVC",  # ventricular ectopics
    "427172004": "PVC",  # premature ventricular contractions
    "17338001": "PVC",  # ventricular premature beats
    "429622005": "STD",  # ST depression
    "164931005": "STE",  # ST elevation
    "195080001": "AF",  # atrial fibrillation and flutter
    "426749004": "AF",  # chronic atrial fibrillation
    "282825002": "AF",  # paroxysmal atrial fibrillation
    "314208002": "AF",  # rapid atrial fibrillation
    "251170000": "PAC",  # blocked premature atrial contraction
    "11157007": "PVC",  # ventricular bigeminy
    "251180001": "PVC",  # ventricular trigeminy
    "251182009": "PVC",  # paired ventricular premature complexes
    **dict.fromkeys(("normal", "norm", "nsr", "normal ecg", "normal_ecg"), "SNR"),
    **dict.fromkeys(("sinus rhythm", "normal sinus rhythm"), "SNR"),
    **dict.fromkeys(("afib", "atrial fibrillation"), "AF"),
    **dict.fromkeys(("i-avb", "1avb", "1davb", "first degree av block"), "IAVB"),
    "first degree atrioventricular block": "IAVB",
    **dict.fromkeys(("clbbb", "left bundle branch block"), "LBBB"),
    **dict.fromkeys(("crbbb", "right bundle branch block"), "RBBB"),
    **dict.fromkeys(("apc", "apb", "premature atrial contraction"), "PAC"),
    **dict.fromkeys(("premature atrial contractions", "atrial premature beat"), "PAC"),
    **dict.fromkeys(("vpc", "vpb", "premature ventricular contraction"), "PVC"),
    **dict.fromkeys(("premature ventricular contractions", "ventricular premature beat"), "PVC"),
    **dict.fromkeys(("bigeminy", "trigeminy"), "PVC"),
    **dict.fromkeys(("std_", "st depression", "st segment depression"), "STD"),
    **dict.fromkeys(("ste_", "st elevation", "st segment elevation"), "STE"),
    **{name.lower(): name for name in CLASSES},
}
NORMAL = "SNR"  # of the nine: the class of a record without any of the others
# LUDB's headers give diagnoses as sentences; those that begin like this name one of the classes.
PHRASES = {
    "rhythm: atrial fibrillation": "AF",
    "i degree av block": "IAVB",
    "complete left bundle branch block": "LBBB",
    "complete right bundle branch block": "RBBB",
    "atrial extrasystole": "PAC",
    "ventricular extrasystole": "PVC",
    "stemi": "STE",
}


# SNOMED CT codes of the challenge's sets outside the nine classes, to name them in words.
WORDS = {
    "426177001": "sinus bradycardia",
    "427084000": "sinus tachycardia",
    "427393009": "sinus arrhythmia",
    "164890007": "atrial flutter",
    "164934002": "T wave abnormal",
    "59931005": "T wave inversion",
    "39732003": "left axis deviation",
    "47665007": "right axis deviation",
    "251146004": "low QRS voltages",
    "111975006": "prolonged QT interval",
    "164917005": "Q wave abnormal",
    "164947007": "prolonged PR interval",
    "445118002": "left anterior fascicular block",
    "713426002": "incomplete right bundle branch block",
    "698252002": "nonspecific intraventricular conduction disorder",
    "10370003": "pacing rhythm",
    "164865005": "myocardial infarction",
    "164861001": "myocardial ischemia",
    "164873001": "left ventricular hypertrophy",
    "428750005": "nonspecific ST-T abnormality",
}
NOTHING = ("", "unknown", "none", "nan", "unspecified")  # written where there is no diagnosis


def plain(text):
    """Return a diagnosis in small letters, without what surrounds it: '[164889003.0' and such."""
    text = text.strip(" \t'\"[](){}.").lower()
    return text.removesuffix(".0") if text.removesuffix(".0").isdecimal() else text


def class_of(text):
    """Return the class that a diagnosis (code, word or sentence) names, or None."""
    text = plain(text)
    known = CODES.get(text) or CODES.get(text.replace("-", " "))
    begun = [name for phrase, name in PHRASES.items() if text.startswith(phrase)]
    return known or next(iter(begun), None)


def classes_of(dx):
    """Return the set of the nine classes that diagnoses (codes, words or sentences) name.

    The NORMAL one counts only if none of the others is present: outside CPSC2018 the code of SNR
    means 'sinus rhythm' and stands beside abnormal findings. Labels that a user gives as classes
    are taken as they are.
    """
    classes = {name for name in map(class_of, dx) if name}
    return classes - {NORMAL} or classes


def without_class(dx):
    """Return the diagnoses that name none of the nine classes, in words where these are known."""
    left = [text for text in dx if not class_of(text) and plain(text) not in NOTHING]
    return [WORDS.get(plain(text), text) for text in left]


def split_diagnoses(text):
    """Return the diagnoses of a line: separated by , ; or |, codes and known words by blanks."""
    dx = []
    for part in re.split(r"[,;|]+", text):
        words = part.split()
        apart = not class_of(part) and all(word.isdecimal() or class_of(word) for word in words)
        dx += words if apart else [" ".join(words)]
    return [each for each in (word.strip(" '\"[](){}") for word in dx) if each]
