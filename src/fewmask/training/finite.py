"""A loss term that is no number ends a run before what it spoilt is saved."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from fewmask.errors import FewmaskError
from fewmask.types import Update


def refuse_infinite(updates: Iterable[Update], step: int) -> None:
    """Raise FewmaskError naming the first loss term of a step that is not finite.

    One question to the device, as it must finish all work before it can answer.
    """
    terms = [entry for update in updates for entry in update.terms.items()]
    if not terms:  # a step that measures and learns nothing
        return
    values = torch.stack([term.detach().float() for _, term in terms]).tolist()
    for (name, _), value in zip(terms, values, strict=True):
        if not math.isfinite(value):
            raise FewmaskError(
                f"step {step}: loss term '{name}' is {value}; lower train.optimiser.lr or set train.precision=fp32"
            )
