"""From the raw values in masks to a LabelSet: what is plain is remapped and said, what is ambiguous is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fewmask.errors import DataError
from fewmask.types import LabelSet

MAX_UNNAMED = 32
"""More values than this, and no names: these are no classes."""

MAX_KEPT = 4096
"""Values that are remembered of one mask; more can only be refused."""

LARGEST = 65535
"""Masks are written as uint16 at most."""

FIX = "in dataset.yaml beside the data"


def values_of(mask: np.ndarray) -> tuple[float, ...]:
    """The different values of a mask, sorted; at most MAX_KEPT of them.  Whole numbers come as int."""
    found: set[float] = set()
    for layer in mask.reshape(len(mask), -1):
        if mask.dtype.kind in "bu" and mask.dtype.itemsize == 1:
            found.update(np.flatnonzero(np.bincount(layer.view(np.uint8), minlength=256)).tolist())
        else:
            # NaN differs from itself: of one object the set keeps one
            found.update(math.nan if value != value else value for value in np.unique(layer).tolist())
        if len(found) > MAX_KEPT:
            break
    return tuple(sorted(int(value) if float(value).is_integer() else value for value in found))[:MAX_KEPT]


def resolve_labels(
    masks: Mapping[Path, tuple[float, ...]],
    names: Mapping[str, int] | None = None,
    ignore: int | None = None,
    merged: Mapping[int, int] | None = None,
) -> tuple[LabelSet, tuple[str, ...]]:
    """The classes of all masks (file -> its values), and what the user should know of them.

    `names` maps class name -> raw value where the data set says so; `merged` raw value -> the one it is read as.
    DataError, with file, values and remedy, where the values cannot be classes or could be read in two ways.
    """
    where: dict[float, Path] = {}
    for path, values in masks.items():
        for value in values:
            where.setdefault(value, path)
    merged = merged or {}
    named = set(names.values()) if names else set()
    _refuse_impossible(masks, where, named | merged.keys())
    found = {int(merged.get(int(value), value)) for value in where} - {ignore}
    if names:
        labels, findings = _named(masks, found, names, ignore)
    else:
        labels, findings = _unnamed(masks, found, ignore, where)
    if masks and found <= {labels.values[0]}:
        if not names:
            raise DataError(f"all {len(masks)} masks are empty (value {_list(found)} only); correct the masks")
        findings.append("all masks are empty")
    for value, other in merged.items():
        holding = [path for path, values in masks.items() if value in values]
        if holding:
            meant = "ignored" if other == ignore else f"read as {other}"
            findings.append(f"value {value} is {meant}: in {len(holding)} masks, first {holding[0].name}")
    return replace(labels, merged=merged), tuple(findings)


def _refuse_impossible(masks: Mapping[Path, tuple[float, ...]], where: Mapping[float, Path], named: set[int]) -> None:
    for value, path in where.items():
        if not float(value).is_integer():
            raise DataError(
                f"{path}: mask values {_list(masks[path])} are not whole numbers; "
                "if it was resampled, do so with nearest neighbour, or round it"
            )
        if not 0 <= value <= LARGEST:
            raise DataError(
                f"{path}: mask value {int(value)} is outside 0 to {LARGEST}; give each class a value in that range"
            )
    for path, values in masks.items():
        smeared = path.suffix.lower() in (".jpg", ".jpeg") and not set(values) <= named | {0, 255}
        if smeared:
            raise DataError(
                f"{path}: mask values {_list(values)}, smeared by JPEG compression; "
                "save masks as PNG with one value per class (of a 0/255 mask: threshold at 128)"
            )


def _named(
    masks: Mapping[Path, tuple[float, ...]], found: set[int], names: Mapping[str, int], ignore: int | None
) -> tuple[LabelSet, list[str]]:
    """Classes under their own names."""
    names = dict(names)
    if len(set(names.values())) < len(names):
        raise DataError(f"two classes share a value in {names}; give each its own {FIX}")
    background = next((name for name in names if name.lower() == "background"), None)
    if background is None:
        background = next((name for name, value in names.items() if value == 0), "background")
        names.setdefault(background, 0)
    if ignore in names.values():
        raise DataError(f"value {ignore} is both a class and ignored in {names}; choose one {FIX}")
    findings: list[str] = []
    if sorted(names.values()) == [0, 1] and found == {0, 255}:
        organ = next(name for name in names if name != background)
        names[organ] = 255
        findings.append(f"masks hold 0 and 255 where 0 and 1 are named: 255 is '{organ}', and stays 255 in predictions")
    unknown = sorted(found - set(names.values()))
    if unknown:
        path = next(path for path, values in masks.items() if unknown[0] in values)
        raise DataError(
            f"{path}: mask value {unknown[0]} has no name (named: {_pairs(names)}); "
            f"correct the mask, or add the value to 'labels', or as 'ignore', {FIX}"
        )
    order = [background, *sorted((name for name in names if name != background), key=lambda name: names[name])]
    absent = [name for name in order[1:] if names[name] not in found]
    if absent and masks and found > {names[background]}:
        findings.append(f"no mask holds {', '.join(absent)}")
    labels = LabelSet(names=tuple(order), values=tuple(names[name] for name in order), ignore=ignore)
    return labels, findings + _map_finding(labels)


def _unnamed(
    masks: Mapping[Path, tuple[float, ...]], found: set[int], ignore: int | None, where: Mapping[float, Path]
) -> tuple[LabelSet, list[str]]:
    """Classes by their values alone, called class 1, class 2, ..."""
    if not masks:
        return LabelSet(names=("background",), values=(0,), ignore=ignore), []
    if len(found) > MAX_UNNAMED:
        path = max(masks, key=lambda path: len(masks[path]))
        smeared = any(0 < value <= 20 for value in masks[path]) and any(235 <= value < 255 for value in masks[path])
        guess = "a mask smeared by compression, or an image?" if smeared else "an image, or single objects?"
        raise DataError(
            f"{path}: mask values {_list(masks[path])}, {len(found)} over all masks, over {MAX_UNNAMED} and without "
            f"names ({guess}); give one value per class, or name them under 'labels' {FIX}"
        )
    if 255 in found and len(found) > 2:
        raise DataError(
            f"{where[255]}: mask value 255 beside {_list(found - {255})} over all masks: a class, or void? "
            f"write 'ignore: 255', or name 255 under 'labels', {FIX}"
        )
    findings = []
    if 0 not in found:
        findings.append(
            f"no mask holds 0: all of {_list(found)} are classes; if {min(found)} is background, "
            f"write 'labels: {{background: {min(found)}, ...}}' {FIX}"
        )
    values = (0, *sorted(found - {0}))
    names = ("background", *(f"class {index}" for index in range(1, len(values))))
    labels = LabelSet(names=names, values=values, ignore=ignore)
    return labels, findings + _map_finding(labels)


def _map_finding(labels: LabelSet) -> list[str]:
    """What is said where values and class numbers differ."""
    if labels.values == tuple(range(len(labels))):
        return []
    pairs = ", ".join(f"{value} -> {index}" for index, value in enumerate(labels.values))
    return [f"mask values become classes {pairs}; predictions are written with the values {_list(labels.values)}"]


def _list(values: object) -> str:
    """'0, 1, 2, ... 254, 255': at most eight values."""
    ordered = [f"{value:g}" for value in sorted(values)]  # type: ignore[call-overload]
    return ", ".join(ordered if len(ordered) <= 8 else [*ordered[:5], "...", *ordered[-2:]])


def _pairs(names: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in names.items())
