"""Dice against the number of labelled patients, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from fewmask.comparison.curve import Curve
from fewmask.figures import Chart, as_svg, drawing, run_colour

APART = 0.012
"""How far methods are drawn apart, as a share of the axis, so that intervals do not cover each other."""


def budget_chart(found: Mapping[str, Any], methods: Sequence[str]) -> Chart:
    """A line a method over the budgets of comparison.json; dashed: the fitted curves, where there are some."""
    patients = {budget["labelled"]: budget["patients"] for budget in found["budgets"]}
    ticks = sorted(set(patients.values()))
    fitted = {entry["method"]: entry for entry in found.get("curves", ()) if "to" in entry}
    with drawing(6.4, 3.6) as (figure, axes):
        axes.set_xscale("log")
        span = np.log(max(ticks) / min(ticks)) or np.log(2)
        for index, method in enumerate(methods):
            rows = [row for row in found["scores"] if row["method"] == method and row["dice"]["mean"] is not None]
            rows.sort(key=lambda row: patients[row["labelled"]])
            moved = np.exp((index - (len(methods) - 1) / 2) * APART * span)
            x = moved * np.array([patients[row["labelled"]] for row in rows], dtype=float)
            y = np.array([row["dice"]["mean"] for row in rows])
            axes.plot(x, y, color=run_colour(index), marker="o", markersize=4)
            for place, row in zip(x, rows, strict=True):
                low, high = row["dice"]["low"], row["dice"]["high"]
                if low is not None:
                    axes.plot([place, place], [low, high], color=run_colour(index), linewidth=1, alpha=0.6)
            if entry := fitted.get(method):
                curve = Curve(*(np.array(entry[key]) for key in ("ceiling", "drop", "power")))
                reach = np.geomspace(min(ticks), entry["to"], 60)
                axes.plot(
                    reach, [float(curve.at(n)) for n in reach], color=run_colour(index), linewidth=1, dashes=(4, 2)
                )
                ticks = sorted({*ticks, entry["to"]})
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.06)
        axes.set_ylabel("Dice")
        return Chart(
            title="Dice against the number of labelled patients",
            svg=as_svg(figure),
            legend=tuple((method, run_colour(index)) for index, method in enumerate(methods)),
            note="lines: 95 % intervals over patients and repeats" + ("; dashed: fitted curves" if fitted else ""),
        )
