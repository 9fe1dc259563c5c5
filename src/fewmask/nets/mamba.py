"""The Mamba block (Gu & Dao 2023, arXiv:2312.00752, section 3.4) over a sequence, and over a map's voxels."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.nets.selective_scan import selective_scan

Scan = Literal["forward", "both", "slices"]
"""Orders in which voxels are read: raster order; that and its reverse; both, and a third in which the same place of all
slices comes one after the other (SegMamba, Xing et al. 2024)."""
SLOWEST, FASTEST = 1e-3, 1e-1
"""Range of dt at initialisation."""


class Mamba(nn.Module):
    """(B, L, C) -> (B, L, C) in float32: step l sees steps 1 to l.

    32,640 parameters at C = 64, 116,480 at 128 (16 states, kernel 4, expansion 2).
    """

    def __init__(self, channels: int, states: int = 16, kernel: int = 4, expansion: int = 2) -> None:
        super().__init__()
        inner, rank = expansion * channels, -(-channels // 16)
        self.splits = (rank, states, states)
        self.enter = nn.Linear(channels, 2 * inner, bias=False)
        self.convolution = nn.Conv1d(inner, inner, kernel, groups=inner, padding=kernel - 1)
        self.select = nn.Linear(inner, rank + 2 * states, bias=False)
        self.rate = nn.Linear(rank, inner)
        self.log_decay = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.leave = nn.Linear(inner, channels, bias=False)
        self.log_decay.no_weight_decay = self.skip.no_weight_decay = True
        nn.init.uniform_(self.rate.weight, -(rank**-0.5), rank**-0.5)
        with torch.no_grad():  # softplus(bias) is log-uniform in the range
            dt = torch.empty(inner).uniform_(math.log(SLOWEST), math.log(FASTEST)).exp()
            self.rate.bias.copy_(dt + (-torch.expm1(-dt)).log())

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.enter(x).chunk(2, dim=-1)
        u = F.silu(self.convolution(u.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        rate, into, out_of = self.select(u).split(self.splits, dim=-1)
        y = selective_scan(u, F.softplus(self.rate(rate)), -self.log_decay.exp(), into, out_of, self.skip)
        return self.leave(y * F.silu(gate))


class VoxelMamba(nn.Module):
    """Feature map (B, C, *S) -> (B, C, *S): its voxels as one normalised sequence, read in one or more orders.

    Each order has a Mamba block of its own; their outputs are added.
    """

    def __init__(self, channels: int, scan: Scan, states: int = 16) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.blocks = nn.ModuleList(
            Mamba(channels, states) for _ in range({"forward": 1, "both": 2, "slices": 3}[scan])
        )

    def forward(self, x: Tensor) -> Tensor:
        sequence = self.norm(x.flatten(2).transpose(1, 2))
        y = self.blocks[0](sequence)
        if len(self.blocks) > 1:
            y = y + self.blocks[1](sequence.flip(1)).flip(1)
        y = y.transpose(1, 2).unflatten(2, x.shape[2:])
        if len(self.blocks) > 2:
            across = sequence.transpose(1, 2).unflatten(2, x.shape[2:]).movedim(2, -1)
            third = self.blocks[2](across.flatten(2).transpose(1, 2)).transpose(1, 2)
            y = y + third.unflatten(2, across.shape[2:]).movedim(-1, 2)
        return y
