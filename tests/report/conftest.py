"""Small run folders with hostile names, odd sizes and an oblique, anisotropic grid; made once per session."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from fewmask.data import formats
from fewmask.data.catalogue import Catalogue, write_catalogue
from fewmask.data.grid import Grid
from fewmask.data.split_file import write_split
from fewmask.evaluation import evaluate
from fewmask.runs import Run
from fewmask.types import Case, LabelSet, Split

SHAPE = (5, 17, 23)
SPACING = (7.5, 1.5, 1.25)
NAMES = ("background", "<script>alert(1)</script>", "RV \"wall\" & 'rim'", "心筋 sømething")
VALUES = (0, 3, 85, 200)
DATASET = "<img src=x onerror=alert(1)>"
FINDING = "mask </li></ul><script>alert(2)</script> & more"


def grid() -> Grid:
    """Oblique: turned by 20 degrees about the first axis."""
    angle = math.radians(20)
    turn = np.array([[0, math.sin(angle), -math.cos(angle)], [0, math.cos(angle), math.sin(angle)], [1, 0, 0]])
    affine = np.eye(4)
    affine[:3, :3] = turn * SPACING
    return Grid(shape=SHAPE, spacing_mm=SPACING, affine=affine)


def draw(number: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Class indices of a body with three organs; the last is missing from every third case."""
    mask = np.zeros(shape, np.uint8)
    rows = slice(3 + number % 3, 13)
    mask[:, rows, 4:19] = 1
    mask[:, rows, 8:16] = 2
    if number % 3:
        mask[shape[0] // 2 :, 6:10, 10:14] = 3
    return mask


def make_log(steps: int, method: str) -> list[dict]:
    log = []
    for step in range(10, steps + 1, 10):
        share = step / steps
        line = {
            "step": step,
            "stage": "train",
            "seconds": 0.5 * step,
            "images_per_second": 20.0,
            "lr": {"segmenter": 1e-3},
        }
        line |= {"terms": {"supervised": 1.5 - share}, "log": {"kept": share}}
        if step % 50 == 0:
            per_class = {name: 0.8 * share for name in NAMES[1:]}
            line["val"] = {"dice": 0.8 * share, "per_class": per_class}
            if method != "supervised":
                line["val"]["pseudo"] = {"raw": 0.7 * share, "rectified": 0.75 * share}
        log.append(line)
    return log


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Twelve volumes of eleven patients, all with masks; the names would break a page that does not escape."""
    folder = tmp_path_factory.mktemp("data <b> & ü")
    labels = LabelSet(names=NAMES, values=VALUES)
    rng = np.random.default_rng(0)
    cases = []
    for number in range(12):
        name = f"päti\"ent<b>{number:02} & 'x'"
        image, label = folder / f"{name}.nii.gz", folder / f"{name}_mask.nii.gz"
        classes = draw(number, SHAPE)
        raw = formats.decode_mask(classes, labels)
        formats.write_mask(label, raw, grid(), None)
        formats.write_volume(image, (classes + rng.normal(0, 0.2, SHAPE)).astype(np.float32), grid(), None)
        cases.append(Case(id=name, patient=f"p<{max(number, 1)}>", images=(image,), label=label))
    return Catalogue(
        name=DATASET,
        channels=("MR",),
        labels=labels,
        planar=False,
        layout="image_pairs",
        cases=tuple(cases),
        findings=(FINDING,),
    )


@pytest.fixture(scope="session")
def split(catalogue: Catalogue) -> Split:
    ids = [case.id for case in catalogue.cases]
    labelled = (ids[0], f"{ids[1]}:2")
    return Split(labelled=labelled, unlabelled=tuple(ids[2:5]), val=tuple(ids[5:7]), test=tuple(ids[7:]))


def poisoned(catalogue: Catalogue, ids: Sequence[str], folder: Path) -> Catalogue:
    """The same cases, but the masks of `ids` are files that nobody can read."""
    folder.mkdir()
    cases = []
    for number, case in enumerate(catalogue.cases):
        if case.id in ids:
            path = folder / f"{number}.nii.gz"
            path.write_bytes(b"poison")
            case = replace(case, label=path)
        cases.append(case)
    return replace(catalogue, cases=tuple(cases))


@pytest.fixture(scope="session")
def make_run(catalogue: Catalogue, split: Split) -> Callable[..., Path]:
    """make_run(folder, ...) writes what a job leaves there; the masks of unlabelled cases are poisoned."""

    def make(
        folder: Path,
        method: str = "fixmatch",
        steps: int = 200,
        shift: int = 1,
        dims: int = 2,
        with_catalogue: bool = True,
        complete: bool = True,
        evaluated: Sequence[str] = ("test", "val"),
    ) -> Path:
        run = Run(folder)
        folder.mkdir(parents=True)
        settings = {
            "method": {"name": method, "note": "</pre><script>alert(3)</script>"},
            "recipes": [method, "cpu"],
            "plan": {"dims": dims},
            "train": {"steps": 200, "seed": 3},
        }
        run.config.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
        write_split(split, run.split)
        run.environment.write_text(json.dumps({"torch": "2.13.0", "command": ["fewmask", "run", "<i>data</i>"]}))
        run.log.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in make_log(steps, method)))
        for part in (run.model, run.best) if complete else ():
            part.mkdir()
            (part / "model.safetensors").touch()
        for case in (*split.unlabelled, *split.val, *split.test):
            number = next(index for index, other in enumerate(catalogue.cases) if other.id == case)
            predicted = np.roll(draw(number, SHAPE), shift, axis=1)
            if number == 8:
                predicted[predicted == 3] = 0  # missed
            run.predictions.mkdir(exist_ok=True)
            raw = formats.decode_mask(predicted, catalogue.labels)
            formats.write_mask(run.predictions / f"{case}.nii.gz", raw, grid(), None)
        for role in evaluated:
            out = run.evaluation if role == evaluated[0] else run.evaluation / role
            evaluate(run.predictions, catalogue, out, getattr(split, role), split=role, quiet=True)
        if evaluated and evaluated[0] == "test":
            evaluate(run.predictions, catalogue, run.evaluation / "last", split.test, split="test", quiet=True)
        if with_catalogue:
            write_catalogue(poisoned(catalogue, split.unlabelled, folder / "poison"), run.catalogue)
        return folder

    return make


@pytest.fixture(scope="session")
def run(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete 2-D run."""
    return make_run(tmp_path_factory.mktemp("runs") / "r<u>n & one")
