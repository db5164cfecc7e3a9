"""Maps of the evidence head: where it speaks, in the leads that it needs, and on real records."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import NEEDS_SHARED, SHARED

from benchmarks import places
from dataset import CLASSES
from ecg.explanation import evidence_map
from ecg.explanation.attributions import Options, binned
from ecg.explanation.explanation import Explainer, Record
from ecg.inference.model import Model
from ecg.simulation.heart import WIDE_MIX, make_record
from resnet import ResNet1d

ROOT = Path(__file__).parents[2]


class FirstLeads(torch.nn.Module):
    """A head that says of each frame how high leads 0 and 1 are at its centre; 1 counts half."""

    evidence = "a head"

    def forward(self, x, with_evidence=False):
        at = x[:, :2, ::32]
        return None, (at[:, :1] + 0.5 * at[:, 1:]).repeat(1, 2, 1) - 4


def maps(x, network=None):
    """Return the evidence map of class 1 of x (L, T), as an array."""
    parts = {1: torch.from_numpy(x)}
    return evidence_map.evidence_maps(network or FirstLeads(), parts, None, Options())[1]


def test_a_map_is_the_heads_probability_in_the_leads_that_it_needs():
    x = np.zeros((3, 320), np.float32)
    x[:, 96:128] = [
        [8],
        [4],
        [99],
    ]  # the frame centred on sample 96; the head does not look at lead 2
    phi = maps(x).phi.numpy() * 20
    at = 1 / (1 + np.exp(-(8 + 2 - 4)))
    rest = 1 / (1 + np.exp(4))
    assert phi[0, 96] == pytest.approx(at, abs=1e-5) and phi[0, 0] == pytest.approx(rest, abs=1e-5)
    assert phi[0, 112] == pytest.approx((at + rest) / 2, abs=1e-5)  # half way to the next frame
    # lead 1 lowers the logit there by 2, lead 0 by 8, lead 2 by nothing
    assert phi[1] == pytest.approx(phi[0] * 5 / 8, abs=1e-5)
    assert phi[2] == pytest.approx(phi[0] / 2, abs=1e-5)
    assert maps(x).samples == 4  # the whole, and without each lead


def test_a_window_sums_to_the_probability():
    x = np.zeros((2, 400), np.float32)
    x[0] = 5  # a logit of 5 - 4 everywhere, all of it from lead 0
    found = binned(maps(x).phi.numpy())
    assert found[0] == pytest.approx(np.full(20, 0.731), abs=1e-3)
    assert found[1] == pytest.approx(found[0] / 2)  # not needed


def test_leads_count_alike_where_none_is_needed():
    x = np.zeros((3, 64), np.float32)
    assert np.ptp(maps(x).phi.numpy(), axis=0) == pytest.approx(np.zeros(64))


def test_a_model_without_the_head_cannot_say():
    network = ResNet1d("resnet18", 2, len(CLASSES), 8).eval()
    explainer = Explainer(network, Options(method="evidence"))
    with pytest.raises(ValueError, match="no evidence head"):
        explainer.explain(Record("R", np.zeros((2, 320), np.float32), 320))


def test_an_explanation_of_it_claims_no_sum_and_no_reliability():
    torch.manual_seed(0)
    network = ResNet1d("resnet18", 2, len(CLASSES), 8, 500, True).eval().requires_grad_(False)
    x = np.random.default_rng(0).normal(size=(2, 800)).astype(np.float32)
    made = Explainer(network, Options(method="evidence")).explain(Record("R", x, 800), range(9))
    assert made.method == "evidence" and np.isnan(made.reliability).all()
    for each in made:
        assert np.isnan([each.change, each.residual]).all() and (each.trust == 1).all()
        part = torch.from_numpy(made.part_of(x, each.k).copy())
        with torch.no_grad():
            head = torch.sigmoid(network(part[None], with_evidence=True)[1])[0, each.k]
        top = 20 * each.values.max(0)[::32]  # of the lead that counts most
        assert top == pytest.approx(head.numpy(), abs=1e-5)


@pytest.fixture(scope="module")
def bundled():
    return Model.load(ROOT / "models/general.pth")


def test_the_highest_window_shows_the_criterion_of_what_is_found_in_synthetic_records(bundled):
    """24 records that no model was trained on; a class that is not found has no page."""
    hits = {name: [] for name in CLASSES}
    for number in range(24):
        made = make_record(77, number, 10, WIDE_MIX)
        for name in made.classes:
            spans = [(row.start, row.stop) for row in made.evidence if row.name == name]
            explained = evidence_of(bundled, made.signal, name)
            at = highest(explained)
            inside = [((start <= at) & (at < stop)).any() for start, stop in spans]
            if spans and explained.probability >= bundled.thresholds[name]:
                hits[name].append(any(inside))
    assert {name: np.mean(found) for name, found in hits.items()} == dict.fromkeys(CLASSES, 1)


def evidence_of(model, packed, name):
    """Return the ClassExplanation of a class in a packed record, by the head."""
    explainer, k = Explainer(model.network, Options(method="evidence")), model.classes.index(name)
    return explainer.explain(Record("R", model.network_input(packed), packed.shape[1]), [k]).of(k)


def highest(explained):
    """Return the samples of the record in a map's highest window."""
    return explained.start + 20 * binned(explained.values).max(0).argmax() + np.arange(20)


@NEEDS_SHARED
def test_the_highest_window_of_ludbs_blocks_lies_in_pr_or_in_qrs(bundled):
    """Every record of the odd numbers with IAVB, LBBB or RBBB, between its outermost marks."""
    cases = list(places.ludb_cases(SHARED / "ludb"))
    hits = {(c.record, c.class_name): places.is_hit(bundled, "evidence", c)[0] for c in cases}
    assert len(hits) == 9 and all(hits.values()), hits


@NEEDS_SHARED
def test_the_highest_window_lies_on_an_early_beat_marked_by_eye(bundled):
    """20 records of CPSC2018; the marks were made before any map was seen."""
    hits = {c.record: places.is_hit(bundled, "evidence", c) for c in places.beat_cases(SHARED)}
    assert len(hits) == 20 and np.mean([hit for hit, _ in hits.values()]) >= 0.95, hits
    assert np.mean([chance for _, chance in hits.values()]) < 0.2
