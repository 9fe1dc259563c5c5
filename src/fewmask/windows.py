"""Predictor + prepared image -> probabilities on the prepared grid: slices in batches, or overlapping windows.

Everything comes out in blocks along D, so that a large volume's probabilities never lie in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, combinations

import numpy as np
import torch
from torch import Tensor

from fewmask.config import Predict
from fewmask.predictors import Predictor
from fewmask.seeding import derive

SIGMA, FLOOR = 0.125, 0.1
"""Deviation of a window's Gaussian weight as a share of its side (MONAI's, nnU-Net's), and its least value per axis."""


def window_weight(size: int) -> Tensor:
    """Weight of a window along one axis of `size` voxels: a Gaussian, never under FLOOR.

    The weight of a window is the product over axes, so accumulating over H and W first and over D later is exact.
    """
    distance = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    return torch.exp(-(distance**2) / (2 * (SIGMA * size) ** 2)).clamp_min(FLOOR)


def window_starts(extent: int, size: int, overlap: float) -> list[int]:
    """Where windows of `size` begin along an axis of `extent` voxels; the last one ends with it."""
    if extent <= size:
        return [0]
    interval = max(1, int(size * (1 - overlap)))
    return [*range(0, extent - size, interval), extent - size]


class Windows:
    """One predictor with the settings of prediction; `blocks` yields probabilities along D."""

    def __init__(
        self,
        predictor: Predictor,
        *,
        patch_size: Sequence[int],
        settings: Predict,
        flip: Sequence[int] = (),
        device: torch.device | str = "cpu",
        seed: int = 0,
        samples: int = 1,
        apart: bool = False,
    ) -> None:
        """seed: of the run and the case; flip: axes to mirror along where `settings.flips` asks for it; samples:
        repetitions that are averaged, for predictors that draw at random; apart: they are not averaged, `blocks` yields
        their classes one sample after the other (R * K, n, H, W)."""
        self.predictor, self.patch_size, self.settings = predictor, tuple(patch_size), settings
        self.device, self.seed = torch.device(device), seed
        self.samples = samples if predictor.stochastic else 1
        self.apart = apart
        axes = tuple(flip) if settings.flips else ()
        self.mirrors = list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))

    def blocks(self, image: np.ndarray, whole: bool) -> Iterator[Tensor]:
        """image (C, D, H, W) float32, normalised -> probabilities (K, n, H, W) float32 on the CPU, in order along D.

        whole: accumulate a 3-D image at once, which fills batches better and holds more.
        """
        tensor = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
        if len(self.patch_size) == 2:
            yield from self._slices(tensor)
        elif whole:
            yield self._slide(tensor[None], (0, 0, 0))[0]
        else:
            yield from self._volume(tensor)

    def _slices(self, image: Tensor) -> Iterator[Tensor]:
        """2-D: slices as rows of a batch; slices larger than the patch by windows."""
        larger = any(extent > size for extent, size in zip(image.shape[2:], self.patch_size, strict=True))
        for start in range(0, image.shape[1], self.settings.batch):
            rows = image[:, start : start + self.settings.batch].movedim(1, 0).contiguous()
            if larger:
                found = self._slide(rows, (start, 0, 0))
            else:
                found = self._rows(rows, [(start + row, 0, 0) for row in range(len(rows))]).cpu()
            yield found.movedim(0, 1)

    def _volume(self, image: Tensor) -> Iterator[Tensor]:
        """3-D: windows of one depth are blended over H and W, then with those of the next depth; no more is held."""
        depth, size = image.shape[1], self.patch_size[0]
        starts = window_starts(depth, size, self.settings.overlap)
        weight = window_weight(size)[: min(size, depth), None, None]
        total: Tensor | None = None
        weights = torch.zeros(min(size, depth), 1, 1)
        for start, following in zip(starts, [*starts[1:], depth], strict=True):
            found = self._slide(image[None, :, start : start + size], (start, 0, 0))[0]
            total = torch.zeros_like(found) if total is None else total
            total += found.mul_(weight)
            weights += weight
            done = following - start
            yield total[:, :done] / weights[:done]
            total[:, :-done] = total[:, done:].clone() if done < total.shape[1] else 0
            total[:, -done:] = 0
            weights = torch.cat([weights[done:], torch.zeros(min(done, len(weights)), 1, 1)])

    @torch.no_grad()
    def _slide(self, rows: Tensor, offset: tuple[int, int, int]) -> Tensor:
        """MONAI's sliding window: rows (B, C, *S) -> (B, K, *S) on the CPU; they begin at `offset` (d, h, w)."""
        from monai.inferers.utils import sliding_window_inference

        flat = rows.ndim == 4

        def window(patch: Tensor, places: Sequence[Sequence[slice]]) -> Tensor:
            keys = []
            for row, _, *space in places:
                start = (row.start, *(axis.start for axis in space)) if flat else tuple(axis.start for axis in space)
                keys.append(tuple(base + move for base, move in zip(offset, start, strict=True)))
            return self._rows(patch, keys)

        weight = torch.ones(())
        for size in self.patch_size:
            weight = weight[..., None] * window_weight(size)
        return sliding_window_inference(
            rows,
            self.patch_size,
            self.settings.batch,
            window,
            overlap=self.settings.overlap,
            roi_weight_map=weight,
            padding_mode="replicate",  # as training fills what lies beyond the image
            sw_device=self.device,
            device="cpu",
            with_coord=True,
        )

    @torch.no_grad()
    def _rows(self, rows: Tensor, keys: Sequence[tuple[int, ...]]) -> Tensor:
        """One forward pass (per mirror and sample): rows (B, C, *S) -> probabilities; `keys`: where each row lies."""
        count = len(rows)
        if count == 1 and rows.ndim == 5 and self.device.type == "cpu":
            # torch 2.13 convolves a single volume on a path over twice as slow as that of two
            rows, keys = rows.repeat(2, 1, 1, 1, 1), [*keys, *keys]
        rows = rows.to(self.device)
        drawn: list[Tensor] = []
        for sample in range(self.samples):
            total: Tensor | None = None
            for mirror in self.mirrors:
                dims = [axis + 2 for axis in mirror]
                seeds = [derive(self.seed, sample, str(mirror), *key) for key in keys]
                seed = torch.tensor(seeds, dtype=torch.int64, device=self.device)
                found = self.predictor(rows.flip(dims), seed).flip(dims)
                total = found if total is None else total + found
            if drawn and not self.apart:
                drawn[0] += total
            else:
                drawn.append(total)
        found = torch.cat(drawn, dim=1)[:count]
        return found / (len(self.mirrors) * (1 if self.apart else self.samples))


@contextmanager
def evaluating(predictor: torch.nn.Module, device: torch.device | str) -> Iterator[None]:
    """The predictor on `device` and in evaluation mode; each module's mode is put back afterwards."""
    modes = [(module, module.training) for module in predictor.modules()]
    predictor.to(device).eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def predict_prepared(
    predictor: Predictor,
    image: np.ndarray,
    *,
    case: str,
    patch_size: Sequence[int],
    settings: Predict,
    flip: Sequence[int] = (),
    device: torch.device | str = "cpu",
    seed: int = 0,
    samples: int = 1,
) -> np.ndarray:
    """image (C, D, H, W) float32, normalised, on the prepared grid -> probabilities (K, D, H, W) float32.

    patch_size: (H, W) predicts slices, (D, H, W) windows of the volume.  case and seed: id and run's seed, from which
    those of the rows are derived.  For validation and audits; user's volumes go through `prediction.predict_case`,
    which holds less.
    """
    windows = Windows(
        predictor,
        patch_size=patch_size,
        settings=settings,
        flip=flip,
        device=device,
        seed=case_seed(seed, case),
        samples=samples,
    )
    with evaluating(predictor, device):
        return torch.cat(list(windows.blocks(image, whole=True)), dim=1).numpy()


def case_seed(seed: int, case: str) -> int:
    """The seed of all chance in predicting one case."""
    return derive(seed, "predict", case)
