import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import wfdb
from conftest import (
    CASES,
    NEEDS_SHARED,
    SHARED,
    noise,
    write_record,
    write_struct,
    write_table,
    write_wfdb,
)

from dataset import LEADS
from ecg.io import formats, matlab, physionet, sources


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"#Age: 61": "#Age: NaN"}, "age", None),
        ({"#Age: 61": "#Age: -1"}, "age", -1),
        ({"#Age: 61": "#<age>: 51"}, "age", 51),
        ({"#Age: 61\n": ""}, "age", None),
        ({"#Sex: Male": "#<sex>: F"}, "sex", "Female"),
        ({"#Sex: Male": "#Sex: Unknown"}, "sex", ""),
        ({"#Dx: ": "# Dx: "}, "dx", ("59118001", "164889003")),
        ({"#Dx: 59118001,164889003": "#Dx:"}, "dx", ()),
        ({"#Dx: 59118001,164889003": "#Dx: RBBB, AF"}, "dx", ("RBBB", "AF")),
        ({"A0001 12 500": "A0001.mat 12 500"}, "sample_rate", 500),
        ({"#Sex: Male": "# Patient: 7 b"}, "patient", "7 b"),
        ({"A0001 12 500 700": "A0001 12 500/250(0) 700 05-Feb-2020 11:39:16"}, "sample_rate", 500),
    ],
)
def test_headers_of_every_generation_are_read(change, field, value, tmp_path):
    record, signal, _ = formats.read_record(write_wfdb(tmp_path, line=change))
    found = getattr(record, field)
    assert signal.shape == (12, 700)
    assert np.isnan(found) if value is None else found == value


@pytest.mark.parametrize(
    ("old", "new", "factor", "zero"),
    [
        ("16+24 1000/mV", "16x1+24 1000.0(0)/mV", 1, 0),
        ("16+24 1000/mV", "16+24 1000/mv", 1, 0),
        ("16+24 1000/mV", "16+24 250(40)/mV", 4, 40),
        ("16+24 1000/mV", "16+24 1/uV", 1, 0),
        ("16+24 1000/mV", "16+24 1e6/V", 1, 0),
        ("16+24 1000/mV", "16+24 0", 5, 0),  # WFDB's default of 200 per mV
        ("16+24 1000/mV 16 0", "16+24 1000/mV 16 100", 1, 100),  # the ADC zero is the baseline
    ],
)
def test_gain_baseline_and_unit_bring_the_signal_to_mv(old, new, factor, zero, tmp_path):
    path = write_wfdb(tmp_path, line={old: new})
    _, signal, _ = formats.read_record(path)
    np.testing.assert_allclose(signal, (noise(1, 700) - float(zero)) * factor / 1000, atol=1e-9)


def test_leads_are_found_by_name_whatever_order_and_case(tmp_path):
    order = np.random.default_rng(0).permutation(12)
    names = [LEADS[i].upper() if i % 2 else LEADS[i].lower() for i in order]
    samples = noise(2, 600)
    write_record(tmp_path, "B1", samples[order], "164889003", leads=names)
    _, signal, _ = formats.read_record(tmp_path / "B1.hea")
    np.testing.assert_allclose(signal, samples / 1000, atol=1e-9)


def test_extra_leads_are_dropped_also_from_a_second_file(tmp_path):
    samples = np.vstack([noise(2, 1200), noise(3, 1200)[:1]])
    write_record(tmp_path, "B1", samples, "164889003", leads=[*LEADS, "vx"])
    np.testing.assert_allclose(
        formats.read_record(tmp_path / "B1.hea")[1], samples[:12] / 1000, atol=1e-9
    )
    names = [lead.lower() for lead in LEADS]
    wfdb.wrsamp(
        "C1",
        1000,
        ["mV"] * 12,
        names,
        samples[:12].T / 1000,
        fmt=["16"] * 12,
        write_dir=str(tmp_path),
    )
    samples[:1].T.tofile(tmp_path / "C1.xyz")
    text = (tmp_path / "C1.hea").read_text().replace("C1 12 ", "C1 13 ")
    (tmp_path / "C1.hea").write_text(text.rstrip("\n") + "\nC1.xyz 16 1000/mV 16 0 0 0 0 vx\n")
    record, signal, notes = formats.read_record(tmp_path / "C1.hea")
    np.testing.assert_allclose(signal, samples[:12] / 1000, atol=1e-3)
    assert record.sample_rate == 1000 and not notes


def test_missing_samples_are_nan_and_a_wrong_checksum_is_noted(tmp_path):
    samples = noise(4, 600)
    samples[3, 10:15] = -32768
    write_record(tmp_path, "B1", samples, "164889003")
    _, signal, notes = formats.read_record(tmp_path / "B1.hea")
    assert np.isnan(signal).sum() == np.isnan(signal[3, 10:15]).sum() == 5 and not notes
    data = bytearray((tmp_path / "B1.mat").read_bytes())
    data[24] ^= 1  # the first sample of lead I
    (tmp_path / "B1.mat").write_bytes(data)
    assert formats.read_record(tmp_path / "B1.hea")[2] == ["checksum differs: I"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"0 V6": "0 X"}, "lead V6 is missing"),
        ({"16+24": "212+24"}, "a MATLAB matrix, of format 16, not 212"),
        ({"16+24": "310+24"}, "format '310[+]24' is not supported"),
        ({"16+24": "16x4+24"}, "format"),
        ({"1000/mV": "x/mV"}, "gain 'x/mV'"),
        ({"1000/mV": "1000/furlong"}, "lead I: its unit 'furlong' is none of v, mv, uv, nv"),
        ({"1000/mV": "nan/mV"}, "gain"),
        ({"A0001 12 500 700": "A0001 12 500 701"}, "holds 12 x 700|truncated: 700 of 701"),
        ({"A0001 12 500 700": "A0001 12 500 99999999999999999999"}, "truncated"),
        ({"A0001 12 500 700": "A0001 12 500 seven"}, "'seven' is not a whole number"),
        ({"A0001 12 500 700": "A0001 12 fast 700"}, "sample rate 'fast'"),
        ({"A0001 12 500 700": "A0001 12 1e9 700"}, "outside 50-10000 Hz"),
        ({"A0001 12 500 700": "A0001 13 500 700"}, "12 of 13 signal lines"),
        ({"A0001 12 500 700": "A0001/2 12 500 700"}, "multi-segment"),
        ({"A0001 12 500 700": "A0001 12 1000 700"}, "shorter than 1 s"),
        ({"A0001.mat": "../A0001.mat"}, "not a plain file name"),
        ({"A0001.mat": "/etc/passwd"}, "not a plain file name"),
        ({"A0001.mat": "..\\A0001.mat"}, "not a plain file name"),
        ({"A0001.mat": "B.mat"}, "B.mat is missing"),
    ],
)
def test_read_record_refuses_with_the_reason(change, reason, tmp_path):
    path = write_wfdb(tmp_path, line=change)
    with pytest.raises(ValueError, match=reason):
        formats.read_record(path)


def test_read_record_refuses_a_truncated_or_big_endian_matrix(tmp_path):
    path = write_wfdb(tmp_path)
    data = path.with_suffix(".mat").read_bytes()
    path.with_suffix(".mat").write_bytes(data[:-2])
    with pytest.raises(ValueError, match="truncated: 699 of 700"):
        formats.read_record(path)
    big_endian = np.frombuffer(data[:20], "<i4").astype(">i4").tobytes() + data[20:]
    path.with_suffix(".mat").write_bytes(big_endian)
    with pytest.raises(ValueError, match="little-endian"):
        formats.read_record(path)


@pytest.mark.parametrize("do_compression", [True, False])
def test_struct_is_read_with_labels_by_name(do_compression, tmp_path):
    data = np.random.default_rng(0).normal(0, 1, (12, 900))
    path = tmp_path / "TrainingSet1" / "A0007.mat"
    write_struct(path, data, do_compression=do_compression)
    record, signal, notes = formats.read_record(path, ["AF", "RBBB"])
    assert (signal == data).all() and not notes
    assert (record.sample_rate, signal.shape[1], record.age) == (500, 900, 63)
    assert (record.sex, record.dx) == ("Female", ("AF", "RBBB"))
    assert formats.read_record(path, None)[2] == ["not listed in REFERENCE.csv"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.zeros((11, 900)), "not 12 x n"),
        (np.zeros((12, 900), complex), "not 12 x n"),
        (np.zeros((12, 400)), "shorter than 1 s"),
    ],
)
def test_struct_refused(data, reason, tmp_path):
    write_struct(tmp_path / "A1.mat", data)
    with pytest.raises(ValueError, match=reason):
        formats.read_record(tmp_path / "A1.mat", [])


def test_struct_that_inflates_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "MAX_BYTES", 1 << 20)
    write_struct(tmp_path / "A1.mat", np.zeros((12, 20_000)), do_compression=True)
    assert (tmp_path / "A1.mat").stat().st_size < 20_000
    with pytest.raises(ValueError, match="inflates"):
        formats.read_record(tmp_path / "A1.mat", [])


@pytest.mark.parametrize("kind", [150, 8, 14])
def test_struct_with_an_element_of_no_known_kind_is_refused(kind, tmp_path):
    # scipy 1.17 reads beyond its table of kinds and takes the process down
    write_struct(tmp_path / "A1.mat", np.zeros((12, 520)), do_compression=False)
    data = bytearray((tmp_path / "A1.mat").read_bytes())
    at = data.rindex((9).to_bytes(4, "little") + (12 * 520 * 8).to_bytes(4, "little"))
    data[at] = kind
    (tmp_path / "A1.mat").write_bytes(data)
    with pytest.raises(ValueError, match=f"of kind {kind}|declares"):
        formats.read_record(tmp_path / "A1.mat", [])


@pytest.mark.parametrize(("at", "value"), [(191, 188), (255, 127), (139, 64)])
def test_struct_that_declares_more_than_it_holds_is_refused(at, value, tmp_path):
    # the highest byte of the length of an element: gigabytes, for which scipy would ask
    write_struct(tmp_path / "A1.mat", np.zeros((12, 520)), do_compression=False)
    data = bytearray((tmp_path / "A1.mat").read_bytes())
    data[at] = value
    (tmp_path / "A1.mat").write_bytes(data)
    with pytest.raises(ValueError, match="declares"):
        formats.read_record(tmp_path / "A1.mat", [])


def test_orphan_mat_is_named(tmp_path):
    write_record(tmp_path, "A1", noise(0, 600), "164889003")
    (tmp_path / "A1.hea").unlink()
    with pytest.raises(ValueError, match="no .hea header beside it"):
        formats.read_record(tmp_path / "A1.mat", None)


@NEEDS_SHARED
@pytest.mark.parametrize(
    "folder", "cpsc2018 cpsc2018_feb2020 ptbxl georgia chapman cpsc_extra ptb_1000hz ludb".split()
)
def test_signals_equal_wfdb(folder, tmp_path):
    paths = sources.find_sources(SHARED / folder)
    assert paths
    for path in paths[:: max(1, len(paths) // 8)]:
        text = path.read_text()
        header = tmp_path / path.name
        header.write_text(re.sub(r"^(\w+)\.mat ", r"\1 ", text))  # which wfdb cannot read
        for file in path.parent.glob(f"{path.stem}.*t"):  # .mat, .dat
            (tmp_path / file.name).write_bytes(file.read_bytes())
        expected, fields = wfdb.rdsamp(str(header.with_suffix("")))
        order = [[name.upper() for name in fields["sig_name"]].index(x.upper()) for x in LEADS]
        record, signal, notes = formats.read_record(path)
        if folder == "ludb":  # whose gains contradict its samples
            raw = wfdb.rdrecord(str(header.with_suffix("")), physical=False)
            expected = (raw.d_signal - raw.baseline) / 1000
            assert notes == ["gains contradict the samples: 1 unit is taken as 1 uV"]
        else:
            assert not notes  # the checksums agree
        np.testing.assert_allclose(signal, expected.T[order], atol=1e-9)
        assert record.sample_rate == fields["fs"]


@NEEDS_SHARED
def test_structs_of_the_challenge_equal_scipy():
    for path in sources.find_sources(SHARED / "cpsc2018_original"):
        expected = scipy.io.loadmat(path)["ECG"][0, 0]
        record, signal, _ = formats.read_record(path, [])
        assert (signal == expected["data"]).all()
        assert record.age == expected["age"].item() and record.sex == expected["sex"].item()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_columns_are_found_by_name(separator, tmp_path):
    samples = np.vstack([noise(4, 600) / 1000, np.arange(600) / 500])
    order = np.random.default_rng(1).permutation(13)
    names = [[*(lead.lower() for lead in LEADS), "time"][i] for i in order]
    path = write_table(tmp_path / "a.csv", names, samples[order], separator)
    record, signal, notes = formats.read_record(path)
    np.testing.assert_allclose(signal, samples[:12], atol=1e-9)
    assert (record.sample_rate, signal.shape[1]) == (500, 600)
    assert not notes  # the times were used: another rate than theirs stops
    with pytest.raises(ValueError, match="its time column says 500 Hz, --sample-rate 250"):
        formats.read_record(path, sample_rate=250)


def test_csv_with_byte_order_mark_and_missing_cells(tmp_path):
    path = write_table(tmp_path / "a.csv", nan=(5, 0))
    text = path.read_text().replace("nan", "")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    _, signal, notes = formats.read_record(path, sample_rate=500)
    assert np.flatnonzero(np.isnan(signal)).tolist() == [4] and not notes
    np.testing.assert_allclose(signal[1:], noise(4, 600)[1:] / 1000, atol=1e-9)


@pytest.mark.parametrize(
    ("leads", "samples", "change", "message"),
    [
        (LEADS[:11], noise(4, 600)[:11] / 1000, None, "lead V6 is missing"),
        ((*LEADS[:11], "i"), None, None, "lead I is there twice"),
        ((*LEADS, "I"), noise(4, 600)[[*range(12), 0]] / 1000, None, "lead I is there twice"),
        (LEADS, noise(4, 600) * 1.0, None, "--units-per-mv 1000 for microvolts"),
        (LEADS, None, lambda text: text.split("\n", 1)[1], "names the leads"),
        (LEADS, None, lambda text: "", "empty"),
        (LEADS, None, lambda text: text.split("\n")[0], "no samples"),
        (LEADS, None, lambda text: text.replace("\n", "\n1,").replace("1,I", "I"), "13 cells"),
        (LEADS, None, lambda text: text + ",".join(["inf"] * 12), "infinite"),
        (LEADS, None, lambda text: text + ",".join(["x"] * 12), "'x'"),
        (LEADS, noise(4, 400) / 1000, None, "shorter than 1 s"),
    ],
)
def test_csv_that_cannot_be_used_says_why(leads, samples, change, message, tmp_path):
    path = write_table(tmp_path / "a.csv", leads, samples)
    if change:
        path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        formats.read_record(path, sample_rate=500)


def test_a_table_needs_a_plausible_sample_rate(tmp_path):
    path = write_table(tmp_path / "a.csv")
    for rate in (None, 0, -500, 1e6, float("nan")):
        with pytest.raises(ValueError, match="sample.rate"):
            formats.read_record(path, sample_rate=rate)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_npy_is_read_as_mv(dtype, tmp_path):
    samples = (noise(4, 600) // 100).astype(dtype)
    np.save(tmp_path / "a.npy", samples)
    record, signal, notes = formats.read_record(tmp_path / "a.npy", sample_rate=360)
    np.testing.assert_array_equal(signal, samples)
    assert (record.sample_rate, signal.dtype, notes) == (360, np.float64, [])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (noise(4, 600).T / 1000, "transpose"),
        (noise(4, 600)[:11] / 1000, "12 x n"),
        (np.zeros(7), "12 x n"),
        (np.full((12, 600), "0"), "12 x n"),
        (noise(4, 600) * 1.0, "--units-per-mv 1000 for microvolts"),
    ],
)
def test_npy_that_cannot_be_used_says_why(array, message, tmp_path):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=message):
        formats.read_record(tmp_path / "a.npy", sample_rate=500)


def test_npy_is_never_unpickled_nor_believed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "a.npy"
    np.save(path, np.array([Trap()]), allow_pickle=True)
    with pytest.raises(ValueError):
        formats.read_record(path, sample_rate=500)
    assert not (tmp_path / "sprung").exists()
    claim = {"descr": "<f8", "fortran_order": False, "shape": (12, 10**12)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, claim)
    with pytest.raises(ValueError):
        formats.read_record(path, sample_rate=500)


@pytest.mark.parametrize(
    ("fmt", "top"), [("16", 9e3), ("24", 8e6), ("32", 2e9), ("80", 127), ("212", 2e3)]
)
def test_every_format_of_wfdb_is_read_with_its_missing_samples(fmt, top, tmp_path):
    stored = np.random.default_rng(5).integers(-top, top, (601, 12))
    lowest = -(2 ** (physionet.BITS[fmt] - 1))
    stored[7, 3] = lowest
    wfdb.wrsamp(
        "F1",
        500,
        ["uV"] * 12,
        list(LEADS),
        d_signal=stored,
        fmt=[fmt] * 12,
        adc_gain=[2.0] * 12,
        baseline=[5] * 12,
        write_dir=str(tmp_path),
    )
    record, signal, notes = formats.read_record(tmp_path / "F1.hea")
    expected = (stored.T - 5) / 2 / 1000
    expected[3, 7] = np.nan
    np.testing.assert_allclose(signal, expected, rtol=1e-12)
    assert not notes and record.sample_rate == 500


def test_a_file_of_another_format_than_declared_is_refused(tmp_path):
    samples = noise(6, 600).astype(int)
    wfdb.wrsamp(
        "F1",
        500,
        ["mV"] * 12,
        list(LEADS),
        d_signal=samples.T,
        fmt=["16"] * 12,
        adc_gain=[1000.0] * 12,
        baseline=[0] * 12,
        write_dir=str(tmp_path),
    )
    header = tmp_path / "F1.hea"
    header.write_text(header.read_text().replace(".dat 16 ", ".dat 212 "))
    with pytest.raises(ValueError, match="of format 16 by its size, not 212"):
        formats.read_record(header)


@pytest.mark.parametrize(
    ("old", "new"),
    [("A0001 12 500 700", "A0001 12 500"), ("A0001 12 500 700", "A0001 12 500 0")],
)
def test_a_missing_length_is_that_of_the_file(old, new, tmp_path):
    _, signal, _ = formats.read_record(write_wfdb(tmp_path, line={old: new}))
    np.testing.assert_allclose(signal, noise(1, 700) / 1000, atol=1e-9)


@pytest.mark.parametrize("unit", ["µV", "μV", "uV"])
def test_microvolts_in_any_spelling_are_scaled(unit, tmp_path):
    _, signal, _ = formats.read_record(write_wfdb(tmp_path, line={"1000/mV": f"1/{unit}"}))
    np.testing.assert_allclose(signal, noise(1, 700) / 1000, atol=1e-9)


def test_a_negative_gain_is_told(tmp_path):
    path = write_wfdb(tmp_path)
    lines = path.read_text().split("\n")
    lines[8] = lines[8].replace("1000/mV", "-1000/mV")
    path.write_text("\n".join(lines))
    _, signal, notes = formats.read_record(path)
    assert notes == ["negative gain: V2"]
    np.testing.assert_allclose(signal[7], -noise(1, 700)[7] / 1000, atol=1e-9)


@pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases")
def test_odd_headers_give_the_samples_of_wfdb():
    headers = [*(CASES / "headers2").glob("*.hea"), *(CASES / "gains_units_samples").glob("*.hea")]
    n = 0
    for header in sorted(headers):
        if header.stem == "u_microV":  # wfdb takes it for volts
            continue
        try:
            _, rows, _ = physionet.read_wfdb(header)
            theirs = wfdb.rdrecord(str(header.with_suffix("")))
        except Exception:  # refused by one of them, or both
            continue
        n += 1
        for lead, row in rows.items():
            place = [name.upper() for name in theirs.sig_name].index(lead.upper())
            factor = physionet.MV_PER_UNIT[theirs.units[place].lower()]
            expected = theirs.p_signal[:, place] * factor
            np.testing.assert_allclose(row, expected, atol=1e-9, rtol=1e-9, err_msg=str(header))
    assert n == 35


@pytest.mark.parametrize("error", [MemoryError(), PermissionError(13, "x"), OSError(5, "x")])
def test_what_the_machine_causes_is_not_said_of_the_file(error, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise error

    path = write_packed(tmp_path)
    monkeypatch.setattr(wfdb, "rdrecord", broken)
    with pytest.raises(type(error)) as caught:
        formats.read_record(path)
    assert caught.value is error


@pytest.mark.parametrize("error", [IndexError, FileNotFoundError("x"), SystemError])
def test_whatever_wfdb_raises_is_one_reason(error, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise error

    monkeypatch.setattr(wfdb, "rdrecord", broken)
    with pytest.raises(ValueError, match="wfdb cannot read it .*copy or export it again"):
        formats.read_record(write_packed(tmp_path))


def write_packed(folder):
    """Write a record in format 212, which wfdb reads; return its header."""
    units, names = ["mV"] * 12, list(LEADS)
    wfdb.wrsamp("P1", 500, units, names, noise(1, 700).T / 1000, fmt=["212"] * 12, write_dir=folder)
    return folder / "P1.hea"


def test_damaged_tables_say_what_to_do(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"")
    np.save(tmp_path / "b.npy", np.zeros((12, 600)))
    (tmp_path / "b.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:-8])
    for name in ("a.npy", "b.npy"):
        with pytest.raises(ValueError, match="not a complete .npy file .*numpy.save"):
            formats.read_record(tmp_path / name, sample_rate=500)
    path = write_table(tmp_path / "a.csv", x=(5, 0))
    with pytest.raises(ValueError, match="not all numbers .*'x' in line 5.*; use one decimal"):
        formats.read_record(path, sample_rate=500)


def test_a_new_format_is_one_entry(tmp_path, monkeypatch):
    def read_xyz(path):
        samples = np.frombuffer(path.read_bytes(), "<i2").reshape(12, -1)
        rows = dict(zip(LEADS, samples / 1000, strict=True))
        return formats.Record(250.0, patient="p"), rows, ["by hand"]

    monkeypatch.setitem(formats.READERS, ".xyz", read_xyz)
    path = tmp_path / "X1.xyz"
    path.write_bytes(noise(7, 600).tobytes())
    assert sources.find_sources(tmp_path) == sources.find_records(tmp_path / "X1") == [path]
    record, signal, notes = formats.read_record(path, ["AF"])
    assert (record.sample_rate, record.dx, notes) == (250, ("AF",), ["by hand"])
    np.testing.assert_array_equal(signal, noise(7, 600) / 1000)
