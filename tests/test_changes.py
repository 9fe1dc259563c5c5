"""Pictures of what rectification changed."""

import io
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from fewmask import changes
from fewmask.data.formats import write_mask
from fewmask.data.grid import Grid
from fewmask.types import Case, LabelSet

PAIR = ("raw", "rectified")


def test_changes_are_told_apart():
    truth = np.array([1, 1, 2, 0, 0])
    raw = np.array([0, 1, 1, 1, 0])
    rectified = np.array([1, 0, 3, 1, 0])
    assert changes.change(raw, rectified, truth).tolist() == [1, 2, 3, 0, 0]


def test_cases_are_ranked_by_what_they_gained(tmp_path: Path):
    path = tmp_path / "audit.csv"
    rows = ["case,class,variant,dice", "x,a,raw,0.5", "x,a,rectified,0.4", "x,b,raw,", "x,b,rectified,0.9"]
    path.write_text("\n".join([*rows, "y,a,raw,0.5", "y,a,rectified,0.7", "y,a,latent_zero,0.1"]))
    assert [(case, round(gain, 6)) for case, gain in changes.gains(path, PAIR)] == [
        ("x", -0.1),
        ("y", 0.2),
    ]


def test_a_strip_shows_the_slice_with_most_change(tmp_path: Path):
    """Five panels side by side; the last is green where raw was wrong and rectified is right, nowhere red."""
    truth = np.zeros((3, 32, 32), np.uint8)
    truth[1, 8:24, 8:24] = 1
    path = tmp_path / "case.h5"
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = truth.astype(np.float32), truth
    case = Case(id="case", patient="p", images=(path,), label=path)
    labels = LabelSet(names=("background", "a"), values=(0, 1))
    grid = Grid(shape=truth.shape, spacing_mm=None, affine=np.eye(4))
    for name, mask in (("raw", np.zeros_like(truth)), ("rectified", truth)):
        folder = tmp_path / "variants" / name / "masks"
        folder.mkdir(parents=True)
        write_mask(folder / "case.nii.gz", mask, grid, path)
    picture = Image.open(
        io.BytesIO(changes.strip(case, case, labels, tmp_path / "variants", PAIR, stack=True))
    ).convert("RGB")
    assert picture.width > 4.9 * changes.SIDE
    last = np.asarray(picture)[changes.CAPTION :, -changes.SIDE :].astype(int)
    green = (last[..., 1] > last[..., 0] + 60) & (last[..., 1] > last[..., 2] + 20)
    red = last[..., 0] > last[..., 1] + 60
    assert 0.2 < green.mean() < 0.3 and red.mean() < 0.01  # a quarter of the slice was corrected
