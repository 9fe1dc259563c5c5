"""Members: opinions on one image that would agree if the image were easy; how far they do not is what trust rests on.

A member is a predictor and a view of the image: mirrored, with other contrast, blurred.  The first is the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Literal, get_args

import numpy as np
from scipy import ndimage

from fewmask.predictors import Model, Predictor

Level = Literal["none", "quick", "full"]
LEVELS: tuple[Level, ...] = get_args(Level)
QUICK = 3
"""Members of level quick, the plain prediction among them, so that the network runs three times."""
CONTRAST, BRIGHTNESS = 1.5, 0.3
"""Ends of the ranges that the methods' strong views draw from."""
BLUR_VOXELS = 1.0


def _same(array: np.ndarray) -> np.ndarray:
    return array


@dataclass(frozen=True, kw_only=True)
class View:
    """How a network sees an image (C, D, H, W), normalised: `tone` changes its values, `turn` its axes, there and back.

    `turn` also serves a label (D, H, W).
    """

    name: str
    tone: Callable[[np.ndarray], np.ndarray] = _same
    turn: Callable[[np.ndarray], np.ndarray] = _same


@dataclass(frozen=True, kw_only=True)
class Member:
    """A predictor and the view that it gets; draw: which of a stochastic predictor's draws."""

    name: str
    predictor: Predictor
    view: View
    draw: int = 0


def members(model: Model, level: Level) -> list[Member]:
    """The opinions of a level, the plain prediction first.  Those of `quick` are the first of `full`.

    In order: a mirrored copy, further draws of a stochastic predictor, another contrast, a blur, the other combinations
    of mirrored axes, the model's further networks.
    """
    if level == "none":
        return []
    plain, predictor = View(name="plain"), model.predictor
    mirrors = [_mirrored(axes, len(model.patch_size)) for axes in _axes(model.flip)]
    tones = [View(name="contrast", tone=_contrasted), View(name="blur", tone=_blurred)]
    draws = [Member(name=f"draw {n}", predictor=predictor, view=plain, draw=n) for n in (1, 2)]

    def seen(views: Sequence[View]) -> list[Member]:
        return [Member(name=view.name, predictor=predictor, view=view) for view in views]

    found = [*seen([plain, *mirrors[:1]]), *(draws if predictor.stochastic else []), *seen([*tones, *mirrors[1:]])]
    if level == "quick":
        return found[:QUICK]
    return found + [Member(name=name, predictor=other, view=plain) for name, other in model.members.items()]


def _axes(flip: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The axes one by one, then their combinations."""
    return list(chain.from_iterable(combinations(flip, count) for count in range(1, len(flip) + 1)))


def _mirrored(axes: tuple[int, ...], dims: int) -> View:
    """axes: of the patch, which are the last `dims` of an array."""
    back = tuple(axis - dims for axis in axes)

    def mirror(array: np.ndarray) -> np.ndarray:
        return np.flip(array, back)

    return View(name=f"mirror {''.join('DHW'[axis - dims] for axis in axes)}", turn=mirror)


def _contrasted(image: np.ndarray) -> np.ndarray:
    return image * np.float32(CONTRAST) + np.float32(BRIGHTNESS)


def _blurred(image: np.ndarray) -> np.ndarray:
    """Blurred within slices."""
    return ndimage.gaussian_filter(image, (0, 0, BLUR_VOXELS, BLUR_VOXELS), truncate=3)
