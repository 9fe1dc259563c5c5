"""Optimisers and learning rates, one per parameter group of a method, from the settings."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from fewmask.config import Optimiser, Train, nearest
from fewmask.errors import SettingsError
from fewmask.types import Clock


def build_optimisers(groups: Mapping[str, nn.Module], train: Train) -> dict[str, torch.optim.Optimizer]:
    """One optimiser per group.  A parameter with `no_weight_decay = True` does not decay.

    Raises SettingsError where train.optimisers names a group that the method does not have.
    """
    for name in train.optimisers:
        if name not in groups:
            raise SettingsError(f"unknown setting 'train.optimisers.{name}'{nearest(name, groups)}")
    return {name: _build(module, settings_of(name, train)) for name, module in groups.items()}


def settings_of(group: str, train: Train) -> Optimiser:
    """The settings of one group's optimiser."""
    return train.optimisers.get(group, train.optimiser)


def _build(module: nn.Module, settings: Optimiser) -> torch.optim.Optimizer:
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    kept = [parameter for parameter in trained if getattr(parameter, "no_weight_decay", False)]
    decaying = [parameter for parameter in trained if not getattr(parameter, "no_weight_decay", False)]
    parameters = [{"params": decaying}, {"params": kept, "weight_decay": 0.0}] if kept else decaying
    shared = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.name == "sgd":
        return torch.optim.SGD(parameters, momentum=settings.momentum, **shared)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[settings.name]
    return kind(parameters, betas=(settings.momentum, 0.999), fused=True, **shared)


def learning_rate(settings: Optimiser, step: float, total: float, schedule: str | None = None) -> float:
    """The rate of step 0 <= `step` < `total`; `schedule` replaces the settings' one.

    In the warm-up it rises by equal parts, the first of which is the first step's: none trains nothing.
    """
    if step < settings.warmup * total:
        return settings.lr * min(1.0, (step + 1) / (settings.warmup * total))
    fraction = step / total
    schedule = schedule or settings.schedule
    if schedule == "constant":
        return settings.lr
    if schedule == "poly":
        return settings.lr * (1 - fraction) ** 0.9
    return settings.lr * 0.5 * (1 + math.cos(math.pi * fraction))


def set_learning_rates(
    optimisers: Mapping[str, torch.optim.Optimizer],
    train: Train,
    clock: Clock,
    schedule: str | None,
    part: tuple[float, float] | None = None,
) -> None:
    """Each group's rate for this step; a stage with a `schedule` of its own counts its own steps.

    part: as in `Stage`; the steps are then those of all stages that share the schedule.
    """
    step, total = (clock.stage_step, clock.stage_total) if schedule else (clock.step, clock.total)
    if part is not None:
        total = clock.stage_total / (part[1] - part[0])
        step = part[0] * total + clock.stage_step
    for name, optimiser in optimisers.items():
        rate = learning_rate(settings_of(name, train), step, total, schedule)
        for group in optimiser.param_groups:
            group["lr"] = rate
