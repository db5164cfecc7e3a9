"""The methods that make values, by name; a new one is an entry of METHODS."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ecg.explanation.attributions import mean_gradients_of, random_path, straight_path
from ecg.explanation.evidence_map import evidence_maps
from ecg.explanation.library import gradient_explainer
from utils import InputError


class Method(NamedTuple):
    """How the values of a logit are made, and what can be said of them."""

    text: str  # for --help
    attribute: Callable  # (network, {k: x}, background, options, stop_when) -> {k: Attribution}
    background: bool = False  # compares with records of the training folds, else with a flat line
    drawn: bool = False  # at random: there is a reliability
    stops: bool = False  # drawing can end as soon as the values are reliable
    adds_up: bool = True  # the values sum to the change of the logit
    unit: str = "SHAP value"  # what a value is, on figures and pages


METHODS = {
    "shap": Method(
        "expected gradients, those of shap.GradientExplainer",
        partial(mean_gradients_of, random_path),
        background=True,
        drawn=True,
        stops=True,
    ),
    "ig": Method(
        "integrated gradients from a signal of zeros",
        partial(mean_gradients_of, straight_path),
        unit="integrated gradient",
    ),
    "evidence": Method(
        "where the network's evidence head sees the criterion",
        evidence_maps,
        adds_up=False,
        unit="evidence",
    ),
    "gradient-explainer": Method(
        "shap.GradientExplainer itself, slow, to check shap",
        gradient_explainer,
        background=True,
        drawn=True,
    ),
}
EVIDENCE = "evidence"
NO_HEAD = "has no evidence head; choose --method shap or ig, or train one: main.py --evidence"


def lacks_head(method, network):
    """Tell whether a method needs an evidence head that a network does not have."""
    return method == EVIDENCE and network.evidence is None


def refuse_unused(parser, method, reliability):
    """Stop if --reliability is asked of a method that cannot draw until it is reached."""
    if reliability and method and not METHODS[method].stops:
        parser.error(f"--reliability needs samples that are drawn, not --method {method}")


def refuse_lacking(model, method):
    """Stop if a method needs an evidence head that the Model does not have."""
    if lacks_head(method, model.network):
        raise InputError(f"{model.path} {NO_HEAD}")
