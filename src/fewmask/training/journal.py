"""What is written of a run while it trains: log.jsonl, and TensorBoard's event files where they are asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from fewmask.errors import FewmaskError, SettingsError
from fewmask.runs import Run, append_log
from fewmask.types import Update

LOG_SECONDS = 10.0
"""Longest time between two entries."""


class Journal:
    """Writes one entry per due step: every step of a run under 200, else every 1 % or LOG_SECONDS.  To be closed."""

    def __init__(self, run: Run, steps: int, done: int, tensorboard: bool) -> None:
        """done: steps of earlier sittings; what one wrote after them, before it was killed, is no longer shown."""
        self._run, self._steps = run, steps
        self._last_step, self._last_time = done, time.monotonic()
        self._events = _summary_writer()(run.root / "tensorboard", purge_step=done + 1) if tensorboard else None

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    def due(self, step: int) -> bool:
        """Whether `step`, just finished, deserves an entry."""
        return self.on_beat(step) or time.monotonic() - self._last_time > LOG_SECONDS

    def on_beat(self, step: int) -> bool:
        """Whether `step` completes a hundredth of the run, or the run is short."""
        return self._steps < 200 or step * 100 // self._steps > (step - 1) * 100 // self._steps

    def write(
        self,
        step: int,
        *,
        stage: str,
        seconds: float,
        images: int,
        rates: Mapping[str, float],
        updates: Sequence[Update],
        val: Mapping[str, Any] | None,
    ) -> None:
        """seconds: of training so far; images: in a step; rates: of learning, per group; val: a validation's result.

        Numbers that are not finite become null.  Raises FewmaskError where two updates give one name to two numbers.
        """
        now = time.monotonic()
        rate = (step - self._last_step) * images / max(now - self._last_time, 1e-9)
        entry = {
            "step": step,
            "stage": stage,
            "seconds": round(seconds, 3),
            "images_per_second": round(rate, 2),
            "lr": dict(rates),
            "terms": _numbers("term", (update.terms for update in updates)),
            "weights": _numbers("weight", (update.weights for update in updates)),
            "log": _numbers("log entry", (update.log for update in updates)),
            **({"val": val} if val else {}),
        }
        append_log(self._run.log, entry)
        if self._events is not None:
            self._write_events(entry)
        self._last_step, self._last_time = step, now

    def _write_events(self, entry: Mapping[str, Any]) -> None:
        for kind in ("terms", "log", "lr"):
            for name, value in entry[kind].items():
                if value is not None:
                    self._events.add_scalar(f"{kind}/{name}", value, entry["step"])
        if "val" in entry:
            self._events.add_scalar("val/dice", entry["val"]["dice"], entry["step"])
        self._events.flush()


def _summary_writer() -> type:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise SettingsError("train.tensorboard=true needs: pip install fewmask[tensorboard]") from None
    return SummaryWriter


def _numbers(kind: str, parts: Iterable[Mapping[str, torch.Tensor | float]]) -> dict[str, float | None]:
    """All entries of a step's updates as plain numbers."""
    found: dict[str, float | None] = {}
    for part in parts:
        for name, value in part.items():
            if name in found:
                raise FewmaskError(f"two updates of one step have a {kind} '{name}'; give each a name of its own")
            number = float(torch.as_tensor(value).detach())
            found[name] = number if math.isfinite(number) else None
    return found


def note(terms: Mapping[str, torch.Tensor], best: float | None) -> str:
    parts = [f"{name} {float(term.detach()):.3f}" for name, term in terms.items()]
    return "  ".join([*parts, *([f"best val {best:.3f}"] if best is not None else [])])
