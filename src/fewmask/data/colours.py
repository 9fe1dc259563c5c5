"""The colours of the classes, and the tables by which 3D Slicer and ITK-SNAP name and colour a NIfTI mask.

Tol's `vibrant` set, told apart by colour-blind readers too.
"""

from __future__ import annotations

from collections.abc import Sequence

from fewmask.types import LabelSet

CLASS_COLOURS = ("#33BBEE", "#EE7733", "#EE3377", "#009988", "#DDAA33", "#AA4499", "#0077BB", "#CC3311")
"""Of classes 1, 2, ...; lighter and darker ones follow where there are more."""


def palette_rgb(palette: Sequence[str], index: int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255; beyond the palette it comes again, lighter, then darker, then lighter still."""
    again, place = divmod(index, len(palette))
    towards = 255 if again % 2 else 0
    share = 0.0 if again == 0 else min(0.8, 0.3 + 0.15 * again)
    parts = (int(palette[place][start : start + 2], 16) for start in (1, 3, 5))
    return tuple(round((1 - share) * part + share * towards) for part in parts)


def class_rgb(index: int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of class `index` >= 1."""
    return palette_rgb(CLASS_COLOURS, index - 1)


def slicer_table(labels: LabelSet) -> str:
    """A colour table of 3D Slicer (.ctbl): value, name, red, green, blue, alpha."""
    lines = ["# fewmask"]
    for index, (name, value) in enumerate(zip(labels.names, labels.values, strict=True)):
        red, green, blue = class_rgb(index) if index else (0, 0, 0)
        lines.append(f"{value} {_word(name)} {red} {green} {blue} {255 if index else 0}")
    return "\n".join(lines) + "\n"


def snap_labels(labels: LabelSet) -> str:
    """A label description of ITK-SNAP: value, red, green, blue, opacity, two switches, name in quotes."""
    lines = ["# ITK-SNAP Label Description File"]
    for index, (name, value) in enumerate(zip(labels.names, labels.values, strict=True)):
        red, green, blue = class_rgb(index) if index else (0, 0, 0)
        shown = int(index > 0)
        clean = name.replace('"', "'")
        lines.append(f'{value:5d} {red:5d} {green:4d} {blue:4d} {shown:8d} {shown:2d} {shown:2d}    "{clean}"')
    return "\n".join(lines) + "\n"


def _word(name: str) -> str:
    """Slicer splits lines at blanks."""
    return "_".join(name.split()) or "unnamed"
