"""Deterministic diffusion that calibrates a label's latent under guidance (Caudo-Diff's reconstruction, 2.6, 2.7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.diffusion.bridge import bridge_state, euler
from fewmask.diffusion.gaussian import GaussianDiffusion, cosine_betas
from fewmask.diffusion.sampler import ddim, sampling_times
from fewmask.nets.guide import Guide, pooled
from fewmask.nets.label_autoencoder import LabelAutoencoder
from fewmask.nets.latent_unet import LatentUNet
from fewmask.rows import per_row

Variant = Literal["ddim", "bridge", "one_step"]
"""ddim: Gaussian diffusion, sampled with eta = 0 from the label's latent under one fixed noise; bridge: the noise-free
path between the two latents; one_step: a plain network, the control that a diffusion must beat."""
TIMES = 1000
ALARM = 3.0
"""Least ratio of latent errors, start to mid path, that is no honest one: bridge under noise of 0.5 has about 2."""
FOLLOWED = 0.05
"""Share of a batch in these averages."""
SEED = 0
"""Of the one noise tensor that every sampling starts with."""


class Guides(NamedTuple):
    """z (B, Z, *Z'): the label's standardised latent; g (B, G, *Z'): the guide; error (B, 1, *Z'): logits of where the
    label is wrong; gate (B, 1, *Z') in [0, 1]: where it may change."""

    z: Tensor
    g: Tensor
    error: Tensor
    gate: Tensor


class States(NamedTuple):
    """Training inputs x (B, Z, *Z') at t (B,), and which rows are at the sampler's start or in mid path (B,) bool."""

    x: Tensor
    t: Tensor
    start: Tensor
    middle: Tensor


class LatentCalibrator(nn.Module):
    """Guide and denoiser; every result is a function of its arguments and weights, no chance is drawn in `sample`."""

    noise: Tensor

    def __init__(
        self,
        *,
        latent: int,
        size: Sequence[int],
        halvings: int,
        features: Sequence[int],
        classes: int,
        dims: int,
        width: int,
        guide_width: int,
        variant: Variant,
        start: float,
        samples: int,
        dropout: float,
        blur: float,
        ends: float,
        recycled: float,
    ) -> None:
        """latent: channels Z; size: the latent's sides; start: share of the times at which ddim starts; samples: calls
        of the denoiser; blur, ends, recycled: the bridge's remedies against leaking (see `draw`)."""
        super().__init__()
        self.spec: dict[str, Any] = {
            "latent": latent,
            "size": list(size),
            "halvings": halvings,
            "features": list(features),
            "classes": classes,
            "dims": dims,
            "width": width,
            "guide_width": guide_width,
            "variant": variant,
            "start": start,
            "samples": samples,
            "dropout": dropout,
            "blur": blur,
            "ends": ends,
            "recycled": recycled,
        }
        self.variant, self.halvings, self.samples = variant, halvings, samples
        self.first = max(1, round(start * TIMES)) - 1
        self.blur, self.ends, self.recycled = blur, ends, recycled
        self.guide = Guide(features=features, classes=classes, dims=dims, width=guide_width)
        self.denoiser = LatentUNet(channels=latent, size=size, guide=2 * guide_width, width=width, dropout=dropout)
        self.diffusion = GaussianDiffusion(cosine_betas(TIMES))
        fixed = torch.randn(latent, *size, device="cpu", generator=torch.Generator().manual_seed(SEED))
        self.register_buffer("noise", fixed)

    def guides(self, p: Tensor, features: Sequence[Tensor], autoencoder: LabelAutoencoder) -> Guides:
        """Of probabilities (B, K, *S) and what `features_of` told of the same pass."""
        entropy = relative_entropy(p)
        g, error = self.guide(features, pooled(p, self.halvings), pooled(entropy, self.halvings))
        gate = (rule_gate(p, self.halvings) + error.sigmoid()).clamp(0, 1)
        with torch.no_grad():
            z = autoencoder.latent(p)
        return Guides(z, g, error, gate)

    def predict(self, x: Tensor, t: Tensor, guides: Guides) -> Tensor:
        """The clean latent of a state: what the denoiser adds to the label's, at first nothing."""
        return guides.z + self.denoiser(x, t, guides.z, guides.g)

    # training

    def draw(self, z0: Tensor, guides: Guides, generator: torch.Generator) -> States:
        """A state for each row, on a path from the label's latent z1, guides.z, to the one that is to be found, z0.

        ddim: half of the rows noise z0 at any time; the others noise z1 where the sampler will be, half of these by the
        fixed tensor.  z0 never meets the fixed tensor: the network would know it by heart and subtract it.
        bridge: a share `ends` at tau = 1; of the rest a share `recycled` on the way to what the network itself says;
        noise of strength `blur`.
        """
        rows, device, z1 = len(z0), z0.device, guides.z
        draw = torch.rand(4, rows, device=device, generator=generator)
        noise = torch.randn(z0.shape, device=device, generator=generator)
        if self.variant == "one_step":
            every = torch.ones(rows, dtype=torch.bool, device=device)
            return States(z1, torch.zeros(rows, device=device), every, ~every)
        if self.variant == "ddim":
            from_label = draw[0] < 0.5
            late = self.first * (1 + draw[1]) / 2
            t = torch.where(from_label, late, draw[1] * (TIMES - 1)).round().long()
            noise = torch.where(per_row(from_label & (draw[2] < 0.5), noise), self.noise, noise)
            x = self.diffusion.add_noise(torch.where(per_row(from_label, z0), z1, z0), t, noise)
            middle = ~from_label & (t >= self.first // 2) & (t <= self.first)
            return States(x, t, from_label, middle)
        start = draw[0] < self.ends
        tau = torch.where(start, 1.0, draw[1])
        again = ~start & (draw[2] < self.recycled)
        target = z0
        if bool(again.any()):
            with torch.no_grad():
                said = self.predict(z1, torch.full_like(tau, TIMES), guides).to(z0.dtype)
            target = torch.where(per_row(again, z0), said, z0)
        x = bridge_state(target, z1, tau, noise, self.blur)
        middle = ~start & ~again & (tau > 0.25) & (tau < 0.75)
        return States(x, TIMES * tau, start, middle)

    # inference

    def sample(self, guides: Guides, calls: int | None = None, noise: Tensor | None = None) -> Tensor:
        """The calibrated latent (B, Z, *Z'): what `find` finds, within the gate alone."""
        return gated(self.find(guides, calls, noise), guides)

    def find(self, guides: Guides, calls: int | None = None, noise: Tensor | None = None) -> Tensor:
        """The latent (B, Z, *Z') that the path ends in, in float32, whatever the gate says.

        calls: of the denoiser, None: as trained for; noise (B, Z, *Z'): begin with noise alone at the last time, as
        DiffRect does, in place of the label's latent under the fixed noise (ddim alone).
        """
        calls, z1 = calls or self.samples, guides.z.float()
        if self.variant == "one_step":
            return self.predict(z1, torch.zeros(len(z1), device=z1.device), guides)
        if self.variant == "bridge":
            return euler(lambda z, tau: self.predict(z, TIMES * tau, guides), z1, calls)
        return self._ddim(guides, z1, calls, noise)

    def _ddim(self, guides: Guides, z1: Tensor, calls: int, noise: Tensor | None) -> Tensor:
        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return self.predict(x, t, guides)

        if noise is not None:
            return ddim(denoise, self.diffusion, noise, sampling_times(TIMES, calls))
        times = falling(self.first, calls)
        first = torch.full((len(z1),), times[0], dtype=torch.int64, device=z1.device)
        x = self.diffusion.add_noise(z1, first, self.noise.expand_as(z1))
        return ddim(denoise, self.diffusion, x, times)


def gated(found: Tensor, guides: Guides) -> Tensor:
    """The label's latent, changed into `found` (B, Z, *Z') as far as the gate is open."""
    return guides.z + guides.gate * (found - guides.z)


def falling(first: int, calls: int) -> tuple[int, ...]:
    """The times of `calls` denoiser calls: `first` and down in equal steps, of which the last would reach 0; of more
    calls than times each time once."""
    return tuple(dict.fromkeys(max(0, round((first + 1) * (calls - place) / calls) - 1) for place in range(calls)))


def relative_entropy(p: Tensor) -> Tensor:
    """p (B, K, *S) -> (B, 1, *S) in [0, 1]: the entropy relative to that of equal probabilities."""
    return torch.special.entr(p).sum(1, keepdim=True).clamp_min(0) / math.log(p.shape[1])


def rule_gate(p: Tensor, halvings: int) -> Tensor:
    """(B, 1, *Z') in [0, 1]: cells with foreground (5 %) or doubt (0.2), widened by a cell and smoothed over three."""
    foreground = pooled(1 - p[:, :1], halvings) > 0.05
    doubtful = pooled(relative_entropy(p), halvings) > 0.2
    cells = (foreground | doubtful).float()
    grow, smooth = (F.max_pool2d, F.avg_pool2d) if p.ndim == 4 else (F.max_pool3d, F.avg_pool3d)
    return smooth(grow(cells, 3, 1, 1), 3, 1, 1, count_include_pad=False)


def leak(running: Tensor, errors: Tensor, states: States) -> Tensor:
    """Latent error at the sampler's start over that in mid path, both as averages that `running` (2,) keeps.

    Over ALARM mid-path states give the answer away, and the start, all that sampling sees of it, is not learnt.
    """
    for place, rows in enumerate((states.start, states.middle)):
        if rows.any():  # a single row says little: right labels have hardly an error
            running[place].lerp_(errors[rows].mean().to(running.dtype), FOLLOWED)
    return running[0] / running[1].clamp_min(1e-12)
