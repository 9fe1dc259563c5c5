"""What members say, taken from their probabilities as they pass by; these never lie in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch import Tensor


class Watch:
    """Reads along while one member predicts: its label, and how much of its probability lies where a mask does.

    against (D, H, W): the mask, as the member sees the image; None: the member's own label.
    """

    def __init__(self, classes: int, shape: Sequence[int], against: np.ndarray | None = None) -> None:
        self.label = np.empty(tuple(shape), np.uint8 if classes <= 255 else np.uint16)
        self._against = self.label if against is None else against
        self._inside, self._mass, self._voxels = np.zeros((3, classes))

    def over(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """The same blocks (K, n, H, W) of probabilities, in order along D; of R samples (R * K, n, H, W) the mean
        counts."""
        start, classes = 0, len(self._mass)
        for block in blocks:
            values = (block if len(block) == classes else block.unflatten(0, (-1, classes)).mean(0)).numpy()
            part = slice(start, start + values.shape[1])
            self.label[part] = values.argmax(0)
            mask = self._against[part]
            there = np.take_along_axis(values, mask[None].astype(np.intp), 0)[0]
            self._inside += np.bincount(mask.ravel(), there.ravel(), minlength=classes)
            self._voxels += np.bincount(mask.ravel(), minlength=classes)
            self._mass += values.sum(axis=(1, 2, 3), dtype=np.float64)
            start = part.stop
            yield block

    @property
    def confidence(self) -> np.ndarray:
        """(K,) mean probability of a class over the mask's voxels of it; NaN where there are none."""
        return np.divide(self._inside, self._voxels, out=np.full(len(self._mass), np.nan), where=self._voxels > 0)

    @property
    def soft_dice(self) -> np.ndarray:
        """(K,) Dice of the mask and the probabilities; NaN where the mask has no voxel of a class."""
        found = 2 * self._inside / np.maximum(self._mass + self._voxels, 1e-12)
        return np.where(self._voxels > 0, found, np.nan)
