"""Small files of every format, written where a test wants them."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from fewmask.seeding import generator

SHAPE = (3, 7, 5)


class Files:
    """Writes images and masks below a folder.  Every image is different; sizes are odd."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._count = 0

    def path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def text(self, name: str, text: str) -> Path:
        path = self.path(name)
        path.write_text(text, encoding="utf-8")
        return path

    def image(self, name: str, channels: int = 1, shape: tuple[int, ...] = SHAPE) -> Path:
        """A picture (shape's last two axes) or a NIfTI of random values."""
        self._count += 1
        values = generator("test image", self._count).integers(0, 256, (*shape, channels)).astype(np.uint8)
        return self.write(name, values[..., 0] if channels == 1 else values)

    def mask(self, name: str, values: tuple[float, ...] = (0, 1), shape: tuple[int, ...] = SHAPE) -> Path:
        """A mask that holds exactly `values`."""
        dtype = np.uint8 if all(float(value).is_integer() and 0 <= value < 256 for value in values) else np.float32
        return self.write(name, np.resize(np.array(values, dtype), shape))

    def write(self, name: str, values: np.ndarray, spacing_mm: tuple[float, ...] = (4, 1.5, 1.25)) -> Path:
        """values (D, H, W) or (D, H, W, C); a picture takes the first layer."""
        path = self.path(name)
        if path.name.endswith((".nii", ".nii.gz")):
            affine = np.diag([*spacing_mm[::-1], 1.0])
            nib.Nifti1Image(values.transpose(2, 1, 0, *range(3, values.ndim)), affine).to_filename(path)
        else:
            Image.fromarray(values[0]).save(path)
        return path

    def catalogue(self, cases: str, dataset: str | None = "labels: {background: 0, nerve: 1}\n") -> None:
        """scans/a and scans/b, a mask of a, and the two files of a catalogue written by hand."""
        self.image("scans/a.nii.gz")
        self.image("scans/b.nii.gz")
        self.mask("drawn/of a.nii.gz")
        self.text("cases.csv", cases)
        if dataset is not None:
            self.text("dataset.yaml", dataset)

    def hdf5(self, name: str, values: tuple[int, ...] | None = (0, 1), shape: tuple[int, ...] = SHAPE) -> Path:
        """An HDF5 file with `image`, and `label` unless `values` is None."""
        self._count += 1
        path = self.path(name)
        with h5py.File(path, "w") as file:
            file["image"] = generator("test image", self._count).random(shape, np.float32)
            if values is not None:
                file["label"] = np.resize(np.array(values, np.uint8), shape)
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Writers for files below tmp_path / "data set": the name has a space, as users' names have."""
    return Files(tmp_path / "data set")


@pytest.fixture
def real_data() -> Path:
    """The folder of real data; skips where there is none."""
    folder = Path(os.environ.get("FEWMASK_DATA", ""))
    if not os.environ.get("FEWMASK_DATA") or not folder.is_dir():
        pytest.skip("FEWMASK_DATA names no folder")
    return folder
