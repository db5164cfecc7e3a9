"""Figures in general: their files are whole, their marks inside."""

import matplotlib.pyplot as plt
import pytest

from ecg.plot import figures
from utils import RESEARCH_USE, InputError


def test_figures_are_marked_closed_and_whole(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    figure = plt.figure()
    figures.save_figure(figure, path)
    assert [text.get_text() for text in figure.texts] == [RESEARCH_USE]
    before = path.read_bytes()

    def fail_half_way(self, target, **_):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(plt.Figure, "savefig", fail_half_way)
    with pytest.raises(InputError):
        figures.save_figure(plt.figure(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert not plt.get_fignums()


def test_footnotes_and_panels_do_not_meet(tmp_path, drawn):
    figure, panels = figures.make_panels(2, 3, 2.4, 2)
    assert len(panels) == 2
    figures.footnote(figure, 2, "left")
    panels[0].set_xlabel("label")
    figures.save_figure(figure, tmp_path / "a.png")
    left, mark = (text.get_window_extent() for text in figure.texts)
    width, _ = figure.get_size_inches() * figure.dpi
    assert left.x0 == pytest.approx(2 / 25.4 * figure.dpi, abs=1)
    assert mark.x1 == pytest.approx(width - 2 / 25.4 * figure.dpi, abs=1)
    assert panels[0].xaxis.label.get_window_extent().y0 >= mark.y1
