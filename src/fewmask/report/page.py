"""HTML that is safe by construction: text is escaped unless it is Markup, and Markup is only made here."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from fewmask.figures import Chart

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content security policy of the page: it can load nothing and run nothing but the scripts that it was written with."""
_VOID = {"img", "meta", "br"}


class Markup(str):
    """HTML that `element` made; plain strings are text."""

    __slots__ = ()


Content = str | Iterable["Content"] | None


def element(tag: str, *content: Content, **attributes: str | int | None) -> Markup:
    """`<tag attributes>content</tag>`.  Text and attribute values are escaped; None leaves them out.

    A trailing underscore of an attribute's name is dropped (class_), others become hyphens.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(content)}</{tag}>")


def join(content: Content) -> Markup:
    """Nested content as one piece; text is escaped."""
    if content is None:
        return Markup("")
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(html.escape(content, quote=False))
    return Markup("".join(join(part) for part in content))


def picture(data: bytes, alt: str, media: str = "image/png", **attributes: str | int | None) -> Markup:
    """An image inside the page."""
    source = f"data:{media};base64,{base64.b64encode(data).decode()}"
    return element("img", src=source, alt=alt, **attributes)


def table(
    head: Sequence[Content], rows: Iterable[Sequence[Content]], caption: Content = None, class_: str | None = None
) -> Markup:
    """A table whose first column names the rows; it scrolls sideways in its own box on a narrow screen."""
    body = [
        element("tr", element("th", row[0], scope="row"), [element("td", cell) for cell in row[1:]]) for row in rows
    ]
    drawn = element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", element("tr", [element("th", cell, scope="col") for cell in head])),
        element("tbody", body),
        class_=class_,
    )
    return element("div", drawn, class_="scroll")


def swatch(name: str, colour: str) -> Markup:
    """A coloured square and a name."""
    return element("span", element("i", style=f"background:{colour}"), name, class_="swatch")


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """(name, colour) side by side."""
    return element("p", [swatch(name, colour) for name, colour in entries], class_="legend")


@dataclass(frozen=True)
class Section:
    """A part of the page that the navigation names."""

    title: str
    anchor: str
    content: Content

    def drawn(self) -> Markup:
        """The part with its heading."""
        return element("section", element("h2", self.title), self.content, id=self.anchor)


def navigation(sections: Sequence[Section]) -> Markup:
    """Links to the parts of the page."""
    return element("nav", [element("a", part.title, href=f"#{part.anchor}") for part in sections])


def folded(summary: str, *content: Content) -> Markup:
    """Content that a click opens."""
    return element("details", element("summary", summary), *content)


def chart(drawing: Chart) -> Markup:
    """A chart with its legend and note."""
    return element(
        "div",
        element("h3", drawing.title),
        picture(drawing.svg, drawing.title, "image/svg+xml"),
        legend(drawing.legend),
        element("p", drawing.note, class_="note") if drawing.note else None,
        class_="chart",
    )


def charts(drawings: Sequence[Chart]) -> list[Content]:
    """Charts side by side; nothing where there are none."""
    return [element("div", [chart(drawing) for drawing in drawings], class_="charts")] if drawings else []


def notice(title: str, findings: Sequence[str]) -> Markup | None:
    """A box of things to be careful about; nothing where there are none."""
    if not findings:
        return None
    items = element("ul", [element("li", text) for text in findings])
    return element("div", element("strong", title), items, class_="notice")


def tile(number: str, what: str, more: str = "") -> Markup:
    """One number that people look for first."""
    return element("div", element("b", number), element("span", what), element("span", more), class_="tile")


def opening(title: str, lead: Content, tiles: Sequence[Markup]) -> Markup:
    """The head of the page."""
    return element(
        "header",
        element("p", "fewmask report", class_="over"),
        element("h1", title),
        element("p", lead, class_="lead"),
        element("div", tiles, class_="tiles") if tiles else None,
    )


def closing() -> Markup:
    """What kind of file this is."""
    said = "One file that needs nothing else: it opens offline and can be sent. It shows images and the names of cases."
    return element("footer", said)


def body(head: Markup, cautions: Sequence[str], sections: Sequence[Section]) -> list[Content]:
    """From the head to the foot, whatever the report is of; sections without content are left out."""
    sections = [section for section in sections if section.content]
    return [
        head,
        notice("Before you rely on this", cautions),
        navigation(sections),
        [section.drawn() for section in sections],
        closing(),
    ]


def data(values: Any, name: str) -> Markup:
    """Values for the page's script, as JSON that no text in it can end."""
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c")  # within <script> nothing is unescaped, and only "<" can begin what ends it
    return Markup(f'<script type="application/json" id="{name}">{text}</script>')


def policy(scripts: Sequence[str]) -> str:
    """The content security policy of a page with these scripts, which are allowed by their hashes."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"{POLICY}; script-src {allowed}" if scripts else POLICY


def page(title: str, *content: Content, scripts: Sequence[str] = ()) -> str:
    """The whole file: one page, no reference to anything outside it; scripts: run at its end."""
    style = Markup((files("fewmask.report") / "page.css").read_text(encoding="utf-8"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(scripts)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", style),
    )
    run = [Markup(f"<script>{script}</script>") for script in scripts]
    return (
        "<!DOCTYPE html>\n" + element("html", head, element("body", element("main", *content), run), lang="en") + "\n"
    )
