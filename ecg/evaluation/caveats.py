"""Caveats on a score table: classes whose scores look better than they are."""

import pandas as pd


def doubtful_classes(tables):
    """Return {class: why} of the classes whose threshold says little, over the rounds' tables.

    These are the classes in which more than half of the records are called positive, and those
    whose mean F1 is not above that of calling every record positive, 2 n / (n + records). The
    number called follows from n, recall and specificity. {} for tables without these columns.
    """
    if any(not {"n", "recall", "specificity", "f1"} <= set(table) for table in tables):
        return {}
    parts = []
    for table in tables:
        known = table["known"] if "known" in table else int(table.n.iloc[-1])
        parts.append(table.assign(records=known)[:-1])
    rows = pd.concat(parts).dropna(subset="f1")
    false = (1 - rows.specificity.fillna(1)) * (rows.records - rows.n)
    rows = rows.assign(
        positive=(rows.recall * rows.n + false).round(), all_f1=2 * rows.n / (rows.n + rows.records)
    )
    doubtful = {}
    for name, part in rows.groupby("class", sort=False):
        positive, total, all_f1 = int(part.positive.sum()), int(part.records.sum()), part.all_f1
        reasons = []
        if positive > total / 2:
            reasons.append(f"positive in {positive} of {total}")
        if part.f1.mean() <= all_f1.mean():
            reasons.append(f"no better than calling every record positive (F1 {all_f1.mean():.3f})")
        if reasons:
            doubtful[name] = ", ".join(reasons)
    return doubtful
