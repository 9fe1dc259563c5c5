"""One value a row of a batch, shaped to act on tensors of any rank."""

from __future__ import annotations

from torch import Tensor


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """values (B,) -> (B, 1, ..., 1) of the rank of `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))
