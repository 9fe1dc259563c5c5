"""CutMix (Yun et al., ICCV 2019; for segmentation French et al., BMVC 2020): a box of one sample in another."""

from __future__ import annotations

import torch
from torch import Tensor


def boxes(shape: tuple[int, ...], probability: float, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """One random box per row: bool (B, *S), True inside.  shape (B, *S); area: range of the box's share of the image.

    A row has no box with probability 1 - `probability`.
    """
    rows, *space = shape
    device = generator.device
    share = torch.empty(rows, device=device).uniform_(*area, generator=generator)
    mixed = torch.rand(rows, device=device, generator=generator) < probability
    inside = mixed.view(-1, *[1] * len(space)).expand(shape).clone()
    for axis, length in enumerate(space):
        # aspect ratios within 1 : 2, by a factor per axis
        stretch = 2 ** (torch.rand(rows, device=device, generator=generator) - 0.5)
        side = (share ** (1 / len(space)) * stretch * length).clamp(1, length)
        start = torch.rand(rows, device=device, generator=generator) * (length - side)
        position = torch.arange(length, device=device)
        hit = (position >= start[:, None]) & (position < (start + side)[:, None])
        inside &= hit.view(rows, *[length if other == axis else 1 for other in range(len(space))])
    return inside


def paste(box: Tensor, tensor: Tensor, other: Tensor) -> Tensor:
    """Inside the box `other`'s values, outside `tensor`'s.  box (B, *S); tensor, other (B, *S) or (B, C, *S)."""
    return torch.where(box.unsqueeze(1) if tensor.ndim > box.ndim else box, other, tensor)
