"""Headless Chromium over its debugging pipe, for tests that look at a page."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time

import pytest
from matplotlib.image import imread

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = pytest.mark.skipif(not CHROMIUM, reason="no chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
)
MEASURE = """({
  scroll: document.documentElement.scrollWidth, width: innerWidth,
  images: document.images.length,
  broken: [...document.images].filter(i => !(i.complete && i.naturalWidth)).length,
})"""

CONTENT = """({
  title: document.title,
  handlers: [...document.querySelectorAll("*")].filter(
    e => [...e.attributes].some(a => a.name.startsWith("on"))).length,
  scripts: document.scripts.length, text: document.body.textContent,
  scroll: document.documentElement.scrollWidth, width: innerWidth,
  broken: [...document.images].filter(
    i => i.loading != "lazy" && !(i.complete && i.naturalWidth)).length,
})"""


class Browser:
    """A page; every message it sends (console, errors) is kept in `events`."""

    def __init__(self, process, read, write):
        self.process, self.read, self.write = process, read, write
        self.count, self.buffer, self.events, self.session = 0, b"", [], None

    def message(self, limit):
        """Return the next message of the browser, or None after `limit` seconds."""
        while b"\0" not in self.buffer:
            if not select.select([self.read], [], [], limit)[0]:
                return None
            part = os.read(self.read, 1 << 20)
            assert part, "chromium has ended"
            self.buffer += part
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        """Call a method of the debugging protocol; return its result."""
        self.count += 1
        order = {"id": self.count, "method": method, "params": params}
        if self.session:
            order["sessionId"] = self.session
        os.write(self.write, json.dumps(order).encode() + b"\0")
        while answer := self.message(60):
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)
        raise AssertionError(f"no answer to {method}")

    def open(self, path, width, dark=False):
        """Load a file at a width in px, and wait until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        limit = time.monotonic() + 60
        while self.evaluate("document.readyState") != "complete":
            assert time.monotonic() < limit
            time.sleep(0.05)

    def evaluate(self, expression):
        """Return the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def complaints(self):
        """Return what the page has logged as an error or warning."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [event["params"] for event in self.events if event.get("method") in kinds]

    def screenshot(self, path, height=None):
        """Write what is seen, or the page's top `height` px, as PNG."""
        params = {}
        if height:
            width = self.evaluate("innerWidth")
            clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            params = {"clip": clip, "captureBeyondViewport": True}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **params)["data"]))


@contextlib.contextmanager
def browser(folder):
    """Start a Chromium with an empty profile in `folder`; yield its Browser."""
    to_child, from_us = os.pipe()
    to_us, from_child = os.pipe()

    def place():  # the protocol's two descriptors
        os.dup2(to_child, 63)
        os.dup2(from_child, 64)
        os.dup2(63, 3)
        os.dup2(64, 4)

    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, preexec_fn=place, close_fds=False, stdin=quiet, stdout=quiet, stderr=quiet
    )
    os.close(to_child)
    os.close(from_child)
    page = Browser(process, to_us, from_us)
    try:
        target = page.call("Target.createTarget", url="about:blank")["targetId"]
        answer = page.call("Target.attachToTarget", targetId=target, flatten=True)
        page.session = answer["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        yield page
    finally:
        process.kill()
        process.wait()
        os.close(from_us)
        os.close(to_us)


def look_at(path, folder, images):
    """Open a page wide and narrow, light and dark: nothing missing, broken, too wide or said."""
    with browser(folder) as page:
        for width in (1280, 400):
            for dark in (False, True):
                page.open(path, width, dark)
                page.evaluate("for (const image of document.images) image.loading = 'eager'")
                limit = time.monotonic() + 20
                while page.evaluate(MEASURE)["broken"] and time.monotonic() < limit:
                    time.sleep(0.05)
                seen = page.evaluate(MEASURE)
                assert seen["scroll"] <= seen["width"] == width
                assert seen["images"] >= images and not seen["broken"]
                page.screenshot(folder / "page.png")
                corner = imread(folder / "page.png")[0, 0, :3]  # 0 is black, 1 white
                assert (corner < 0.2).all() if dark else (corner > 0.9).all()
        assert page.complaints() == []


def run_nothing(path, folder):
    """Open a page whose names are markup: no script of theirs runs, no element is made of them."""
    with browser(folder) as page:
        for width in (1280, 400):
            page.open(path, width)
            seen = page.evaluate(CONTENT)
            assert seen["title"] != "run" and not seen["handlers"]
            assert seen["scroll"] <= seen["width"] == width and not seen["broken"]
        assert page.complaints() == []
    return seen
