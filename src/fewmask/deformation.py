"""Smooth invertible deformations of images and label maps, in two and three dimensions.

Cubic B-splines over a coarse control grid give a velocity, scaling and squaring integrates it (Arsigny et al., MICCAI
2006), so that what is deformed neither tears nor folds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SQUARINGS = 5
"""Doublings in which a velocity is integrated."""
ATTEMPTS = 5
"""Halvings of a field that folds all the same on the voxel grid, before it is left out."""


def spline_basis(points: int, length: int) -> Tensor:
    """(length, points): uniform cubic B-splines, the knots' ends on the first and the last voxel; rows sum to one."""
    position = torch.linspace(0, points - 3, length, dtype=torch.float64)
    cell = position.floor().clamp(max=points - 4)
    u = position - cell
    weights = torch.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], 1) / 6
    basis = torch.zeros(length, points, dtype=torch.float64)
    return basis.scatter_(1, cell.long()[:, None] + torch.arange(4), weights).float()


def smooth_field(rows: int, size: Sequence[int], std: Tensor, points: int, generator: torch.Generator) -> Tensor:
    """Random vectors (B, R, *S) in voxels; std (B, R): their deviation per axis at the control points.

    points: control points per axis, at least 4.
    """
    rank, device = len(size), generator.device
    field = torch.randn(rows, rank, *[points] * rank, device=device, generator=generator)
    field = field * std.view(rows, rank, *[1] * rank)
    for axis, length in enumerate(size, start=2):
        basis = spline_basis(points, length).to(device)
        with torch.autocast(device.type, enabled=False):  # positions need their digits
            field = (field.movedim(axis, -1) @ basis.T).movedim(-1, axis)
    return field


def sample(values: Tensor, source: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """values (B, M, *T) at the positions source (B, R, *S), in voxels -> (B, M, *S)."""
    last = torch.tensor([max(length - 1, 1) for length in values.shape[2:]], device=values.device)
    grid = 2 * source.movedim(1, -1) / last - 1
    return F.grid_sample(values, grid.flip(-1), mode=mode, padding_mode=padding, align_corners=True)


def positions(size: Sequence[int], device: torch.device | str) -> Tensor:
    """(R, *S): the index of each voxel, as float."""
    axes = [torch.arange(length, dtype=torch.float32, device=device) for length in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def integrated(velocity: Tensor) -> Tensor:
    """Displacement (B, R, *S) in voxels after unit time in a velocity field (B, R, *S) that does not change."""
    here = positions(velocity.shape[2:], velocity.device)
    displacement = velocity / 2**SQUARINGS
    for _ in range(SQUARINGS):
        displacement = displacement + sample(displacement, here + displacement)
    return displacement


def jacobian(displacement: Tensor) -> Tensor:
    """Determinant (B, *S - 1) of the map voxel -> voxel + displacement, by forward differences."""
    rank = displacement.shape[1]
    columns = [displacement.diff(dim=2 + axis)[(..., *_without_last(rank, axis))] for axis in range(rank)]
    gradient = torch.stack(columns, 2).movedim((1, 2), (-2, -1))  # (B, *S - 1, component, axis)
    return _determinant(gradient + torch.eye(rank, device=displacement.device))


def _determinant(matrix: Tensor) -> Tensor:
    """(..., n, n) -> (...), by the first row: for many small matrices far faster than a factorisation of each."""
    size = matrix.shape[-1]
    if size == 1:
        return matrix[..., 0, 0]
    rest = matrix[..., 1:, :]
    minors = (torch.cat([rest[..., :c], rest[..., c + 1 :]], -1) for c in range(size))
    return sum((-1) ** c * matrix[..., 0, c] * _determinant(minor) for c, minor in enumerate(minors))


def _without_last(rank: int, differenced: int) -> tuple[slice, ...]:
    return tuple(slice(None) if axis == differenced else slice(0, -1) for axis in range(rank))


def diffeomorphism(rows: int, size: Sequence[int], std: Tensor, points: int, generator: torch.Generator) -> Tensor:
    """A smooth displacement (B, R, *S) in voxels whose Jacobian is positive everywhere; std as in `smooth_field`.

    A row that folds on the voxel grid all the same is drawn again, half as strong.
    """
    displacement = integrated(smooth_field(rows, size, std, points, generator))
    if min(size) < 2:
        return torch.zeros_like(displacement)
    for _ in range(ATTEMPTS):
        folded = (jacobian(displacement).flatten(1) <= 0).any(1)
        if not folded.any():
            return displacement
        std = torch.where(folded[:, None], std / 2, std)
        again = integrated(smooth_field(rows, size, std, points, generator))
        displacement = torch.where(folded.view(-1, *[1] * (len(size) + 1)), again, displacement)
    folded = (jacobian(displacement).flatten(1) <= 0).any(1)
    return displacement * ~folded.view(-1, *[1] * (len(size) + 1))


def affine(matrix: Tensor, shift: Tensor, size: Sequence[int]) -> Tensor:
    """Displacement (B, R, *S) in voxels of an affine map about the centre; matrix (B, R, R), shift (B, R) in voxels."""
    here = positions(size, matrix.device)
    middle = torch.tensor([(length - 1) / 2 for length in size], device=matrix.device)
    offset = here - middle.view(-1, *[1] * len(size))
    moved = (matrix.view(*matrix.shape, *[1] * len(size)) * offset).sum(2)
    return moved + shift.view(*shift.shape, *[1] * len(size)) - offset


def uniform(low: float, high: float, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Uniform numbers on the generator's device."""
    return torch.empty(tuple(shape), device=generator.device).uniform_(low, high, generator=generator)
