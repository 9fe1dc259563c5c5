"""Masks over images: a tint where the prediction is, a line where the reference is, in the colours of the classes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy import ndimage

from fewmask.figures import class_colour

TINT = 0.42
"""Opacity of the prediction."""
_RAS = (("R", "L"), ("A", "P"), ("S", "I"))
_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of a case; `caption` says which slice of which plane."""

    png: bytes
    caption: str


def window(image: np.ndarray) -> tuple[float, float]:
    """Values of image (C, ...) shown black and white.

    RGB: 0 and the brightest.  Else percentiles 1 and 99.5 of what lies above the first channel's floor.
    """
    if image.shape[0] == 3:
        return 0.0, max(float(image.max()), 1.0)
    image = image[0]
    values = image[image > image.min()]
    if values.size == 0:
        return float(image.min()), float(image.min()) + 1.0
    stride = max(1, values.size // 200_000)
    low, high = np.percentile(values[::stride], [1, 99.5])
    return float(low), float(high if high > low else low + 1.0)


def overlay(
    image: np.ndarray,
    mask: np.ndarray | None,
    names: Sequence[str] = (),
    reference: np.ndarray | None = None,
    *,
    spacing: tuple[float, float] = (1.0, 1.0),
    side: int = 256,
    limits: tuple[float, float] | None = None,
    letters: tuple[str, str, str, str] | None = None,
) -> bytes:
    """PNG of one slice, its longest side `side` pixels.

    image (C, H, W): RGB if C = 3, else the first channel is shown.  mask and reference (H, W): class indices; 0, the
    background, is not drawn; set what is to be ignored to 0.  names: classes, background first; if given, a legend
    stands below.  spacing: height and width of a pixel, for the aspect ratio.  limits: see `window`; None: those of
    this slice.  letters: directions at (top, bottom, left, right).
    """
    height, width = _display_size(image.shape[1:], spacing, side)
    colour = image.shape[0] == 3
    low, high = limits or window(image)
    channels = [_scaled(channel, low, high, (height, width)) for channel in (image if colour else image[:1])]
    picture = np.stack(channels * (1 if colour else 3), axis=-1)
    for labels, draw in ((mask, _tint), (reference, _outline)):
        if labels is not None:
            draw(picture, _enlarged(labels, (height, width)))
    drawn = Image.fromarray(np.rint(np.clip(picture, 0, 255)).astype(np.uint8))
    if letters:
        _mark(drawn, letters)
    if names:
        drawn = _with_legend(drawn, names)
    buffer = io.BytesIO()
    # 256 colours are enough for greys and a few tints, and a third of the size
    drawn.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _display_size(shape: tuple[int, ...], spacing: tuple[float, float], side: int) -> tuple[int, int]:
    extent = (shape[0] * spacing[0], shape[1] * spacing[1])
    factor = side / max(extent)
    return max(16, round(extent[0] * factor)), max(16, round(extent[1] * factor))


def _scaled(channel: np.ndarray, low: float, high: float, size: tuple[int, int]) -> np.ndarray:
    grey = np.clip((channel.astype(np.float32) - low) / (high - low), 0, 1) * 255
    resized = Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.float32)


def _enlarged(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`labels` at display size with smooth borders: each class is interpolated and the strongest wins."""
    result = np.zeros(size, dtype=np.int64)
    strongest = np.full(size, 0.5, dtype=np.float32)
    for value in np.unique(labels[labels > 0]):
        one = Image.fromarray((labels == value).astype(np.float32))
        share = np.asarray(one.resize((size[1], size[0]), Image.Resampling.BILINEAR))
        result[share >= strongest] = value
        strongest = np.maximum(strongest, share)
    return result


def _tint(picture: np.ndarray, labels: np.ndarray) -> None:
    for value in np.unique(labels[labels > 0]):
        inside = labels == value
        picture[inside] = (1 - TINT) * picture[inside] + TINT * np.array(ImageColor.getrgb(class_colour(int(value))))


def _outline(picture: np.ndarray, labels: np.ndarray) -> None:
    """A bright line just inside each class's border, with a dark one inside that, so that it shows on any ground."""
    for value in np.unique(labels[labels > 0]):
        inside = labels == value
        bright = inside & ~ndimage.binary_erosion(inside, iterations=2, border_value=1)
        dark = inside & ~bright & ~ndimage.binary_erosion(inside, iterations=3, border_value=1)
        picture[dark] *= 0.45
        colour = np.array(ImageColor.getrgb(class_colour(int(value))), dtype=np.float32)
        picture[bright] = 0.75 * colour + 0.25 * 255  # lighter than the tint of the same class


def font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own font: it has many scripts and is there on every machine."""
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def _mark(picture: Image.Image, letters: tuple[str, str, str, str]) -> None:
    draw, face = ImageDraw.Draw(picture), font(11)
    width, height = picture.size
    places = ((width / 2, 2, "mt"), (width / 2, height - 2, "mb"), (3, height / 2, "lm"), (width - 3, height / 2, "rm"))
    for letter, (x, y, anchor) in zip(letters, places, strict=True):
        draw.text((x, y), letter, fill="#e4e7eb", font=face, anchor=anchor, stroke_width=1, stroke_fill="black")


def _with_legend(picture: Image.Image, names: Sequence[str]) -> Image.Image:
    face, row, margin = font(12), 18, 6
    places, x, y = [], margin, 0
    for index, name in enumerate(names[1:], start=1):
        width = 16 + round(face.getlength(name)) + 12
        if x > margin and x + width > picture.width:
            x, y = margin, y + row
        places.append((index, name, x, y))
        x += width
    framed = Image.new("RGB", (picture.width, picture.height + y + row + 2 * margin), "white")
    framed.paste(picture)
    draw = ImageDraw.Draw(framed)
    for index, name, left, top in places:
        top += picture.height + margin
        draw.rectangle((left, top + 3, left + 10, top + 13), fill=class_colour(index))
        draw.text((left + 16, top + row / 2), name, fill="#1f2933", font=face, anchor="lm")
    return framed


def case_panels(
    image: np.ndarray,
    mask: np.ndarray | None,
    reference: np.ndarray | None = None,
    *,
    stack: bool,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    directions: np.ndarray | None = None,
    focus: np.ndarray | None = None,
    count: int = 5,
    side: int = 256,
) -> list[Panel]:
    """The pictures that show a case: one of a planar image, `count` slices of a stack, three planes of a volume.

    image (C, D, H, W), of volumes the first channel is shown; mask and reference (D, H, W) as for `overlay`.  stack:
    slices along D rather than three planes.  spacing: of D, H, W.  directions (3, 3): column i is the patient's RAS
    direction of axis i; None: unknown, shown as stored.  With it the image is turned as radiologists look at it: the
    patient's right is on the left.  focus (D, H, W) bool: what the slices lead through and volumes and stacks are cut
    to the surroundings of; None: all that is drawn.
    """
    planar = image.shape[1] == 1
    if not planar:
        image = image[:1]  # three sequences of a scan are no colours
    limits = window(image)
    if focus is None:
        focus = np.zeros(image.shape[1:], dtype=bool)
        for labels in (mask, reference):
            if labels is not None:
                focus |= labels > 0
    box = tuple(slice(0, length) for length in focus.shape) if planar else _surroundings(focus)
    extent = [(part.stop - part.start) * size for part, size in zip(box, spacing, strict=True)]
    panels = []
    for axis in (0,) if stack or planar else (0, 1, 2):
        rows, columns = (other for other in range(3) if other != axis)
        shown = [extent[rows], extent[columns]]
        scale = 1.0 if stack or planar else max(shown) / max(extent)  # the same scale for all planes
        letters = None
        if directions is not None:
            letters = (*_ends(directions, rows), *_ends(directions, columns))
        for index in _slices(focus, axis, count if stack else 1):
            cut = [
                array
                if array is None
                else _turned(array.take(index, axis - 3)[..., box[rows], box[columns]], rows, columns, directions)
                for array in (image, mask, reference)
            ]
            png = overlay(
                cut[0],
                cut[1],
                reference=cut[2],
                spacing=(spacing[rows], spacing[columns]),
                side=round(side * scale),
                limits=limits,
                letters=letters,
            )
            panels.append(Panel(png=png, caption=_caption(focus.shape, axis, index, stack, directions)))
    return panels


def _surroundings(focus: np.ndarray) -> tuple[slice, ...]:
    """Per axis the extent of the focus, with half of it on either side and no less than a third of the image."""
    box = []
    for axis, length in enumerate(focus.shape):
        filled = np.flatnonzero(focus.any(axis=tuple(other for other in range(3) if other != axis)))
        low, high = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, length)
        margin = max((high - low) // 2, (length // 3 - (high - low)) // 2, 2)
        box.append(slice(max(0, low - margin), min(length, high + margin)))
    return tuple(box)


def _turned(array: np.ndarray, rows: int, columns: int, directions: np.ndarray | None) -> np.ndarray:
    """(..., H, W) with head or front at the top and the patient's right (or front) on the left."""
    if directions is None:
        return array
    for position, axis in ((-2, rows), (-1, columns)):
        if directions[_dominant(directions, axis), axis] > 0:
            array = np.flip(array, position)
    return array


def _dominant(directions: np.ndarray, axis: int) -> int:
    return int(np.argmax(np.abs(directions[:, axis])))


def _ends(directions: np.ndarray, axis: int) -> tuple[str, str]:
    """Letters at the start and the end of a shown axis: positive directions (right, anterior, superior) come first."""
    return _RAS[_dominant(directions, axis)]


def _caption(shape: tuple[int, ...], axis: int, index: int, stack: bool, directions: np.ndarray | None) -> str:
    if shape[0] == 1:
        return ""
    if directions is not None:
        plane = _PLANES[_dominant(directions, axis)]
    else:
        plane = "" if stack else ("first", "second", "third")[axis] + " axis"
    return f"{plane} slice {index} of 0–{shape[axis] - 1}".strip()


def _slices(focus: np.ndarray, axis: int, count: int) -> list[int]:
    """Up to `count` slices spread over the extent of the focus; one: where most of it is; nothing: the middle."""
    area = focus.sum(axis=tuple(other for other in range(3) if other != axis))
    filled = np.flatnonzero(area)
    if count == 1:
        return [int(np.argmax(area))] if len(filled) else [len(area) // 2]
    low, high = (filled[0], filled[-1]) if len(filled) else (0, len(area) - 1)
    return sorted({round(float(position)) for position in np.linspace(low, high, min(count, high - low + 1))})


def slice_pictures(
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    directions: np.ndarray | None = None,
    count: int = 9,
    side: int = 192,
) -> tuple[list[int], np.ndarray, list[np.ndarray]]:
    """Slices along D for a viewer that lays masks over them itself: (their indices, pictures, labels of each mask).

    image (C, D, H, W), masks (D, H, W) class indices, as in `case_panels`; pictures (n, h, w, 1 or 3) uint8 and labels
    (n, h, w), the longest side `side` pixels.  The slices lead through what any mask shows, and one beyond it.
    """
    if image.shape[1] > 1:
        image = image[:1]
    low, high = window(image)
    focus = np.zeros(image.shape[1:], dtype=bool)
    for labels in masks:
        focus |= labels > 0
    size = _display_size(image.shape[2:], spacing[1:], side)
    grown = ndimage.binary_dilation(focus.any(axis=(1, 2)), iterations=1)
    wide = np.broadcast_to(grown[:, None, None], focus.shape)
    chosen = _slices(wide, 0, count) if count > 1 else _slices(focus, 0, 1)
    channels = image if image.shape[0] == 3 else image[:1]
    pictures = [
        np.stack([_scaled(_turned(one[index], 1, 2, directions), low, high, size) for one in channels], axis=-1)
        for index in chosen
    ]
    drawn = [np.stack([_enlarged(_turned(labels[i], 1, 2, directions), size) for i in chosen]) for labels in masks]
    return chosen, np.rint(np.clip(np.stack(pictures), 0, 255)).astype(np.uint8), drawn
