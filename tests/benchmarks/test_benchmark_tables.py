"""The tables that are written into README and docs, against figures made by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from benchmarks import tables
from dataset import CLASSES
from utils import InputError, replacing

ROOT = Path(__file__).parents[2]
PAGE = "before\n<!-- table few -->\nold\n<!-- end of table few -->\nafter\n"


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A folder with a README and the pages of docs/, and what `few` has left in results/."""
    monkeypatch.chdir(tmp_path)
    for source in tables.TABLES.values():
        name = "published" if source is tables.PAPER_VALUES else "few"
        with replacing(source.page) as temporary:
            temporary.write_text(PAGE.replace("few", name))
    rows = [
        ["random", 0.8, 0.5, 70],
        ["random", 0.9, 0.6, 72],
        ["init", 0.96, 0.7, 60],
        ["init", 0.94, 0.7, 62],
    ]
    table = pd.DataFrame(rows, columns=["arm", "AUC AVG", "F1", "seconds"])
    table = table.assign(**{"exactly right": 0.5, "lowest threshold": [0.1, 0.3, 0.2, 0.4]})
    table = table.assign(**{f"AUC {name}": 1.0 for name in CLASSES} | {"AUC STE": np.nan})
    folder = Path("results/transfer")
    folder.mkdir(parents=True)
    table.to_csv(folder / "few.csv", index=False)
    versions = {"git": "abc1234+", "hardware": "Some CPU, 2 cores", "torch": "2.13"}
    (folder / "few.json").write_text(json.dumps({"versions": versions}))
    return tmp_path


def test_a_table_stands_between_its_marks_with_command_code_and_machine(workdir, capsys):
    tables.main(tables.parse_args([]))
    text = Path("docs/model.md").read_text()
    assert text.startswith("before\n<!-- table few, from: python -m benchmarks.transfer few")
    assert "code abc1234, with changes; Some CPU, 2 cores; torch 2.13 -->\n| start |" in text
    assert text.endswith(" |\n<!-- end of table few -->\nafter\n") and "\nold\n" not in text
    low, high = t.interval(0.95, 1, 0.85, 0.05)  # two values .1 apart: their mean's error is .05
    row = next(line for line in text.splitlines() if line.startswith("| random weights"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[1] == f".850 +- {(high - low) / 2:.3f}".replace(" 0.", " .")
    assert cells[3] == "1.000" and cells[11:] == ["", ".500", ".100", "71"]
    tables.main(tables.parse_args([]))
    assert Path("docs/model.md").read_text() == text
    assert "docs/model.md, table few: unchanged" in capsys.readouterr().out


def test_what_results_do_not_hold_is_kept_and_said_in_one_line(workdir, capsys):
    Path("results/transfer/few.csv").write_text("")
    tables.main(tables.parse_args([]))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(tables.TABLES) and "published: written" in lines[0]
    assert all(": kept, as " in line for line in lines[1:])
    assert Path("docs/model.md").read_text() == PAGE and not Path("results/report.html").exists()


def test_outside_the_repository_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as stop:
        tables.main(tables.parse_args([]))
    assert "in the folder of the repository" in str(stop.value)


@pytest.mark.parametrize("name", tables.TABLES)
def test_the_pages_say_where_each_of_their_tables_comes_from(name):
    text = (ROOT / tables.TABLES[name].page).read_text()
    begin, end = text.index(f"<!-- table {name}, from: "), text.index(f"<!-- end of table {name} ")
    mark, head, rule, *rows = text[begin:end].splitlines()
    if tables.TABLES[name].made:
        assert "; code " in mark and "; torch " in mark
    assert rows and set(rule) == {"|", "-"}
    columns = list(zip(*(row.split("|")[1:-1] for row in rows), strict=True))
    assert len(columns) == head.count("|") - 1
    assert all("".join(column).strip() for column in columns), "a column without anything"


def test_the_mean_of_rounds_allows_for_the_records_that_they_share():
    values = [0.90, 0.94, 0.96]
    plain, corrected = (
        float(tables.mean_interval(values, rounds).split()[-1]) for rounds in (0, 1)
    )
    # by hand: t of 2 degrees of freedom x sd x sqrt(1 / 3), or sqrt(1 / 3 + 1 / 8)
    sd = np.std(values, ddof=1)
    assert plain == pytest.approx(4.3027 * sd * np.sqrt(1 / 3), abs=6e-4)
    assert corrected == pytest.approx(4.3027 * sd * np.sqrt(1 / 3 + 1 / 8), abs=6e-4)


def test_the_papers_values_stand_in_the_page_as_they_are_held():
    text = (ROOT / "docs/figures.md").read_text()
    rows = tables.paper_rows({"paper": pd.read_csv(tables.PAPER)})
    assert len(rows) == 11 and rows[-1] == ["AVG", ".821 B", ".812 B", ".813 A", ".970 A"]
    assert all(f"| {' | '.join(row)} |" in text for row in rows)


def test_errors_of_intervals_are_those_of_the_records_that_were_kept():
    columns = ["set", "record", "tool", "interval", "true", "measured"]
    values = [(100, 90), (200, 230), (150, np.nan), (np.nan, 120)]  # ms; the last has no true one
    rows = [["LUDB, kept", str(i), "ours", "PR", *value] for i, value in enumerate(values)]
    rows += [["LUDB, kept", "0", "other", "PR", 100, 150]]
    rows += [["LUDB, chosen on", "9", "ours", "PR", 100, 500]]
    head, row = tables.interval_rows({"errors": pd.DataFrame(rows, columns=columns)})
    # errors -10 and 30: mean 10, sd 20 sqrt(2) = 28.3, mean absolute 20
    assert row == ["LUDB, kept", "PR", "2 of 3", "10", "28", "20", "1, 50"]
    assert head[6] == "other: measured, mean absolute error"


def test_levels_of_few_records_are_left_out_and_depressions_name_their_share():
    row = {"set": "PTB-XL", "n": 61, "low": 0.1, "median": 0.18, "high": 0.25, "beyond": 0.9}
    few = row | {"set": "CPSC2018", "n": 4}
    made = row | {"set": "synthetic", "n": 200, "low": -0.02}
    height = [r | {"what": "height", "group": "men"} for r in (made, row, few)]
    depth = [r | {"what": "depth", "group": "AF, not STD"} for r in (row, made)]
    rows = tables.level_rows({"levels": pd.DataFrame(height + depth)})
    assert rows[0][2:] == ["PTB-XL", "CPSC2018", "synthetic"]
    assert rows[1][1:4] == ["men", ".180 [.100, .250] (61)", ""]
    assert rows[2][2] == ".180 [.100, .250]; .900 beyond .045 (61)" and rows[2][3] == ""
    assert rows[2][4].startswith(".180 [-0.020")
