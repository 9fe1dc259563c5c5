"""Image and mask files of any supported format: chosen by suffix, read and written through one set of functions."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from fewmask.data import hdf5, metaimage, nifti, nrrd, raster
from fewmask.data.dicom import images as dicom
from fewmask.data.dicom import write_segmentation
from fewmask.data.grid import Grid, Header, difference, turned_onto
from fewmask.data.resample import coverage, resample_image
from fewmask.errors import DataError, SettingsError
from fewmask.runs import replacing
from fewmask.types import Case, Colour, LabelSet

READERS: dict[str, ModuleType] = {
    ".nii": nifti,
    ".nii.gz": nifti,
    ".nrrd": nrrd,
    ".seg.nrrd": nrrd,
    ".mha": metaimage,
    ".mhd": metaimage,
    ".h5": hdf5,
    ".hdf5": hdf5,
    ".png": raster,
    ".jpg": raster,
    ".jpeg": raster,
    ".tif": raster,
    ".tiff": raster,
    ".bmp": raster,
    ".dcm": dicom,
    ".dicom": dicom,
    ".ima": dicom,
}
LOSSLESS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}
"""Suffixes of pictures that keep every value of a mask -> Pillow's name of the format."""
MIN_COVERAGE = 0.5
"""Share of the first file's voxels that every other channel must cover."""

__all__ = [
    "IGNORE",
    "Header",
    "decode_mask",
    "encode_mask",
    "has_mask",
    "is_dicom",
    "is_image_file",
    "mask_names",
    "read_case_image",
    "read_header",
    "read_image",
    "read_mask",
    "regridded",
    "state",
    "stem",
    "suffix",
    "write_mask",
    "write_volume",
]


def suffix(path: Path) -> str:
    """The ending that says what the file is, lower case, with `.nii.gz` as one; "" where it is unknown."""
    name = path.name.lower()
    known = [ending for ending in READERS if name.endswith(ending)]
    return max(known, key=len, default="")


def stem(path: Path) -> str:
    """The file's name without its ending: `a.b.nii.gz` -> `a.b`; `ü` is one character, which macOS writes as two."""
    ending = suffix(path) or path.suffix
    return unicodedata.normalize("NFC", path.name[: len(path.name) - len(ending)])


def is_image_file(path: Path) -> bool:
    """Whether the name is that of a file fewmask reads; hidden files (`._x.nii.gz` of macOS) are not."""
    return suffix(path) != "" and not path.name.startswith(".")


def read_header(path: Path) -> Header:
    """Channels and grid without reading voxels; raises DataError."""
    return _reader(path).read_header(path)


def read_image(path: Path) -> tuple[np.ndarray, Grid]:
    """(C, D, H, W) float32 in native order and its grid; raises DataError, also for NaN and infinity."""
    return _reader(path).read_image(path)


def read_mask(
    path: Path, image: Path | None = None, colours: Mapping[Colour, int] | None = None
) -> tuple[np.ndarray, Grid]:
    """(D, H, W) in native order, values as stored, and its grid; raises DataError.

    image: what it is a mask of.  A mask of the same voxels whose axes are stored in another order or direction (of a
    DICOM series by another converter) is turned onto it; of a DICOM-SEG, which holds some slices only, it says where
    they lie.  colours: of a picture whose classes are colours -> raw value.
    """
    reader = _reader(path)
    more = (colours,) if reader is raster else ()
    if image is None or image == path:
        return reader.read_mask(path, *more)
    grid = read_header(image).grid
    mask, own = reader.read_mask(path, grid) if reader is dicom else reader.read_mask(path, *more)
    turn = turned_onto(own, grid) if difference(own, grid) else None
    return (mask, own) if turn is None else (np.ascontiguousarray(turn.apply(mask)), grid)


def mask_names(path: Path) -> dict[str, int] | None:
    """Class name -> value, where the mask's file says so (DICOM-SEG, seg.nrrd); else None."""
    reader = _reader(path)
    return reader.mask_names(path) if hasattr(reader, "mask_names") else None


def state(path: Path) -> tuple[int, int]:
    """Bytes and newest change (ns) of the file, or of all files of a DICOM series: what tells that it is another."""
    files = [path]
    if path.is_dir() or (path.exists() and _reader(path) is dicom):
        files = dicom.files_of(path)
    found = [file.stat() for file in files]
    return sum(entry.st_size for entry in found), max(entry.st_mtime_ns for entry in found)


def has_mask(path: Path) -> bool:
    """Whether an image file carries its own mask (HDF5 with an entry `label`, which is not opened)."""
    return _reader(path) is hdf5 and hdf5.has_mask(path)


def _reader(path: Path) -> ModuleType:
    ending = suffix(path)
    if path.is_dir() or (not ending and dicom.is_candidate(path)):
        return dicom
    if not ending:
        raise DataError(f"{path}: unknown kind of file; known: {' '.join(READERS)}")
    return READERS[ending]


def read_case_image(case: Case) -> tuple[np.ndarray, Grid]:
    """All channels of a case, (C, D, H, W) float32, and the grid of the first file.

    Files on other grids are resampled onto it (`regridded` names them).  Raises DataError where that cannot be done.
    """
    image, grid = read_image(case.images[0])
    if len(case.images) == 1:
        return image, grid
    channels = [image]
    for path in case.images[1:]:
        image, other = read_image(path)
        if apart := difference(grid, other):
            image = resample_image(image, *_shared_space(case, path, grid, other, apart))
        channels.append(image)
    return np.concatenate(channels), grid


def regridded(case: Case) -> tuple[Path, ...]:
    """The files of a case that do not lie on the grid of its first one, so that reading resamples them."""
    first = read_header(case.images[0]).grid if len(case.images) > 1 else None
    return tuple(path for path in case.images[1:] if difference(first, read_header(path).grid))


def _shared_space(case: Case, path: Path, grid: Grid, other: Grid, apart: str) -> tuple[Grid, Grid]:
    """(other, grid) where the one can be resampled onto the other; raises DataError else."""
    both = f"{case.id}: {case.images[0].name} and {path.name} differ in {apart}"
    if grid.affine is None or other.affine is None:
        raise DataError(f"{both}, and not both say where they lie; resample one first")
    if coverage(other, grid) < MIN_COVERAGE:
        raise DataError(f"{both} and overlap by less than {MIN_COVERAGE:.0%}; are they of one patient? take one out")
    return other, grid


def IGNORE(dtype: np.dtype | type) -> int:
    """The index that stands for the ignored value in an encoded mask: the largest of its type."""
    return int(np.iinfo(dtype).max)


def encode_mask(raw: np.ndarray, labels: LabelSet, where: str) -> np.ndarray:
    """Raw values, of any type, -> class indices uint8 (uint16 over 255 classes); the ignored value -> IGNORE(dtype).

    Raises DataError, opening with `where`, for a value that no class has.
    """
    dtype = np.uint8 if len(labels) <= 255 else np.uint16
    if raw.dtype.kind == "f":
        raw = _whole(raw, where)
    elif raw.dtype.kind == "b":
        raw = raw.view(np.uint8)
    low, high = int(raw.min()), int(raw.max())
    known = {value: index for index, value in enumerate(labels.values)}
    if labels.ignore is not None:
        known[labels.ignore] = IGNORE(dtype)
    known |= {value: known[other] for value, other in labels.merged.items()}
    if low < min(known) or high > max(known):
        raise _unknown(raw, known, labels, where)
    table = np.full(high - low + 1, -1, np.int32)
    for value, index in known.items():
        if low <= value <= high:
            table[value - low] = index
    classes = table[raw.astype(np.int64) - low if low else raw]
    if (classes < 0).any():
        raise _unknown(raw, known, labels, where)
    return classes.astype(dtype)


def _whole(raw: np.ndarray, where: str) -> np.ndarray:
    """A float mask as integers; raises DataError where it holds anything else."""
    broken = ~np.isfinite(raw) | (np.abs(raw) > 2**31)
    if not broken.any():
        whole = np.rint(raw).astype(np.int64)
        broken = whole != raw
        if not broken.any():
            return whole
    raise DataError(f"{where}: the mask holds {raw[broken][0]!s}, no whole number; save it as integers, unresampled")


def _unknown(raw: np.ndarray, known: dict[int, int], labels: LabelSet, where: str) -> DataError:
    strange = sorted(set(np.unique(raw).tolist()) - set(known))
    classes = ", ".join(f"{value} {name}" for value, name in zip(labels.values, labels.names, strict=True))
    return DataError(
        f"{where}: the mask holds {', '.join(map(str, strange[:5]))}, which is no class ({classes}); "
        "correct the mask or name the value in dataset.yaml"
    )


def decode_mask(classes: np.ndarray, labels: LabelSet) -> np.ndarray:
    """Class indices -> raw values of the user's data set, uint8 where all fit, else uint16, else int32."""
    values = [*labels.values, *([] if labels.ignore is None else [labels.ignore])]
    dtype = next(kind for kind in (np.uint8, np.uint16, np.int32) if _fits(values, kind))
    table = np.zeros(max(len(labels), IGNORE(classes.dtype) + 1 if labels.ignore is not None else 0), dtype)
    table[: len(labels)] = labels.values
    if labels.ignore is not None:
        table[IGNORE(classes.dtype)] = labels.ignore
    return table[classes]


def _fits(values: list[int], dtype: type) -> bool:
    return np.iinfo(dtype).min <= min(values) and max(values) <= np.iinfo(dtype).max


def write_mask(
    path: Path,
    mask: np.ndarray,
    grid: Grid,
    like: Path | None,
    labels: LabelSet | None = None,
    origin: str = "fewmask",
) -> None:
    """mask (D, H, W), raw values in native order -> a file of the kind that the suffix of `path` says, atomically.

    NIfTI, NRRD, PNG, TIFF or DICOM-SEG.  NIfTI takes its geometry from `like` if that is NIfTI, else from `grid`;
    DICOM-SEG belongs to the series `like`.  labels: the classes, which NRRD and DICOM-SEG name; None: by their values.
    origin: what made the mask, noted in DICOM-SEG.  Raises SettingsError where the folder
    cannot be written, OutOfMemory where the disk is full, DataError where the format cannot hold the mask.
    """
    ending = suffix(path)
    if READERS.get(ending) is nifti:
        with replacing(path) as stream:
            nifti.write(stream, mask, grid, _nifti(like), label=True, compressed=ending == ".nii.gz")
    elif ending in LOSSLESS:
        if mask.shape[0] != 1 or mask.dtype not in (np.uint8, np.uint16):
            raise DataError(f"{path}: {mask.dtype} mask of shape {mask.shape} is no picture; write NIfTI")
        with replacing(path) as stream:
            raster.write_mask(stream, mask, LOSSLESS[ending])
    elif READERS.get(ending) is nrrd:
        with replacing(path) as stream:
            nrrd.write(stream, mask, grid, labels or _by_value(mask))
    elif READERS.get(ending) is dicom:
        if like is None or not is_dicom(like):
            raise SettingsError(f"{path}: a DICOM-SEG belongs to a DICOM series, and {like} is none; write NIfTI")
        with replacing(path) as stream:
            write_segmentation.write(stream, mask, labels or _by_value(mask), like, origin)
    else:
        raise DataError(f"{path}: masks are written as .nii.gz, .nii, .nrrd, .dcm, .png or .tif")


def is_dicom(path: Path) -> bool:
    """Whether `path` stands for a DICOM series."""
    return path.is_dir() or (path.is_file() and _reader(path) is dicom)


def _by_value(mask: np.ndarray) -> LabelSet:
    """The classes of a mask of which no more than its values is known."""
    values = (0, *(int(value) for value in np.unique(mask) if value))
    return LabelSet(names=("background", *(f"class {value}" for value in values[1:])), values=values)


def write_volume(path: Path, array: np.ndarray, grid: Grid, like: Path | None) -> None:
    """array (D, H, W) or (K, D, H, W) in native order -> NIfTI of its type with K as the last axis, atomically."""
    ending = suffix(path)
    if READERS.get(ending) is not nifti:
        raise DataError(f"{path}: volumes are written as .nii.gz or .nii")
    with replacing(path) as stream:
        nifti.write(stream, array, grid, _nifti(like), label=False, compressed=ending == ".nii.gz")


def _nifti(like: Path | None) -> Path | None:
    return like if like is not None and READERS.get(suffix(like)) is nifti else None
