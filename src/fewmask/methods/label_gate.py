"""How well an autoencoder keeps label maps: its loss, its statistics, the gate that it must pass (Caudo-Diff, 2.5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.distributed import all_sum
from fewmask.losses import dice_ce
from fewmask.methods.damage import softened
from fewmask.nets.label_autoencoder import LabelAutoencoder
from fewmask.rows import per_row


def autoencoder_terms(
    autoencoder: LabelAutoencoder, label: Tensor, valid: Tensor, noise: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Losses of one batch of label maps (B, *S), half of them softened.

    Decoded under noise of a deviation up to `noise`, so that near latents decode alike.
    """
    classes, device = autoencoder.spec["classes"], label.device
    p = F.one_hot(label, classes).movedim(-1, 1).float()
    soft = torch.rand(len(p), device=device, generator=generator) < 0.5
    p = torch.where(per_row(soft, p), softened(label, classes, generator), p)
    mean, log_variance = autoencoder.encode(p)
    spread = torch.rand(len(p), device=device, generator=generator) * noise
    drawn = torch.randn(mean.shape, device=device, generator=generator)
    z = mean + drawn * (log_variance.exp() + per_row(spread, mean).square()).sqrt()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return {"labels": 2 * dice_ce(autoencoder.decode(z, label.shape[1:]), label, valid), "divergence": divergence}


class LabelGate(nn.Module):
    """Sums over fresh label maps: of latents, for their statistics, and of overlaps, for Dice."""

    moments: Tensor
    overlaps: Tensor
    cells: Tensor

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        for name, size in (("moments", (2, channels)), ("overlaps", (2, classes)), ("cells", ())):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))

    @torch.no_grad()
    def measure(self, autoencoder: LabelAutoencoder, label: Tensor, valid: Tensor) -> None:
        """Take in label maps (B, *S)."""
        classes = autoencoder.spec["classes"]
        with torch.autocast(label.device.type, enabled=False):  # as labels are calibrated later
            mean, _ = autoencoder.encode(F.one_hot(label, classes).movedim(-1, 1).float())
            found = autoencoder.decode(mean, label.shape[1:]).argmax(1)
        a, b = (F.one_hot(one[valid], classes).double() for one in (label, found))
        self.overlaps += torch.stack([2 * (a * b).sum(0), (a + b).sum(0)])
        cells = mean.double().movedim(1, 0).flatten(1)
        self.moments += torch.stack([cells.sum(1), cells.square().sum(1)])
        self.cells += cells.shape[1]

    def gather(self) -> None:
        """Of several processes: the sums of all, or one might pass the gate that another misses."""
        self.moments, self.overlaps, self.cells = all_sum(self.moments), all_sum(self.overlaps), all_sum(self.cells)

    def dice(self) -> list[float]:
        """Of each foreground class, pooled over all maps; 1 where none had it."""
        overlap, size = self.overlaps
        return torch.where(size > 0, overlap / size.clamp_min(1), 1.0).tolist()[1:]

    def complaint(self, names: Sequence[str], least: float, autoencoder: LabelAutoencoder, budget: float) -> str | None:
        """What to say where a class stays under `least`, and what to change; None: the gate is passed.

        names: of the foreground classes; budget: what method.budget.autoencoder was.
        """
        dice = self.dice()
        if min(dice) >= least:
            return None
        told = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, dice, strict=True))
        halvings = autoencoder.spec["halvings"]
        finer = f" or a finer latent (method.autoencoder.halvings={halvings - 1})" if halvings > 1 else ""
        return (
            f"caudo_diff: the label autoencoder reaches a Dice of {told}; its gate is {least:g}. Give it more steps "
            f"(method.budget.autoencoder={2 * budget:g}){finer}, or lower method.autoencoder.gate, with another --out"
        )
