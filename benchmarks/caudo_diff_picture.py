"""The picture of Caudo-Diff's card, from generated hearts: exemplar, synthetic samples, raw, calibrated, gate, weight.

    python benchmarks/caudo_diff_picture.py FOLDER docs/images/caudo_diff.png             (every stage)
    python benchmarks/caudo_diff_picture.py FOLDER docs/images/caudo_diff.png synthesis   (the first row alone)

FOLDER is made and holds the phantoms and a short run on one of them (about ten minutes on one core).
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

from fewmask import api
from fewmask.audit import config_of, variants
from fewmask.data.catalogue import read_catalogue
from fewmask.data.phantom import write_phantoms
from fewmask.data.prepare import prepare
from fewmask.data.split_file import read_split
from fewmask.methods.synthesis import Sample, Synthesis, synthesise
from fewmask.nets.guide import features_of
from fewmask.order import preparation_for
from fewmask.overlays import overlay
from fewmask.runs import Run

EXEMPLAR = "patient001_frame01"
SHOWN = ("patient004_frame01", "patient007_frame01", "patient009_frame01")
SIDE, GAP, HEAD = 132, 6, 16
SETTINGS = (
    "plan.size=[64,64]",
    "method.segmenter.width=4",
    "method.labelled_batch=8",
    "method.autoencoder.width=12",
    "method.budget.warm_up=12",
    "method.budget.rounds=1",
    "method.budget.train=12",
    "train.optimisers.autoencoder.lr=4e-3",
    "train.threads=1",
    "train.workers=0",
    "train.validations=0",
    "train.steps=2000",
)


def trained(folder: Path) -> Run:
    """A short run from one labelled phantom."""
    if not (folder / "hearts").exists():
        write_phantoms(folder / "hearts", patients=12, size=(5, 80, 80), frames=1)
    api.train(
        folder / "hearts",
        folder / "run",
        method="caudo_diff",
        exemplar=EXEMPLAR,
        val="2",
        test="0",
        recipes="cpu",
        settings=SETTINGS,
    )
    return Run(folder / "run")


def drawn(image: Tensor, label: Tensor | None) -> Image.Image:
    """image (C, H, W), label (H, W)."""
    png = overlay(image.numpy(), None if label is None else label.numpy(), side=SIDE)
    return Image.open(io.BytesIO(png)).convert("RGB")


def grey(values: Tensor) -> Image.Image:
    """(H, W) in [0, 1]."""
    return Image.fromarray((255 * values.numpy()).astype(np.uint8)).resize((SIDE, SIDE)).convert("RGB")


def rows(run: Run) -> list[list[tuple[str, Image.Image]]]:
    """First what one exemplar becomes; then, of unlabelled images, each stage from the raw label to its weight."""
    catalogue, split, settings = read_catalogue(run.catalogue), read_split(run.split), config_of(run)
    preparation = preparation_for(catalogue, settings.plan)
    cache = prepare(catalogue, split, preparation, run.root / "cache", quiet=True)
    model = variants(run)["rectified"]

    def slices(case: str) -> Tensor:
        found = cache.normalised(case, model.intensity, model.fingerprint)
        return torch.from_numpy(found).movedim(1, 0).contiguous()

    image, label = slices(EXEMPLAR), torch.from_numpy(np.asarray(cache.open(EXEMPLAR).label).astype(np.int64))
    best = int((label > 0).flatten(1).sum(1).argmax())
    image, label = image[best : best + 1], label[best : best + 1]
    pictures = [("exemplar", drawn(image[0], label[0]))]
    others = torch.cat([slices(case)[2:3] for case in SHOWN])
    given = Sample(*(one.repeat(3, *[1] * (one.ndim - 1)) for one in (image, label, torch.ones_like(label).bool())))
    for paste, name, seed in ((0.0, "deformed", 1), (1.0, "pasted", 2)):
        chosen = Synthesis(paste=paste, one_missing=0, all_missing=0)
        made = synthesise(chosen, given, others, None, len(catalogue.labels), torch.Generator().manual_seed(seed))
        for row in range(3 if paste else 2):
            known = made.label[row].masked_fill(~made.valid[row], 0)
            pictures.append((name, drawn(made.image[row], known)))
    table = [pictures]
    predictor = model.predictor
    for case in SHOWN[:2]:
        image = slices(case)[2:3]
        with torch.no_grad():
            logits, features = features_of(predictor.segmenter, image, predictor.calibrator.halvings)
            gate = predictor.calibrator.guides(logits.softmax(1), features, predictor.autoencoder).gate
            found = predictor.calibrated(image)
        fused = found.fused
        table.append(
            [
                ("unlabelled", drawn(image[0], None)),
                ("raw", drawn(image[0], found.raw[0].argmax(0))),
                ("gate", grey(interpolate(gate, size=(SIDE, SIDE))[0, 0])),
                ("calibrated", drawn(image[0], fused.p[0].argmax(0))),
                ("weight", grey(fused.weight[0])),
            ]
        )
    return table


def main(folder: Path, out: Path, part: str = "all") -> None:
    table = rows(trained(folder))[: 1 if part == "synthesis" else None]
    width = max(len(row) for row in table) * (SIDE + GAP) - GAP
    canvas = Image.new("RGB", (width, len(table) * (SIDE + HEAD + GAP)), "white")
    pen = ImageDraw.Draw(canvas)
    for line, row in enumerate(table):
        for column, (name, picture) in enumerate(row):
            place = (column * (SIDE + GAP), line * (SIDE + HEAD + GAP))
            pen.text(place, name, fill="black")
            canvas.paste(picture, (place[0], place[1] + HEAD))
    out.parent.mkdir(parents=True, exist_ok=True)
    canvas.quantize(128).save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
