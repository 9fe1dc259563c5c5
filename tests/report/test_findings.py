"""scan.html: findings with pictures, names escaped, one file that loads nothing."""

from __future__ import annotations

import numpy as np

from fewmask.data.grid import Grid
from fewmask.data.repair import Finding, View
from fewmask.report.findings import SHOWN, FindingsPage

GRID = Grid(shape=(4, 8, 8), spacing_mm=(4, 1, 1), affine=np.diag([4.0, 1, 1, 1]))
IMAGE = np.random.default_rng(0).random((1, *GRID.shape), np.float32)
MASK = np.zeros(GRID.shape, np.uint8)
MASK[1:3, 2:6, 2:6] = 200


def finding(case: str = "a", severity: str = "repaired") -> Finding:
    return Finding(severity=severity, case=case, file=f"masks/{case}", problem="turned", action="turned back")


def test_before_and_after_and_escaped_names(tmp_path) -> None:
    page = FindingsPage()
    page.add(finding("<b>x"), View(image=IMAGE, grid=GRID, before=np.roll(MASK, 2, 1), after=MASK))
    page.add(finding("y", "left out"), None)
    page.write(tmp_path / "scan.html", "my <data>", 7)
    text = (tmp_path / "scan.html").read_text()
    assert "&lt;b&gt;x" in text and "<b>x" not in text and "my &lt;data&gt;" in text
    assert "before" in text and "after" in text and text.count("<img") >= 2
    assert text.index(">left out<") < text.index(">repaired<")
    assert "default-src &#x27;none&#x27;" in text and "http://" not in text.replace("http://www.w3.org", "")


def test_many_findings_are_listed_and_some_shown(tmp_path) -> None:
    page = FindingsPage()
    picture = Grid(shape=(1, 8, 8), planar=True)
    for number in range(SHOWN + 3):
        view = View(image=np.tile(IMAGE[:, :1], (3, 1, 1, 1)), grid=picture, before=None, after=MASK[:1])
        page.add(finding(f"case {number}"), view)
    page.write(tmp_path / "scan.html", "data", SHOWN + 3)
    text = (tmp_path / "scan.html").read_text()
    assert text.count("<img") == SHOWN
    assert f"<td>case {SHOWN + 2}</td>" in text


def test_nothing_wrong(tmp_path) -> None:
    FindingsPage().write(tmp_path / "scan.html", "data", 3)
    assert "Nothing was wrong." in (tmp_path / "scan.html").read_text()
