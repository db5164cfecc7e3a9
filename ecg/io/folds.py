"""Assign the records of a data set to ten folds; those of a patient or signal share one."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dataset import N_FOLDS, classes_of
from ecg.io.tables import FOLD, PATIENT, parse_fold, read_table


def read_groups(path, names):
    """Read a table of records and patients: patient_id -> patient, and the records not there.

    `names` are the RecordNames of the folder. Raises ValueError with the fault and its line.
    """
    table = read_table(path)
    record, patient = table.find_record()
    if patient is None:
        raise ValueError(
            f"it has no column of the patients; call it patient (it has {', '.join(table.names)})"
        )
    patients, missing = {}, []
    for line, row in enumerate(table.rows, start=2):
        if not row[record] or not row[patient]:
            raise ValueError(f"line {line} is not the name of a record and a patient")
        source = names.find(row[record])
        if source is None:
            missing.append(row[record])
        elif patients.setdefault(source.name, row[patient]) != row[patient]:
            raise ValueError(f"line {line} gives {row[record]} a second patient")
    return patients, missing


class FoldTable(NamedTuple):
    """The folds that a table gives to records, or to patients."""

    records: dict[str, int]  # by patient_id
    patients: dict[str, int]

    def find(self, name, patient):
        """Return the fold of a record of a patient, or None."""
        return self.records.get(name, self.patients.get(patient))


def read_folds(path, names):
    """Read a table of record (or patient) and fold; raises ValueError with fault and line."""
    table = read_table(path)
    fold = table.find(FOLD)
    try:
        record, _ = table.find_record()
        patient = None
    except ValueError:
        record, patient = None, table.find(PATIENT)
    if fold is None or record is None and patient is None:
        raise ValueError(
            f"it needs a column fold beside record or patient (it has {', '.join(table.names)})"
        )
    records, patients = {}, {}
    for line, row in enumerate(table.rows, start=2):
        try:
            number = parse_fold(row[fold], N_FOLDS)
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from None
        if record is None:
            key, known = row[patient], patients
        else:
            source = names.find(row[record])
            key, known = source and source.name, records
        if key and number and known.setdefault(key, number) != number:
            raise ValueError(f"line {line} puts {key} into a second fold")
    return FoldTable(records, patients)


def given_folds(labels, groups, wanted):
    """Return labels with the folds `wanted` (N,), None where unknown; groups (N,) share one.

    A record without a fold takes that of its group. Raises ValueError if records of a group have
    different folds, or none has one.
    """
    first, names = {}, list(labels["patient_id"])
    for name, group, fold in zip(names, groups, wanted, strict=True):
        if fold is not None and first.setdefault(group, (name, fold))[1] != fold:
            raise ValueError(
                f"{first[group][0]} is in fold {first[group][1]}, {name} in fold {fold}, but they "
                "are of one patient or have the same signal; give them one fold"
            )
    lost = [name for name, group in zip(names, groups, strict=True) if group not in first]
    if lost:
        some = ", ".join(lost[:3]) + " ..." * (len(lost) > 3)
        raise ValueError(f"{len(lost)} labelled records have no fold ({some}); add them")
    return labels.assign(fold=[first[group][1] for group in groups])


def find_groups(names, rows, patients):
    """Return a number for each of the records `names`: equal if they must share a fold.

    They share one if they are of one patient (by `patients`, else by their header), have the same
    signal, or are the two rates of one ECG (PTB-XL's 00001_hr and 00001_lr), also through a chain
    of such pairs. Numbers rise in the order of the records. `rows`
    are the Rows of packing.py.
    """
    rows = {row.patient_id: row for row in rows if not row.skipped}
    keys, pairs = {}, []
    for i, name in enumerate(names):
        patient = patients.get(name) or rows[name].patient
        pairs.append((i, keys.setdefault(rows[name].signal, len(keys))))
        if name.endswith(("_hr", "_lr")):
            pairs.append((i, keys.setdefault(("rates", name[:-3]), len(keys))))
        if patient:
            pairs.append((i, keys.setdefault(("patient", patient), len(keys))))
    i, key = np.array(pairs).T
    size = len(names) + len(keys)
    graph = coo_array((np.ones(len(i)), (i, key + len(names))), shape=(size, size))
    group = connected_components(graph, directed=False)[1][: len(names)]
    _, first, group = np.unique(group, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group]


def random_folds(n, seed):
    """Return a fold 1-10 for each of n records: 1, 2 ... 10, 1 ... along a seeded permutation."""
    # NumPy freezes RandomState's stream; a Generator's may change between releases
    rng = np.random.RandomState(seed)  # noqa: NPY002
    folds = np.empty(n, int)
    folds[rng.permutation(n)] = np.arange(n) % N_FOLDS + 1
    return folds


def stratified_folds(y, seed):
    """Return a fold 1-10 for each row of y (G, K), the labels balanced over the folds.

    A row is a record, or the sum of the labels of a group. Iterative stratification (Sechidis et
    al., 2011): the label with the fewest records left comes first; each of its rows goes to the
    fold that lacks most of that label, then most rows, then by lot.
    """
    rng = np.random.RandomState(seed)  # noqa: NPY002  (frozen stream, as above)
    folds = np.zeros(len(y), int)
    wanted = np.tile(y.sum(0) / N_FOLDS, (N_FOLDS, 1))  # (folds, K)
    room = np.full(N_FOLDS, len(y) / N_FOLDS)
    while (free := folds == 0).any():
        left = y[free].sum(0)
        label = np.where(left > 0, left, np.inf).argmin()
        for i in rng.permutation(np.flatnonzero(free & (y[:, label] > 0))):
            lot = rng.permutation(N_FOLDS)
            fold = lot[np.lexsort((-room[lot], -wanted[lot, label]))[0]]
            folds[i] = fold + 1
            wanted[fold] -= y[i]
            room[fold] -= 1
    return folds


def assign_folds(labels, kind, seed, groups=None):
    """Return labels with a `fold` column; records with the same number in groups (N,) share one.

    With kind 'random' a group goes to the fold of its first record, so no other record moves.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    if kind == "stratified":
        known = labels[list(classes_of(labels))].fillna(0).to_numpy(int)
        y = np.zeros((groups.max() + 1, known.shape[1]), int)
        np.add.at(y, groups, known)
        return labels.assign(fold=stratified_folds(y, seed)[groups])
    first = np.unique(groups, return_index=True)[1]
    return labels.assign(fold=random_folds(len(labels), seed)[first][groups])
