"""Tables as spreadsheets, MATLAB, R and PhysioNet write them in three locales: the same samples."""

import argparse
import re

import numpy as np
import pytest
from conftest import CASES, NEEDS_SHARED, SHARED, noise, write_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset import LEADS
from ecg.io import formats, text_table

MV = noise(8, 600) / 1000  # (12, 600), three decimals
ORDER = ",".join(LEADS)
UNQUOTED = [f"{lead} (mV)" for lead in LEADS]


def table(rows, separator, names=None, decimal=".", end="\n", front=None, quote=""):
    """Write (12, n) as text; `front` gives a first cell for each row, by its number."""
    lines = [] if names is None else [separator.join(f"{quote}{name}{quote}" for name in names)]
    for number, row in enumerate(rows.T):
        cells = [f"{value:.10g}".replace(".", decimal) for value in row]
        lines.append(separator.join([front(number), *cells] if front else cells))
    return end.join(lines) + end


def rounded(separator):
    """Write the lines of MATLAB's `save -ascii`: aligned, with exponents, without a header."""
    return "".join(separator.join(f"  {value:14.7e}" for value in row) + "\n" for row in MV.T)


def row_name(number):
    return f'"{number + 1}"'


UV = np.rint(MV * 1000)
REVERSED = list(LEADS[::-1])
# name -> (text, encoding, flags)
VARIANTS = {
    # Excel: CSV, CSV UTF-8, Unicode text, tab-delimited text, Macintosh; by the list separator
    "excel en-US csv": (table(MV, ",", LEADS, end="\r\n"), "cp1252", {}),
    "excel en-US csv utf-8": (table(MV, ",", UNQUOTED, end="\r\n"), "utf-8-sig", {}),
    "excel en-US text": (table(MV, "\t", LEADS, end="\r\n"), "cp1252", {}),
    "excel de-DE csv": (table(MV, ";", UNQUOTED, ",", "\r\n"), "cp1252", {}),
    "excel de-DE csv µV": (table(UV, ";", [f"{n} [µV]" for n in LEADS], ",", "\r\n"), "cp1252", {}),
    "excel de-DE csv utf-8 µV": (
        table(UV + 0.5, ";", [f"{n} [µV]" for n in LEADS], ",", "\r\n"),
        "utf-8-sig",
        {},
    ),
    "excel de-DE unicode text": (table(MV, "\t", LEADS, ",", "\r\n"), "utf-16", {}),
    "excel fr-FR csv, empty rows": (
        table(MV, ";", LEADS, ",", "\r\n") + (";" * 11 + "\r\n") * 3,
        "cp1252",
        {},
    ),
    "excel fr-FR macintosh": (table(MV, ";", LEADS, ",", "\r"), "mac-roman", {}),
    "excel fr-FR sep=": ("sep=;\r\n" + table(MV, ";", LEADS, ",", "\r\n"), "cp1252", {}),
    "excel de-CH csv": (table(MV, ";", LEADS, end="\r\n"), "cp1252", {}),
    "sheets de-DE csv": (
        f"{ORDER}\n" + re.sub("[^;\n]+", r'"\g<0>"', table(MV, ";", None, ",")).replace(";", ","),
        "utf-8",
        {},
    ),
    # MATLAB writes points in every locale
    "matlab writetable": (table(MV[::-1], ",", REVERSED), "utf-8", {}),
    "matlab writetable ; volts": (table(MV / 1000, ";", [f"{n}_V_" for n in LEADS]), "utf-8", {}),
    "matlab writetable time": (
        table(MV, ",", ["Time", *LEADS], front=lambda i: f"00:00:{i / 500:06.3f}"),
        "utf-8",
        {},
    ),
    "matlab writematrix": (table(MV, ","), "utf-8", {"leads_order": ORDER}),
    "matlab writematrix de-DE": (table(MV, ";", decimal=","), "utf-8", {"leads_order": ORDER}),
    "matlab save -ascii": (rounded(""), "ascii", {"leads_order": ORDER}),
    # R: row names in a column of their own, or in front of a header that is one cell short
    "r write.csv": (table(MV, ",", ["", *LEADS], front=row_name, quote='"'), "utf-8", {}),
    "r write.csv2": (table(MV, ";", ["", *LEADS], ",", front=row_name, quote='"'), "utf-8", {}),
    "r write.table": (table(MV, " ", LEADS, front=row_name, quote='"'), "utf-8", {}),
    "r write.table dec=,": (table(MV, "\t", LEADS, ",", front=row_name, quote='"'), "utf-8", {}),
    "r data.frame names": (table(UV, ",", [f"{n}..uV." for n in LEADS], quote='"'), "utf-8", {}),
    "r fwrite": (table(MV, ",", LEADS), "utf-8", {}),
    # PhysioNet: rdsamp -c -v, and the Challenge of 2011
    "rdsamp -c -v": (
        table(
            MV,
            ",",
            ["Elapsed time", *(n.lower() for n in LEADS)],
            quote="'",
            front=lambda i: f"'0:{i / 500:06.3f}'",
        ).replace("\n", "\n" + ",".join(["'mm:ss.mmm'"] + ["'mV'"] * 12) + "\n", 1),
        "ascii",
        {},
    ),
    "challenge 2011": (
        table(MV * 200, ",", front=str),
        "ascii",
        {"leads_order": ORDER, "units_per_mv": 200},
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_what_programs_write_gives_the_same_samples(name, suffix, tmp_path):
    text, encoding, flags = VARIANTS[name]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(text.encode(encoding))
    if "leads_order" in flags:
        flags = flags | {"leads_order": text_table.parse_leads_order(flags["leads_order"])}
    record, signal, notes = formats.read_record(path, sample_rate=500, **flags)
    expected = MV + 0.0005 if "utf-8 µV" in name else MV
    np.testing.assert_allclose(signal, expected, atol=1e-9)
    told = {"rows": "3 empty rows at the end are left out"}
    told["r write.csv"] = "column left out: without a name"
    assert notes == [text for word, text in told.items() if word in name]
    assert record.sample_rate == 500


@pytest.mark.parametrize("mark", ["", "NA", "NaN"])
def test_a_missing_sample_is_not_a_number(mark, tmp_path):
    for separator, decimal in ((",", "."), (";", ",")):
        text = table(MV, separator, LEADS, decimal).split("\n")
        cells = text[9].split(separator)
        text[9] = separator.join([*cells[:4], mark, *cells[5:]])
        (tmp_path / "a.csv").write_text("\n".join(text))
        _, signal, _ = formats.read_record(tmp_path / "a.csv", sample_rate=500)
        assert np.argwhere(np.isnan(signal)).tolist() == [[4, 8]]


def test_columns_without_a_unit_take_the_flag_and_those_with_one_do_not(tmp_path):
    names = [*LEADS[:6], *(f"{lead} (mV)" for lead in LEADS[6:])]
    path = write_table(tmp_path / "a.csv", names, np.vstack([UV[:6], MV[6:]]))
    _, signal, notes = formats.read_record(path, sample_rate=500, units_per_mv=1000)
    np.testing.assert_allclose(signal, MV, atol=1e-9)
    assert not notes
    write_table(path, UNQUOTED, MV)
    _, signal, notes = formats.read_record(path, sample_rate=500, units_per_mv=1000)
    np.testing.assert_allclose(signal, MV, atol=1e-9)
    assert notes == ["--units-per-mv does not apply: the table says its units"]


def test_the_order_of_columns_goes_by_the_flag_unless_they_are_named(tmp_path):
    order = text_table.parse_leads_order("-," + ",".join(lead.lower() for lead in REVERSED))
    (tmp_path / "a.csv").write_text(table(np.vstack([MV[:1], MV[::-1]]), ","))
    flags = {"sample_rate": 500, "leads_order": order}
    _, signal, notes = formats.read_record(tmp_path / "a.csv", **flags)
    np.testing.assert_allclose(signal, MV, atol=1e-9)
    assert not notes
    write_table(tmp_path / "a.csv", LEADS, MV)
    _, signal, notes = formats.read_record(tmp_path / "a.csv", **flags)
    np.testing.assert_allclose(signal, MV, atol=1e-9)
    assert notes == ["--leads-order does not apply: the first row names the leads"]
    np.save(tmp_path / "a.npy", UV[::-1])
    flags = {"sample_rate": 500, "leads_order": order[1:], "units_per_mv": 1000}
    np.testing.assert_allclose(formats.read_record(tmp_path / "a.npy", **flags)[1], MV)


@pytest.mark.parametrize("text", ["I,II", ORDER + ",I", "I," + ORDER, ORDER.replace("V6", "V7")])
def test_an_order_names_each_lead_once(text):
    with pytest.raises(argparse.ArgumentTypeError, match="each of I,II,III"):
        text_table.parse_leads_order(text)


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        (table(MV, ","), {}, "names the leads.*--leads-order I,II"),
        (table(MV[:11], ","), {"leads_order": ORDER}, "rows have 11 cells"),
        # a first cell that does not count is no sample number
        (table(MV, ",", front=lambda i: "7"), {"leads_order": ORDER}, "rows have 13 cells"),
        # a remark above the samples
        (
            "# exported\n" + table(MV, ","),
            {"leads_order": ORDER},
            "none of its first 50 rows names the leads",
        ),
        (table(MV, ";", LEADS, ",").replace(",5", ".5", 1), {}, "one decimal mark"),
        (
            table(MV, ",", LEADS) + "1," * 13 + "1\n",
            {},
            "line 601 of the samples has 14 cells, the first 12",
        ),
        (table(UV * 1.0, ";", LEADS, ","), {}, "--units-per-mv 1000.*gain"),
        (table(MV[:11], ",", LEADS[:11]), {}, "V6 is missing; .*leave its column empty"),
        ("", {}, "empty"),
        ("\ufeff\n\n", {}, "empty"),
    ],
)
def test_what_stays_unclear_is_refused(text, flags, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    if flags:
        flags = {"leads_order": text_table.parse_leads_order(ORDER)}
    with pytest.raises(ValueError, match=message):
        formats.read_record(tmp_path / "a.csv", sample_rate=500, **flags)


@pytest.mark.parametrize(
    ("separator", "mark", "quote"),
    [("\t", ",", ""), (";", ".", ""), (",", ",", '"'), (" ", ",", "")],
)
def test_marks_of_thousands_are_no_decimal_marks(separator, mark, quote, tmp_path):
    cells = [
        [f"{quote}{value:,.0f}{quote}".replace(",", mark) for value in row] for row in 20 * UV.T
    ]
    lines = [separator.join(f"{lead}(uV)" for lead in LEADS), *map(separator.join, cells)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="seems to separate thousands; write the numbers without"):
        formats.read_record(tmp_path / "a.csv", sample_rate=500)


@pytest.mark.parametrize("number", ["0{}250", "-0{}125", "12345{}678", "1{}25", "1{}234e-02"])
def test_three_decimals_are_decimals_where_one_number_says_so(number, tmp_path):
    text = table(UV, ";", [f"{lead} (uV)" for lead in LEADS])
    text = text.replace("\n0;", "\n1,234;", 1) + ";".join(["1,234"] * 11 + [number.format(",")])
    (tmp_path / "a.csv").write_text(text)
    _, signal, _ = formats.read_record(tmp_path / "a.csv", sample_rate=500)
    assert signal[0, -1] == pytest.approx(0.001234)


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), name=st.sampled_from(sorted(VARIANTS)), flag=st.booleans())
def test_any_damaged_table_is_read_or_refused_with_a_reason(data, name, flag, tmp_path):
    text, encoding, _ = VARIANTS[name]
    content = bytearray(text.encode(encoding)[:9000])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        marks = st.sampled_from((b";", b",", b"\n", b'"', b"'", b"\0", b"e999", b"I,", b"-"))
        new = data.draw(marks | st.binary(max_size=3))
        content[at : at + data.draw(st.integers(0, 9))] = new
    (tmp_path / "a.csv").write_bytes(content)
    order = text_table.parse_leads_order(ORDER) if flag else None
    try:
        _, signal, _ = formats.read_record(tmp_path / "a.csv", sample_rate=50, leads_order=order)
    except ValueError as error:
        assert len(str(error)) > 10
    else:
        assert signal.shape[0] == 12 and signal.shape[1] >= 50 and not np.isinf(signal).any()


@NEEDS_SHARED
def test_files_of_the_challenge_of_2011_equal_numpy():
    order = text_table.parse_leads_order(ORDER)
    paths = sorted((SHARED / "cinc2011_quality").glob("*.txt"))
    assert len(paths) == 40
    for path in paths[::4]:
        flags = {"sample_rate": 500, "leads_order": order, "units_per_mv": 200}
        try:
            _, signal, notes = formats.read_record(path, **flags)
        except ValueError as error:
            assert "implausible for an ECG" in str(error)  # leads off: at the ends of the converter
            continue
        expected = np.loadtxt(path, delimiter=",")[:, 1:].T / 200
        np.testing.assert_allclose(signal, expected, atol=1e-12)
        assert not notes


@pytest.mark.parametrize("step", ["0.002", "2"])
def test_a_column_of_times_gives_the_rate(step, tmp_path):
    name, unit = ("t [ms]", 2) if step == "2" else ("Time (s)", 0.002)
    path = tmp_path / "a.csv"
    path.write_text(table(MV, ",", [name, *LEADS], front=lambda i: f"{i * unit:.10g}"))
    record, signal, notes = formats.read_record(path)
    assert record.sample_rate == 500 and not notes
    np.testing.assert_allclose(signal, MV, atol=1e-9)
    with pytest.raises(ValueError, match="says 500 Hz, --sample-rate 250"):
        formats.read_record(path, sample_rate=250)
    uneven = table(MV, ",", [name, *LEADS], front=lambda i: f"{i * unit * (1 + (i > 300)):.10g}")
    path.write_text(uneven)
    assert formats.read_record(path, sample_rate=250)[2] == [f"column left out: {name}"]


@pytest.mark.parametrize(
    ("head", "leads"),
    [
        ("Patient;Muster\nDate;2024-05-01\n", None),
        ("exported by a device\n\n", None),
        ("", ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")),
    ],
)
def test_lines_above_the_lead_names_are_skipped_and_eight_leads_are_enough(head, leads, tmp_path):
    names, limb = leads or LEADS, MV.copy()
    i, ii = limb[:2]
    limb[:6] = [i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2]
    rows = limb[[LEADS.index(name) for name in names]]
    (tmp_path / "a.csv").write_text(head + table(rows, ";", names, ","))
    _, signal, notes = formats.read_record(tmp_path / "a.csv", sample_rate=500)
    np.testing.assert_allclose(signal, limb, atol=1e-9)
    assert notes == (["calculated from I and II: III aVR aVL aVF"] if leads else [])


def test_a_header_that_goes_on_in_the_next_row(tmp_path):
    text = ",".join(LEADS[:6]) + ",\n" + ",".join(LEADS[6:]) + "\n" + table(MV, ",")
    (tmp_path / "a.csv").write_text(text)
    np.testing.assert_allclose(formats.read_record(tmp_path / "a.csv", sample_rate=500)[1], MV)


def test_one_lead_serves_a_model_of_one_lead(tmp_path):
    (tmp_path / "a.csv").write_text(table(MV[:1], ",", ["ECG I"]))
    _, signal, _ = formats.read_record(tmp_path / "a.csv", needed=("I",), sample_rate=500)
    np.testing.assert_allclose(signal[0], MV[0])
    assert np.isnan(signal[1:]).all()
    with pytest.raises(ValueError, match="leads II, III.*are missing"):
        formats.read_record(tmp_path / "a.csv", sample_rate=500)


@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases")
def test_the_tables_of_the_cases_hold_one_ecg(tmp_path):
    """The same record at three rates, with lines above its header, and as an Excel file."""
    pytest.importorskip("openpyxl")
    folder = CASES / "tables"
    rates = {"rate250_time.csv": 250, "rate100_time.csv": 100, "two_header_lines.csv": None}
    for name, rate in rates.items():
        assert formats.read_record(folder / name)[0].sample_rate == rate or rate is None
    _, expected, _ = formats.read_record(
        folder / "microvolt.csv", sample_rate=500, units_per_mv=1000
    )
    for name in ("own.xlsx", "two_header_lines.csv"):
        _, signal, _ = formats.read_record(folder / name, sample_rate=500)
        n = min(signal.shape[1], expected.shape[1])
        np.testing.assert_allclose(signal[:, :n], expected[:, :n], atol=0.00051)
