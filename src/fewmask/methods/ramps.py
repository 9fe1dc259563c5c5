"""Schedules of loss weights, as functions of the share of a stage's budget that is spent."""

from __future__ import annotations

import math

from pydantic import Field

from fewmask.config import Settings
from fewmask.types import Clock


class Ramp(Settings):
    """A weight that is zero until `start` and rises from there.

    w(t) = peak * exp(-5 (1 - u)^2) with u = (t - start) / length, t the share of the stage's budget that is spent.
    Laine & Aila, ICLR 2017, appendix A.
    """

    peak: float = Field(1.0, ge=0)
    length: float = Field(0.4, ge=0, le=1)
    """Share of the stage over which the weight rises; it stays at `peak` afterwards.  0: a step."""
    start: float = Field(0.0, ge=0, lt=1)
    """Share of the stage before which the weight is zero."""
    stairs: int = Field(0, ge=0)
    """Rise in so many equal steps, as code that counts epochs does; 0: smoothly."""

    def weight(self, clock: Clock) -> float:
        since = clock.stage_fraction - self.start
        if since < 0:
            return 0.0
        risen = min(1.0, since / self.length) if self.length else 1.0
        if self.stairs:
            risen = math.floor(risen * self.stairs + 1e-9) / self.stairs
        return self.peak * math.exp(-5 * (1 - risen) ** 2)
