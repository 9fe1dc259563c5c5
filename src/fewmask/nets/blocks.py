"""Layers and building blocks for two and three dimensions; the only file in which the rank decides anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.nets.dropout import Dropout

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
CHANNEL_DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}
LINEAR_MODE = {2: "bilinear", 3: "trilinear"}


def norm(kind: str, dims: int, channels: int) -> nn.Module:
    """`batch`: over batch and space.  `group`: per sample, in up to 8 groups, so that rows of a batch do not meet."""
    if kind == "batch":
        return BATCH_NORM[dims](channels)
    groups = max(count for count in range(1, 9) if channels % count == 0)
    return nn.GroupNorm(groups, channels)


def conv_stages(
    count: int,
    dims: int,
    channels_in: int,
    channels_out: int,
    *,
    normalisation: str,
    activation: Callable[[], nn.Module],
    dropout: float = 0.0,
) -> nn.Sequential:
    """`count` times 3-convolution, norm, activation; element-wise dropout between them.

    (B, channels_in, *S) -> (B, channels_out, *S).
    """
    layers: list[nn.Module] = []
    for stage in range(count):
        if stage and dropout:
            layers.append(Dropout(dropout))
        layers += [
            CONVOLUTION[dims](channels_out if stage else channels_in, channels_out, 3, padding=1),
            norm(normalisation, dims, channels_out),
            activation(),
        ]
    return nn.Sequential(*layers)


def halve_by_pooling(dims: int) -> nn.Module:
    """Max pooling by 2; an odd rest makes its own cell, so no voxel is lost and size 1 stays 1."""
    return MAX_POOL[dims](2, ceil_mode=True)


def enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """Linear interpolation to exactly `size`, corner voxels on corner voxels (align_corners, as SSL4MIS does)."""
    return F.interpolate(x, size=tuple(size), mode=LINEAR_MODE[x.ndim - 2], align_corners=True)


def pad_to_even(x: Tensor) -> Tensor:
    """Repeat the last voxel along odd axes, so that a stride of 2 sees every voxel."""
    odd = [size % 2 for size in x.shape[2:]]
    if not any(odd):
        return x
    return F.pad(x, [amount for axis in reversed(odd) for amount in (0, axis)], mode="replicate")


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """Undo `pad_to_even`: the leading `size` voxels of each spatial axis."""
    for axis, length in enumerate(size, start=2):
        if x.shape[axis] != length:
            x = x.narrow(axis, 0, length)
    return x
