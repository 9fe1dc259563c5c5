"""The picture in README.md, from a demo folder: images, predicted masks, true outlines.

python benchmarks/readme_picture.py fewmask-demo docs/images/overlay.png
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from fewmask.data import formats
from fewmask.data.catalogue import read_catalogue
from fewmask.overlays import overlay
from fewmask.runs import Run

COLUMNS, SIDE, GAP = 4, 220, 6


def panels(run: Run) -> list[tuple[Image.Image, Image.Image]]:
    """(image, image with prediction and true outline) of the middle slice of the first test patients."""
    catalogue = read_catalogue(run.catalogue)
    cases = [catalogue.by_id[case] for case in json.loads(run.split.read_text())["test"]]
    pairs = []
    for case in [case for case in cases if case.id.endswith("frame01")][:COLUMNS]:
        image, grid = formats.read_case_image(case)
        masks = [formats.read_mask(path)[0] for path in (run.predictions / f"{case.id}.nii.gz", case.label)]
        prediction, reference = (formats.encode_mask(mask, catalogue.labels, case.id) for mask in masks)
        index = int(np.argmax((reference > 0).sum(axis=(1, 2))))
        parts = image[:, index], prediction[index], reference[index]
        options = {"spacing": grid.spacing_mm[1:], "side": SIDE}
        plain = overlay(parts[0], None, **options)
        drawn = overlay(parts[0], parts[1], reference=parts[2], **options)
        pairs.append(tuple(Image.open(io.BytesIO(png)).convert("RGB") for png in (plain, drawn)))
    return pairs


def main(demo: Path, out: Path) -> None:
    pairs = panels(Run(demo / "fixmatch"))
    width, height = pairs[0][0].size
    canvas = Image.new("RGB", (len(pairs) * (width + GAP) - GAP, 2 * height + GAP), "white")
    for column, pair in enumerate(pairs):
        for row, picture in enumerate(pair):
            canvas.paste(picture, (column * (width + GAP), row * (height + GAP)))
    out.parent.mkdir(parents=True, exist_ok=True)
    canvas.quantize(256).save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
