"""Schedules of loss weights, as functions of the share of the budget that is spent."""

from __future__ import annotations

import math

from pydantic import Field

from fewmask.config import Settings
from fewmask.types import Clock


class Ramp(Settings):
    """A weight that is zero during a burn-in and then rises.

    w(t) = peak * exp(-5 (1 - u)^2) with u = (t - burn_in) / length, t the share of the budget that is spent.  Laine & Aila, ICLR 2017, appendix A (with burn_in 0).
    """

    peak: float = Field(1.0, ge=0)
    burn_in: float = Field(0.25, ge=0, le=1)
    """Share of the budget before the term acts at all."""
    length: float = Field(0.3, gt=0, le=1)
    """Share of the budget over which the weight rises; it stays at `peak` afterwards."""

    def active(self, clock: Clock) -> bool:
        """Whether the term acts: it is not yielded before."""
        return clock.fraction >= self.burn_in and self.peak > 0

    def weight(self, clock: Clock) -> float:
        risen = min(1.0, (clock.fraction - self.burn_in) / self.length)
        return self.peak * math.exp(-5 * (1 - risen) ** 2)
