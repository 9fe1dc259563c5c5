"""High-pass filters of feature maps (B, C, *S) without learnable weights; a constant becomes zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fewmask.nets.blocks import pad_to_even

HighPass = Literal["fft", "haar", "blur", "sobel"]
CUTOFF = 0.125
"""Standard deviation of the Gaussian that `fft` takes away, in cycles per voxel."""
AVERAGE = {2: F.avg_pool2d, 3: F.avg_pool3d}


def fft(x: Tensor) -> Tensor:
    """Spectrum times 1 - exp(-|f|^2 / 2 CUTOFF^2): soft, so that edges do not ring."""
    axes = tuple(range(2, x.ndim))
    sizes = x.shape[2:]
    frequencies = [torch.fft.fftfreq(size, device=x.device) for size in sizes[:-1]]
    frequencies.append(torch.fft.rfftfreq(sizes[-1], device=x.device))
    squared = sum(grid.square() for grid in torch.meshgrid(*frequencies, indexing="ij"))
    keep = -torch.expm1(-squared / (2 * CUTOFF**2))
    return torch.fft.irfftn(torch.fft.rfftn(x, dim=axes) * keep, s=sizes, dim=axes)


def haar(x: Tensor) -> Tensor:
    """What the detail bands of one Haar level hold: x minus the mean of its block of 2 voxels per axis."""
    mean = AVERAGE[x.ndim - 2](pad_to_even(x), 2)
    for axis, size in enumerate(x.shape[2:], start=2):
        mean = mean.repeat_interleave(2, dim=axis).narrow(axis, 0, size)
    return x - mean


def blur(x: Tensor) -> Tensor:
    """x minus the mean of its neighbourhood of 3 voxels per axis, edges repeated."""
    padded = F.pad(x, [1] * (2 * (x.ndim - 2)), mode="replicate")
    return x - AVERAGE[x.ndim - 2](padded, 3, stride=1)


def sobel(x: Tensor) -> Tensor:
    """Length of the Sobel gradient, edges repeated; scaled so that a ramp of slope 1 gives 1."""
    axes = range(2, x.ndim)
    padded = F.pad(x, [1] * (2 * len(axes)), mode="replicate")
    squared = torch.zeros_like(x)
    for along in axes:
        y = padded
        for axis in axes:
            size = x.shape[axis]
            before, at, after = (y.narrow(axis, place, size) for place in range(3))
            y = (after - before) / 2 if axis == along else (before + 2 * at + after) / 4
        squared = squared + y.square()
    return (squared + 1e-12).sqrt() - 1e-6


FILTERS: dict[str, Callable[[Tensor], Tensor]] = {"fft": fft, "haar": haar, "blur": blur, "sobel": sobel}
