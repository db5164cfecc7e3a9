"""The CPSC2018 challenge's own score."""

import numpy as np

# The CPSC2018 challenge's four groups of abnormalities.
CHALLENGE_GROUPS = {
    "F_AF": ("AF",),
    "F_Block": ("IAVB", "LBBB", "RBBB"),
    "F_PC": ("PAC", "PVC"),
    "F_ST": ("STD", "STE"),
}
CHALLENGE_RULE = (
    "one answer per record, the class of the highest probability; right if it is any of the "
    "record's labels, else counted in the row of its first (labels.csv keeps no order: the first "
    "of the nine classes; 'ambiguous' counts the answers that this concerns); source: "
    "icbeb.org/Challenge.html and the challenge's scoring script of 2018"
)


def challenge_scores(y_true, y_score, classes):
    """Return the CPSC2018 challenge's own scores: F1, four groups, and F1 of the nine classes.

    The challenge takes one answer per record: here the class of the highest probability. Records
    are counted in a matrix N, reference in rows and answer in columns: on the diagonal if the
    answer is any of the record's labels, else in the row of the first label. Per class F1_i =
    2 N_ii / (N_i. + N_.i); F1 is the mean of the nine; a group's F sums the numerators and the
    denominators of its classes. labels.csv does not keep the order of a record's labels, so the
    first in the order of `classes` stands for it, in `ambiguous` wrong answers. A class in
    neither rows nor columns (0 / 0) is None and left out of F1; records without a label too.
    """
    y_true, classes = np.asarray(y_true).astype(int), list(classes)
    labelled = y_true.any(1)
    true, answer = y_true[labelled], np.asarray(y_score)[labelled].argmax(1)
    right = true[np.arange(len(true)), answer] == 1
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (np.where(right, answer, true.argmax(1)), answer), 1)
    doubled, totals = 2 * counts.diagonal(), counts.sum(0) + counts.sum(1)

    def ratio(members):
        return (
            float(doubled[members].sum() / totals[members].sum()) if totals[members].any() else None
        )

    per_class = {name: ratio([k]) for k, name in enumerate(classes)}
    known = [value for value in per_class.values() if value is not None]
    groups = {
        group: ratio([classes.index(name) for name in names])
        for group, names in CHALLENGE_GROUPS.items()
    }
    ambiguous = int((~right & (true.sum(1) > 1)).sum())
    scores = {"F1": float(np.mean(known)) if known else None, **groups, "classes": per_class}
    return scores | {"n": len(true), "ambiguous": ambiguous}
