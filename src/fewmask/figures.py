"""Pictures of a run: masks over images, training curves, distributions.  No text of a user is drawn into a chart.

Charts are SVG whose only text is numbers; names stand in `Chart.legend`, so that a page can escape them and show any
script.  Colours are Tol's `vibrant` set, told apart by colour-blind readers too.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fewmask.data.colours import class_rgb, palette_rgb

TERM_COLOURS = ("#0077BB", "#EE7733", "#009988", "#EE3377", "#AA4499", "#999933")
INK, FAINT, GRID = "#1f2933", "#9aa5b1", "#e4e7eb"

_STYLE = {
    "svg.fonttype": "none",  # digits stay text: small, and in the reader's font
    "svg.hashsalt": "fewmask",  # the same numbers give the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawing without words, and the words: `legend` holds (name, colour) in the order of drawing."""

    title: str
    svg: bytes
    legend: tuple[tuple[str, str], ...] = ()
    note: str = ""


def class_colour(index: int) -> str:
    """Colour of class `index` >= 1, as #RRGGBB."""
    return "#{:02X}{:02X}{:02X}".format(*class_rgb(index))


def run_colour(index: int) -> str:
    """Colour of the run at `index` >= 0 of a comparison."""
    return "#{:02X}{:02X}{:02X}".format(*palette_rgb(TERM_COLOURS, index))


@contextmanager
def drawing(width: float = 5.0, height: float = 2.6) -> Iterator[tuple[Figure, Axes]]:
    """A figure of `width` x `height` inches in the style of the report; no state of pyplot is touched."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def as_svg(figure: Figure) -> bytes:
    """The file, without a date or a name in it."""
    buffer = io.BytesIO()
    nothing = {key: None for key in ("Date", "Creator", "Format", "Type")}
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    return buffer.getvalue()


def series(log: Sequence[Mapping[str, Any]], *path: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """name -> (steps, values) of all finite numbers found under `path` in the lines of a log.

    `series(log, "terms")` has a key per loss term; a number at `path` itself is keyed by the last part.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for line in log:
        value: Any = line
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        entries = value.items() if isinstance(value, Mapping) else [(path[-1], value)]
        for name, number in entries:
            if isinstance(number, int | float) and not isinstance(number, bool) and np.isfinite(number):
                found.setdefault(str(name), []).append((line["step"], number))
    return {name: tuple(np.array(points, dtype=float).T) for name, points in found.items()}


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean over the last `window` values; shorter at the start."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(0, end - window)
    return (total[end] - total[start]) / (end - start)


def _step_axis(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlim(left=0)


def _dice_axis(axes: Axes) -> None:
    _step_axis(axes)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("Dice")


def _line(axes: Axes, points: tuple[np.ndarray, np.ndarray], colour: str, **style: Any) -> None:
    """A line; a single point is drawn as a dot, which a line would hide."""
    axes.plot(*points, color=colour, marker="o" if len(points[0]) == 1 else None, markersize=4, **style)


def training_curves(log: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[Chart, ...]:
    """Loss terms, Dice on val, Dice of the pseudo-labels on val, the method's own signals; absent ones are left out.

    `log`: the lines of log.jsonl; `names`: all classes with the background first, for their colours.
    """
    charts = [_terms(log), _validation(log, names), _pseudo_labels(log), _signals(log)]
    return tuple(chart for chart in charts if chart is not None)


def _terms(log: Sequence[Mapping[str, Any]]) -> Chart | None:
    terms = series(log, "terms")
    if not terms:
        return None
    legend = []
    with drawing() as (figure, axes):
        for (name, (steps, values)), colour in zip(terms.items(), _colours(len(terms)), strict=True):
            if len(values) > 20:
                axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.25)
            _line(axes, (steps, _smooth(values, max(1, len(values) // 20))), colour)
            legend.append((name, colour))
        _step_axis(axes)
        top = max(float(np.percentile(values, 99)) for _, values in terms.values())
        if top > 0 and all((values >= 0).all() for _, values in terms.values()):
            axes.set_ylim(0, 1.05 * top)  # one spike must not flatten the rest
        axes.set_ylabel("raw term")
        return Chart(
            title="Loss terms", svg=as_svg(figure), legend=tuple(legend), note="running mean; faint: each line"
        )


def _validation(log: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Chart | None:
    mean, classes = series(log, "val", "dice"), series(log, "val", "per_class")
    if not mean:
        return None
    legend = [("mean", INK)]
    with drawing() as (figure, axes):
        for index, name in enumerate(names):
            if name in classes and index > 0:
                _line(axes, classes[name], class_colour(index), linewidth=1.2)
                legend.append((name, class_colour(index)))
        steps, values = mean["dice"]
        _line(axes, (steps, values), INK, linewidth=2.2)
        best = int(np.argmax(values))
        axes.plot(steps[best], values[best], marker="o", markersize=6, color=INK, markerfacecolor="white")
        _dice_axis(axes)
        note = f"ring: best, {values[best]:.3f} at step {int(steps[best]):,}"
        return Chart(title="Dice on val", svg=as_svg(figure), legend=tuple(legend), note=note)


def _pseudo_labels(log: Sequence[Mapping[str, Any]]) -> Chart | None:
    variants, mean = series(log, "val", "pseudo"), series(log, "val", "dice")
    variants.pop("pseudo", None)
    if not variants:
        return None
    legend = []
    with drawing() as (figure, axes):
        if mean:
            _line(axes, mean["dice"], FAINT, linewidth=1.2, linestyle=(0, (4, 2)), zorder=3)
            legend.append(("model", FAINT))
        for (name, points), colour in zip(variants.items(), _colours(len(variants)), strict=True):
            _line(axes, points, colour)
            legend.append((f"pseudo-labels, {name}", colour))
        _dice_axis(axes)
        note = "what the unlabelled images would be taught, measured on val"
        return Chart(title="Dice of pseudo-labels on val", svg=as_svg(figure), legend=tuple(legend), note=note)


def _signals(log: Sequence[Mapping[str, Any]]) -> Chart | None:
    """The method's own numbers that are shares, such as the part of the pixels that was kept."""
    shares = {
        name: points for name, points in series(log, "log").items() if points[1].min() >= 0 and points[1].max() <= 1
    }
    if not shares:
        return None
    legend = []
    with drawing() as (figure, axes):
        for (name, (steps, values)), colour in zip(shares.items(), _colours(len(shares)), strict=True):
            _line(axes, (steps, _smooth(values, max(1, len(values) // 20))), colour)
            legend.append((name, colour))
        _step_axis(axes)
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel("share")
        return Chart(title="Signals of the method", svg=as_svg(figure), legend=tuple(legend), note="running mean")


def _colours(count: int) -> list[str]:
    return [run_colour(index) for index in range(count)]


def comparison_curves(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Chart, ...]:
    """Dice on val and Dice of the (last-named, so most refined) pseudo-labels of several runs, a colour per run."""
    val = {name: series(log, "val", "dice").get("dice") for name, log in logs.items()}
    pseudo = {}
    for name, log in logs.items():
        variants = series(log, "val", "pseudo")
        variants.pop("pseudo", None)
        pseudo[name] = next(reversed(variants.values()), None)
    charts = []
    for title, curves in (("Dice on val", val), ("Dice of pseudo-labels on val", pseudo)):
        if not any(points is not None for points in curves.values()):
            continue
        legend = []
        with drawing() as (figure, axes):
            for index, (name, points) in enumerate(curves.items()):
                if points is not None:
                    _line(axes, points, run_colour(index))
                    legend.append((name, run_colour(index)))
            _dice_axis(axes)
            charts.append(Chart(title=title, svg=as_svg(figure), legend=tuple(legend)))
    return tuple(charts)


def box_plot(values: Sequence[float], colour: str, limits: tuple[float, float] = (0.0, 1.0)) -> bytes:
    """A horizontal box over `limits` with every value as a dot: one row of a table, SVG without any text."""
    kept = np.array([value for value in values if np.isfinite(value)], dtype=float)
    with drawing(2.2, 0.3) as (figure, axes):
        figure.set_layout_engine("none")
        axes.set_position((0.01, 0.0, 0.98, 1.0))
        axes.set_axis_off()
        axes.set_xlim(limits[0] - 0.02 * np.ptp(limits), limits[1] + 0.02 * np.ptp(limits))
        axes.set_ylim(-1, 1)
        for low, high in pairwise(np.linspace(*limits, 5)):
            axes.plot([low, low], [-0.8, 0.8], color=GRID, linewidth=0.8)
            axes.plot([high, high], [-0.8, 0.8], color=GRID, linewidth=0.8)
        if len(kept):
            if len(kept) >= 4:
                low, middle, high = np.percentile(kept, [25, 50, 75])
                axes.fill_between([low, high], -0.6, 0.6, color=colour, alpha=0.25, linewidth=0)
                axes.plot([middle, middle], [-0.6, 0.6], color=colour, linewidth=2)
            jitter = 0.45 * np.sin(2.4 * np.arange(len(kept)))  # spreads equal values, the same each time
            axes.scatter(kept, jitter, s=7, color=colour, alpha=0.75, linewidths=0)
        return as_svg(figure)
