"""The stages of a method as spans of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fewmask.errors import SettingsError
from fewmask.types import Stage


@dataclass(frozen=True)
class Span:
    """A stage and the steps it covers."""

    number: int
    stage: Stage
    start: int
    stop: int


def spans(stages: Sequence[Stage], steps: int) -> list[Span]:
    """The stages' shares of `steps`; SettingsError where they do not add up to one or leave one too few."""
    if not math.isclose(sum(stage.fraction for stage in stages), 1.0, abs_tol=1e-6):
        raise SettingsError(f"the stages' fractions {[stage.fraction for stage in stages]} do not add up to 1")
    edges = [round(steps * sum(stage.fraction for stage in stages[:count])) for count in range(len(stages) + 1)]
    found = [Span(i, stage, edges[i], edges[i + 1]) for i, stage in enumerate(stages)]
    for span in found:
        if span.stop - span.start < span.stage.least:
            enough = math.ceil(max(one.least / one.fraction for one in stages)) + len(stages)
            raise SettingsError(
                f"train.steps={steps} leaves the stage '{span.stage.name}' {span.stop - span.start} steps; "
                f"give at least {enough}"
            )
    return found
