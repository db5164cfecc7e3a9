"""Figures of explanations beyond those of one record: average beats, faithfulness, samples."""

from functools import partial

import numpy as np

from dataset import LEADS, SAMPLE_RATE
from ecg.explanation import checks
from ecg.explanation.attributions import WINDOWS
from ecg.explanation.beat_averages import WINDOW
from ecg.explanation.check_measures import (
    FRACTIONS,
    LAYERS,
    ORDERS,
    PLACES,
    POINTING_GAME,
    RANK_AGREEMENT,
    WINDOW_AGREEMENT,
    agreement_name,
    curve_name,
    place_name,
)
from ecg.explanation.ludb import share_name, time_name
from ecg.plot.figures import BLUE, ORANGE, make_panels, plt, save_print
from ecg.plot.value_colours import draw_value_bar, draw_values, value_norm
from ecg.processing.beats import REGIONS

GRAY = "0.45"
COLOURS = (BLUE, "#56b4e9", ORANGE)
REGION_COLOURS = ("#009e73", ORANGE, "#56b4e9", "0.8")
COMPARISONS = {"seeds", "training", "layers"}  # checks that make the values anew
COLUMNS = ("I II III", "aVR aVL aVF", "V1 V2 V3", "V4 V5 V6")  # as printed ECGs are laid out


def beat_grid(leads):
    """Return rows, columns and the lead at each place: as on a printed ECG if there are twelve."""
    if len(leads) == len(LEADS):
        columns = [column.split() for column in COLUMNS]
        return 3, 4, np.transpose(columns).ravel().tolist()
    columns = min(len(leads), 4)
    return -(-len(leads) // columns), columns, list(leads)


def plot_average_beats(beat, leads, path, title, name="SHAP value"):
    """Draw a class's average beat of each lead, coloured by its average values.

    `beat` is what `BeatAverages.beat` returns: signal (L, W), values (L, W), P-to-QRS, QRS and ST-T
    onset and T end (4,) in s from the middle of QRS, and the signal's unit. `name` says what a
    value is. One colour scale and one height scale serve all leads.
    """
    signal, values, borders, unit = beat
    rows, columns, names = beat_grid(leads)
    size = (2.2 + 2.3 * columns, 1.1 + 1.75 * rows)
    shape = {"figsize": size, "sharex": True, "sharey": True, "squeeze": False}
    figure, axes = plt.subplots(rows, columns, **shape)
    edges = 0.6 / size[0], 0.65 / size[1], 1 - 1.3 / size[0], 1 - 0.62 / size[1]
    figure.subplots_adjust(*edges, wspace=0.06, hspace=0.1)
    norm = value_norm(values)
    seconds = np.arange(signal.shape[1]) / SAMPLE_RATE - WINDOW[0]
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    for name, ax in zip(names, axes.flat, strict=False):
        row = list(leads).index(name)
        points = np.column_stack([seconds, signal[row]])
        ax.axvspan(borders[1], borders[2], color="0.94", zorder=0)
        for border in borders[[0, 3]]:
            ax.axvline(border, color="0.8", lw=0.8, ls=":", zorder=0)
        draw_values(ax, points, values[row], norm, width=6)
        ax.plot(*points.T, color="black", lw=0.8, zorder=3)
        ax.text(0.03, 0.95, name, transform=ax.transAxes, weight="bold", size=9, va="top")
        ax.tick_params(labelsize=7, length=2)
        ax.set_xlim(-WINDOW[0], WINDOW[1])
    note = "seconds from the middle of QRS (gray); dotted: start of the part before it, end of T"
    figure.supxlabel(note, size=8, y=0.22 / size[1])
    figure.supylabel(unit, size=8, x=0.12 / size[0])
    figure.suptitle(title, size=10, y=1 - 0.2 / size[1])
    place = (1 - 1.1 / size[0], 0.25, 0.13 / size[0], 0.5)
    label = f"{name}, mean over beats,\nsummed over {WINDOWS}"
    draw_value_bar(figure, place, norm, label)
    save_print(figure, path)


def stack(means):
    """Return some Means as one Mean of arrays."""
    return checks.Mean(*np.array(means, float).reshape(-1, len(checks.Mean._fields)).T)


def errors(mean):
    """Return the lengths (2, N) of error bars."""
    return np.stack([mean.mean - mean.low, mean.high - mean.mean])


def measured(means, check, class_names=("all",)):
    """Return those of some classes that have Means of a check, in their order."""
    known = {class_name for other, class_name, _ in means if other == check}
    return [name for name in class_names if name in known]


def plot_samples(means, method, path):
    """Draw the part of the logit's change that the values miss, over --samples.

    `means` are those of `checks.summarise`.
    """
    keys = {n: ("samples", "all", checks.missed_name(n)) for n in checks.SAMPLES_STEPS}
    samples = np.array([n for n, key in keys.items() if key in means])
    shown = stack([means[keys[n]] for n in samples])
    figure, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
    ax.errorbar(samples, shown.mean, errors(shown), fmt="o-", c=BLUE, capsize=3, label="measured")
    expected = shown.mean[-1] * np.sqrt(samples[-1] / samples)
    ax.plot(samples, expected, "--", c=GRAY, lw=1, label=r"as 1 / $\sqrt{samples}$")
    ax.set_xscale("log")
    ax.set_xticks(samples, [str(n) for n in samples])
    ax.minorticks_off()
    ax.set_xlabel("--samples (the time grows in proportion)")
    ax.set_ylabel("|residual| / |change of the logit|")
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set_ylim(bottom=0)
    ax.set_title(f"--method {method}, n = {shown.n[0]:.0f} records, 95 % intervals", size=9)
    ax.legend(fontsize=8)
    ax.grid(alpha=0.3)
    save_print(figure, path)


def draw_evidence(ax, means, classes):
    """Draw by class the positive phi in the evidence as a multiple of a uniform map's."""
    order = measured(means, "evidence", classes)
    for shift, (part, colour) in enumerate(zip(PLACES, COLOURS, strict=True)):
        bars = stack([means["evidence", name, place_name(part)] for name in order])
        place = np.arange(len(order)) + 0.27 * (shift - 1)
        ax.bar(place, bars.mean - 1, 0.27, bottom=1, color=colour, label=f"in {part}")
        ax.errorbar(place, bars.mean, errors(bars), fmt="none", ecolor="0.2", lw=0.8)
    ax.axhline(1, color="0.3", lw=0.8)
    ax.set_yscale("log")
    ticks = [0.5, 1, 2, 3, 5, 10, 20]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    labels = [f"{name}\n{means['evidence', name, POINTING_GAME].n}" for name in order]
    ax.set_xticks(range(len(order)), labels, size=7)
    ax.set_ylabel("positive phi in the evidence,\ntimes that of a uniform map")
    ax.legend(fontsize=7)


def draw_curves(ax, means, kind):
    """Draw the mean course of the logit over the part of samples removed, or put in."""
    x = [0, *(100 * fraction for fraction in FRACTIONS)]
    for order, colour, marker in zip(ORDERS, (ORANGE, GRAY, BLUE), "osv", strict=True):
        names = [curve_name(kind, order, fraction) for fraction in FRACTIONS]
        course = stack([means["curves", "all", name] for name in names])
        ax.plot(x, [0, *course.mean], f"{marker}-", c=colour, ms=4, label=order)
        ax.fill_between(x, [0, *course.low], [0, *course.high], color=colour, alpha=0.15, lw=0)
    ax.axhline(0, color="0.3", lw=0.8)
    verb = "replaced" if kind == "deletion" else "put in"
    ax.set_xlabel(f"% of the samples {verb} ({kind}; n = {course.n.max():.0f})")
    ax.set_ylabel("fall of the logit" if kind == "deletion" else "rise of the logit")
    ax.legend(fontsize=7, title="ranked by phi", title_fontsize=7)


def draw_correlations(ax, means):
    """Draw how far maps of other seeds, trainings and re-initialised layers agree."""
    others = {
        checks.ANOTHER_SEED: ("seeds", checks.ANOTHER_SEED),
        checks.ANOTHER_TRAINING: ("training", checks.ANOTHER_TRAINING),
    }
    for layer in LAYERS:
        others[f"random to {layer}"] = ("layers", checks.random_name(layer))
    kinds = (WINDOW_AGREEMENT, "o", BLUE, 0.12), (RANK_AGREEMENT, "s", GRAY, -0.12)
    for kind, marker, colour, shift in kinds:
        shown = {}
        for label, (check, what) in others.items():
            if mean := means.get((check, "all", agreement_name(kind, what))):
                shown[label] = mean
        place, points = np.arange(len(shown))[::-1], stack(list(shown.values()))
        style = {"fmt": marker, "c": colour, "capsize": 2, "ms": 4, "label": kind}
        ax.errorbar(points.mean, place + shift, xerr=errors(points), **style)
    ax.axvline(0, color="0.3", lw=0.8)
    ax.set_yticks(place, shown, size=7)
    ax.legend(fontsize=7)
    rows = []
    for (check, name, _), mean in means.items():
        if check in COMPARISONS and name == "all":
            rows.append(mean)
    whole = stack(rows)
    ax.set_xlim(min(-0.2, whole.low.min() - 0.05), 1.02)
    ax.set_xlabel(f"correlation of phi (windows of {WINDOWS}; n = {whole.n.max():.0f})")


def draw_marks(ax, means, classes):
    """Draw per predicted class the shares of |phi| by LUDB's borders, beside those of the time."""
    order = measured(means, "marks", (*classes, "all"))
    bottom = np.zeros(len(order) + 1)
    for region, colour in zip(REGIONS, REGION_COLOURS, strict=True):
        heights = [means["marks", name, share_name(region)].mean for name in order]
        heights.append(means["marks", "all", time_name(region)].mean)
        ax.bar(range(len(heights)), heights, bottom=bottom, color=colour, label=region)
        bottom += heights
    labels = [f"{name}\n{means['marks', name, share_name(REGIONS[0])].n}" for name in order]
    ax.set_xticks(range(len(order) + 1), [*labels, "time"], size=7)
    ax.set_ylabel("share of |phi|, LUDB's borders")
    ax.set_ylim(0, 1)
    ax.legend(fontsize=6, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.15), frameon=False)


def plot_faithfulness(means, classes, path, title):
    """Draw the Means of evidence, curves, correlations and marks, from `checks.summarise`.

    Bars by class are in the order of `classes`.
    """
    has = {check for check, _, _ in means}
    by_class = [partial(draw, classes=classes) for draw in (draw_evidence, draw_marks)]
    draws = by_class[:1] * ("evidence" in has)
    if "curves" in has:
        draws += [partial(draw_curves, kind=kind) for kind in ("deletion", "insertion")]
    draws += [draw_correlations] * bool(has & COMPARISONS)
    draws += by_class[1:] * ("marks" in has)
    if not draws:
        return
    figure, panels = make_panels(len(draws), min(len(draws), 2), 5.2, 3.3)
    for draw, ax in zip(draws, panels, strict=True):
        draw(ax, means)
        ax.tick_params(labelsize=7)
        ax.grid(alpha=0.3, axis="y" if draw in by_class else "both")
        ax.set_axisbelow(True)
    figure.suptitle(title, size=10)
    save_print(figure, path)
