"""Exponential moving average of a network's weights: the teacher of Tarvainen & Valpola (NeurIPS 2017)."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fewmask.types import Clock


def teacher_of(student: nn.Module) -> nn.Module:
    """A copy that no optimiser trains and that always runs in evaluation mode."""
    return _AlwaysEval(deepcopy(student)).requires_grad_(False)


class _AlwaysEval(nn.Module):
    """Keeps its network in evaluation mode whatever `train()` says: a teacher's labels carry no dropout noise."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def train(self, mode: bool = True) -> _AlwaysEval:
        return super().train(False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, decay: float, clock: Clock) -> None:
    """teacher <- d * teacher + (1 - d) * student with d = min(decay, 1 - 1 / (step + 2)): early on, a plain mean.

    Running statistics of batch normalisation are averaged alike; counters are copied.
    """
    ours = [*teacher.network.parameters(), *teacher.network.buffers()]
    theirs = [*student.parameters(), *student.buffers()]
    averaged = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in averaged], [b for _, b in averaged], 1 - min(decay, 1 - 1 / (clock.step + 2)))
    for a, b in zip(ours, theirs, strict=True):
        if not a.is_floating_point():
            a.copy_(b)


@torch.no_grad()
def copy_but_statistics(target: nn.Module, source: nn.Module) -> None:
    """Make target, a copy of source, equal to it but for its running statistics of batch normalisation."""
    for ours, theirs in zip(target.modules(), source.modules(), strict=True):
        kept = isinstance(theirs, _BatchNorm)
        tensors = [*theirs.parameters(recurse=False), *(() if kept else theirs.buffers(recurse=False))]
        own = [*ours.parameters(recurse=False), *(() if kept else ours.buffers(recurse=False))]
        for a, b in zip(own, tensors, strict=True):
            a.copy_(b)
