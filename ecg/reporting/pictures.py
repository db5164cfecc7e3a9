"""Pictures that are part of a page."""

import base64
import io
import struct
from pathlib import Path
from typing import NamedTuple

from PIL import Image

EMBEDDED = 60_000  # bytes, at most, of a picture that is embedded as it is
# pixels of larger ones, in 256 colours: the smallest type stays legible, and a browser prints them
# with fewer bytes than WebP or JPEG
WIDE = 1500


class Figure(NamedTuple):
    """A PNG, as a file or as its content, and what it shows."""

    png: Path | bytes
    caption: str


def figures(folder, captions, prefix=""):
    """Return the figures of a folder that are there; `captions` is {stem: caption}."""
    wanted = [Figure(folder / f"{name}.png", prefix + text) for name, text in captions.items()]
    return [figure for figure in wanted if figure.png.is_file()]


def smaller(png):
    """Return the content of a PNG file or its content as it is embedded: a large one shrunk."""
    content = png if isinstance(png, bytes) else png.read_bytes()
    if len(content) <= EMBEDDED:
        return content
    with Image.open(io.BytesIO(content)) as image:
        image = image.convert("RGB")
    image.thumbnail((WIDE, 2 * WIDE))
    shrunk = io.BytesIO()
    few = image.quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(shrunk, "png", optimize=True)
    return min(content, shrunk.getvalue(), key=len)


def picture(png):
    """Return the attributes of an img element whose picture is part of the page.

    With its size the page does not jump when the picture is drawn.
    """
    content = smaller(png)
    width, height = struct.unpack(">II", content[16:24])  # of the PNG's header
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    return {"src": uri, "width": width, "height": height}
