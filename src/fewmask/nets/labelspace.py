"""Label maps as what networks take: colours by table lookup."""

from __future__ import annotations

import colorsys

import torch
from torch import Tensor

PRIMARIES = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
COLOUR_CHANNELS = 3


def class_colours(classes: int) -> Tensor:
    """(K, 3) RGB in [0, 1], far apart and no two alike (DiffRect's semantic colouring scheme, released code).

    Black and white for 2 classes; black, red, green, blue for up to 4; beyond, black and as many hues, evenly spaced,
    in three shades where there are more than 24.
    """
    if classes == 2:
        return torch.tensor(((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    if classes <= len(PRIMARIES):
        return torch.tensor(PRIMARIES[:classes])
    shades = 1 if classes <= 25 else 3
    hues = -(-(classes - 1) // shades)
    colours = [
        colorsys.hsv_to_rgb(index // shades / hues, 1.0, 1.0 - index % shades / 4) for index in range(classes - 1)
    ]
    return torch.tensor(((0.0, 0.0, 0.0), *colours))


def coloured(label: Tensor, table: Tensor) -> Tensor:
    """label (B, *S) int64 -> (B, 3, *S): row `label` of `table` (K, 3) at each voxel."""
    return table[label].movedim(-1, 1)
