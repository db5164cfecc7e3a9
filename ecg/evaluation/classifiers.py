"""The classifiers on expert features: their settings, their fit, the importance of features."""

import warnings
from collections import Counter
from typing import NamedTuple

import numpy as np

from utils import InputError

# the libraries are imported where they are used: they take seconds to load, --help needs none


def logistic_regression(seed, jobs):
    """Return logistic regression, one model per class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    return OneVsRestClassifier(LogisticRegression(max_iter=1000, random_state=seed))


def random_forest(seed, jobs):
    """Return a random forest of 300 trees of depth 10, one forest per class."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.multiclass import OneVsRestClassifier

    forest = RandomForestClassifier(300, max_depth=10, random_state=seed, n_jobs=jobs)
    return OneVsRestClassifier(forest)


def gradient_boosting(seed, jobs):
    """Return LightGBM with 100 trees, one model per class; raises InputError without its OpenMP."""
    from sklearn.multiclass import OneVsRestClassifier

    try:
        from lightgbm import LGBMClassifier
    except OSError as error:
        raise InputError(
            f"LightGBM cannot be loaded ({error}); install its OpenMP library (Debian, Ubuntu: "
            "apt-get install libgomp1; macOS: brew install libomp), or run LR, RF and MLP alone, "
            "each with --classifier"
        ) from error

    # one thread: LightGBM's threads spin while they wait, 20 times slower on a shared core
    trees = LGBMClassifier(
        n_estimators=100,
        importance_type="gain",
        random_state=seed,
        n_jobs=1,
        deterministic=True,
        force_row_wise=True,
        verbosity=-1,
    )
    return OneVsRestClassifier(trees)


def perceptron(seed, jobs):
    """Return a multi-layer perceptron (100, 50) for all classes together."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((100, 50), max_iter=500, random_state=seed)


class Classifier(NamedTuple):
    """A classifier: its factory, and what measures a feature's importance (if it is computed)."""

    make: object  # of the seed and the number of processes
    importance: str = ""


# The iterations of LR and MLP are those of the paper's code; the other options are the defaults.
CLASSIFIERS = {
    "LR": Classifier(logistic_regression, "|coefficient| x sd"),
    "RF": Classifier(random_forest),
    "LGB": Classifier(gradient_boosting, "gain"),
    "MLP": Classifier(perceptron),
}
# what a reproduction compares: each with the paper's features, and with the rhythm's added
RHYTHM = "-rhythm"
METHODS = (*CLASSIFIERS, *(name + RHYTHM for name in CLASSIFIERS))


def make_model(classifier, scale, seed, jobs):
    """Return the unfitted pipeline: imputer, scaler if `scale` is 'standard', classifier."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # the paper's features are never missing; rhythm features are, in a record without beats
    steps = [SimpleImputer(strategy="median", keep_empty_features=True)]
    steps += [StandardScaler()] if scale == "standard" else []
    return make_pipeline(*steps, CLASSIFIERS[classifier].make(seed, jobs))


def fit(model, x, y, classes):
    """Fit on features (N, F) and labels (N, K), NaN where unknown; return notes on what went wrong.

    Where labels are unknown, or there is one class, each class has a classifier of its own.
    Warnings are collected instead of printed: each becomes a note, none is dropped.
    """
    from sklearn.exceptions import ConvergenceWarning

    absent = [name for name, held in zip(classes, (y == 1).any(0), strict=True) if not held]
    notes = [f"no training record with {', '.join(absent)}"] if absent else []
    unknown = not np.isfinite(y).all()
    if unknown or y.shape[1] == 1:  # scikit-learn's take neither
        from ecg.evaluation.on_known import OnKnown

        name, last = model.steps[-1]
        model.steps[-1] = name, OnKnown(getattr(last, "estimator", last))
    if unknown:
        notes.append("each class is fitted on the records in which it is known")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if absent:  # the note says what OneVsRestClassifier warns of
            warnings.filterwarnings("ignore", category=UserWarning, module=r"sklearn\.multiclass")
        model.fit(x, y)
    for estimator in getattr(model[-1], "estimators_", []):
        if hasattr(estimator, "n_jobs"):
            estimator.n_jobs = 1  # threads would add up the trees' votes in no fixed order
    stopped = unconverged(model[-1], classes)
    if stopped:
        notes.append(stopped)
        caught = [w for w in caught if not issubclass(w.category, ConvergenceWarning)]
    others = Counter(f"{w.category.__name__}: {w.message}".splitlines()[0] for w in caught)
    return notes + [f"{count} x {text}" for text, count in others.items()]


def unconverged(classifier, classes):
    """Return a sentence about the models that ran into their limit of iterations, '' if none."""
    models = getattr(classifier, "estimators_", [classifier])
    limits = [getattr(model, "max_iter", np.inf) for model in models]  # trees have none
    done = [np.max(getattr(model, "n_iter_", 0)) for model in models]
    stopped = np.array(done) >= limits
    if not stopped.any():
        return ""
    names = [name for name, hit in zip(classes, stopped, strict=False) if hit]
    which = ", ".join(names) if len(models) > 1 else "all classes"
    return f"did not converge within {min(limits)} iterations (ConvergenceWarning): {which}"


def importances(model, x):
    """Return the importance of each feature for each class, (K, F); NaN for a class never fitted.

    LR: |coefficient| x the standard deviation of the feature over x as the classifier sees it
    (Menard 2004: semi-standardised coefficients), else the units would decide. LGB: total gain.
    """
    spread = model[:-1].transform(x).std(0)
    rows = []
    for estimator in model[-1].estimators_:
        if hasattr(estimator, "coef_"):
            rows.append(np.abs(estimator.coef_[0]) * spread)
        else:
            rows.append(getattr(estimator, "feature_importances_", np.full(x.shape[1], np.nan)))
    return np.array(rows, float)
