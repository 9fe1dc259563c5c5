"""MetaImage (.mha, and .mhd beside its .raw or .zraw): read only, header checked first.

There is no small library for it, and SimpleITK, which serves as the oracle in the tests, is 276 MB; the format is a
dozen lines of text.  An .mhd may name a file in its own folder and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fewmask.data.claims import MAX_VALUES, can_hold, unpacked
from fewmask.data.grid import Grid, Header
from fewmask.errors import DataError

MAX_HEADER = 2**16
TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}


def read_header(path: Path) -> Header:
    """Channels and grid from the checked header."""
    fields, _, _ = _checked(path)
    return Header(channels=_channels(fields), grid=_grid(path, fields))


def read_image(path: Path) -> tuple[np.ndarray, Grid]:
    """(C, D, H, W) float32 and its grid."""
    fields, voxels = _values(path)
    image = np.ascontiguousarray(voxels, dtype=np.float32)
    if not np.isfinite(image).all():
        raise DataError(f"{path}: the image contains NaN or infinite values; replace them")
    return image, _grid(path, fields)


def read_mask(path: Path) -> tuple[np.ndarray, Grid]:
    """(D, H, W) values as stored, and grid."""
    fields, voxels = _values(path)
    if len(voxels) != 1:
        raise DataError(f"{path}: a mask with {len(voxels)} channels; save one value per voxel")
    return np.ascontiguousarray(voxels[0]), _grid(path, fields)


def _checked(path: Path) -> tuple[dict[str, str], Path, int]:
    """The fields, the file of the voxels and where they start there; every check that needs no voxel."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with path.open("rb") as stream:
        start = stream.read(MAX_HEADER)
    fields: dict[str, str] = {}
    offset = 0
    for line in start.split(b"\n"):
        offset += len(line) + 1
        key, sign, value = line.decode("latin-1").partition("=")
        if not sign:
            break
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    data = fields.get("ElementDataFile")
    if data is None or "DimSize" not in fields:
        raise DataError(f"{path}: not a MetaImage file (begins with {start[:8]!r}); convert it or take it out")
    sizes = _numbers(path, fields, "DimSize")
    kind = TYPES.get(fields.get("ElementType", ""))
    if kind is None:
        raise DataError(f"{path}: ElementType {fields.get('ElementType')}; save it as integers or floats")
    if len(sizes) not in (2, 3) or any(size < 1 or size != int(size) for size in sizes):
        raise DataError(f"{path}: DimSize {fields['DimSize']}; expected two or three whole numbers")
    if math.prod(sizes) * _channels(fields) > MAX_VALUES or not 0 < _channels(fields) < 256:
        raise DataError(f"{path}: DimSize {fields['DimSize']}, {_channels(fields)} channels; the header is damaged")
    if not _true(fields, "BinaryData", "True"):
        raise DataError(f"{path}: voxels written as text; save it anew as .mha")
    if fields.get("HeaderSize", "0") not in ("0", "-1"):
        raise DataError(f"{path}: HeaderSize {fields['HeaderSize']}; save it anew as .mha")
    voxels = path
    if data != "LOCAL":
        if (
            not 0 < len(data) < 200
            or data != Path(data).name
            or data.startswith((".", "LIST"))
            or "\\" in data
            or "%" in data
        ):
            raise DataError(f"{path}: ElementDataFile {data}; it may only name a file beside it, save it as .mha")
        voxels, offset = path.with_name(data), 0
        if not voxels.is_file() or voxels.is_symlink():
            raise DataError(f"{path}: its voxels {data} are not beside it; copy both files")
    stored = voxels.stat().st_size - offset
    needed = int(math.prod(sizes)) * _channels(fields) * np.dtype(kind).itemsize
    if (_packed(fields) and not can_hold(stored, needed)) or (not _packed(fields) and stored < needed):
        raise DataError(f"{path}: {stored} bytes cannot hold the {needed} that the header promises; copy it again")
    if fields.get("HeaderSize") == "-1" and not _packed(fields):
        offset += stored - needed  # whatever comes first, the voxels come last
    return fields, voxels, offset


def _values(path: Path) -> tuple[dict[str, str], np.ndarray]:
    """The fields and the voxels (C, D, H, W)."""
    fields, file, offset = _checked(path)
    big = _true(fields, "BinaryDataByteOrderMSB") or _true(fields, "ElementByteOrderMSB")
    kind = np.dtype(TYPES[fields["ElementType"]]).newbyteorder(">" if big else "<")
    sizes = [int(size) for size in _numbers(path, fields, "DimSize")]
    shape = (*[*sizes, 1][:3][::-1], _channels(fields))
    with file.open("rb") as stream:
        stream.seek(offset)
        stored = stream.read()
    try:
        content = unpacked(stored, "gzip" if _packed(fields) else "raw", math.prod(shape) * kind.itemsize)
    except ValueError as error:
        raise DataError(f"{path}: {error}; copy the file again") from None
    voxels = np.frombuffer(content, kind).reshape(shape).astype(kind.newbyteorder("="), copy=False)
    return fields, np.moveaxis(voxels, -1, 0)


def _packed(fields: Mapping[str, str]) -> bool:
    return _true(fields, "CompressedData")


def _true(fields: Mapping[str, str], name: str, default: str = "False") -> bool:
    return fields.get(name, default)[:1] in ("T", "t", "1")  # as ITK reads it


def _channels(fields: Mapping[str, str]) -> int:
    text = fields.get("ElementNumberOfChannels", "1")
    return int(text) if text.isdecimal() else 0


def _numbers(path: Path, fields: Mapping[str, str], *names: str) -> list[float]:
    """The numbers of the first of `names` that is there; [] where none is."""
    text = next((fields[name] for name in names if name in fields), "")
    try:
        found = [float(part) for part in text.split()]
    except ValueError:
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise DataError(f"{path}: {names[0]} is '{text[:60]}'; expected finite numbers, export the file again")
    return found


def _grid(path: Path, fields: Mapping[str, str]) -> Grid:
    sizes = [int(size) for size in _numbers(path, fields, "DimSize")]
    rank = len(sizes)
    shape = tuple([*sizes, 1][:3][::-1])
    spacing = _numbers(path, fields, "ElementSpacing", "ElementSize") or [1.0] * rank
    matrix = _numbers(path, fields, "TransformMatrix", "Rotation", "Orientation") or list(np.eye(rank).ravel())
    origin = _numbers(path, fields, "Offset", "Position", "Origin") or [0.0] * rank
    if (len(spacing), len(matrix), len(origin)) != (rank, rank**2, rank) or min(map(abs, spacing)) == 0:
        raise DataError(f"{path}: spacing, direction or origin do not fit {rank} axes; export the file again")
    if rank == 2:  # a picture: its directions say nothing in a patient
        return Grid(shape=shape, spacing_mm=(1.0, *np.abs(spacing[::-1])), planar=True)
    affine = np.eye(4)
    affine[:3, :3] = np.array(matrix).reshape(3, 3).T * spacing  # a row of the file is a column of directions
    affine[:3, 3] = origin
    if abs(np.linalg.det(affine[:3, :3])) < 1e-4 * np.abs(np.prod(spacing)):
        raise DataError(f"{path}: TransformMatrix cannot be inverted; export the file again")
    affine[:2] *= -1  # LPS to RAS
    affine = affine[:, [2, 1, 0, 3]]
    spacing_mm = tuple(np.linalg.norm(affine[:3, :3], axis=0))
    return Grid(shape=shape, spacing_mm=spacing_mm, affine=affine, planar=1 in shape)
