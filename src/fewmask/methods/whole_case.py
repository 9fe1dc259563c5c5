"""Maps of whole cases from a function of patches, as a method needs them to relabel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

ROWS = 16
"""Slices or windows in one pass."""


def whole_maps(of_patch: Callable[[Tensor], Tensor], image: Tensor, patch_size: Sequence[int]) -> Tensor:
    """image (B, C, *S) of any size -> maps (B, M, *S); of_patch: (B', C, *patch_size) -> (B', M, *patch_size).

    What is no single patch is covered by overlapping windows, blended with Gaussian weights.
    """
    if image.shape[2:] == torch.Size(patch_size):
        return torch.cat([of_patch(rows) for rows in image.split(ROWS)])
    from monai.inferers.utils import sliding_window_inference  # over a second, where it is not needed

    return sliding_window_inference(
        image, patch_size, ROWS, of_patch, overlap=0.5, mode="gaussian", padding_mode="replicate"
    )
