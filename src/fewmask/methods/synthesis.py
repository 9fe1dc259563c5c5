"""Synthetic samples from few labelled ones: deformed, re-rendered, pasted on unlabelled images (Caudo-Diff, 2.4).

The loader's views turn, scale and shift a labelled image and change its contrast, as for every method; here is what no
other method does.  Lengths are shares of the shortest side, intensities in units of the normalised image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fewmask.config import CountRange, Settings, ShareRange
from fewmask.deformation import affine, diffeomorphism, positions, sample, uniform
from fewmask.rows import per_row


class Synthesis(Settings):
    """How synthetic samples are drawn; the defaults are section 2.4's, of 256 pixels and images in [0, 1] of deviation
    0.2."""

    shear: float = Field(8.0, ge=0, le=45)
    """Largest angle in degrees."""
    elastic: ShareRange = (0.015, 0.04)
    """Range of the deviation of a smooth invertible deformation."""
    cells: CountRange = (1, 5)
    """Least and most cells of its control grid per axis (4 to 8 control points)."""
    offset: float = Field(0.5, ge=0)
    """Largest change of a class's own brightness: its absolute grey value must not give it away."""
    fourier: float = Field(0.5, ge=0, le=1)
    """Probability that low frequencies take on the amplitudes of an unlabelled image (Yang & Soatto, CVPR 2020)."""
    fourier_width: ShareRange = (0.05, 0.15)
    """Range of the half-width of what is low, as a share of the spectrum."""
    paste: float = Field(0.75, ge=0, le=1)
    """Share of samples that lie on an unlabelled image, where there is one."""
    paste_shift: float = Field(0.1, ge=0, le=0.5)
    """Largest displacement from where the labelled image has its structures."""
    margin: float = Field(0.02, ge=0, le=0.2)
    """How much of their surroundings is pasted with them, and by how much what is suspicious is widened."""
    feather: float = Field(0.012, ge=0, le=0.2)
    """Width of the seam."""
    suspicious: float = Field(0.2, gt=0, lt=1)
    """Probability of foreground from which the unlabelled image's own structures are ignored."""
    box: float | None = Field(None, gt=0, le=1)
    """While the network is blind (`blind`): side of a centred box that is ignored around a paste, as a share of the
    image's; None: all that is not pasted."""
    one_missing: float = Field(0.15, ge=0, le=1)
    """Probability that one class is taken out of image and label."""
    all_missing: float = Field(0.05, ge=0, le=1)
    """Probability that all are."""


class Sample(NamedTuple):
    """image (B, C, *S); label (B, *S) int64; valid (B, *S) bool, False where the label is unknown."""

    image: Tensor
    label: Tensor
    valid: Tensor


def synthesise(
    settings: Synthesis,
    given: Sample,
    background: Tensor | None,
    suspect: Tensor | None,
    classes: int,
    generator: torch.Generator,
) -> Sample:
    """One synthetic sample of each given one.

    background (B', C, *S): unlabelled images, repeated as needed; None: nothing is pasted or exchanged.  suspect
    (B', *S) bool: where they may show structures of their own; None: everywhere.
    """
    made = _lack_classes(settings, _deformed(settings, given, generator), classes, generator)
    image = _rerendered(made.image, made.label, settings.offset, classes, generator)
    if background is None:
        return made._replace(image=image)
    rows = torch.arange(len(image), device=image.device) % len(background)
    background = background[rows]
    mixed = exchange_amplitudes(image, background, settings.fourier_width, generator)
    taken = uniform(0, 1, (len(image),), generator) < settings.fourier
    image = torch.where(per_row(taken, image), mixed, image)
    made = made._replace(image=image)
    pasted = _pasted(settings, made, background, None if suspect is None else suspect[rows], generator)
    # without a structure there is nothing to paste, and nothing known of what lies under it
    wanted = uniform(0, 1, (len(image),), generator) < settings.paste
    wanted &= (made.label > 0).flatten(1).any(1)
    return Sample(*(torch.where(per_row(wanted, one), one, other) for one, other in zip(pasted, made, strict=True)))


def deformed_labels(
    settings: Synthesis, label: Tensor, valid: Tensor, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """As `synthesise`, of label maps (B, *S) alone: deformed, some without a class; and where they are known."""
    blank = label.unsqueeze(1).float() * 0
    made = _lack_classes(settings, _deformed(settings, Sample(blank, label, valid), generator), classes, generator)
    return made.label, made.valid


def voxels(share: float, size: Sequence[int], least: int = 0) -> int:
    """A share of the shortest side in whole voxels."""
    return max(least, round(share * min(size)))


def widened(mask: Tensor, radius: int) -> Tensor:
    """mask (B, *S) bool, with all voxels within `radius` of it along every axis."""
    x = mask.float()
    for axis in range(1, mask.ndim if radius else 1):
        lines = x.movedim(axis, -1)
        pooled = F.max_pool1d(lines.reshape(-1, 1, lines.shape[-1]), 2 * radius + 1, stride=1, padding=radius)
        x = pooled.view(lines.shape).movedim(-1, axis)
    return x > 0


def smoothed(x: Tensor, radius: int) -> Tensor:
    """x (B, M, *S), averaged over a box of `radius` voxels; what lies beyond the border does not count."""
    for axis in range(2, x.ndim if radius else 2):
        length = x.shape[axis]
        here = torch.arange(length, device=x.device)
        first, last = (here - radius).clamp_min(0), (here + radius).clamp_max(length - 1)
        lines = x.movedim(axis, -1)
        sums = F.pad(lines.cumsum(-1), (1, 0))
        x = ((sums[..., last + 1] - sums[..., first]) / (last + 1 - first)).movedim(-1, axis)
    return x


def exchange_amplitudes(image: Tensor, other: Tensor, width: tuple[float, float], generator: torch.Generator) -> Tensor:
    """image (B, C, *S) with its low-frequency amplitudes mixed with those of `other`, its phases kept."""
    axes = tuple(range(2, image.ndim))
    ours, theirs = torch.fft.fftn(image.float(), dim=axes), torch.fft.fftn(other.float(), dim=axes)
    rows = len(image)
    half, share = uniform(*width, (rows,), generator), uniform(0, 1, (rows,), generator)
    frequency = [torch.fft.fftfreq(length, device=image.device).abs() for length in image.shape[2:]]
    far = torch.stack(torch.meshgrid(*frequency, indexing="ij")).amax(0)
    low = (far <= per_row(half, far[None])).unsqueeze(1) * per_row(share, image)
    amplitude = ours.abs().lerp(theirs.abs(), low)
    return torch.fft.ifftn(torch.polar(amplitude, ours.angle()), dim=axes).real.to(image.dtype)


def _deformed(settings: Synthesis, given: Sample, generator: torch.Generator) -> Sample:
    """Shear and a smooth invertible deformation; what comes from beyond the image is unknown."""
    rows, size = len(given.label), given.label.shape[1:]
    rank, device = len(size), generator.device
    std = uniform(*settings.elastic, (rows, 1), generator).expand(-1, rank) * min(size)
    cells = int(torch.randint(settings.cells[0], settings.cells[1] + 1, (), device=device, generator=generator))
    moved = diffeomorphism(rows, size, std, cells + 3, generator)
    tangent = torch.deg2rad(uniform(-settings.shear, settings.shear, (rows, rank, rank), generator)).tan()
    matrix = torch.eye(rank, device=device) + tangent.triu(1)
    moved = moved + affine(matrix, torch.zeros(rows, rank, device=device), size)
    return _moved(given, moved)


def _moved(given: Sample, displacement: Tensor) -> Sample:
    source = positions(given.label.shape[1:], displacement.device) + displacement
    maps = torch.stack([given.label.float(), given.valid.float()], 1)
    label, valid = sample(maps, source, mode="nearest").unbind(1)
    last = torch.tensor(given.label.shape[1:], device=source.device).view(-1, *[1] * (source.ndim - 2)) - 0.5
    inside = ((source >= -0.5) & (source <= last)).all(1)
    return Sample(sample(given.image, source), label.round().long(), (valid > 0.5) & inside)


def _lack_classes(settings: Synthesis, given: Sample, classes: int, generator: torch.Generator) -> Sample:
    """Rows without one class, or without any: unlabelled slices lack classes at the ends of an organ."""
    rows, device = len(given.label), generator.device
    draw = uniform(0, 1, (rows,), generator)
    one = torch.randint(1, classes, (rows,), device=device, generator=generator)
    gone = (given.label == per_row(one, given.label)) & per_row(draw < settings.one_missing, given.label)
    every = (draw >= settings.one_missing) & (draw < settings.one_missing + settings.all_missing)
    gone |= (given.label > 0) & per_row(every, given.label)
    return given._replace(image=_filled(given.image, gone, generator), label=given.label.masked_fill(gone, 0))


def _filled(image: Tensor, gone: Tensor, generator: torch.Generator) -> Tensor:
    """The image with what is gone painted over by its smoothed surroundings, as rough as they are."""
    if not gone.any():
        return image
    gone = gone.unsqueeze(1)
    known = (~gone).to(image.dtype)
    filled, reached = image * known, known
    for radius in (voxels(share, image.shape[2:], 1) for share in (0.02, 0.05, 0.1, 0.25, 0.5)):
        near = smoothed(known, radius)
        guess = smoothed(image * known, radius) / near.clamp_min(1e-6)
        fresh = (reached == 0) & (near > 0)
        filled = torch.where(fresh, guess, filled)
        reached = reached.masked_fill(fresh, 1)
    rough = (image - smoothed(image, 1)) * known
    spread = (rough.square().flatten(1).sum(1) / known.flatten(1).sum(1).clamp_min(1) / image.shape[1]).sqrt()
    noise = torch.randn(image.shape, device=image.device, generator=generator) * per_row(spread, image)
    return torch.where(gone, smoothed(filled, 1) + noise, image)


def _rerendered(image: Tensor, label: Tensor, offset: float, classes: int, generator: torch.Generator) -> Tensor:
    """Each foreground class brighter or darker as a whole."""
    change = uniform(-offset, offset, (len(label), classes), generator)
    change[:, 0] = 0
    per_voxel = change.gather(1, label.flatten(1)).view_as(label)
    return image + smoothed(per_voxel.unsqueeze(1), 1)


def _pasted(
    settings: Synthesis, made: Sample, background: Tensor, suspect: Tensor | None, generator: torch.Generator
) -> Sample:
    """All classes together, moved onto the unlabelled image, whose own structures are ignored (the ignore rule)."""
    size = made.label.shape[1:]
    reach = settings.paste_shift * torch.tensor(size, device=generator.device)
    shift = uniform(-1, 1, (len(made.label), len(size)), generator) * reach
    still = torch.eye(len(size), device=generator.device).expand(len(made.label), -1, -1)
    moved = _moved(made, affine(still, shift, size))
    margin = voxels(settings.margin, size, 1)
    cover = widened((moved.label > 0) & moved.valid, margin)
    around = widened(cover, voxels(0.1, size, 2))
    image = _matched(moved.image, background, around)
    alpha = smoothed(cover.unsqueeze(1).to(image.dtype), voxels(settings.feather, size))
    alpha = alpha * widened(cover, voxels(settings.feather, size)).unsqueeze(1)
    suspect = torch.ones_like(cover) if suspect is None else suspect
    ignored = widened(suspect, margin) & ~cover
    label = torch.where(cover, moved.label, 0)
    return Sample(background.lerp(image, alpha), label, torch.where(cover, moved.valid, ~ignored))


def _matched(image: Tensor, other: Tensor, around: Tensor) -> Tensor:
    """The image with the mean and the deviation that `other` has within `around`, per channel."""
    weight = around.unsqueeze(1).to(image.dtype)
    axes = tuple(range(2, image.ndim))
    count = weight.sum(axes, keepdim=True).clamp_min(1)

    def moments(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = (x * weight).sum(axes, keepdim=True) / count
        return mean, (((x - mean).square() * weight).sum(axes, keepdim=True) / count).sqrt()

    (ours, rough), (theirs, target) = moments(image), moments(other)
    gain = (target / rough.clamp_min(1e-3)).clamp(0.25, 4.0)
    return (image - ours) * gain + theirs


def centred_box(like: Tensor, side: float) -> Tensor:
    """like (B, *S) -> bool, True within a centred box whose sides are a share of the image's."""
    here = positions(like.shape[1:], like.device)
    size = torch.tensor(like.shape[1:], device=like.device).view(-1, *[1] * (like.ndim - 1))
    return ((here - (size - 1) / 2).abs() <= side * size / 2).all(0).expand(like.shape)
