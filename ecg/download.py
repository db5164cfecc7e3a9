"""Fetch the records of CPSC2018 from PhysioNet, as the 2021 challenge distributes them.

Reads   https://physionet.org/files/challenge-2021/1.0.3: SHA256SUMS.txt, which says what files
        there are and their checksums (where it is missing: the files RECORDS, without checksums),
        and training/cpsc_2018/: 6,877 records of two files each, 1.3 GB
Writes  them into the data folder: g1/A0001.hea, g1/A0001.mat ...

    python -m ecg.download --data-dir data/CPSC

A file appears when it is complete and its size and checksum are right. After an interruption the
same command fetches what is missing or damaged. Each file that cannot be fetched is named in a
line. Tested with a server of our own, not with PhysioNet itself.
"""

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

from ecg.running.command import make_parser, run_main
from utils import InputError, Progress, file_digest, is_safe_name, positive, printable, replacing

URL = "https://physionet.org/files/challenge-2021/1.0.3"
PART = "training/cpsc_2018/"
ENDINGS = (".hea", ".mat")
WAITS = (1, 4, 16)  # s before the next attempt if a server is busy or does not answer
TIMEOUT = 30  # s without a byte
DEADLINE = 600  # s for a whole file
MAX_BYTES = 64 << 20  # of a file; SHA256SUMS.txt of the whole challenge has 20 MB
MAX_DEPTH = 3  # of folders in RECORDS
BUSY, NOT_FOUND = 429, 404
CONNECTION_ERRORS = (OSError, http.client.HTTPException)


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", default="data/CPSC", help="folder to write to")
    parser.add_argument("--connections", type=positive, default=4, help="files fetched at a time")
    parser.add_argument("--url", default=URL, help="where the 2021 challenge's files are")
    return parser.parse_args(argv)


def get(url, announce=False):
    """Return the content of an address; raises a connection error, at once if it does not exist.

    With `announce`, each new attempt is announced on stderr.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "ecg-diagnosis"})
    for wait in (*WAITS, None):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return read_answer(answer)
        except CONNECTION_ERRORS as error:
            is_answer = isinstance(error, urllib.error.HTTPError)
            if is_answer:
                error.close()  # it holds the connection
            refused = is_answer and error.code < 500
            if wait is None or (refused and error.code != BUSY):
                raise
            if announce:
                reason = describe_failure(error)
                tqdm.write(printable(f"{url}: {reason}; next attempt in {wait} s"), file=sys.stderr)
        time.sleep(wait)


def read_answer(answer):
    """Return the content of a server's answer; raises a connection error if it is none of ours.

    Those are too large, not complete in time, shorter than announced, or a page such as a login.
    """
    length = answer.length or 0
    content, deadline = bytearray(), time.monotonic() + DEADLINE
    while part := answer.read1(1 << 16):
        content += part
        if max(length, len(content)) > MAX_BYTES:
            raise OSError(f"{max(length, len(content))} bytes are more than a record has")
        if time.monotonic() > deadline:
            raise OSError(f"not complete after {DEADLINE} s")
    if len(content) < length:
        raise http.client.IncompleteRead(bytes(content), length - len(content))
    html = answer.headers.get_content_type() == "text/html"
    if html or content[:100].lstrip().lower().startswith((b"<html", b"<!doctype")):
        raise OSError("the server answers with a page, not with the file; is a login needed?")
    return bytes(content)


def describe_failure(error):
    """Say in a few words what went wrong with a connection."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return f"received {len(error.partial)} bytes; {error.expected} are missing"
    return str(getattr(error, "reason", error)) or type(error).__name__


def published_sums(url):
    """Return {file: SHA-256} of CPSC2018's files, from SHA256SUMS.txt; None if that is missing."""
    try:
        lines = get(f"{url}/SHA256SUMS.txt", announce=True).decode("utf-8", "replace").splitlines()
    except urllib.error.HTTPError as error:
        if error.code != NOT_FOUND:
            raise
        return None
    pairs = [line.split(maxsplit=1) for line in lines if PART in line]
    return {
        name.removeprefix(PART): digest.lower()
        for digest, name in pairs
        if name.startswith(PART) and name.endswith(ENDINGS)
    }


def listed_files(url, folder=""):
    """Return {file: None} of the files in RECORDS; a name ending in / is a folder with its own."""
    if folder.count("/") > MAX_DEPTH:
        raise ValueError(f"the files RECORDS name folders in folders without end: {folder}")
    files = {}
    for name in get(f"{url}/{PART}{folder}RECORDS").decode("utf-8", "replace").split():
        if name.endswith("/") and is_safe_name(name[:-1]):
            files |= listed_files(url, f"{folder}{name}")
        else:
            files |= dict.fromkeys(f"{folder}{name}{ending}" for ending in ENDINGS)
    return files


def fetch(url, folder, item):
    """Return a file's content (None if it is there already) and what is wrong with it, or ''."""
    name, digest = item
    path = folder / name
    if path.is_file() and digest in (None, file_digest(path)):
        return None, ""
    try:
        content = get(f"{url}/{PART}{urllib.parse.quote(name)}")
    except CONNECTION_ERRORS as error:
        return None, describe_failure(error)
    if digest not in (None, hashlib.sha256(content).hexdigest()):
        return None, f"its checksum is not that of SHA256SUMS.txt (received {len(content)} bytes)"
    return content, ""


def fetch_all(url, folder, files, connections):
    """Fetch and write all files; return the number written and the number that failed."""
    n_written, n_failed, pool = 0, 0, ThreadPoolExecutor(connections)
    try:
        results = pool.map(partial(fetch, url, folder), files.items())
        results = Progress(results, "fetching", len(files), unit="file")
        for name, (content, why) in zip(files, results, strict=True):
            if content is not None:
                with replacing(folder / name) as temporary:
                    temporary.write_bytes(content)
                n_written += 1
            if why:
                tqdm.write(printable(f"{name}: {why}"))
                n_failed += 1
    finally:
        pool.shutdown(cancel_futures=True)
    return n_written, n_failed


def main(args):
    url, folder = args.url.rstrip("/"), Path(args.data_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder with --data-dir")
    try:
        files = published_sums(url)
        sums = "their checksums are right"
        if files is None:
            files = listed_files(url)
            sums = "there are no checksums, so only sizes were checked"
    except (*CONNECTION_ERRORS, ValueError) as error:  # ValueError: no address
        raise InputError(
            f"{url} has no list of files ({describe_failure(error)}); look at it in a browser, or "
            "name another address with --url"
        ) from error
    odd = [name for name in files if not all(map(is_safe_name, name.split("/")))]
    if odd or not files:
        what = odd[0] if odd else f"no file in {PART}"
        raise InputError(f"{url} names {what}; name another address with --url")
    n_written, n_failed = fetch_all(url, folder, files, args.connections)
    if n_failed:
        raise InputError(
            f"{n_failed} of {len(files)} files are missing in {folder}; run the same command again "
            "to fetch these alone"
        )
    print(f"{len(files)} files in {folder}, {n_written} of them new; {sums}; next:")
    print(f"python preprocess.py --data-dir {folder}")


if __name__ == "__main__":
    run_main(main, parse_args)
