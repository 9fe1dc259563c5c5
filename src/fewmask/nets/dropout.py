"""Element-wise dropout that draws eight elements from one random number on the CPU; dropout alone in training mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

DROPOUTS = (nn.Dropout, nn.Dropout2d, nn.Dropout3d)


class Dropout(nn.Dropout):
    """`nn.Dropout`, with its probability rounded to the nearest 1/256 on the CPU.

    Torch draws one float per element there, which costs a good tenth of a U-Net's training step; a byte per element
    says the same in less than half the time (benchmarks/dropout.py).  Kept elements are scaled by the rounded
    probability, so the mean is unchanged (in bf16 to 1/500, as far as that precision goes).
    """

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(256 * self.p)
        if not self.training or x.device.type != "cpu" or dropped == 256:
            return super().forward(x)
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        draws = words.view(torch.uint8)[: x.numel()]
        # in the memory order of x, which may be channels-last
        draws = draws.as_strided(x.size(), x.stride()) if _dense(x) else draws.view(x.shape)
        # in the precision of x: a mask in fp32 would make what follows fp32, too
        return x * (draws >= dropped).to(x.dtype).mul_(256 / (256 - dropped))


def _dense(x: Tensor) -> bool:
    """Whether the elements of x fill its memory without gaps, in whatever order."""
    return x.is_contiguous() or (
        x.ndim > 3 and x.is_contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
    )


@contextmanager
def dropping(network: nn.Module) -> Iterator[None]:
    """Inside, every dropout of `network` acts and nothing else changes its mode (Gal & Ghahramani, ICML 2016)."""
    found = [module for module in network.modules() if isinstance(module, DROPOUTS)]
    modes = [module.training for module in found]
    for module in found:
        module.training = True
    try:
        yield
    finally:
        for module, mode in zip(found, modes, strict=True):
            module.training = mode
