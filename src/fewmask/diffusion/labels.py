"""Diffusion of label maps: one-hot labels in {-1, +1} are noised and found again, given the image (Wang & Li 2023).

Neighbouring voxels have the same label, so a network finds a label of full scale again in noise that hides every single
voxel, and need not look at the image; a smaller scale (Chen et al., ICLR 2023, arXiv:2208.04202, section 3.3) makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from fewmask.diffusion.gaussian import GaussianDiffusion, linear_betas
from fewmask.diffusion.sampler import ddim, sampling_times

Times = Literal["all", "upper", "last"]
"""Which noise levels are drawn: all; the noisier half; the last alone, at which nothing of the label is left."""


def encoded(label: Tensor, classes: int) -> Tensor:
    """Label map (B, *S) int64 -> (B, K, *S) float, +1 for its class and -1 for the others."""
    return 2.0 * one_hot(label, classes).movedim(-1, 1).float() - 1.0


class LabelDiffusion(nn.Module):
    """Draws the denoiser's training inputs and samples labels from it.

    The denoiser returns logits; the x0-hat that they stand for is scale (2 softmax - 1), on the scale that was noised.
    Without `diffuse` it sees zeros at the last time, in training and when sampled: the control without diffusion.
    """

    def __init__(self, classes: int, times: int, scale: float = 1.0, *, diffuse: bool = True) -> None:
        super().__init__()
        self.classes, self.scale, self.diffuse = classes, scale, diffuse
        self.diffusion = GaussianDiffusion(linear_betas(times))

    def draw(self, label: Tensor, times: Times, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noised label maps (B, K, *S), of variance 1, and their times (B,)."""
        steps = self.diffusion.steps
        if not self.diffuse:
            return self._nothing((len(label), self.classes, *label.shape[1:]), label.device)
        lowest = {"all": 0, "upper": steps // 2, "last": steps - 1}[times]
        t = torch.randint(lowest, steps, (len(label),), device=label.device, generator=generator)
        x0 = self.scale * encoded(label, self.classes)
        noise = torch.randn(x0.shape, device=x0.device, generator=generator)
        return self._shown(self.diffusion.add_noise(x0, t, noise), t), t

    def sample(self, denoiser: nn.Module, image: Tensor, noise: Tensor, count: int) -> Tensor:
        """Probabilities (B, K, *S) after `count` DDIM steps from noise (B, K, *S); without `diffuse` at once."""
        if not self.diffuse:
            return denoiser(*self._nothing(noise.shape, noise.device), image).float().softmax(1)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return self.scale * (2 * denoiser(self._shown(x, t), t, image).float().softmax(1) - 1)

        found = ddim(denoise, self.diffusion, noise, sampling_times(self.diffusion.steps, count))
        return (found / self.scale + 1) / 2

    def _shown(self, x: Tensor, t: Tensor) -> Tensor:
        """x_t (B, K, *S) at variance 1, so that statistics over a batch of unlike noise levels mean something (Chen
        2023, arXiv:2301.10972, section 2.2)."""
        abar = self.diffusion.alpha_bars[t].view(-1, *[1] * (x.ndim - 1))
        return x / (self.scale**2 * abar + 1 - abar).sqrt()

    def _nothing(self, shape: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """What stands for a noised label and its time where nothing is noised."""
        return torch.zeros(shape, device=device), torch.full(shape[:1], self.diffusion.steps - 1, device=device)
