"""Seconds of a method's step and of its parts, medians over repeats; what the speed benchmarks share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch

from fewmask.config import Train
from fewmask.methods.base import Method
from fewmask.training.optim import build_optimisers
from fewmask.types import Batch, Clock

STEP, TOTAL = 20_000, 30_000
Mixed = Callable[[], torch.autocast]


def stepping(method: Method, batch: Batch, device: torch.device, mixed: Mixed) -> Callable[[], Iterator[str]]:
    method.to(device).train()
    if batch.labelled.image.ndim == 4:
        method.to(memory_format=torch.channels_last)
    optimisers = build_optimisers(method.groups(), Train())

    def step() -> Iterator[str]:
        generator = torch.Generator(device).manual_seed(0)
        clock = Clock(step=STEP, total=TOTAL, stage="train", stage_step=STEP, stage_total=TOTAL, generator=generator)
        updates, number = method.step(batch, clock), 0
        while True:
            with mixed():  # anew for each update, as the trainer does: else the weights' bf16 copies would be stale
                update = next(updates, None)
            if update is None:
                break
            number += 1
            for optimiser in optimisers.values():
                optimiser.zero_grad()
            sum(update.weights.get(name, 1.0) * term for name, term in update.terms.items()).backward()
            for group in update.groups or optimisers:
                optimisers[group].step()
            yield f"{number} {'+'.join(update.groups or ())}: {', '.join(update.terms)}"
        yield "averages"

    return step


def once(part: Callable[[], None]) -> Callable[[], Iterator[str]]:
    def step() -> Iterator[str]:
        part()
        yield "part"

    return step


def measured(step: Callable[[], Iterator[str]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each part of a step, and of the whole."""
    parts: dict[str, list[float]] = {}
    for repeat in range(repeats + 1):
        _wait(device)
        started = last = time.perf_counter()
        for part in step():
            _wait(device)
            now = time.perf_counter()
            if repeat:  # the first warms up
                parts.setdefault(part, []).append(now - last)
            last = now
        if repeat:
            parts.setdefault("whole", []).append(last - started)
    return {part: statistics.median(seconds) for part, seconds in parts.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
