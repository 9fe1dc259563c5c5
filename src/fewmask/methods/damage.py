"""Damage to label maps and images, from which a calibrator learns what errors look like (Caudo-Diff, 2.8).

Lengths are shares of the shortest side; `level` (B,) in [0, 1] scales size and number of errors, 0 leaves a label as it
is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from fewmask.deformation import affine, positions, sample, smooth_field, uniform
from fewmask.methods.synthesis import exchange_amplitudes, smoothed, widened
from fewmask.rows import per_row

EDGE = 0.024
"""Most that a class grows or shrinks (6 pixels of 256)."""
WAVE = 0.02
"""Deviation of the wobble of borders."""
PUSH = 0.06
"""Most that a class moves."""
BLOB = 0.08
"""Largest radius of a hole or of a false piece."""
DELETED = 0.15
"""Probability at full level that a class is not there at all: one in twenty over all levels and draws."""


def damaged(label: Tensor, classes: int, level: Tensor, generator: torch.Generator) -> Tensor:
    """label (B, *S) int64 with errors of every kind, each in a part of the rows."""
    size = label.shape[1:]
    short, rows = min(size), len(label)
    if not rows:
        return label

    def chosen(share: float) -> Tensor:
        return per_row(uniform(0, 1, (rows,), generator) < share * level.clamp(0, 1), label)

    def kind() -> Tensor:
        return per_row(torch.randint(1, classes, (rows,), device=label.device, generator=generator), label)

    wobble = smooth_field(rows, size, (level * WAVE * short)[:, None].expand(-1, len(size)), 10, generator)
    label = torch.where(chosen(1.0), _moved(label, wobble), label)

    one = kind()
    push = uniform(-1, 1, (rows, len(size)), generator) * (level * PUSH * short)[:, None]
    scale = torch.exp(uniform(-0.2, 0.2, (rows,), generator) * level)
    matrix = torch.eye(len(size), device=label.device) * scale.view(-1, 1, 1)
    about = _centre(label == one)
    push = push + about - (matrix * about[:, None]).sum(-1)  # scaled about the class's own centre
    moved = _moved((label == one).long(), affine(matrix, push, size)) > 0
    label = torch.where(chosen(0.5), torch.where(moved, one, label.masked_fill(label == one, 0)), label)

    one, radius = kind(), (level * EDGE * short).round().long()
    grown = _grown(label == one, radius)
    label = torch.where(chosen(0.4), torch.where(grown, one, label), label)
    one = kind()
    rest = _grown(label != one, radius) & (label == one)
    # what a class leaves becomes background, or the class beside it
    beside = widened_label(label.masked_fill(label == one, 0), max(1, int(radius.max())))
    left = torch.where(uniform(0, 1, (rows,), generator).lt(0.5).view(per_row(level, label).shape), beside, 0)
    label = torch.where(chosen(0.4) & rest, left, label)

    for _ in range(2):
        label = torch.where(chosen(0.4) & _blob(label, level * BLOB * short, generator), 0, label)
        label = torch.where(chosen(0.4) & _blob(label, level * BLOB * short, generator), kind(), label)
    one = kind()
    return torch.where(chosen(DELETED), label.masked_fill(label == one, 0), label)


def softened(label: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """label (B, *S) -> probabilities (B, K, *S) as a network gives them: blurred borders, more or less sure."""
    p = one_hot(label, classes).movedim(-1, 1).float()
    blurred = smoothed(smoothed(p, 1), 1)
    mixed = p.lerp(blurred, per_row(uniform(0, 1, (len(label),), generator), p))
    ground = uniform(0, 0.02, (len(label),), generator)
    return mixed * (1 - per_row(ground, mixed)) + per_row(ground, mixed) / classes


def corrupted(image: Tensor, background: Tensor | None, generator: torch.Generator) -> Tensor:
    """image (B, C, *S), harder than any training view: contrast, shading, blur, an erased box, foreign amplitudes.

    background (B, C, *S): of other images, for their amplitudes.
    """
    rows, size = len(image), image.shape[2:]
    axes = tuple(range(2, image.ndim))

    def chosen() -> Tensor:
        return per_row(uniform(0, 1, (rows,), generator) < 0.4, image)

    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    span = (high - low).clamp_min(1e-6)
    gamma = torch.exp(uniform(-1.2, 1.1, (rows,), generator))  # 0.3 to 3
    image = torch.where(chosen(), low + span * ((image - low) / span) ** per_row(gamma, image), image)
    shade = smooth_field(rows, size, torch.full((rows, len(size)), 0.5, device=image.device), 4, generator)[:, :1]
    image = torch.where(chosen(), image * shade.exp(), image)
    blurred = smoothed(smoothed(image, max(1, round(0.012 * min(size)))), 1)
    image = torch.where(chosen(), blurred, image)
    if background is not None:
        image = torch.where(chosen(), exchange_amplitudes(image, background, (0.15, 0.3), generator), image)
    centre = uniform(0, 1, (rows, len(size)), generator) * torch.tensor(size, device=image.device)
    half = uniform(0.05, 0.2, (rows, len(size)), generator) * torch.tensor(size, device=image.device)
    away = (positions(size, image.device) - centre.view(rows, -1, *[1] * len(size))).abs()
    box = (away <= half.view(rows, -1, *[1] * len(size))).all(1, keepdim=True)
    return torch.where(chosen() & box, image.mean(axes, keepdim=True), image)


def widened_label(label: Tensor, radius: int) -> Tensor:
    """label (B, *S), where it is background replaced by the highest class within `radius`."""
    found = torch.zeros_like(label)
    for kind in label.unique().tolist():
        if kind:
            found = torch.where(widened(label == kind, radius), kind, found)
    return torch.where(label > 0, label, found)


def _moved(label: Tensor, displacement: Tensor) -> Tensor:
    source = positions(label.shape[1:], label.device) + displacement
    return sample(label.unsqueeze(1).float(), source, mode="nearest", padding="zeros")[:, 0].round().long()


def _centre(mask: Tensor) -> Tensor:
    """Centre of mass (B, R) of mask (B, *S) from the middle of the image; 0 of nothing."""
    here = positions(mask.shape[1:], mask.device).flatten(1)
    weight = mask.flatten(1).float()
    middle = torch.tensor([(length - 1) / 2 for length in mask.shape[1:]], device=mask.device)
    mean = (weight[:, None] * here).sum(-1) / weight.sum(1, keepdim=True).clamp_min(1)
    return torch.where(weight.any(1, keepdim=True), mean - middle, 0)


def _grown(mask: Tensor, radius: Tensor) -> Tensor:
    """mask (B, *S), each row widened by its own radius (B,)."""
    for step in range(int(radius.max())):
        mask = torch.where(per_row(radius > step, mask), widened(mask, 1), mask)
    return mask


def _blob(label: Tensor, most: Tensor, generator: torch.Generator) -> Tensor:
    """(B, *S) bool: a ball anywhere, its radius up to `most` (B,) voxels."""
    rows, size = len(label), label.shape[1:]
    centre = uniform(0, 1, (rows, len(size)), generator) * torch.tensor(size, device=label.device)
    radius = uniform(0.3, 1, (rows,), generator) * most
    away = positions(size, label.device) - centre.view(rows, -1, *[1] * len(size))
    return away.square().sum(1).sqrt() <= per_row(radius, label)
