"""Read MATLAB files within bounds: a damaged one must not fill the machine's memory."""

import io
import math
import zlib

import numpy as np

MAX_BYTES = 1 << 28  # of a file, inflated; no real record reaches this bound or the next
MAX_DEPTH = 4  # of a struct in a struct; the challenge's have two
MATRIX, COMPRESSED = 14, 15  # kinds of elements
PLAIN = {*range(1, 8), 9, 12, 13, 16, 17, 18}  # numbers and text
CONTAINERS = {1, 2, 3}  # classes of a matrix: cells, struct, object


def check_v4_head(path, fmt, rows, columns):
    """Raise ValueError unless a file begins as a little-endian int16 matrix of that size."""
    with open(path, "rb") as file:
        numbers = np.frombuffer(file.read(20), "<i4").tolist()
    if fmt != "16":
        raise ValueError(f"{path.name} is a MATLAB matrix, of format 16, not {fmt}")
    if numbers[0] != 30 or numbers[3:] != [0, 4]:
        raise ValueError(
            f"{path.name} is not the little-endian 16-bit MATLAB matrix its header declares"
        )
    if numbers[1] != rows or numbers[2] < columns:
        raise ValueError(
            f"{path.name} holds {numbers[1]} x {numbers[2]} samples, its header "
            f"declares {rows} x {columns}"
        )


def load_bounded(path):
    """Return the variables of a MATLAB 5 file by name; raises ValueError if it is damaged."""
    import scipy.io  # here, because an answer waits for imports, and only structs need it

    if path.stat().st_size > MAX_BYTES:
        raise ValueError("the file is larger than 256 MB")
    data = inflate(path.read_bytes())
    check_elements(data, 128, len(data))
    try:
        return scipy.io.loadmat(io.BytesIO(data), simplify_cells=True)
    except MemoryError:
        raise
    except Exception as error:  # scipy raises almost anything on a damaged file
        raise ValueError(
            f"it is a damaged MATLAB file ({type(error).__name__}: {error}); copy it again"
        ) from None


def inflate(data):
    """Return the bytes of a MATLAB 5 file with its compressed elements inflated."""
    if data.startswith(b"MATLAB 7.3"):
        raise ValueError("it is a MATLAB 7.3 file; save it in MATLAB with -v7")
    if not data.startswith(b"MATLAB 5.0") or data[126:128] != b"IM":
        raise ValueError("it has no .hea header beside it and is not a little-endian MATLAB 5 file")
    parts, position, size = [data[:128]], 128, 0
    while position + 8 <= len(data):
        kind, length = np.frombuffer(data[position : position + 8], "<u4").tolist()
        element = data[position : position + 8 + length]
        if kind == COMPRESSED:
            try:
                element = zlib.decompressobj().decompress(element[8:], MAX_BYTES - size)
            except zlib.error as error:
                raise ValueError(
                    f"a part of it cannot be inflated ({error}); copy it again"
                ) from None
        parts.append(element)
        size += len(element)
        if size >= MAX_BYTES:
            raise ValueError("it inflates to more than 256 MB")
        position += 8 + length
    return b"".join(parts)


def check_elements(data, position, end, depth=0):
    """Raise ValueError unless every element of a MATLAB 5 file fits into the one that holds it.

    scipy allocates the memory that an element or its dimensions declare before it reads them, and
    crashes the process at an element of an unexpected kind.
    """
    number, allowed = 0, {MATRIX} if depth == 0 else PLAIN
    while position < end:
        kind, length = np.frombuffer(data[position : position + 8].ljust(8, b"\0"), "<u4").tolist()
        start = position + 8
        if kind >> 16:  # a small element: length and kind in one word, its data in the next
            kind, length, start = kind & 0xFFFF, kind >> 16, position + 4
        room = position + 8 if start == position + 4 else end
        if start + length > min(room, end) or depth > MAX_DEPTH:
            raise ValueError("a part of it declares more bytes than it holds")
        if kind not in allowed and end - position >= 8:
            raise ValueError(f"a part of it is of kind {kind}, which has no place there")
        if kind == MATRIX:  # flags, dimensions, name, content
            check_elements(data, start, start + length, depth + 1)
        elif depth and number == 0 and length and data[start] in CONTAINERS:
            allowed = PLAIN | {MATRIX}
        elif number == 1:
            dimensions = np.frombuffer(data[start : start + length // 4 * 4], "<i4").tolist()
            if math.prod(dimensions) > MAX_BYTES // 8:
                raise ValueError(f"an array of it declares {dimensions[:4]} elements")
        position = start + length + (-length % (4 if start == position + 4 else 8))
        number += 1
