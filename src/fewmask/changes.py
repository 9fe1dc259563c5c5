"""Pictures of what rectification changed: green where it corrected a pseudo-label, red where it spoilt one."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fewmask.data import formats
from fewmask.data.catalogue import Catalogue
from fewmask.data.grid import orientation
from fewmask.overlays import font, overlay, window
from fewmask.pairing import masks_by_name
from fewmask.runs import atomic_write
from fewmask.types import Case, LabelSet

CORRECTED, SPOILT, OTHER = (0, 158, 80), (213, 43, 30), (230, 180, 0)
"""Wrong before and right now; right before and wrong now; wrong both times, in another way."""
OPACITY = 0.6
SIDE = 256
CAPTION = 18


def draw(out: Path, catalogue: Catalogue, images: Catalogue, *, pair: Sequence[str], stack: bool) -> list[Path]:
    """Write OUT/pictures/{best,worst}-<case>.png from an audit's masks and return their paths.

    The cases whose labels gained most and least: input, both labels of the pair, truth, change.  catalogue: where the
    masks are; images: where the images are; pair: the variants before and after; stack: whether cases were looked at
    slice by slice.
    """
    ranking = gains(out / "audit.csv", pair)
    if not ranking:
        return []
    chosen = {"best": ranking[-1][0], "worst": ranking[0][0]} if len(ranking) > 1 else {"only": ranking[0][0]}
    for old in (out / "pictures").glob("*.png"):  # of an earlier audit: other cases may have been best and worst
        old.unlink()
    written = []
    for word, name in chosen.items():
        case = images.by_id[name]
        path = out / "pictures" / f"{word}-{name}.png"
        atomic_write(path, strip(case, catalogue.by_id[name], catalogue.labels, out / "variants", pair, stack))
        written.append(path)
    return written


def gains(path: Path, pair: Sequence[str]) -> list[tuple[str, float]]:
    """(case, mean over classes of the second variant's Dice minus the first's) from audit.csv, worst first."""
    before, after = pair
    dice: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["dice"]:
                dice[row["case"]][row["class"]][row["variant"]] = float(row["dice"])
    found = {}
    for case, classes in dice.items():
        gained = [values[after] - values[before] for values in classes.values() if {before, after} <= values.keys()]
        if gained:
            found[case] = float(np.mean(gained))
    return sorted(found.items(), key=lambda entry: entry[1])


def strip(case: Case, labelled: Case, labels: LabelSet, variants: Path, pair: Sequence[str], stack: bool) -> bytes:
    """PNG of five panels of one slice, that in which most was changed.  stack: slices along D, else along any axis."""
    image, grid = formats.read_case_image(case)
    before, after = (masks_by_name(variants / name / "masks")[case.id] for name in pair)
    turn = orientation(grid, slices=stack)
    masks = [turn.apply(_mask(path, case.images[0], labels)) for path in (before, after, labelled.label)]
    image = turn.apply(image)
    ignored = masks[-1] == formats.IGNORE(masks[-1].dtype)
    raw, rectified, truth = (np.where(mask == formats.IGNORE(mask.dtype), 0, mask) for mask in masks)
    index = int((raw != rectified).sum((1, 2)).argmax())
    spacing = (turn.apply_grid(grid).spacing_mm or (1.0, 1.0, 1.0))[1:]
    limits = window(image if image.shape[1] == 1 else image[:1])
    plane = image[:, index] if image.shape[1] == 1 else image[:1, index]
    panels = [
        overlay(
            plane, mask, reference=truth[index] if mask is not None else None, spacing=spacing, side=SIDE, limits=limits
        )
        for mask in (None, raw[index], rectified[index], truth[index])
    ]
    drawn = [Image.open(io.BytesIO(panel)).convert("RGB") for panel in panels]
    drawn.append(_painted(drawn[0], np.where(ignored[index], 0, change(raw[index], rectified[index], truth[index]))))
    where = f"{case.id}, slice {index}" if len(raw) > 1 else case.id
    return _framed(drawn, ("input: " + where, *pair, "truth", "change"))


def change(raw: np.ndarray, rectified: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """0 unchanged, 1 corrected, 2 spoilt, 3 wrong both times; shape of the masks."""
    changed = raw != rectified
    return np.select([changed & (rectified == truth), changed & (raw == truth), changed], [1, 2, 3], 0)


def _mask(path: Path, image: Path, labels: LabelSet) -> np.ndarray:
    return formats.encode_mask(formats.read_mask(path, image, labels.colours)[0], labels, str(path))


def _painted(ground: Image.Image, kinds: np.ndarray) -> Image.Image:
    enlarged = Image.fromarray(kinds.astype(np.uint8)).resize(ground.size, Image.Resampling.NEAREST)
    kinds, picture = np.asarray(enlarged), np.asarray(ground).astype(np.float32)
    for kind, colour in enumerate((CORRECTED, SPOILT, OTHER), start=1):
        inside = kinds == kind
        picture[inside] = (1 - OPACITY) * picture[inside] + OPACITY * np.array(colour)
    return Image.fromarray(np.rint(picture).astype(np.uint8))


def _framed(panels: Sequence[Image.Image], captions: Sequence[str]) -> bytes:
    gap = 4
    width = sum(panel.width for panel in panels) + gap * (len(panels) - 1)
    framed = Image.new("RGB", (width, panels[0].height + CAPTION), "white")
    pen, left = ImageDraw.Draw(framed), 0
    for panel, caption in zip(panels, captions, strict=True):
        framed.paste(panel, (left, CAPTION))
        pen.text((left + 2, CAPTION / 2), caption, fill="#1f2933", font=font(11), anchor="lm")
        left += panel.width + gap
    buffer = io.BytesIO()
    framed.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
