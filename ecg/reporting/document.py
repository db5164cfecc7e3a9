"""A document of sections: text, tables, figures, commands; written as HTML and as Markdown.

The HTML is one file: figures are part of it, it needs no network and runs no script. It is light
or dark as the reader's system is, prints, and keeps wide tables in boxes that scroll by themselves.
All text is escaped, so that no name of a file or record can be markup.
"""

import base64
import os
import re
from html import escape
from pathlib import Path
from typing import NamedTuple

from utils import replacing

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --accent: #6cb8ee; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
h1, h2, p, figcaption, nav { overflow-wrap: anywhere; } a { color: var(--accent); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .9rem; }
.wide { display: inline-block; max-width: 100%; overflow-x: auto; vertical-align: top; }
.wide { box-sizing: border-box; margin: .6rem 0; padding-right: 2rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem .5rem; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .55rem; text-align: right; }
th { vertical-align: bottom; } td { white-space: nowrap; }
th:first-child, td:first-child, .text { text-align: left; } tr:hover td { background: var(--soft); }
tr.average td { font-weight: 600; }
figure { margin: 1rem 0; } figcaption { font-size: .85rem; opacity: .85; }
img { display: block; max-width: 100%; height: auto; background: white; border-radius: .3rem; }
pre { background: var(--soft); font-size: .8rem; overflow-x: auto; padding: .6rem; }
.callout { border-left: .3rem solid var(--accent); background: var(--soft); padding: .5rem .8rem; }
@media print {
  :root { color-scheme: light; } body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; } .wide, pre { display: block; overflow: visible; }
  pre { white-space: pre-wrap; }
  table { font-size: 7.5pt; } td { white-space: normal; } tr, figure { break-inside: avoid; }
  h2 { break-after: avoid; } img { max-height: 22cm; width: auto; }
}
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Text(NamedTuple):
    """A paragraph; `callout` sets it off."""

    text: str
    callout: bool = False


class Table(NamedTuple):
    """Rows of text under a head; a row whose first cell is AVG is set off."""

    caption: str
    head: list
    rows: list


class Figure(NamedTuple):
    """A PNG file and what it shows."""

    path: Path
    caption: str


class Code(NamedTuple):
    """Lines as typed."""

    lines: list


def is_number(cell):
    """Tell whether a cell is set to the right: a number, or nothing."""
    return not cell or bool(re.match(r"[-+−]?\.?\d", cell))


def table_html(table):
    """Return a table as HTML, in a box that scrolls."""
    kinds = ["" if all(map(is_number, column)) else ' class="text"'
             for column in zip(*table.rows, strict=True)] or [""] * len(table.head)  # fmt: skip
    lines = []
    for row in table.rows:
        pairs = zip(row, kinds, strict=True)
        cells = "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in pairs)
        lines.append(
            f'<tr class="average">{cells}</tr>' if row[0] == "AVG" else f"<tr>{cells}</tr>"
        )
    pairs = zip(table.head, kinds, strict=True)
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in pairs)
    body = "".join(lines)
    return (f'<div class="wide" tabindex="0"><table><caption>{escape(table.caption)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")  # fmt: skip


def block_html(block):
    """Return a block as HTML."""
    if isinstance(block, Text):
        kind = ' class="callout"' if block.callout else ""
        return f"<p{kind}>{escape(block.text)}</p>"
    if isinstance(block, Table):
        return table_html(block)
    if isinstance(block, Figure):
        data = base64.b64encode(block.path.read_bytes()).decode()
        caption = escape(block.caption)
        return (f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
                f"<figcaption>{caption}</figcaption></figure>")  # fmt: skip
    if isinstance(block, Code):
        lines = escape("\n".join(block.lines))
        return f'<pre tabindex="0">{lines}</pre>'
    raise ValueError(f"unknown block {block!r}")


def anchor(title):
    """Return a heading's name in links."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def render_html(title, sections):
    """Return the page of sections [(heading, blocks)]; those before the first heading have ''."""
    links = "".join(f'<a href="#{anchor(name)}">{escape(name)}</a>' for name, _ in sections if name)
    parts = []
    for name, blocks in sections:
        heading = f'<h2 id="{anchor(name)}">{escape(name)}</h2>' if name else ""
        body = "\n".join(map(block_html, blocks))
        parts.append(
            f"<section>{heading}\n{body}</section>" + ("" if name else f"<nav>{links}</nav>")
        )
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
{body}
</body></html>
"""


def plain(text):
    """Escape what Markdown would take for markup."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)


def block_markdown(block, folder):
    """Return a block as Markdown; figures are links relative to `folder`."""
    if isinstance(block, Text):
        return ("> " if block.callout else "") + plain(block.text)
    if isinstance(block, Table):
        columns = list(zip(*block.rows, strict=True))[1:]
        sides = ["---:" if all(map(is_number, column)) else "---" for column in columns]
        lines = [
            f"**{plain(block.caption)}**",
            "",
            "| " + " | ".join(map(plain, block.head)) + " |",
        ]
        lines.append("| " + " | ".join(["---", *sides]) + " |")
        lines += ["| " + " | ".join(map(plain, row)) + " |" for row in block.rows]
        return "\n".join(lines)
    if isinstance(block, Figure):
        path = os.path.relpath(block.path, folder).replace(os.sep, "/")
        return f"![{plain(block.caption)}](<{path}>)"
    if isinstance(block, Code):
        return "\n".join(["```", *block.lines, "```"])
    raise ValueError(f"unknown block {block!r}")


def render_markdown(title, sections, folder):
    """Return the sections as Markdown."""
    parts = [f"# {plain(title)}"]
    for name, blocks in sections:
        parts += [f"## {plain(name)}"] * bool(name)
        parts += [block_markdown(block, folder) for block in blocks]
    return "\n\n".join(parts) + "\n"


def write_document(path, title, sections):
    """Write `path`.html and `path`.md."""
    path = Path(path)
    texts = {
        ".html": render_html(title, sections),
        ".md": render_markdown(title, sections, path.parent),
    }
    for suffix, text in texts.items():
        with replacing(path.with_suffix(suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")
