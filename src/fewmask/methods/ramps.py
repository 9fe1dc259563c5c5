"""Schedules of loss weights, as functions of the share of a stage's budget that is spent."""

from __future__ import annotations

import math

from pydantic import Field

from fewmask.config import Settings
from fewmask.types import Clock


class Ramp(Settings):
    """A weight that rises from the start of a stage.

    w(t) = peak * exp(-5 (1 - u)^2) with u = t / length, t the share of the stage's budget that is spent.
    Laine & Aila, ICLR 2017, appendix A.
    """

    peak: float = Field(1.0, ge=0)
    length: float = Field(0.4, gt=0, le=1)
    """Share of the stage over which the weight rises; it stays at `peak` afterwards."""

    def weight(self, clock: Clock) -> float:
        risen = min(1.0, clock.stage_fraction / self.length)
        return self.peak * math.exp(-5 * (1 - risen) ** 2)
