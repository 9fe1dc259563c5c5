"""Scores as tables: per class with intervals and a distribution, and per case from the worst to the best."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from fewmask.figures import INK, box_plot, class_colour
from fewmask.report.page import Content, Markup, element, picture, swatch, table
from fewmask.report.record import NOTES, Evaluation, Row

DISTANCES = ("hd95_", "assd_")
UNITS = {"mm": "mm", "voxel": "voxels"}
MOST_CASES = 400
"""Rows of the table of cases; the rest is in metrics.csv."""


def interval(value: Any, digits: int = 3) -> Content:
    """A mean with its 95 % interval, a dash where there is none.  value: {"mean", "low", "high"} or a number."""
    if isinstance(value, Mapping):
        mean, low, high = (value.get(key) for key in ("mean", "low", "high"))
    else:
        mean, low, high = value, None, None
    if not _is_number(mean):
        return "–"
    if not _is_number(low) or not _is_number(high):
        return f"{mean:.{digits}f}"
    return [f"{mean:.{digits}f} ", element("small", f"{low:.{digits}f}–{high:.{digits}f}")]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def column_title(key: str) -> str:
    """`hd95_mm` -> `HD95, mm`."""
    known = {"dice": "Dice", "iou": "IoU", "surface_dice_1mm": "surface Dice, 1 mm"}
    if key in known:
        return known[key]
    name, _, unit = key.partition("_")
    return name.upper() + (f", {UNITS.get(unit, unit)}" if unit else "")


def class_table(evaluation: Evaluation, names: Sequence[str], boxes: bool = True) -> Markup:
    """A row per class and one for their mean.  names: classes, background first; boxes: whether to draw each case."""
    summary = evaluation.summary
    metrics = [key for key in ("dice", "iou", *evaluation.distances, "surface_dice_1mm") if key in summary]
    head = ["Class", *(column_title(key) for key in metrics)]
    head[2:2] = [element("span", "each case, 0 to 1", class_="nowrap")] if boxes else []
    head += ["cases", "missed", "halluc.", "both empty"]
    totals = [sum(evaluation.notes(name)[note] for name in names[1:]) for note in NOTES]
    lines = [("all classes", INK, summary, [dice for _, dice in evaluation.ranking], totals)]
    for index, name in enumerate(names[1:], start=1):
        colour, notes = class_colour(index), evaluation.notes(name)
        of_class = summary.get("per_class", {}).get(name, {})
        label = swatch(name, colour)
        lines.append((label, colour, of_class, evaluation.dice(name), [notes[note] for note in NOTES]))
    rows = []
    for label, colour, means, values, counts in lines:
        cells = [interval(means.get(key), 2 if key.startswith(DISTANCES) else 3) for key in metrics]
        cells[1:1] = [_box(values, colour)] if boxes else []
        rows.append([label, *cells, str(len(values)), *_counts(counts)])
    return table(head, rows, class_="classes")


def _box(values: Sequence[float], colour: str) -> Markup:
    said = f"{len(values)} cases between {min(values):.2f} and {max(values):.2f}" if values else "no case"
    return picture(box_plot(values, colour), said, "image/svg+xml", width=144, height=20)


def _counts(counts: Sequence[int]) -> list[Content]:
    return ["" if count == 0 else str(count) for count in counts]


def result_notes(evaluation: Evaluation) -> list[str]:
    """What a reader must know to read the numbers, in sentences."""
    groups = len({row.patient for row in evaluation.rows})
    overall = evaluation.summary.get("dice")
    known = isinstance(overall, Mapping) and isinstance(overall.get("low"), int | float)
    notes = ["In small print: 95 % bootstrap intervals over patients."]
    if not known:
        notes = [f"No intervals: {groups} {'group is' if groups == 1 else 'groups are'} too few."]
    frame = evaluation.summary.get("per_frame")
    if isinstance(frame, Mapping) and isinstance(frame.get("dice"), int | float):
        notes.append(
            "Dice and IoU are those of all pictures of a patient or sequence taken together; over single pictures, "
            f"as in the dots and in the table of cases, the mean Dice is {frame['dice']:.3f}."
        )
    if evaluation.protocol == "voxel":
        notes.append(
            "Distances are in voxels, because the files hold no spacing or because --protocol voxel was given."
        )
    notes.append(
        "Missed: the class is there and was not predicted; hallucinated: the reverse; both count as Dice 0 and as a "
        "distance of the image's diagonal. Both empty: left out of the means."
    )
    return notes


def case_table(evaluation: Evaluation, names: Sequence[str]) -> list[Content]:
    """Every case with its Dice per class, the worst first, and what was missed or hallucinated."""
    rows: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in evaluation.rows:
        rows[row.case][row.name] = row
    distance = next(iter(evaluation.distances), None)
    head = ["Case", "patient", "mean Dice", *names[1:], *([column_title(distance)] if distance else []), "notes"]
    lines = []
    for case, mean in evaluation.ranking[:MOST_CASES]:
        scored = rows[case]
        values = [row.values[distance] for row in scored.values() if distance in row.values]
        lines.append(
            [
                case,
                next(iter(scored.values())).patient,
                f"{mean:.3f}",
                *(_cell(scored.get(name)) for name in names[1:]),
                *([f"{sum(values) / len(values):.2f}" if values else "–"] if distance else []),
                [
                    [element("span", f"{row.note.replace('_', ' ')}: {row.name}", class_="badge"), " "]
                    for row in scored.values()
                    if row.note in ("missed", "hallucinated")
                ],
            ]
        )
    left_out = len(evaluation.ranking) - len(lines)
    note = element("p", f"The other {left_out} cases are in metrics.csv.", class_="note") if left_out else None
    return [element("div", table(head, lines), class_="tall"), note]


def _cell(row: Row | None) -> str:
    return f"{row.values['dice']:.3f}" if row and "dice" in row.values else "–"
