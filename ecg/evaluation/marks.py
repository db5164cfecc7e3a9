"""Marks on a score table: classes whose scores look better than they are."""

import pandas as pd


def doubtful_classes(tables):
    """Return {class: why} of the classes whose threshold says little, over the rounds' tables.

    These are the classes in which more than half of the records are called, and those whose mean
    F1 is not above that of calling every record, 2 n / (n + records). The number called follows
    from n, recall and specificity. {} for tables without these columns.
    """
    if any(not {"n", "recall", "specificity", "f1"} <= set(table) for table in tables):
        return {}
    parts = [table[:-1].assign(records=int(table["n"].iloc[-1])) for table in tables]
    rows = pd.concat(parts).dropna(subset="f1")
    false = (1 - rows["specificity"].fillna(1)) * (rows["records"] - rows["n"])
    rows["called"] = (rows["recall"] * rows["n"] + false).round()
    rows["all"] = 2 * rows["n"] / (rows["n"] + rows["records"])
    found = {}
    for name, part in rows.groupby("class", sort=False):
        called, total = int(part["called"].sum()), int(part["records"].sum())
        why = [f"{called} of {total} records called"] * (called > total / 2)
        if part["f1"].mean() <= part["all"].mean():
            why.append(f"F1 not above the {part['all'].mean():.3f} of calling every record")
        if why:
            found[name] = ", ".join(why)
    return found
