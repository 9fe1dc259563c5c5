"""A segmentation network of whose label only the largest piece of each class is kept: the cheapest repair there is."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fewmask.predictors.segmenter import SegmenterPredictor


class LargestComponentPredictor(SegmenterPredictor):
    """Voxels of a class outside its largest connected piece (in a slice, or a window in 3-D) become background."""

    kind = "largest_component"

    def forward(self, image: Tensor, seed: Tensor) -> Tensor:
        p = super().forward(image, seed)
        lost = lesser_pieces(p.argmax(1), p.shape[1])
        background = torch.zeros_like(p)
        background[:, 0] = 1
        return torch.where(lost.unsqueeze(1), background, p)


def lesser_pieces(label: Tensor, classes: int) -> Tensor:
    """(B, *S) bool: the voxels of label (B, *S) that lie in a foreground class, but not in its largest piece."""
    lost = np.zeros(label.shape, bool)
    for row, mask in enumerate(label.cpu().numpy()):
        for kind in range(1, classes):
            pieces, count = ndimage.label(mask == kind)
            if count > 1:
                largest = 1 + np.bincount(pieces.ravel())[1:].argmax()
                lost[row] |= (pieces > 0) & (pieces != largest)
    return torch.from_numpy(lost).to(label.device)
