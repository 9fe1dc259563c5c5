"""The bank: pseudo-labels that a method writes before a stage, as files that a person can open and compare."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from fewmask.data.loader import Source
from fewmask.methods.base import Method
from fewmask.types import Clock


@torch.no_grad()
def write_bank(method: Method, source: Source, folder: Path, clock: Clock, device: torch.device, seed: int) -> None:
    """Let the method relabel every whole unlabelled case into folder/<case>.npz (raw, label, weight, info_*).

    The folder appears complete or not at all.  The method predicts in evaluation mode and draws from `seed`, so that
    the bank depends on its weights alone and not on what this process did before; afterwards it is in training mode.
    """
    writing = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    method.eval()
    torch.manual_seed(seed)
    cases = (source.whole(case).to(device) for case in source.cases("unlabelled"))
    for pseudo in method.relabel(cases, clock):
        arrays = {"raw": pseudo.raw, "label": pseudo.label, "weight": pseudo.weight.astype(np.float16)}
        info = {f"info_{name}": np.float64(value) for name, value in pseudo.info.items()}
        np.savez_compressed(writing / f"{pseudo.case}.npz", **arrays, **info)
    writing.rename(folder)
    method.train()
