"""The largest connected component of each class of a label map."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor


def largest_components(label: Tensor, classes: int) -> Tensor:
    """Of every row and class but the background, the largest component; all else becomes background.

    label (B, *S) int64 -> the same.  Voxels that touch at a corner belong together (scikit-image's default, which BCP
    uses); of equal components the first in memory order stays.
    """
    kept = np.zeros(label.shape, dtype=np.int64)
    around = np.ones((3,) * (label.ndim - 1))
    for row, found in zip(label.cpu().numpy(), kept, strict=True):
        for index in range(1, classes):
            parts, count = ndimage.label(row == index, around)
            if count:
                found[parts == 1 + np.bincount(parts.ravel())[1:].argmax()] = index
    return torch.from_numpy(kept).to(label.device)
