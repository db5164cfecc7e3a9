"""Values as colour: in their place, faded where they are noise, told apart by everyone."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import Normalize, to_rgb

from ecg.explanation.explanation import ClassExplanation
from ecg.plot import figures, value_colours

# linear RGB as seen without the cones of one kind (Machado et al., IEEE TVCG 15:1291, 2009)
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
TO_XYZ = [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]


def explanation(values, method="shap"):
    """Return a ClassExplanation of values (L, t) that can all be trusted."""
    trust = np.ones((len(values), -(-values.shape[1] // 20)))
    return ClassExplanation(6, values, 0, 0.0, 1.0, 0.0, np.ones(2), 9, trust, method)


def lab(colour, sight):
    """Return CIELAB of an sRGB colour as it is seen."""
    colour = np.asarray(colour)
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(SIGHT[sight]) @ linear, 0, 1)
    f = np.cbrt(np.array(TO_XYZ) @ seen / [0.9505, 1, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("strength", [1, 0.4])
def test_the_two_colours_and_the_grid_are_told_apart_by_everyone(sight, strength):
    on_white = [
        strength * np.array(to_rgb(c)) + 1 - strength for c in (figures.LOWERS, figures.RAISES)
    ]
    seen = [lab(colour, sight) for colour in (*on_white, to_rgb("#eaa4a4"))]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.linalg.norm(seen[a] - seen[b]) > 20  # 2.3 is just noticeable


def test_the_scale_of_cells_and_that_of_traces_are_one():
    norm = Normalize(-2, 2)
    sums = np.array([-2, -1.0, 0, 0.5, 2, 9])
    colours = value_colours.value_colours(sums, norm)
    over_white = colours[:, 3:] * colours[:, :3] + 1 - colours[:, 3:]
    np.testing.assert_allclose(over_white, figures.VALUE_MAP(norm(sums))[:, :3], atol=0.01)


def test_what_the_halves_do_not_agree_on_fades():
    sums, trust = np.array([1.0, 1, 1, -1]), np.array([1, 0.5, np.nan, 0])
    colours = value_colours.value_colours(sums, Normalize(-1, 1), trust)
    assert colours[:, 3].tolist() == [1, 0.5, 0, 0]
    assert (colours[0, :3] == to_rgb(figures.RAISES)).all()


@pytest.mark.parametrize("first", [0, 10, -30])
def test_colour_lies_where_the_values_are_whatever_the_page_begins_with(first):
    figure, ax = plt.subplots()
    points = np.column_stack([np.arange(100), np.zeros(100)])
    colours = np.zeros((4, 4))
    colours[2] = 0, 0, 1, 1  # samples 40 to 59 of the values
    value_colours.draw_windows(ax, points, colours, first, 3)
    (strip,) = ax.collections
    shown = {
        int(x)
        for segment, colour in zip(strip.get_segments(), strip.get_colors(), strict=True)
        for x in segment[:-1, 0]
        if colour[3]
    }
    assert shown == set(range(40 - first, 60 - first))
    plt.close(figure)


def test_shares_are_those_of_the_absolute_values_and_an_unseen_lead_has_none():
    phi = np.zeros((2, 40))
    phi[0, 3], phi[1, 30], phi[1, 31] = 3, -2, 3
    found = value_colours.page_colours(explanation(phi), ["V1", "I"])
    assert found.shares[6] == 3 / 8 and found.shares[0] == 5 / 8
    assert np.isnan(np.delete(found.shares, [0, 6])).all()
    assert found.colours.shape == (12, 2, 4) and found.colours[0, 1, 3] > 0
    assert not found.colours[0, 0].any(where=[False, False, False, True])


def test_evidence_is_coloured_by_what_it_is_and_has_no_sign():
    """A map whose highest probability is .5 is not stretched to the full colour."""
    phi = np.zeros((2, 40))
    phi[0, :20] = 0.5 / 20
    found = value_colours.page_colours(explanation(phi, "evidence"), ["V1", "I"])
    assert found.colours[6, :, 3].tolist() == pytest.approx([0.5, 0])
    assert (found.norm.vmin, found.norm.vmax) == (0, 1) and "evidence" in found.label
    stretched = value_colours.page_colours(explanation(phi), ["V1", "I"])
    assert stretched.colours[6, 0, 3] > 0.9 and "change of the logit" in stretched.label
