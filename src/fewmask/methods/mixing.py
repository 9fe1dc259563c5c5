"""CutMix (Yun et al., ICCV 2019; for segmentation French et al., BMVC 2020): a box of one sample in another."""

from __future__ import annotations

import torch
from torch import Tensor


def boxes(shape: tuple[int, ...], probability: float, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """One random box per row: bool (B, *S), True inside.  shape (B, *S); area: range of the box's share of the image.

    A row has no box with probability 1 - `probability`.  The share is uniform in its range, up to rounding to voxels.
    """
    rows, *space = shape
    device = generator.device
    share = torch.empty(rows, device=device).uniform_(*area, generator=generator)
    mixed = torch.rand(rows, device=device, generator=generator) < probability
    inside = mixed.view(-1, *[1] * len(space)).expand(shape).clone()
    for axis, (length, relative) in enumerate(zip(space, _sides(share, len(space), generator), strict=True)):
        side = (relative * length).clamp(1, length)
        start = torch.rand(rows, device=device, generator=generator) * (length - side)
        centre = torch.arange(length, device=device) + 0.5
        hit = (centre >= start[:, None]) & (centre < (start + side)[:, None])
        inside &= hit.view(rows, *[length if other == axis else 1 for other in range(len(space))])
    return inside


def placed_boxes(shape: tuple[int, ...], side: float, generator: torch.Generator) -> Tensor:
    """One box per row at a random place, as long as `side` of the image on every axis: bool (B, *S), True inside.

    BCP's (Bai et al., CVPR 2023): lengths are rounded down, no shorter than one voxel.
    """
    rows, *space = shape
    inside = torch.ones(shape, dtype=torch.bool, device=generator.device)
    for axis, length in enumerate(space):
        long = max(1, int(side * length))
        start = torch.randint(length - long + 1, (rows, 1), device=generator.device, generator=generator)
        place = torch.arange(length, device=generator.device)
        hit = (place >= start) & (place < start + long)
        inside &= hit.view(rows, *[length if other == axis else 1 for other in range(len(space))])
    return inside


def _sides(share: Tensor, rank: int, generator: torch.Generator) -> Tensor:
    """(rank, B): sides as shares of the image's, whose product is `share` (B,); any two within 1 : 2 of each other."""
    stretch = torch.rand(rank, len(share), device=share.device, generator=generator)
    stretch -= stretch.mean(0)  # logarithms to base 2 with sum 0: the product of the sides stays the share
    # a side that would be longer than the image: less stretching of all, so that the product stays
    room = -share.log2() / rank
    stretch *= (room / stretch.amax(0).clamp_min(1e-6)).clamp_max(1)
    return share ** (1 / rank) * 2**stretch


def paste(box: Tensor, tensor: Tensor, other: Tensor) -> Tensor:
    """Inside the box `other`'s values, outside `tensor`'s.  box (B, *S); tensor, other (B, *S) or (B, C, *S)."""
    return torch.where(box.unsqueeze(1) if tensor.ndim > box.ndim else box, other, tensor)
