"""PNG, JPEG, TIFF and BMP pictures: grey or RGB, one page, no spacing.

A file is untrusted: Pillow may try these four decoders only, and pictures over its pixel limit are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from fewmask.data.grid import Grid, Header
from fewmask.errors import DataError
from fewmask.types import Colour

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
GREY = {"1": "uint8", "L": "uint8", "LA": "uint8", "I": "int32", "F": "float32"} | {
    mode: "uint16" for mode in ("I;16", "I;16L", "I;16B", "I;16N")
}
"""Pillow's modes of one channel -> numpy type."""
COLOUR = ("RGB", "RGBA")
ORIENTATION_TAG = 0x0112


def read_header(path: Path) -> Header:
    """Size and channels from the file's header."""
    with _opened(path) as picture:
        mode = _image_mode(path, picture)
        return Header(channels=3 if mode in COLOUR else 1, grid=_grid(picture))


def read_image(path: Path) -> tuple[np.ndarray, Grid]:
    """Grey (1, 1, H, W) or RGB (3, 1, H, W) float32 as stored; alpha is dropped where nothing is transparent."""
    with _opened(path) as picture:
        mode = _image_mode(path, picture)
        values = np.asarray(picture if picture.mode == mode else picture.convert(mode))
        grid = _grid(picture)
    values = _opaque(path, values, mode)
    image = np.ascontiguousarray(values.reshape(*values.shape[:2], -1).transpose(2, 0, 1)[:, None], dtype=np.float32)
    if not np.isfinite(image).all():
        raise DataError(f"{path}: the image contains NaN or infinite values; replace them")
    return image, grid


def read_mask(path: Path, colours: Mapping[Colour, int] | None = None) -> tuple[np.ndarray, Grid]:
    """Values (1, H, W) as stored; a palette gives its indices, three equal channels count as one.

    colours: what a pixel's colour stands for, in masks in colours, and in palettes and greys that hold no others.
    """
    with _opened(path) as picture:
        mode = picture.mode
        if mode not in GREY and mode not in (*COLOUR, "P"):
            raise DataError(f"{path}: a mask of mode {mode}; save it as grey, one value per class")
        if mode in COLOUR and any("16" in str(tile[3]) for tile in picture.tile):
            raise DataError(f"{path}: a mask of 16-bit colours; save it as grey, one value per class")
        values = np.asarray(picture)
        palette = np.asarray(picture.getpalette("RGB")).reshape(-1, 3) if mode == "P" and colours else None
        grid = _grid(picture)
    values = _opaque(path, values, mode)
    if palette is not None and all(tuple(palette[index]) in colours for index in np.unique(values)):
        return _by_colour(path, palette[values], colours)[None], grid  # whatever the order of the palette
    if values.ndim == 3:
        coloured = (values != values[..., :1]).any()
        if coloured and not colours:
            raise DataError(
                f"{path}: a mask in colours; name them under 'colours' in dataset.yaml, or save it as grey or palette, "
                "one value per class"
            )
        if colours and (coloured or all((grey,) * 3 in colours for grey in np.unique(values).tolist())):
            return _by_colour(path, values, colours)[None], grid
        values = values[..., 0]
    return np.ascontiguousarray(values.astype(GREY.get(mode, "uint8"), copy=False)[None]), grid


def write_mask(stream: BinaryIO, mask: np.ndarray, kind: str) -> None:
    """mask (1, H, W) uint8 or uint16 -> a lossless picture; `kind` is PNG or TIFF."""
    Image.fromarray(np.ascontiguousarray(mask[0])).save(stream, format=kind)


def _by_colour(path: Path, values: np.ndarray, colours: Mapping[Colour, int]) -> np.ndarray:
    """Pixels (H, W, 3) -> raw values (H, W); raises DataError for a colour that stands for none."""
    packed = values.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    found, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    known = {(red << 16) + (green << 8) + blue: value for (red, green, blue), value in colours.items()}
    for colour, count in zip(found.tolist(), counts.tolist(), strict=True):
        if colour not in known:
            shown = (colour >> 16, colour >> 8 & 255, colour & 255)
            raise DataError(
                f"{path}: {count} {'pixel' if count == 1 else 'pixels'} of colour {shown}, which stands for no class; "
                "correct the mask, or name the colour under 'colours' in dataset.yaml"
            )
    largest = max(known.values())
    return np.array([known[colour] for colour in found.tolist()], np.uint8 if largest < 256 else np.uint16)[
        inverse.reshape(packed.shape)
    ]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The checked picture, not decoded yet; whatever Pillow finds wrong while it is used becomes a DataError."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            if getattr(picture, "n_frames", 1) > 1:
                raise DataError(f"{path}: {picture.n_frames} pages in one file; save one picture a file, or NIfTI")
            if picture.format in ("JPEG", "TIFF") and picture.getexif().get(ORIENTATION_TAG, 1) not in (0, 1):
                raise DataError(f"{path}: to be shown rotated (EXIF orientation); save it upright, without the tag")
            yield picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path}: over {Image.MAX_IMAGE_PIXELS} pixels; cut or reduce the picture") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a PNG, JPEG, TIFF or BMP picture; convert it or take it out") from None
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, EOFError, struct.error) as error:
        # What Pillow's decoders raise.
        raise DataError(f"{path}: broken picture ({' '.join(str(error).split())}); copy it again") from None


def _grid(picture: Image.Image) -> Grid:
    return Grid(shape=(1, picture.height, picture.width), planar=True)


def _image_mode(path: Path, picture: Image.Image) -> str:
    """The mode in which the picture is read as an image."""
    if picture.mode == "P":
        if "transparency" in picture.info:
            return "RGBA"
        palette = np.asarray(picture.getpalette("RGB")).reshape(-1, 3)
        return "L" if (palette == palette[:, :1]).all() else "RGB"
    if picture.mode not in GREY and picture.mode not in COLOUR:
        raise DataError(f"{path}: a picture of mode {picture.mode}; save it as grey or RGB")
    return picture.mode


def _opaque(path: Path, values: np.ndarray, mode: str) -> np.ndarray:
    """`values` without their alpha channel, which must say nothing."""
    if mode not in ("LA", "RGBA"):
        return values
    if (values[..., -1] != 255).any():
        raise DataError(f"{path}: partly transparent; save it without an alpha channel")
    return values[..., 0] if mode == "LA" else values[..., :-1]
