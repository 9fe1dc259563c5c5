"""Running statistics of batch normalisation, which evaluation uses: passes that they are not to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def unmoved(network: nn.Module) -> Iterator[None]:
    """Inside, batch normalisation in training mode normalises by the batch and leaves its running statistics alone.

    For a pass over what no prediction will see, such as features with half of their channels dropped: their variance
    is another one, and a teacher in evaluation mode would label by it.
    """
    found = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [module.momentum for module in found]
    for module in found:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in zip(found, momenta, strict=True):
            module.momentum = momentum
