"""Figures of scores, training history and heat maps."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.patches import Rectangle
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_curve, roc_curve

from ecg.evaluation.metrics import (
    CALIBRATION_BINS,
    apply_thresholds,
    calibration_bins,
    divide,
)
from ecg.plot.figures import (
    BLUE,
    ORANGE,
    VALUE_MAP,
    footnote,
    make_panels,
    plt,
    png_of,
    save_print,
)


class HeatMap(NamedTuple):
    """Values (R, C), what they are, and for each row why it may be empty, '' for 'no record'."""

    values: np.ndarray
    label: str
    notes: Sequence[str] | None = None


def draw_heat_map(ax, values, label, notes=None):
    """Draw the values of a HeatMap as coloured cells with their numbers, and their colour bar.

    A row of NaN is hatched and says why. The colours are sequential, or diverging and centred on
    zero if any value is negative.
    """
    values = np.asarray(values, float)
    known = values[np.isfinite(values)]
    top = max(np.abs(known).max(initial=0), 1e-12)
    signed = known.min(initial=0) < 0
    cmap, low = (VALUE_MAP, -top) if signed else (plt.get_cmap("YlGnBu"), 0)
    rows, columns = values.shape
    image = ax.imshow(values, cmap=cmap, vmin=low, vmax=top, aspect="auto")
    colour_bar = ax.figure.colorbar(image, ax=ax, pad=0.02, label=label)
    colour_bar.ax.tick_params(labelsize=8)
    decimals = int(np.clip(2 - np.floor(np.log10(top)), 0, 4))
    for row, column in np.ndindex(rows, columns):
        value = values[row, column]
        if np.isfinite(value):
            text = f"{round(value, decimals) + 0:.{decimals}f}"  # + 0 turns -0 into 0
            dark = np.dot(image.to_rgba(value)[:3], (0.299, 0.587, 0.114)) < 0.55
            colour = "w" if dark else "k"
            ax.text(column, row, text, ha="center", va="center", size=8, color=colour)
        else:
            corner = (column - 0.5, row - 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, fc="0.93", ec="0.75", hatch="////", lw=0))
    for row in np.flatnonzero(np.isnan(values).all(1)):
        box = {"boxstyle": "round", "fc": "white", "ec": "none"}
        middle = (columns - 1) / 2
        note = (notes[row] if notes is not None else "") or "no record"
        ax.text(middle, row, note, ha="center", va="center", size=8, color="0.3", bbox=box)


def plot_heat_maps(maps, row_labels, column_labels, path, title):
    """Write HeatMaps with the same rows and columns beside each other, as PNG and SVG."""
    rows, columns = len(row_labels), len(column_labels)
    size = (len(maps) * max(6.4, 2.6 + 0.58 * columns), 1.5 + 0.36 * rows)
    figure, axes = plt.subplots(
        1, len(maps), figsize=size, layout="constrained", squeeze=False, sharey=True
    )
    for ax, heat_map in zip(axes.flat, maps, strict=True):
        draw_heat_map(ax, *heat_map)
        ax.set_xticks(range(columns), column_labels)
        ax.set_yticks(range(rows), row_labels)
        ax.tick_params(length=0)
    figure.suptitle(title, size=10)
    save_print(figure, path)


def draw_confusion(ax, true, pred, name):
    """Draw the confusion matrix of a class from 0/1 arrays (N,), with counts and shares of rows."""
    counts = np.bincount(2 * true + pred, minlength=4).reshape(2, 2)
    totals = counts.sum(1, keepdims=True)
    shares = divide(counts, totals)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(2, 2):
        percent = f"{shares[row, column]:.1%}" if totals[row, 0] else "no record"
        colour = "white" if shares[row, column] > 0.55 else "black"
        text = f"{counts[row, column]}\n{percent}"
        ax.text(column, row, text, ha="center", va="center", size=8, color=colour)
    positive = f"{true.sum()} positive" if true.any() else "no positives"
    ax.set_title(f"{name} ({positive})", size=9)
    ax.set_xticks([0, 1], ["no", "yes"])
    ax.set_yticks([0, 1], ["no", "yes"])
    ax.set_xlabel("predicted", size=8)
    ax.set_ylabel("true", size=8)
    ax.tick_params(length=0, labelsize=8)


def plot_confusions(y_true, y_pred, classes, path, title):
    """Draw a 2 x 2 confusion matrix for each class, from 0/1 arrays (N, K), as PNG and SVG.

    A cell shows its count and its share of the row; a row without records has no shares. Records
    whose label is NaN are left out.
    """
    figure, panels = make_panels(len(classes), 3, 2.4, 2.4)
    for k, (name, ax) in enumerate(zip(classes, panels, strict=True)):
        pair = np.stack([np.asarray(y_true)[:, k], np.asarray(y_pred)[:, k]])
        draw_confusion(ax, *pair[:, np.isfinite(pair[0])].astype(int), name)
    figure.suptitle(f"{title}; counts and shares of the row", size=10)
    save_print(figure, path)


def plot_history(history, path, kept):
    """Draw losses and validation scores over the epochs, the kept one marked, as PNG and SVG.

    `history` has the columns epoch, train_loss, val_loss, val_f1, val_auc; `kept` is an epoch.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
    groups = [
        ("binary cross-entropy", {"train_loss": "training", "val_loss": "validation"}),
        ("validation score, macro", {"val_f1": "F1", "val_auc": "AUC"}),
    ]
    epochs, best = history.epoch, history.val_f1[history.epoch == kept].item()
    for ax, (label, columns) in zip(axes, groups, strict=True):
        for (column, name), colour in zip(columns.items(), (BLUE, ORANGE), strict=True):
            marker = "o-" if column.startswith("val") else "s--"
            ax.plot(epochs, history[column], marker, c=colour, ms=3, label=name)
        note = f"kept: epoch {kept}" + (f", F1 {best:.3f}" if np.isfinite(best) else "")
        ax.axvline(kept, color="0.5", lw=0.8, ls=":", label=note)
        ax.set_xlabel("epoch")
        ax.set_ylabel(label)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        ax.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
        ax.margins(y=0.1)
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes[1].set_ylim(top=1)
    save_print(figure, path)


def with_interval(text, row, name):
    """Return a score of the table as text, with its interval if the table has one."""
    low, high = row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan)
    interval = f" [{low:.3f}, {high:.3f}]" if np.isfinite(low) else ""
    return f"{text} {row[name]:.3f}{interval}"


def draw_roc(ax, true, score, row):
    """Draw a ROC curve; a dot marks the threshold, the diagonal is chance."""
    ax.plot([0, 1], [0, 1], c="0.6", lw=0.8, ls="--")
    if not true.any() or true.all():
        return None
    false_positive, recall, _ = roc_curve(true, score, drop_intermediate=False)
    ax.plot(false_positive, recall, c=BLUE, lw=1.3)
    ax.plot(1 - row.specificity, row.recall, "o", c=ORANGE, ms=5, clip_on=False, zorder=3)
    return with_interval("AUC", row, "auc")


def draw_precision_recall(ax, true, score, row):
    """Draw precision over recall; a dot marks the threshold.

    The dashed line is the class's share of the records, the precision of chance. The curve is
    drawn in steps: its area is the average precision.
    """
    if not true.any():
        return None
    precision, recall, _ = precision_recall_curve(true, score)
    kept = recall > 0  # the rest has no width, and ends in a point that no threshold gives
    precision, recall = precision[kept][::-1], recall[kept][::-1]
    ax.axhline(true.mean(), c="0.6", lw=0.8, ls="--")
    ax.step([0, *recall], [precision[0], *precision], c=BLUE, lw=1.3, where="pre")
    ax.plot(row.recall, row.precision, "o", c=ORANGE, ms=5, clip_on=False, zorder=3)
    return with_interval("AP", row, "ap")


def draw_reliability(ax, true, score, row):
    """Draw how often records of a probability are positive; grey is their number.

    Ten bins of equal width, as in the expected calibration error; a dot stands at the bin's mean
    probability, its line is the 95 % Wilson interval.
    """
    ax.plot([0, 1], [0, 1], c="0.6", lw=0.8, ls="--")
    if not true.any():
        return None
    bins, width = calibration_bins(score), 1 / CALIBRATION_BINS
    n = np.bincount(bins, minlength=CALIBRATION_BINS)
    ax.bar(width * np.arange(len(n)), (n / n.sum()) ** 0.5, width, align="edge", color="0.88")
    hits, sums = np.bincount(bins, true, len(n)), np.bincount(bins, score, len(n))
    held = n > 0
    means, shares = sums[held] / n[held], hits[held] / n[held]
    tests = [binomtest(int(h), m) for h, m in zip(hits[held], n[held].tolist(), strict=True)]
    low, high = np.array([test.proportion_ci(method="wilson") for test in tests]).T
    ends = np.clip([shares - low, high - shares], 0, None)  # rounding may leave -1e-17
    ax.errorbar(means, shares, ends, fmt="o", c=BLUE, ms=4, lw=1.2, clip_on=False)
    floor = f" (chance {row.ece_floor:.3f})" if "ece_floor" in row else ""
    return f"ECE {row.ece:.3f}{floor}\nBrier {row.brier:.3f}"


class Panels(NamedTuple):
    """A figure of the scores, with a panel per class.

    `draw(ax, true, score, row)` draws a panel from a class's labels and scores (N,) and its row of
    the table, and returns its title, or None for a class without a curve.
    """

    caption: str
    draw: Callable
    labels: tuple  # of the axes
    note: str = ""  # below the panels; without one: the thresholds that the dots stand for


# name of the file -> figure; the page of a run's scores and the report show what stands here
FIGURES = {
    "roc": Panels("ROC curves", draw_roc, ("1 - specificity", "sensitivity (recall)")),
    "precision_recall": Panels(
        "Precision-recall curves", draw_precision_recall, ("recall", "precision")
    ),
    "reliability": Panels(
        "Reliability of the probabilities",
        draw_reliability,
        ("probability", "share of positives"),
        "dot: records of a tenth, 95 % interval; grey: square root of their share of all records",
    ),
}


def captions():
    """Return {name of the file: caption} of the figures of the scores."""
    curves = {name: panels.caption for name, panels in FIGURES.items()}
    return {"confusion": "Confusion matrices", **curves}


def draw_panel(ax, panels, true, score, row):
    """Draw the curve of a class, its axes from 0 to 1."""
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), box_aspect=1)
    for axis, label in zip((ax.xaxis, ax.yaxis), panels.labels, strict=True):
        axis.set_ticks([0, 0.5, 1], ["0", "0.5", "1"])
        axis.set_label_text(label, size=8)
    ax.grid(alpha=0.3, lw=0.5)
    ax.tick_params(labelsize=8, length=2)
    text = panels.draw(ax, true, score, row)
    if text is None:
        box = {"fc": "white", "ec": "none"}
        absent = "no positives or\nno negatives"
        ax.text(0.5, 0.5, absent, ha="center", va="center", size=8, color="0.3", bbox=box)
    # above the panel, where no curve can run through it
    ax.set_title(f"{row['class']}  {text or ''}", size=8)


def plot_curves(panels, scored, table, path, title):
    """Write a figure of Panels from Scored records and their table, as PNG and SVG.

    Each class has its own panel: nine colours in one would look too much alike.
    """
    figure, axes = make_panels(len(table) - 1, 3, 2.4, 2.35)
    y_true = scored.y_true
    for k, ax in enumerate(axes):
        known = np.isfinite(y_true[:, k])
        draw_panel(ax, panels, y_true[known, k], scored.y_score[known, k], table.iloc[k])
    figure.suptitle(title, size=10)
    if panels.note:
        footnote(figure, 2, panels.note)
    else:
        pairs = zip(table["class"][:-1], scored.thresholds, strict=True)
        text = ", ".join(f"{name} {threshold:.2f}" for name, threshold in pairs)
        footnote(figure, 2, "\N{BLACK CIRCLE}", color=ORANGE, size=8)
        footnote(figure, 5.2, f"at the threshold: {text}")
    save_print(figure, path)


def plot_scores(scored, table, folder, title):
    """Write the confusion matrices and every one of FIGURES, as PNG and SVG, into a folder.

    `scored` are Scored records with thresholds (K,); `table` is what `score_table` makes of them.
    """
    y_pred = apply_thresholds(scored.y_score, scored.thresholds)
    classes = list(table["class"][:-1])
    plot_confusions(scored.y_true, y_pred, classes, folder / "confusion", title)
    for name, panels in FIGURES.items():
        plot_curves(panels, scored, table, folder / name, f"{title}; {panels.caption}")


def draw_class(scored, table, k):
    """Return the confusion matrix and FIGURES of class k beside each other, as a PNG's content.

    `scored` and `table` are those of `plot_scores`.
    """
    known, name = np.isfinite(scored.y_true[:, k]), table["class"][k]
    true, score = scored.y_true[known, k], scored.y_score[known, k]
    figure, axes = make_panels(1 + len(FIGURES), 1 + len(FIGURES), 2.4, 2.35)
    pred = apply_thresholds(score, scored.thresholds[k])
    draw_confusion(axes[0], true.astype(int), pred, name)
    for ax, panels in zip(axes[1:], FIGURES.values(), strict=True):
        draw_panel(ax, panels, true, score, table.iloc[k])
    return png_of(figure)
