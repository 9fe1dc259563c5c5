"""Which device computes, asked for or found out, and how many cores.  torch is imported when it is asked: seconds."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from fewmask.errors import SettingsError

if TYPE_CHECKING:
    import torch


def check_name(name: str) -> None:
    """Raise SettingsError where `name` is no device of any machine; whether this one has it is not asked."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise SettingsError(f"--device {name}: choose auto, cpu, cuda or cuda:N")


def cores() -> int:
    """Cores that this process may use; all of the machine's where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_cuda() -> bool:
    """Whether torch finds a CUDA device here."""
    import torch

    return torch.cuda.is_available()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """auto: CUDA where there is one, else the CPU.  Raises SettingsError for a device that is not there."""
    import torch

    check_name(name)
    if name == "auto":
        name = "cuda" if has_cuda() else "cpu"
    device = torch.device(name)
    if device.type == "cpu":
        return device
    if not has_cuda():
        raise SettingsError(f"--device {name}: torch {torch.__version__} finds no CUDA device; use --device cpu")
    if device.index is None:
        return torch.device("cuda", local_rank)
    if device.index >= torch.cuda.device_count():
        raise SettingsError(f"--device {name}: there are {torch.cuda.device_count()} CUDA devices; the first is cuda:0")
    return device
