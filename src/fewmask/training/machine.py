"""How many threads, which precision: asked for or found out."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from fewmask.device import cores


def choose_threads(wanted: int) -> int:
    """Torch threads: as asked, or one less than the cores this process may use (the loader takes one), at least 1."""
    return wanted or max(1, cores() - 1)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """bf16 where it is asked for, or where `auto` finds hardware for it: CUDA, or a CPU with AMX."""
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" or _amx() else "fp32"
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def _amx() -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and "amx_bf16" in info.read_text()
