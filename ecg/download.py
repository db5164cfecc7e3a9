"""Fetch the records of CPSC2018 from PhysioNet, as the 2021 challenge distributes them.

Reads   https://physionet.org/files/challenge-2021/1.0.3: SHA256SUMS.txt, which says what files
        there are and their checksums (where it is missing: the files RECORDS, without checksums),
        and training/cpsc_2018/: 6,877 records of two files each, 1.3 GB
Writes  them into the data folder: g1/A0001.hea, g1/A0001.mat ...

    python -m ecg.download --data-dir data/CPSC

A file appears when it is whole and its size and checksum are right. The same command goes on after
an interruption: it fetches what is missing or damaged. Every file that cannot be had is named in a
line. Tried against a server of our own; untried against PhysioNet itself.
"""

from utils import run_main  # first, as it also knows of Ctrl-C while the others load

# isort: split

import hashlib
import http.client
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from utils import Progress, fail, file_digest, is_safe_name, make_parser, positive, replacing

URL = "https://physionet.org/files/challenge-2021/1.0.3"
PART = "training/cpsc_2018/"
ENDINGS = (".hea", ".mat")
WAITS = (1, 4, 16)  # s before a server that is busy or away is asked again
TIMEOUT = 30  # s
BUSY = 429
FAULTS = (OSError, http.client.HTTPException)  # of a connection


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", default="data/CPSC", help="folder to write to")
    parser.add_argument("--connections", type=positive, default=4, help="files fetched at a time")
    parser.add_argument("--url", default=URL, help="where the 2021 challenge's files are")
    return parser.parse_args(argv)


def get(url, tell=False):
    """Return the content of an address; raises one of FAULTS, at once if it is not there.

    With `tell`, each new attempt is told on stderr.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "ecg-diagnosis"})
    for wait in (*WAITS, None):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return answer.read()  # raises if it is shorter than the server has said
        except FAULTS as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if wait is None or (refused and error.code != BUSY):
                raise
            if tell:
                tqdm.write(f"{url}: {words(error)}; again in {wait} s", file=sys.stderr)
        time.sleep(wait)


def words(error):
    """Say in a few words what went wrong with a connection."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return f"{len(error.partial)} bytes came, {error.expected} more did not"
    return str(getattr(error, "reason", error)) or type(error).__name__


def published_sums(url):
    """Return {file: SHA-256} of the part, from SHA256SUMS.txt; None where there is no such file."""
    try:
        lines = get(f"{url}/SHA256SUMS.txt", tell=True).decode("utf-8", "replace").splitlines()
    except urllib.error.HTTPError:
        return None
    pairs = [line.split(maxsplit=1) for line in lines if PART in line]
    return {
        name.removeprefix(PART): digest.lower()
        for digest, name in pairs
        if name.startswith(PART) and name.endswith(ENDINGS)
    }


def listed_files(url, folder=""):
    """Return {file: None} of what RECORDS names; a name that ends in / is a folder with its own."""
    found = {}
    for name in get(f"{url}/{PART}{folder}RECORDS").decode("utf-8", "replace").split():
        if name.endswith("/") and is_safe_name(name[:-1]):
            found |= listed_files(url, f"{folder}{name}")
        else:
            found |= dict.fromkeys(f"{folder}{name}{ending}" for ending in ENDINGS)
    return found


def fetch(url, folder, item):
    """Return a file's content, None if it is there already, and what is wrong with it, or ''."""
    name, digest = item
    path = folder / name
    if path.is_file() and digest in (None, file_digest(path)):
        return None, ""
    try:
        content = get(f"{url}/{PART}{urllib.parse.quote(name)}")
    except FAULTS as error:
        return None, words(error)
    if digest not in (None, hashlib.sha256(content).hexdigest()):
        return None, f"its checksum is not that of SHA256SUMS.txt ({len(content)} bytes came)"
    return content, ""


def fetch_all(url, folder, files, connections):
    """Fetch and write all files; return how many were written, and how many could not be had."""
    counts, pool = [0, 0], ThreadPoolExecutor(connections)
    try:
        results = pool.map(partial(fetch, url, folder), files.items())
        for name, (content, why) in zip(
            files, Progress(results, "fetching", len(files), unit="file"), strict=True
        ):
            if content is not None:
                with replacing(folder / name) as temporary:
                    temporary.write_bytes(content)
            if why:
                tqdm.write(f"{name}: {why}")
            counts[0] += content is not None
            counts[1] += bool(why)
    finally:
        pool.shutdown(cancel_futures=True)
    return counts


def main(args):
    url, folder = args.url.rstrip("/"), Path(args.data_dir)
    if folder.exists() and not folder.is_dir():
        fail(f"{folder} is a file; name a folder with --data-dir")
    try:
        files = published_sums(url)
        sums = "their checksums are right"
        if files is None:
            files, sums = listed_files(url), "no checksums are published: sizes alone were checked"
    except (*FAULTS, ValueError) as error:  # ValueError: no address
        fail(f"{url} does not say what files there are ({words(error)}); look at it in a browser, "
             "or name another address with --url")  # fmt: skip
    odd = [name for name in files if not all(map(is_safe_name, name.split("/")))]
    if odd or not files:
        what = odd[0] if odd else f"no file in {PART}"
        fail(f"{url} names {what}; name another address with --url")
    written, faults = fetch_all(url, folder, files, args.connections)
    if faults:
        fail(f"{faults} of {len(files)} files are missing in {folder}; the same command fetches "
             "these alone")  # fmt: skip
    print(f"{len(files)} files in {folder}, {written} of them new; {sums}; next:")
    print(f"python preprocess.py --data-dir {folder}")


if __name__ == "__main__":
    run_main(main, parse_args)
