"""The nine classes in the words of each data set: SNOMED CT codes, abbreviations, sentences."""

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
    "normal": "SNR",
    "i-avb": "IAVB",
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


def classes_of(dx):
    """Return the set of the nine classes that diagnoses (codes, words or sentences) name.

    The NORMAL one counts only if none of the others is present: outside CPSC2018 the code of SNR
    means 'sinus rhythm' and stands beside abnormal findings. Labels that a user gives as classes
    are taken as they are.
    """
    classes = set()
    for text in dx:
        text = text.strip().rstrip(".").lower()
        if text in CODES:
            classes.add(CODES[text])
        classes.update(name for phrase, name in PHRASES.items() if text.startswith(phrase))
    return classes - {NORMAL} or classes
