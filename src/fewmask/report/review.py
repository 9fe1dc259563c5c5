"""The review of a run's masks in the browser: a gallery sorted by trust, and what its script needs to show each case.

The script draws from JSON and writes names as text only; it asks for no file and no network.
"""

from __future__ import annotations

import base64
import gzip
import io
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image, ImageColor

from fewmask.data import formats
from fewmask.data.grid import Grid, orientation
from fewmask.errors import DataError
from fewmask.figures import class_colour
from fewmask.overlays import slice_pictures, window
from fewmask.report.gallery import is_stack, native_mask, prediction_path
from fewmask.report.page import Content, Markup, data, element, table
from fewmask.report.record import Record
from fewmask.review import FORMAT, mask_hash
from fewmask.trust import TRUST, WHOLE, Verdict, read_trust
from fewmask.trust.calibration import ENOUGH
from fewmask.trust.verdict import FLAGS

FEW = 120
"""Up to so many cases are drawn large and with many slices; more are drawn small, which keeps 400 under 50 MB."""
LARGE, SMALL = (224, 11), (144, 7)
"""Longest side in pixels and most slices of a case."""
MOST = 2000
"""Cases with pictures; the least trusted come first."""
QUALITY = 70
KEYS = (
    ("← →", "previous, next case"),
    ("↑ ↓", "slice"),
    ("a f r", "accept, fix, reject"),
    ("1–5", "grade"),
    ("u", "take back the last decision or grade"),
    ("n", "note; Esc leaves it"),
    ("[ ]", "opacity"),
    ("b", "before or after rectification"),
    ("v", "the whole volume, where the report holds it"),
    ("x", "export review.json"),
)


def reviewable(record: Record) -> bool:
    """Whether there is something to review: verdicts, and a catalogue that says where the images are."""
    return record.catalogue is not None and (record.run.predictions / TRUST).is_file()


def review_scripts(volumes: int) -> list[str]:
    """The scripts of the page: the review's own, and NiiVue before it where there are volumes to show."""
    names = [*(["vendor/niivue.js"] if volumes else []), "review.js"]
    return [(files("fewmask.report") / name).read_text(encoding="utf-8") for name in names]


def review(record: Record, volumes: int = 0) -> list[Content]:
    """What the trust rests on, a table of the least trusted, and the place where the script builds the gallery."""
    if not reviewable(record):
        return []
    verdicts = read_trust(record.run.predictions / TRUST)
    whole = [one for one in verdicts if one.name == WHOLE]
    if not whole:
        return []
    flags = Counter(one.flag for one in whole)
    counts = ", ".join(f"{flags[flag]} {flag}" for flag in FLAGS)
    calibrated = any(one.predicted_dice is not None for one in whole)
    how = (
        "Predicted Dice with its 90 % interval, from how far the model's own opinions agree, calibrated on cases whose "
        "masks are known and were not learned from."
        if calibrated
        else f"Ranking only: fewer than {ENOUGH} in val have a mask, so agreement is not translated into Dice."
    )
    keys = [[element("kbd", key), " ", what, "  "] for key, what in KEYS]
    return [
        element("p", element("strong", f"{len(whole)} masks: {counts}."), " ", how, " The least trusted come first."),
        element("noscript", _table(whole)),
        element("div", id="viewer", class_="viewer", tabindex=0, hidden=""),
        element("p", keys, class_="note keys"),
        element("div", id="gallery", class_="gallery"),
        data(review_data(record, verdicts, volumes), "review-data"),
    ]


def _table(whole: Sequence[Verdict]) -> Markup:
    """For readers without scripts."""
    rows = [
        [
            one.case,
            _number(one.predicted_dice),
            f"{_number(one.low)} to {_number(one.high)}",
            one.flag,
            "; ".join(one.reasons),
        ]
        for one in whole[:400]
    ]
    return table(["Case", "predicted Dice", "90 %", "flag", "reasons"], rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def review_data(record: Record, verdicts: Sequence[Verdict], volumes: int = 0) -> dict[str, Any]:
    """All that the script shows, cases in the order of trust.csv, the first `volumes` of them whole."""
    whole = [one for one in verdicts if one.name == WHOLE]
    classes: dict[str, list[Verdict]] = {one.case: [] for one in whole}
    for row in verdicts:
        if row.name != WHOLE:
            classes[row.case].append(row)
    side, slices = LARGE if len(whole) <= FEW else SMALL
    return {
        "format": FORMAT,
        "run": str(record.run.root.resolve()),
        "classes": [
            {"name": name, "colour": class_colour(index)}
            for index, name in enumerate(record.catalogue.labels.names[1:], start=1)
        ],
        "cases": [
            _case(record, one, classes[one.case], side, slices if place < MOST else 0, place < volumes)
            for place, one in enumerate(whole)
        ],
    }


def _case(
    record: Record, one: Verdict, classes: Sequence[Verdict], side: int, slices: int, whole: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "case": one.case,
        "flag": one.flag,
        "predicted": one.predicted_dice,
        "low": one.low,
        "high": one.high,
        "agreement": one.agreement,
        "reasons": list(one.reasons),
        "role": next((role for role in ("val", "test", "unlabelled") if one.case in record.role(role)), ""),
        "classes": [
            {"name": row.name, "predicted": row.predicted_dice, "flag": row.flag, "reasons": list(row.reasons)}
            for row in classes
        ],
    }
    path = prediction_path(record, one.case)
    if path is None:
        return found | {"trouble": "no mask in predictions/"}
    found["mask"] = mask_hash(path)
    if slices:
        try:
            found |= _pictures(record, one.case, path, side, slices, whole)
        except (DataError, OSError) as error:
            found["trouble"] = str(error)
    return found


def _pictures(record: Record, case: str, path: Path, side: int, count: int, whole: bool) -> dict[str, Any]:
    """The image's slices under each other as one picture, and one for each layer of masks over it; whole: the volume,
    too."""
    known, labels = record.catalogue.by_id[case], record.catalogue.labels
    image, grid = formats.read_case_image(known)
    turn = orientation(grid, slices=is_stack(record, grid))
    layers = {"mask": path, **_rectification(record, case)}
    masks = [turn.apply(native_mask(file, known.images[0], labels, grid)) for file in layers.values()]
    oriented = turn.apply_grid(grid)
    directions = None if oriented.affine is None or grid.planar else oriented.affine[:3, :3]
    spacing = oriented.spacing_mm or (1.0, 1.0, 1.0)
    indices, pictures, drawn_layers = slice_pictures(
        turn.apply(image), masks, spacing=spacing, directions=directions, count=count, side=side
    )
    volume = {}
    if whole and not grid.planar:
        mask = native_mask(path, known.images[0], labels, grid)
        volume = {"volume": {"image": _nifti(_grey(image), grid), "mask": _nifti(mask, grid)}}
    return {
        **volume,
        "slices": indices,
        "depth": int(oriented.shape[0]),
        "width": int(pictures.shape[2]),
        "height": int(pictures.shape[1]),
        "image": _jpeg(pictures),
        "layers": {name: _png(drawn) for name, drawn in zip(layers, drawn_layers, strict=True)},
    }


def _rectification(record: Record, case: str) -> dict[str, Path]:
    """The case's pseudo-labels before and after rectification, where the audit drew them."""
    found = {}
    for name, title in (("raw", "before"), ("rectified", "after")):
        for suffix in formats.READERS:
            path = record.run.audit / "variants" / name / "masks" / f"{case}{suffix}"
            if path.is_file():
                found[title] = path
    return found if len(found) == 2 else {}


def _grey(image: np.ndarray) -> np.ndarray:
    """The first channel of image (C, D, H, W) as it is shown, uint8."""
    low, high = window(image[:1])
    return np.rint(np.clip((image[0] - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _nifti(values: np.ndarray, grid: Grid) -> str:
    """A compressed NIfTI of values (D, H, W), in base64."""
    affine = np.eye(4)
    if grid.affine is not None:
        affine[:3] = grid.affine[:3, [2, 1, 0, 3]]
    elif grid.spacing_mm is not None:
        affine[range(3), range(3)] = grid.spacing_mm[::-1]
    written = nib.Nifti1Image(values.T.astype(np.uint8), affine).to_bytes()
    return base64.b64encode(gzip.compress(written, mtime=0)).decode()


def _jpeg(pictures: np.ndarray) -> str:
    stacked = pictures.reshape(-1, *pictures.shape[2:])
    drawn = Image.fromarray(stacked[..., 0] if stacked.shape[-1] == 1 else stacked)
    buffer = io.BytesIO()
    drawn.save(buffer, format="JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _png(labels: np.ndarray) -> str:
    """Colours of the classes, the background transparent."""
    stacked = labels.reshape(-1, labels.shape[2])
    values = np.unique(stacked)
    palette = [0, 0, 0] + [part for value in values[values > 0] for part in ImageColor.getrgb(class_colour(int(value)))]
    places = np.searchsorted(values[values > 0], stacked) + 1
    drawn = Image.fromarray(np.where(stacked > 0, places, 0).astype(np.uint8), mode="P")
    drawn.putpalette(palette)
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG", optimize=True, transparency=0)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
