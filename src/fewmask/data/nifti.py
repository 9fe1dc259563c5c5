"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz): the header is checked before any voxel is read.

nibabel reads what passes.  It alone would turn a pixdim of 0 into 1, load a NaN affine in silence, allocate whatever a
damaged header asks for, and unpack a gzip bomb.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import array_from_file

from fewmask.data.claims import MAX_VALUES, SLACK, can_hold
from fewmask.data.grid import Grid, Header
from fewmask.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
HEADERS = {348: (nib.Nifti1Header, nib.Nifti1Image, b"n+1"), 540: (nib.Nifti2Header, nib.Nifti2Image, b"n+2")}
"""Size of the header in bytes -> its class, its image's class, its magic word."""

TO_MM = {1: 1000.0, 3: 0.001}
"""Codes of metre and micrometre -> factor; the others are mm or say nothing."""
MAX_LENGTH = 32767
MAX_EXTENSIONS = 2**26
"""Bytes between header and voxels; 64 MiB of header extensions is no honest file."""
SINGULAR = 1e-4
"""Volume of a voxel over the product of its sides below which an affine counts as not invertible."""
LABEL_INTENT = 1002
COPIED = ("xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d")
COPIED += ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z")
"""Header fields that, with pixdim[:4], make the geometry of a file."""

RawHeader = nib.Nifti1Header | nib.Nifti2Header


def read_header(path: Path) -> Header:
    """The checked header.  A fourth (or, after a single time point, fifth) axis counts as channels."""
    raw = _checked_header(path)
    shape, channels = _shape(raw)
    return Header(channels=channels, grid=_grid(path, raw, shape))


def read_image(path: Path) -> tuple[np.ndarray, Grid]:
    """(C, D, H, W) float32, scaled by slope and intercept, and its grid."""
    raw = _checked_header(path)
    shape, channels = _shape(raw)
    values = _values(path, raw).reshape((*shape[::-1], channels), order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        image = np.ascontiguousarray(_scaled(path, raw, values).T, dtype=np.float32)
    if not np.isfinite(image).all():
        raise DataError(f"{path}: the image contains NaN or infinite values; replace them")
    return image, _grid(path, raw, shape)


def read_mask(path: Path) -> tuple[np.ndarray, Grid]:
    """(D, H, W) in the stored type (float64 where slope or intercept scale it) and its grid."""
    raw = _checked_header(path)
    shape, channels = _shape(raw)
    if channels != 1:
        raise DataError(f"{path}: a mask with {channels} channels; save one value per voxel")
    values = _scaled(path, raw, _values(path, raw).reshape(shape[::-1], order="F"))
    return np.ascontiguousarray(values.T, dtype=values.dtype.newbyteorder("=")), _grid(path, raw, shape)


def write(stream: BinaryIO, array: np.ndarray, grid: Grid, like: Path | None, *, label: bool, compressed: bool) -> None:
    """array (D, H, W), or (K, D, H, W) with K last in the file, in native order -> one NIfTI file.

    Geometry is copied field by field from `like`, a NIfTI file; without it from `grid`, with codes 0 (unknown) where
    that has no affine.  `label` sets the intent that viewers read as a label map.
    """
    model = _checked_header(like) if like is not None else None
    raw = nib.Nifti1Header() if model is None else type(model)()  # little-endian, whatever the byte order of `like`
    data = array.T
    if model is not None and data.ndim == 3 and int(model["dim"][0]) == 2:
        data = data[..., 0]
    raw.set_data_dtype(array.dtype)
    raw.set_data_shape(data.shape)
    raw.set_slope_inter(1, 0)
    if model is None:
        _set_geometry(raw, grid)
    else:
        for field in COPIED:
            raw[field] = model[field]
        raw["pixdim"][:4] = model["pixdim"][:4]
    if label:
        raw.set_intent(LABEL_INTENT)
    image = HEADERS[int(raw["sizeof_hdr"])][1](data, None, raw)
    if compressed:
        # No name and no time inside: equal masks give equal files.
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=4, mtime=0) as packed:
            image.to_stream(packed)
    else:
        image.to_stream(stream)


def _set_geometry(raw: RawHeader, grid: Grid) -> None:
    """Write the place of `grid`, or codes 0 (unknown) with its spacing."""
    raw.set_xyzt_units("mm")
    if grid.affine is not None:
        affine = grid.affine[:, [2, 1, 0, 3]]
        raw.set_sform(affine, code="scanner")
        raw.set_qform(affine, code="scanner", strip_shears=True)
        return
    if grid.spacing_mm is not None:
        raw.set_zooms(tuple(grid.spacing_mm[::-1])[: raw["dim"][0]] + (1.0,) * (int(raw["dim"][0]) - 3))
    raw.set_sform(np.diag([*raw["pixdim"][1:4], 1]), code="unknown")
    raw.set_qform(np.diag([*raw["pixdim"][1:4], 1]), code="unknown")


def _checked_header(path: Path) -> RawHeader:
    """The raw header, after every check that needs no voxel; raises DataError."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with _opened(path) as stream:
        start = stream.read(max(HEADERS))
    little, big = int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")
    size = little if little in HEADERS else big
    if size not in HEADERS or len(start) < size:
        raise DataError(f"{path}: not a NIfTI file (begins with {start[:8]!r}); convert it or take it out")
    kind, _, magic = HEADERS[size]
    raw = kind(start[:size], endianness="<" if size == little else ">", check=False)
    if bytes(raw["magic"])[:3] != magic:
        raise DataError(f"{path}: magic word {bytes(raw['magic'])!r}; only NIfTI in one file (.nii, .nii.gz) is read")
    _check_shape(path, raw)
    _check_geometry(path, raw)
    _check_size(path, raw)
    return raw


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The unpacked stream; gzip is known by content, as some files are named wrongly."""
    try:
        with path.open("rb") as stored:
            packed = stored.read(2) == GZIP_MAGIC
            stored.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=stored, mode="rb") as stream:
                    yield stream
            else:
                yield stored
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError(f"{path}: the gzip data is damaged or cut short; copy the file again") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read it") from None


def _check_shape(path: Path, raw: RawHeader) -> None:
    rank = int(raw["dim"][0])
    if not 2 <= rank <= 7:
        raise DataError(f"{path}: {rank} axes in the header; expected 2, 3, or 4 with channels last")
    lengths = [int(length) for length in raw["dim"][1 : rank + 1]]
    if any(not 1 <= length <= MAX_LENGTH for length in lengths) or math.prod(lengths) > MAX_VALUES:
        raise DataError(f"{path}: the header gives shape {tuple(lengths)}; it is damaged, export the file again")
    if math.prod(lengths[3:]) != max(lengths[3:], default=1):
        raise DataError(f"{path}: shape {tuple(lengths)}; expected at most one axis (channels) after x, y, z")
    code = int(raw["datatype"])
    known = code in nib.nifti1.data_type_codes.value_set()
    if not known or raw.get_data_dtype().kind not in "fiu" or raw.get_data_dtype().itemsize > 8:
        raise DataError(f"{path}: data type code {code}; save it as integers or floats of at most 64 bits")


def _check_geometry(path: Path, raw: RawHeader) -> None:
    used = min(3, int(raw["dim"][0]))
    sizes = [float(size) for size in raw["pixdim"][1 : used + 1]]
    if not all(math.isfinite(size) and size != 0 for size in sizes):
        raise DataError(f"{path}: voxel sizes {tuple(sizes)} in the header; write pixdim in mm, none may be 0 or NaN")
    affine = _affine(path, raw)
    if affine is not None:
        sides = np.linalg.norm(affine[:3, :3], axis=0)
        if not np.isfinite(affine).all():
            raise DataError(f"{path}: the affine contains NaN or infinity; correct the sform, or set its code to 0")
        if not sides.all() or abs(np.linalg.det(affine[:3, :3])) < SINGULAR * sides.prod():
            raise DataError(f"{path}: the affine cannot be inverted; correct the sform, or set its code to 0")
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if math.isinf(slope) or (slope != 0 and not math.isnan(slope) and not math.isfinite(intercept)):
        raise DataError(f"{path}: scl_slope {slope}, scl_inter {intercept}; both must be finite")


def _check_size(path: Path, raw: RawHeader) -> None:
    """Whether the file can and does hold what the header promises."""
    offset = float(raw["vox_offset"])
    least = int(raw["sizeof_hdr"])
    if offset != 0 and not least <= offset <= least + MAX_EXTENSIONS:
        raise DataError(f"{path}: vox_offset {offset:g} in the header; it is damaged, export the file again")
    needed = _offset(raw) + _data_bytes(raw)
    stored = path.stat().st_size
    with path.open("rb") as stream:
        packed = stream.read(2) == GZIP_MAGIC
        stream.seek(-4, io.SEEK_END)
        unpacked = int.from_bytes(stream.read(4), "little") if packed else stored
    if not packed:
        if stored < needed:
            raise DataError(f"{path}: {stored} bytes where the header promises {needed}: cut short; copy it again")
        return
    if not can_hold(stored, needed):
        raise DataError(f"{path}: {stored} bytes cannot hold shape {_lengths(raw)}; the file is damaged, copy it again")
    if unpacked != needed % 2**32:  # the usual file ends with its size; others are unpacked to be sure
        with _opened(path) as stream:
            while needed > 0 and (block := stream.read(min(needed, SLACK))):
                needed -= len(block)
        if needed > 0:
            raise DataError(f"{path}: {needed} bytes short of what the header promises; copy the file again")


def _lengths(raw: RawHeader) -> tuple[int, ...]:
    return tuple(int(length) for length in raw["dim"][1 : int(raw["dim"][0]) + 1])


def _data_bytes(raw: RawHeader) -> int:
    return math.prod(_lengths(raw)) * raw.get_data_dtype().itemsize


def _offset(raw: RawHeader) -> int:
    """Where the voxels start; 0 stands for right after the header and its four extension bytes."""
    return int(raw["vox_offset"]) or int(raw["sizeof_hdr"]) + 4


def _shape(raw: RawHeader) -> tuple[tuple[int, int, int], int]:
    """Shape (D, H, W) and number of channels."""
    lengths = _lengths(raw)
    x, y, z = (*lengths, 1)[:3]
    return (z, y, x), math.prod(lengths[3:])


def _affine(path: Path, raw: RawHeader) -> np.ndarray | None:
    """(x, y, z) index -> RAS mm by the sform, else the qform; None where both codes are 0, unknown."""
    if raw["sform_code"] > 0:
        affine = raw.get_sform()
    elif raw["qform_code"] > 0:
        try:
            affine = raw.get_qform()
        except (HeaderDataError, ValueError):
            raise DataError(f"{path}: the qform is no rotation; correct it, or set its code to 0") from None
    else:
        return None
    affine[:3] *= _to_mm(raw)
    return affine


def _to_mm(raw: RawHeader) -> float:
    return TO_MM.get(int(raw["xyzt_units"]) & 7, 1.0)


def _grid(path: Path, raw: RawHeader, shape: tuple[int, int, int]) -> Grid:
    affine = _affine(path, raw)
    if affine is not None:
        affine = affine[:, [2, 1, 0, 3]]
        spacing_mm = tuple(np.linalg.norm(affine[:3, :3], axis=0))
    else:
        x, y, z = (abs(float(size)) * _to_mm(raw) or 1.0 for size in raw["pixdim"][1:4])
        spacing_mm = (z, y, x)
    return Grid(shape=shape, spacing_mm=spacing_mm, affine=affine, planar=1 in shape)


def _values(path: Path, raw: RawHeader) -> np.ndarray:
    """The stored numbers, (x, y, z, ...), unscaled."""
    with _opened(path) as stream:
        try:
            values = array_from_file(_lengths(raw), raw.get_data_dtype(), stream, _offset(raw), mmap=False)
            # Reaching the end makes gzip compare its checksum.
            if len(stream.read(SLACK)) == SLACK and isinstance(stream, gzip.GzipFile):
                raise DataError(f"{path}: far more data than the header promises; export the file again")
        except (OSError, EOFError) as error:
            if isinstance(error, gzip.BadGzipFile | EOFError):
                raise
            raise DataError(f"{path}: cut short; copy the file again") from None
    return values


def _scaled(path: Path, raw: RawHeader, values: np.ndarray) -> np.ndarray:
    slope, intercept = raw.get_slope_inter()
    if slope is None or (slope == 1 and not intercept):
        return values
    with np.errstate(over="ignore"):
        return values * float(slope) + float(intercept or 0)
