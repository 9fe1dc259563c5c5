"""last/state.safetensors: everything a run needs to continue, in one file that is replaced at once; no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fewmask.errors import DataError
from fewmask.runs import atomic_write


@dataclass(kw_only=True)
class Progress:
    """How far a run is; the rest of its state is tensors."""

    step: int = 0
    """Finished steps."""
    seconds: float = 0.0
    """Time spent training, over all sittings."""
    best_dice: float | None = None
    best_step: int | None = None


def save_state(
    path: Path, method: nn.Module, optimisers: Mapping[str, torch.optim.Optimizer], progress: Progress
) -> None:
    """Write the checkpoint whole or not at all."""
    tensors = {f"method/{name}": tensor for name, tensor in method.state_dict().items()}
    for group, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            for key, value in state.items():
                if value is not None:
                    tensors[f"optimiser/{group}/{index}/{key}"] = torch.as_tensor(value)
    # clone: tensors that share memory are refused by the format
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    atomic_write(path, save(tensors, metadata={"progress": json.dumps(asdict(progress))}))


def load_state(path: Path, method: nn.Module, optimisers: Mapping[str, torch.optim.Optimizer]) -> Progress:
    """Restore method and optimisers in place.  Raises DataError where the file is not a checkpoint of this method."""
    try:
        with safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
        tensors = load_file(path)
    except (SafetensorError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a checkpoint of fewmask ({error}); delete the run folder to begin anew") from None
    try:
        method.load_state_dict(_under(tensors, "method/"))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DataError(f"{path}: made by another method or version ({reason}); choose another --out") from None
    for group, optimiser in optimisers.items():
        weights = [weight for part in optimiser.param_groups for weight in part["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, f"optimiser/{group}/").items():
            index, key = name.split("/")
            weight = weights[int(index)]
            if tensor.shape == weight.shape:  # in its layout: fused optimisers round otherwise where they differ
                tensor = torch.empty_like(weight).copy_(tensor)
            state.setdefault(int(index), {})[key] = tensor
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return progress


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
