"""Weak view: one geometry for image, label and bank.  Strong views: photometric changes on top of it.

Every draw comes from the sample's own generator, so a view is a pure function of (seed, stream, index); the arithmetic
runs on the whole batch at once.  The set of changes is that of nnU-Net (Isensee et al., 2021) plus a bias field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewmask.types import StrongView, Views, WeakView

CONTROL_POINTS = 5  # per axis, of the smooth random fields


def as_planned(views: Views, flip: Sequence[int], rotation: float) -> Views:
    """Views that mirror these axes and turn by up to `rotation` degrees where the method leaves that open."""
    planned = {"flip": tuple(flip), "rotation": rotation}
    still_open = {name: value for name, value in planned.items() if getattr(views.weak, name) is None}
    return replace(views, weak=views.weak.model_copy(update=still_open))


def reach(view: WeakView, patch: Sequence[int]) -> tuple[int, ...]:
    """The block that must be cut so that the weak view finds image under most of its patch, in voxels per axis."""
    if not (view.rotation or view.shift or view.elastic or view.scale != (1.0, 1.0)):
        return tuple(patch)
    factor = min(1.5, (1.15 if view.rotation else 1.0) / min(1.0, view.scale[0]))
    return tuple(int(np.ceil(length * factor)) for length in patch)


def weak(
    image: Tensor, maps: Tensor, view: WeakView, patch: Sequence[int], rngs: Sequence[np.random.Generator]
) -> tuple[Tensor, Tensor, Tensor]:
    """The shared geometry of a batch.

    image (B, C, *block) float32, interpolated linearly; maps (B, M, *block) float32, values kept (nearest).
    Returns the image (B, C, *patch), the maps (B, M, *patch) and inside (B, *patch) bool, False where the view looks
    beyond the block (there the image is continued by its border).
    """
    dims = len(patch)
    block = image.shape[2:]
    matrices, shifts, fields = zip(*(_draw_geometry(rng, view, patch) for rng in rngs), strict=True)
    matrix = torch.from_numpy(np.stack(matrices)).float()
    shift = torch.from_numpy(np.stack(shifts)).float()
    axes = [torch.arange(length, dtype=torch.float32) - length // 2 for length in patch]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)  # offsets from the centre voxel
    source = torch.einsum("bij,...j->b...i", matrix, points) + shift.view(-1, *[1] * dims, dims)
    if any(field is not None for field in fields):
        source = source + _displacement(fields, patch)
    size = torch.tensor(block, dtype=torch.float32)
    # voxel index -> grid_sample's coordinate with align_corners=False
    grid = (2 * (source + torch.div(size, 2, rounding_mode="floor")) + 1) / size - 1
    inside = (grid.abs() <= 1).all(-1)
    grid = grid.flip(-1)
    mode = "bilinear"
    viewed = F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)
    kept = F.grid_sample(maps, grid, mode="nearest", padding_mode="border", align_corners=False)
    return viewed, kept, inside


def _draw_geometry(
    rng: np.random.Generator, view: WeakView, patch: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Matrix and shift that take an offset in the view to an offset in the block, and the elastic control points."""
    dims = len(patch)
    turn = rng.random() < view.rotation_probability
    angles = np.deg2rad(rng.uniform(-view.rotation, view.rotation, size=3)) * turn
    zoom = np.exp(rng.uniform(np.log(view.scale[0]), np.log(view.scale[1])))
    zoom = zoom if rng.random() < view.scale_probability else 1.0
    shift = rng.uniform(-view.shift, view.shift, size=dims) * np.asarray(patch) * turn
    mirrored = rng.random(dims) < 0.5
    flips = np.where([mirrored[axis] and axis in (view.flip or ()) for axis in range(dims)], -1.0, 1.0)
    bend = rng.random() < view.elastic_probability
    control = rng.normal(size=(dims, *[CONTROL_POINTS] * dims))
    matrix = _rotation(angles, dims) / zoom * flips
    # an even length has no middle voxel: mirroring about the centre of the patch moves the offsets by one voxel
    shift = shift + _rotation(angles, dims) / zoom @ np.where((flips < 0) & (np.asarray(patch) % 2 == 0), -1.0, 0.0)
    if not (bend and view.elastic):
        return matrix, shift, None
    return matrix, shift, control * (view.elastic * np.asarray(patch)).reshape(-1, *[1] * dims)


def _rotation(angles: np.ndarray, dims: int) -> np.ndarray:
    if dims == 2:
        cos, sin = np.cos(angles[0]), np.sin(angles[0])
        return np.array([[cos, -sin], [sin, cos]])
    matrix = np.eye(3)
    for (i, j), angle in zip(((1, 2), (0, 2), (0, 1)), angles, strict=True):
        turn = np.eye(3)
        turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = matrix @ turn
    return matrix


def _displacement(fields: Sequence[np.ndarray | None], patch: Sequence[int]) -> Tensor:
    """Control points -> smooth displacement (B, *patch, dims) in voxels; None: no displacement."""
    dims = len(patch)
    none = np.zeros((dims, *[CONTROL_POINTS] * dims))
    control = torch.from_numpy(np.stack([none if field is None else field for field in fields])).float()
    return _smooth(control, patch).movedim(1, -1)


def _smooth(control: Tensor, shape: Sequence[int]) -> Tensor:
    mode = "bicubic" if len(shape) == 2 else "trilinear"
    return F.interpolate(control, size=tuple(shape), mode=mode, align_corners=True)


def strong(image: Tensor, view: StrongView, rngs: Sequence[np.random.Generator]) -> Tensor:
    """One photometric variant of a batch: image (B, C, *S) float32, normalised -> the same shape."""
    image = image.clone()
    for change, probability in (
        (_bias_field, view.bias_field_probability),
        (_gamma, view.gamma_probability),
        (_contrast, view.contrast_probability),
        (_brightness, view.brightness_probability),
        (_blur, view.blur_probability),
        (_low_resolution, view.low_resolution_probability),
        (_noise, view.noise_probability),
        (_cutout, view.cutout_probability),
    ):
        rows = [row for row, rng in enumerate(rngs) if rng.random() < probability]
        if rows:
            image[rows] = change(image[rows], view, [rngs[row] for row in rows])
    return image


def _per_channel(image: Tensor, values: Sequence[np.ndarray]) -> Tensor:
    """Per row one number per channel, shaped to be broadcast over space."""
    return torch.from_numpy(np.stack(values)).float().view(*image.shape[:2], *[1] * (image.ndim - 2))


def _space(image: Tensor) -> tuple[int, ...]:
    return tuple(range(2, image.ndim))


def _bias_field(image: Tensor, view: StrongView, rngs: Sequence[np.random.Generator]) -> Tensor:
    dims = image.ndim - 2
    logs = np.stack([rng.normal(scale=view.bias_field, size=(1, *[CONTROL_POINTS - 1] * dims)) for rng in rngs])
    field = _smooth(torch.from_numpy(logs).float(), image.shape[2:]).exp()
    low = image.amin(_space(image), keepdim=True)
    return (image - low) * field + low


def _gamma(image: Tensor, view: StrongView, rngs: Sequence[np.random.Generator]) -> Tensor:
    power = _per_channel(image, [rng.uniform(*view.gamma, size=image.shape[1]) for rng in rngs])
    space = _space(image)
    low, high = image.amin(space, keepdim=True), image.amax(space, keepdim=True)
    bent = ((image - low) / (high - low).clamp_min(1e-6)) ** power
    # keep mean and standard deviation, so that gamma changes the shape of the histogram and nothing else
    mean, std = image.mean(space, keepdim=True), image.std(space, keepdim=True)
    return (bent - bent.mean(space, keepdim=True)) / bent.std(space, keepdim=True).clamp_min(1e-6) * std + mean


def _contrast(image: Tensor, view: StrongView, rngs: Sequence[np.random.Generator]) -> Tensor:
    factor = _per_channel(image, [rng.uniform(*view.contrast, size=image.shape[1]) for rng in rngs])
    space = _space(image)
    mean = image.mean(space, keepdim=True)
    stretched = (image - mean) * factor + mean
    return torch.minimum(torch.maximum(stretched, image.amin(space, keepdim=True)), image.amax(space, keepdim=True))


def _brightness(image: Tensor, view: StrongView, rngs: Sequence[np.random.Generator]) -> Tensor:
    return image + _per_channel(image, [rng.normal(scale=view.brightness, size=image.shape[1]) for rng in rngs])


def _blur(image: Tensor, view: StrongView, rngs: Sequence[np.random.Generator]) -> Tensor:
    dims = image.ndim - 2
    sigmas = torch.tensor([rng.uniform(*view.blur) for rng in rngs]).repeat_interleave(image.shape[1])
    radius = int(np.ceil(3 * view.blur[1]))
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets / sigmas[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).float()
    flat = image.reshape(1, -1, *image.shape[2:])
    convolve = F.conv2d if dims == 2 else F.conv3d
    for axis in range(dims):
        width = [1] * dims
        width[axis] = 2 * radius + 1
        padding = [0] * (2 * dims)
        padding[2 * (dims - 1 - axis)] = padding[2 * (dims - 1 - axis) + 1] = radius
        flat = convolve(F.pad(flat, padding, mode="replicate"), kernel.view(-1, 1, *width), groups=flat.shape[1])
    return flat.view_as(image)


def _low_resolution(image: Tensor, view: StrongView, rngs: Sequence[np.random.Generator]) -> Tensor:
    linear = "bilinear" if image.ndim == 4 else "trilinear"
    rows = []
    for row, rng in zip(image, rngs, strict=True):
        factor = rng.uniform(*view.low_resolution)
        small = [max(2, round(length * factor)) for length in row.shape[1:]]
        reduced = F.interpolate(row[None], size=small, mode="nearest-exact")
        rows.append(F.interpolate(reduced, size=row.shape[1:], mode=linear))
    return torch.cat(rows)


def _noise(image: Tensor, view: StrongView, rngs: Sequence[np.random.Generator]) -> Tensor:
    shape = tuple(image.shape[1:])
    noise = [rng.standard_normal(shape, dtype=np.float32) * np.float32(rng.uniform(0, view.noise)) for rng in rngs]
    return image + torch.from_numpy(np.stack(noise))


def _cutout(image: Tensor, view: StrongView, rngs: Sequence[np.random.Generator]) -> Tensor:
    for row, rng in zip(image, rngs, strict=True):
        box = [slice(None)]
        for length in row.shape[1:]:
            side = round(length * rng.uniform(0.1, max(0.1, view.cutout)))
            start = int(rng.integers(length - side + 1))
            box.append(slice(start, start + side))
        row[tuple(box)] = row.mean()
    return image
