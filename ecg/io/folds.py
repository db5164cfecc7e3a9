"""Assign the records of a data set to ten folds; those of a patient or signal share one."""

import csv

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dataset import CLASSES, N_FOLDS


def read_groups(path):
    """Read a csv of patient_id (a record) and patient: record name -> patient.

    Raises ValueError with the fault and its line.
    """
    patients = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        if [cell.strip() for cell in next(rows, [])] != ["patient_id", "patient"]:
            raise ValueError("its first row is not patient_id,patient")
        for line, row in enumerate(rows, start=2):
            if row and (len(row) != 2 or not all(cell.strip() for cell in row)):
                raise ValueError(f"line {line} is not the name of a record and a patient")
            if row and patients.setdefault(row[0].strip(), row[1].strip()) != row[1].strip():
                raise ValueError(f"line {line} gives {row[0]} a second patient")
    return patients


def find_groups(names, rows, patients):
    """Return a number for each of the records `names`: equal if they must share a fold.

    They share one if they are of one patient (by `patients`, else by their header) or have the same
    signal, also through a chain of such pairs. Numbers rise in the order of the records. `rows`
    are the Rows of packing.py.
    """
    rows = {row.patient_id: row for row in rows if not row.skipped}
    keys, pairs = {}, []
    for i, name in enumerate(names):
        patient = patients.get(name) or rows[name].patient
        pairs.append((i, keys.setdefault(rows[name].signal, len(keys))))
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
        y = np.zeros((groups.max() + 1, len(CLASSES)), int)
        np.add.at(y, groups, labels[list(CLASSES)].to_numpy())
        return labels.assign(fold=stratified_folds(y, seed)[groups])
    first = np.unique(groups, return_index=True)[1]
    return labels.assign(fold=random_folds(len(labels), seed)[first][groups])
