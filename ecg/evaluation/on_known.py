"""Classifiers of records whose labels are partly unknown."""

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier


class OnKnown(BaseEstimator):
    """A classifier for each class, fitted on the records in which the class is known."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, x, y):
        """Fit on features (N, F) and labels (N, K), NaN where unknown."""
        self.estimators_ = [self.fit_class(x, true) for true in y.T]
        return self

    def fit_class(self, x, true):
        """Return what is fitted to one class: a constant if its known labels are all the same."""
        known = np.isfinite(true)
        values = np.unique(true[known])
        if len(values) < 2:
            return DummyClassifier().fit(x, np.full(len(x), int(values.any())))
        return clone(self.estimator).fit(x[known], true[known].astype(int))

    def predict_proba(self, x):
        """Return the probabilities (N, K)."""
        columns = []
        for estimator in self.estimators_:
            values, p = estimator.classes_.tolist(), estimator.predict_proba(x)
            columns.append(p[:, values.index(1)] if 1 in values else np.zeros(len(p)))
        return np.column_stack(columns)
