"""Figures of explanations beyond those of one record: average beats, faithfulness, samples."""

from functools import partial

import numpy as np

from dataset import CLASSES, LEADS, SAMPLE_RATE
from ecg.explanation.attributions import WINDOWS
from ecg.plot.figures import BLUE, ORANGE, make_panels, plt, save_print
from ecg.plot.values import draw_value_bar, draw_values, value_norm
from ecg.processing.beats import REGIONS, WINDOW

GRAY = "0.45"
COLOURS = (BLUE, "#56b4e9", ORANGE)
REGION_COLOURS = ("#009e73", ORANGE, "#56b4e9", "0.8")
COLUMNS = ("I II III", "aVR aVL aVF", "V1 V2 V3", "V4 V5 V6")  # as printed ECGs are laid out


def beat_grid(leads):
    """Return rows, columns and the lead at each place: as on a printed ECG if there are twelve."""
    if len(leads) == len(LEADS):
        names = [lead for row in zip(*map(str.split, COLUMNS), strict=True) for lead in row]
        return 3, 4, names
    columns = min(len(leads), 4)
    return -(-len(leads) // columns), columns, list(leads)


def plot_average_beats(signal, values, borders, unit, leads, path, title):
    """Draw a class's average beat (L, W) of each lead, coloured by its average values (L, W).

    `borders` (4,) are P-to-QRS, QRS and ST-T onset and T end, in s from the middle of QRS. One
    colour scale and one height scale serve all leads.
    """
    rows, columns, names = beat_grid(leads)
    size = (2.2 + 2.3 * columns, 1.1 + 1.75 * rows)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False
    )
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
    label = "SHAP value (change of the logit)\na beat, summed over " + WINDOWS
    draw_value_bar(figure, place, norm, label)
    save_print(figure, path)


def plot_samples(table, method, path):
    """Draw what the values miss of the logit's change over --samples, from faithfulness.csv."""
    rows = table[(table["check"] == "samples") & (table["class"] == "all")]
    rows = rows[rows["measure"].str.startswith("|residual| / ")]
    samples = rows["measure"].str.extract(r"of (\d+) samples")[0].astype(int).to_numpy()
    figure, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
    errors = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
    ax.errorbar(samples, rows["mean"], errors, fmt="o-", c=BLUE, capsize=3, label="measured")
    expected = rows["mean"].iloc[-1] * np.sqrt(samples[-1] / samples)
    ax.plot(samples, expected, "--", c=GRAY, lw=1, label=r"as 1 / $\sqrt{samples}$")
    ax.set_xscale("log")
    ax.set_xticks(samples, [str(n) for n in samples])
    ax.minorticks_off()
    ax.set_xlabel("--samples (the time grows in proportion)")
    ax.set_ylabel("|residual| / |change of the logit|")
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set_ylim(bottom=0)
    ax.set_title(f"--method {method}, n = {rows['n'].iloc[0]} records, 95 % intervals", size=9)
    ax.legend(fontsize=8)
    ax.grid(alpha=0.3)
    save_print(figure, path)


def draw_evidence(ax, table):
    """Draw per class the positive phi in the evidence as a multiple of a uniform map's."""
    rows = table[table["check"] == "evidence"]
    order = [name for name in CLASSES if name in set(rows["class"])]
    for shift, (part, colour) in enumerate(zip(("time", "leads", "both"), COLOURS, strict=True)):
        own = rows[rows["measure"] == f"times uniform in {part}"].set_index("class").loc[order]
        errors = [own["mean"] - own["low"], own["high"] - own["mean"]]
        place = np.arange(len(order)) + 0.27 * (shift - 1)
        ax.bar(place, own["mean"] - 1, 0.27, bottom=1, color=colour, label=f"in {part}")
        ax.errorbar(place, own["mean"], errors, fmt="none", ecolor="0.2", lw=0.8)
    ax.axhline(1, color="0.3", lw=0.8)
    ax.set_yscale("log")
    ticks = [0.5, 1, 2, 3, 5, 10, 20]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    counts = rows[rows["measure"] == "pointing game"].set_index("class")["n"]
    ax.set_xticks(range(len(order)), [f"{name}\n{counts[name]}" for name in order], size=7)
    ax.set_ylabel("positive phi in the evidence,\ntimes that of a uniform map")
    ax.legend(fontsize=7)


def draw_curves(ax, table, kind):
    """Draw the mean course of the logit over the part of samples removed, or put in."""
    rows = table[(table["check"] == "curves") & (table["class"] == "all")].set_index("measure")
    for (order, colour), marker in zip(
        {"top": ORANGE, "random": GRAY, "lowest": BLUE}.items(), "osv", strict=True
    ):
        names = [name for name in rows.index if name.startswith(f"{kind} {order} ") and "%" in name]
        x = [0, *(float(name.split()[-1].rstrip("%")) for name in names)]
        y, low, high = ([0, *rows.loc[names, column]] for column in ("mean", "low", "high"))
        ax.plot(x, y, f"{marker}-", c=colour, ms=4, label=order)
        ax.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    ax.axhline(0, color="0.3", lw=0.8)
    verb = "replaced" if kind == "deletion" else "put in"
    ax.set_xlabel(f"% of the samples {verb} ({kind}; n = {rows['n'].max()})")
    ax.set_ylabel("fall of the logit" if kind == "deletion" else "rise of the logit")
    ax.legend(fontsize=7, title="ranked by phi", title_fontsize=7)


def draw_correlations(ax, table):
    """Draw how far maps of other seeds, trainings and re-initialised layers agree."""
    rows = table[table["check"].isin(["seeds", "training", "layers"]) & (table["class"] == "all")]
    order = {"seeds": 0, "training": 1, "layers": 2}
    rows = rows.sort_values("check", key=lambda checks: checks.map(order), kind="stable")
    kinds = {"windows, ": ("o", BLUE), "ranks of single samples, ": ("s", GRAY)}
    for shift, (start, (marker, colour)) in zip((0.12, -0.12), kinds.items(), strict=True):
        own = rows[rows["measure"].str.startswith(start)]
        place = np.arange(len(own))[::-1]
        errors = [own["mean"] - own["low"], own["high"] - own["mean"]]
        style = {"fmt": marker, "c": colour, "capsize": 2, "ms": 4, "label": start[:-2]}
        ax.errorbar(own["mean"], place + shift, xerr=errors, **style)
        names = own["measure"].str.removeprefix(start)
    ax.axvline(0, color="0.3", lw=0.8)
    ax.set_yticks(place, names.str.replace("random from output to ", "random to "), size=7)
    ax.legend(fontsize=7)
    ax.set_xlim(min(-0.2, rows["low"].min() - 0.05), 1.02)
    ax.set_xlabel(f"correlation of phi (windows of {WINDOWS}; n = {rows['n'].max()})")


def draw_marks(ax, table):
    """Draw per predicted class the shares of |phi| by LUDB's borders, beside those of the time."""
    rows = table[table["check"] == "marks"]
    order = [name for name in (*CLASSES, "all") if name in set(rows["class"])]
    parts = [f"share {region}" for region in REGIONS], [f"time {region}" for region in REGIONS]
    bottom = np.zeros(len(order) + 1)
    for share, time, colour in zip(*parts, REGION_COLOURS, strict=True):
        own = rows[rows["measure"] == share].set_index("class").loc[order, "mean"].to_list()
        own.append(rows[(rows["measure"] == time) & (rows["class"] == "all")]["mean"].item())
        ax.bar(range(len(own)), own, bottom=bottom, color=colour, label=share.split()[1])
        bottom += own
    counts = rows[rows["measure"] == parts[0][0]].set_index("class")["n"]
    labels = [f"{name}\n{counts[name]}" for name in order]
    ax.set_xticks(range(len(order) + 1), [*labels, "time"], size=7)
    ax.set_ylabel("share of |phi|, LUDB's borders")
    ax.set_ylim(0, 1)
    ax.legend(fontsize=6, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.15), frameon=False)


def plot_faithfulness(table, path, title):
    """Draw what faithfulness.csv holds of evidence, curves, correlations and marks."""
    has = set(table["check"])
    draws = [draw_evidence] * ("evidence" in has)
    if "curves" in has:
        draws += [partial(draw_curves, kind=kind) for kind in ("deletion", "insertion")]
    draws += [draw_correlations] * bool(has & {"seeds", "training", "layers"})
    draws += [draw_marks] * ("marks" in has)
    if not draws:
        return
    figure, panels = make_panels(len(draws), min(len(draws), 2), 5.2, 3.3)
    for draw, ax in zip(draws, panels, strict=True):
        draw(ax, table)
        ax.tick_params(labelsize=7)
        ax.grid(alpha=0.3, axis="y" if draw in (draw_evidence, draw_marks) else "both")
        ax.set_axisbelow(True)
    figure.suptitle(title, size=10)
    save_print(figure, path)
