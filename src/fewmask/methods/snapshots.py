"""Earlier states of a network, whose errors on images that it has since learnt are still those of new images."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class Snapshots(nn.Module):
    """Frozen copies of a network in a fixed number of places; they are part of the state and train nothing."""

    taken: Tensor

    def __init__(self, network: nn.Module, count: int, latest: int | None = None) -> None:
        """latest: of those taken, how many of the last places may be drawn; None: all."""
        super().__init__()
        self.latest = latest or count
        self.copies = nn.ModuleList(deepcopy(network) for _ in range(count)).requires_grad_(False)
        self.register_buffer("taken", torch.zeros(count, dtype=torch.bool))

    def take(self, place: int, network: nn.Module) -> None:
        """Keep the network as it is now."""
        self.copies[place].load_state_dict(network.state_dict())
        self.taken[place] = True

    def draw(self, now: nn.Module, generator: torch.Generator) -> nn.Module:
        """One of the latest taken, or the network as it is now, each as likely."""
        places = self.taken.nonzero()[-self.latest :, 0].tolist()
        place = int(torch.randint(len(places) + 1, (), device=generator.device, generator=generator))
        return now if place == len(places) else self.copies[places[place]]
