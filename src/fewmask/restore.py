"""Probabilities on the prepared grid -> on the native voxels, row after row; they never lie there as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor
from torch.nn.functional import interpolate


def native_rows(blocks: Iterable[Tensor], depth: int, shape: Sequence[int]) -> Iterator[Tensor]:
    """Blocks (K, n, h, w), in order and `depth` deep in all -> for each of the D of `shape` (D, H, W): (K, H, W).

    Linear with half-pixel centres, as the image was resized; equal to resizing the whole volume at once, but two rows
    of it are held.
    """
    planes = _planes(blocks, (shape[1], shape[2]))
    held: dict[int, Tensor] = {}
    read = 0
    for row in range(shape[0]):
        place = min(max((row + 0.5) * depth / shape[0] - 0.5, 0.0), depth - 1.0)
        lower = int(place)
        share = place - lower
        needed = range(lower, lower + 2 if share > 0 else lower + 1)
        held = {index: plane for index, plane in held.items() if index in needed}
        while read <= needed[-1]:
            plane = next(planes)
            if read in needed:
                held[read] = plane
            read += 1
        yield held[lower] if share == 0 else held[lower].lerp(held[lower + 1], share)


def _planes(blocks: Iterable[Tensor], size: tuple[int, int]) -> Iterator[Tensor]:
    """(K, n, h, w) blocks -> single planes (K, *size)."""
    for block in blocks:
        for plane in block.unbind(1):
            if tuple(plane.shape[1:]) == size:
                yield plane
            else:
                yield interpolate(plane[None], size=size, mode="bilinear", align_corners=False)[0]
