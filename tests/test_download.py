"""The download, against a server on the loopback address."""

import functools
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from pathlib import Path

import pytest
from conftest import noise, write_record

import preprocess
from dataset import CLASSES, load_labels
from ecg import download
from utils import InputError

PART = "training/cpsc_2018"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serve a folder; `faults` {end of a path: what happens}, `asked` the paths asked for."""

    faults, asked, wait = {}, [], 0

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        time.sleep(self.wait)
        fault = next((v for end, v in self.faults.items() if self.path.endswith(end)), None)
        if isinstance(fault, list):  # answers for the first times it is asked, then the file
            fault = fault.pop(0) if fault else None
        if isinstance(fault, int):
            self.send_error(fault)
        elif fault == "huge":
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 40))
            self.end_headers()
            self.wfile.write(b"0" * 1000)
        elif fault == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"0")
                time.sleep(0.05)
        elif fault:
            content = b"<html>log in</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + (100 if fault == "short" else 0)))
            self.end_headers()
            self.wfile.write(content)
        else:
            super().do_GET()


def write_sums(root):
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.relative_to(root)}" for p in paths]
    (root / "SHA256SUMS.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve two folders of ten records as PhysioNet does; return the server's address and root."""
    root = tmp_path / "site"
    for i in range(20):
        folder = f"g{1 + i % 2}"
        write_record(root / PART / folder, f"A{i:04d}", noise(i, 600), "164889003")
    names = {
        g: [path.stem for path in sorted((root / PART / g).glob("*.hea"))] for g in ("g1", "g2")
    }
    for g, records in names.items():
        (root / PART / g / "RECORDS").write_text("\n".join(records) + "\n")
    (root / PART / "RECORDS").write_text("g1/\ng2/\n")
    write_record(root / "training/other", "Q0001", noise(99, 600), "164889003")
    write_sums(root)
    monkeypatch.setattr(Handler, "faults", {})
    monkeypatch.setattr(Handler, "asked", [])
    monkeypatch.setattr(Handler, "wait", 0)
    monkeypatch.setattr(download, "WAITS", (0, 0))
    handler = functools.partial(Handler, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", root
        server.shutdown()


def fetch(url, folder):
    download.main(download.parse_args(["--url", url, "--data-dir", str(folder)]))


def refused(capsys, url, folder):
    """Run a download that must be refused; return (stdout, the reason)."""
    with pytest.raises(InputError) as stop:
        fetch(url, folder)
    return capsys.readouterr().out, str(stop.value)


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def test_the_folder_is_fetched_whole_and_preprocess_reads_it(served, tmp_path, capsys):
    url, root = served
    folder = tmp_path / "CPSC"
    fetch(url + "/", folder)
    expected = {p.relative_to(root / PART): p.read_bytes() for p in (root / PART).rglob("*.*")}
    assert content(folder) == expected and len(expected) == 40
    out = capsys.readouterr().out
    assert "40 files" in out and "40 of them new" in out and "checksums are right" in out
    assert f"python preprocess.py --data-dir {folder}" in out
    preprocess.main(preprocess.parse_args(["--data-dir", str(folder), "--jobs", "1"]))
    assert load_labels(folder)[list(CLASSES)].sum().sum() == 20


def test_the_same_command_fetches_only_what_is_missing_or_damaged(served, tmp_path, capsys):
    url, _ = served
    folder = tmp_path / "CPSC"
    fetch(url, folder)
    whole = content(folder)
    (folder / "g1/A0000.mat").unlink()
    (folder / "g2/A0001.mat").write_bytes(b"cut")
    Handler.asked.clear()
    fetch(url, folder)
    asked = {path.split("/")[-1] for path in Handler.asked}
    assert asked == {"SHA256SUMS.txt", "A0000.mat", "A0001.mat"} and content(folder) == whole
    assert "2 of them new" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (404, "404"),
        (503, "503"),
        ("short", "are missing"),
        ("other", "the server answers with a page, not with the file"),
    ],
)
def test_every_fault_is_one_line_and_nothing_wrong_is_written(
    fault, text, served, tmp_path, capsys
):
    url, _ = served
    Handler.faults.update({"A0002.mat": fault, "A0005.hea": fault})
    folder = tmp_path / "CPSC"
    out, error = refused(capsys, url, folder)
    named = [line for line in out.splitlines() if line]
    assert len(named) == 2 and all(text in line for line in named)
    assert named[0].startswith("g1/A0002.mat: ") and named[1].startswith("g2/A0005.hea: ")
    assert "2 of 40 files are missing" in error
    assert len(content(folder)) == 38 and not (folder / "g1/A0002.mat").exists()
    Handler.faults.clear()
    fetch(url, folder)
    assert len(content(folder)) == 40


def test_a_server_that_is_busy_is_asked_again(served, tmp_path, capsys):
    url, _ = served
    Handler.faults.update({"A0002.mat": [503, 429], "SHA256SUMS.txt": [502]})
    fetch(url, tmp_path / "CPSC")
    assert len(content(tmp_path / "CPSC")) == 40
    assert sum(path.endswith("A0002.mat") for path in Handler.asked) == 3
    assert "SHA256SUMS.txt: the server answers 502 " in capsys.readouterr().err


def test_the_connection_of_a_refusal_is_closed(served):
    url, _ = served
    with pytest.raises(urllib.error.HTTPError) as refusal:
        download.get(f"{url}/nothing")
    assert refusal.value.code == 404 and refusal.value.closed


def test_without_checksums_the_names_come_from_records(served, tmp_path, capsys):
    url, root = served
    (root / "SHA256SUMS.txt").unlink()
    folder = tmp_path / "CPSC"
    Handler.faults.update({"A0003.mat": "short"})
    out, _ = refused(capsys, url, folder)
    assert "g2/A0003.mat: " in out  # whose size differs
    Handler.faults.clear()
    fetch(url, folder)
    assert len(content(folder)) == 40 and "no checksums" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../../evil.mat", "/evil.mat", "g1/../../evil.hea"])
def test_no_name_leads_out_of_the_folder(name, served, tmp_path, capsys):
    url, root = served
    with (root / "SHA256SUMS.txt").open("a") as file:
        file.write(f"{'0' * 64} {PART}/{name}\n")
    _, error = refused(capsys, url, tmp_path / "a" / "CPSC")
    assert "evil" in error and not list(tmp_path.rglob("evil.*"))


@pytest.mark.parametrize("kind", ["away", "empty", "no address", "a file"])
def test_what_cannot_begin_is_one_line(kind, served, tmp_path, capsys):
    url, root = served
    folder = tmp_path / "CPSC"
    if kind == "away":
        url = "http://127.0.0.1:9"
    elif kind == "empty":
        (root / "SHA256SUMS.txt").write_text("")
    elif kind == "no address":
        url = "physionet"
    else:
        folder.write_text("a file")
    _, error = refused(capsys, url, folder)
    assert "--url" in error or "--data-dir" in error


def test_after_ctrl_c_the_files_are_whole_and_the_same_command_goes_on(served, tmp_path):
    url, root = served
    Handler.wait = 0.1
    folder = tmp_path / "CPSC"
    command = [sys.executable, "-m", "ecg.download", "--url", url, "--data-dir", folder]
    here = Path(__file__).parents[1]
    process = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and len(list(folder.rglob("*.mat"))) < 3:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    err = process.communicate()[1]
    assert process.returncode == 130 and err.splitlines()[-1].startswith("stopped at fetching")
    some, expected = content(folder), content(root / PART)
    assert 0 < len(some) < 40 and all(expected[name] == text for name, text in some.items())
    fetch(url, folder)
    assert content(folder) == expected


@pytest.mark.parametrize("status", [403, 401])
def test_only_a_list_that_is_not_there_means_that_there_are_no_checksums(status, served, tmp_path):
    url, root = served
    (root / "SHA256SUMS.txt").unlink()
    Handler.faults.update({"SHA256SUMS.txt": status})
    folder = tmp_path / "CPSC"
    with pytest.raises(InputError) as stop:
        download.main(download.parse_args(["--data-dir", str(folder), "--url", url]))
    assert f"the server answers {status}" in str(stop.value) and not folder.exists()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("page", "the server answers with a page, not with the file"),
        ("huge", "1099511627776 bytes are more than a record has"),
        ("drip", "not complete after 2 s"),
    ],
)
def test_without_checksums_what_is_no_record_is_not_written(
    fault, text, served, tmp_path, capsys, monkeypatch
):
    if fault == "drip":
        monkeypatch.setattr(download, "DEADLINE", 2)
    url, root = served
    (root / "SHA256SUMS.txt").unlink()
    Handler.faults.update({"A0003.mat": fault})
    folder = tmp_path / "CPSC"
    with pytest.raises(InputError):
        download.main(download.parse_args(["--data-dir", str(folder), "--url", url]))
    assert f"A0003.mat: {text}" in capsys.readouterr().out
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 39


def test_a_list_that_names_its_own_folder_again_and_again_is_refused(served, tmp_path):
    url, root = served
    (root / "SHA256SUMS.txt").unlink()
    folder = root / PART
    for _ in range(6):
        folder = folder / "g"
        folder.mkdir()
        (folder / "RECORDS").write_text("g/\n")
    (root / PART / "RECORDS").write_text("g/\n")
    with pytest.raises(InputError) as stop:
        download.main(download.parse_args(["--data-dir", str(tmp_path / "CPSC"), "--url", url]))
    assert "folders in folders without end" in str(stop.value)
