"""scan.html: what was found wrong in a data set and what became of it, with pictures before and after."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from fewmask.data.grid import orientation
from fewmask.data.repair import SEVERITIES, Finding, View
from fewmask.overlays import Panel, case_panels
from fewmask.report.page import Content, Section, body, element, opening, page, picture, table, tile
from fewmask.runs import atomic_write

SHOWN = 60
"""Findings of each severity that are shown with pictures; the table names all."""
SIDE = 200


class FindingsPage:
    """Collects findings while a data set is gone through; pictures are drawn at once, so that no image is kept."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._figures: list[tuple[Finding, Content]] = []
        self._drawn: Counter[str] = Counter()

    def add(self, finding: Finding, view: View | None) -> None:
        """Take up a finding; `view` is what can be shown of it."""
        self.findings.append(finding)
        if view is not None and self._drawn[finding.severity] < SHOWN:
            self._drawn[finding.severity] += 1
            self._figures.append((finding, _pictures(finding, view)))

    def write(self, path: Path, name: str, cases: int) -> None:
        """The page as one file that opens offline."""
        counts = Counter(finding.severity for finding in self.findings)
        tiles = [tile(str(cases), "cases in the copy")]
        tiles += [tile(str(counts[severity]), severity) for severity in SEVERITIES if counts[severity]]
        rows = [(f.severity, f.case, f.file, f.problem, f.action) for f in self._ordered()]
        listed = table(("severity", "case", "file", "problem", "what was done"), rows, class_="words")
        sections = [Section("Findings", "findings", listed if rows else element("p", "Nothing was wrong."))]
        figures = [drawn for finding, drawn in sorted(self._figures, key=lambda pair: _rank(pair[0]))]
        sections.append(Section("Pictures", "pictures", figures))
        lead = "A repaired copy was written; the data themselves were not touched. Look at what was repaired."
        head = opening(f"Scan of {name}", lead, tiles)
        atomic_write(path, page(f"Scan of {name}", body(head, (), sections)))

    def _ordered(self) -> list[Finding]:
        return sorted(self.findings, key=_rank)


def _rank(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)


def _pictures(finding: Finding, view: View) -> Content:
    """Before and after side by side; one row where the mask is the same or cannot be shown."""
    same = view.before is None or view.after is None or np.array_equal(view.before, view.after)
    shown = [("", view.after)] if same else [("before", view.before), ("after", view.after)]
    figures = []
    for when, mask in shown:
        for panel in _panels(view, mask):
            words = ", ".join(word for word in (when, panel.caption) if word)
            caption = element("figcaption", words) if words else None
            figures.append(element("figure", picture(panel.png, f"{finding.case} {words}"), caption))
    return element(
        "div",
        element("h3", f"{finding.case}: {finding.severity}"),
        element("p", f"{finding.problem}: {finding.action}."),
        element("div", figures, class_="panels"),
    )


def _panels(view: View, mask: np.ndarray | None) -> list[Panel]:
    turn = orientation(view.grid, slices=True)
    grid = turn.apply_grid(view.grid)
    drawn = None if mask is None else np.unique(turn.apply(mask), return_inverse=True)[1].reshape(grid.shape)
    return case_panels(
        turn.apply(view.image),
        drawn,
        stack=True,
        spacing=grid.spacing_mm or (1.0, 1.0, 1.0),
        directions=None if grid.affine is None or grid.planar else grid.affine[:3, :3],
        count=3,
        side=SIDE,
    )
