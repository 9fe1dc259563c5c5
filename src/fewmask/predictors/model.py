"""A predictor with all that inference needs, as JSON and safetensors in a model folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from fewmask.errors import DataError
from fewmask.predictors.base import Predictor
from fewmask.predictors.registry import build_predictor
from fewmask.runs import atomic_write
from fewmask.types import LabelSet

FORMAT = 1
"""Version of the model folder; a reader refuses versions above its own."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A predictor with all that turns a user's file into its input and its output into a user's mask.

    preparation, intensity and fingerprint are the settings of `data.prepare` and `data.intensity`, kept as JSON.
    """

    predictor: Predictor
    labels: LabelSet
    preparation: dict[str, Any]
    intensity: str
    fingerprint: dict[str, Any] = field(default_factory=dict)
    patch_size: tuple[int, ...]
    """(H, W) or (D, H, W): the training patch and the window of prediction; its length is the rank."""
    channels: tuple[str, ...]
    planar: bool = False
    flip: tuple[int, ...] = ()
    """Spatial axes of the patch along which mirroring keeps every class's meaning."""
    layout: str = ""
    """The layout of the data that it was trained on."""
    seed: int = 0
    """The run's seed: base of the seeds of a stochastic predictor."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Record of how it came about: method, steps, fewmask version."""
    members: dict[str, Predictor] = field(default_factory=dict)
    """Further networks whose opinion `predict --trust full` asks: the student, the second network, the sampler."""


def _description(model: Model) -> dict[str, Any]:
    """All of a model but its weights, as JSON."""
    labels = model.labels
    return {
        "format": FORMAT,
        "predictor": model.predictor.spec,
        **({"members": {name: member.spec for name, member in model.members.items()}} if model.members else {}),
        "labels": {"names": list(labels.names), "values": list(labels.values), "ignore": labels.ignore},
        "preparation": model.preparation,
        "intensity": model.intensity,
        "fingerprint": model.fingerprint,
        "patch_size": list(model.patch_size),
        "channels": list(model.channels),
        "planar": model.planar,
        "flip": list(model.flip),
        "layout": model.layout,
        "seed": model.seed,
        "extra": model.extra,
    }


def save_model(model: Model, folder: Path) -> None:
    """Write model.safetensors and model.json into `folder`.

    The description also lies in the header of model.safetensors, which is what `load_model` reads: one file that is
    replaced at once can never be paired with the description of another model.  model.json is for people.
    """
    text = json.dumps(_description(model), indent=2, ensure_ascii=False)
    # clone: tensors that share memory (tied weights) are refused by the format
    state = dict(model.predictor.state_dict())
    for name, member in model.members.items():
        state |= {f"{_of_member(name)}{key}": tensor for key, tensor in member.state_dict().items()}
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "model.safetensors", save(weights, metadata={"fewmask": text}))
    atomic_write(folder / "model.json", text + "\n")


def _of_member(name: str) -> str:
    """What the names of a member's tensors begin with."""
    return f"members/{name}/"


def find_model(folder: Path) -> Path:
    """The model folder that `folder` is or, as a run, holds.  Raises DataError."""
    for candidate in (folder, folder / "model"):
        if (candidate / "model.safetensors").is_file():
            return candidate
    raise DataError(f"{folder}: no model (model.safetensors) in it; give a run folder or its model/ after training")


def model_hash(folder: Path) -> str:
    """Identifies the weights and settings of a saved model: the SHA-256 of model.safetensors."""
    with (find_model(folder) / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_model(folder: Path) -> Model:
    """The model of a model folder or a run folder, in evaluation mode on the CPU.  Raises DataError."""
    path = find_model(folder) / "model.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("fewmask")
        weights = load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path}: not readable as safetensors ({error}); copy or train the model again") from None
    if text is None:
        raise DataError(f"{path}: weights without a description; they were not saved by fewmask")
    described = json.loads(text)
    if described["format"] > FORMAT:
        raise DataError(f"{path}: model format {described['format']} is newer than this fewmask's; update fewmask")
    predictor = build_predictor(described.pop("predictor"))
    members = {name: build_predictor(spec) for name, spec in described.pop("members", {}).items()}
    own = {name: tensor for name, tensor in weights.items() if not name.startswith("members/")}
    try:
        predictor.load_state_dict(own)
        for name, member in members.items():
            start = _of_member(name)
            member.load_state_dict({key.removeprefix(start): weights[key] for key in weights if key.startswith(start)})
    except RuntimeError as error:
        raise DataError(f"{path}: weights do not fit the network ({str(error).splitlines()[-1].strip()})") from None
    labels = described.pop("labels")
    described.pop("format")
    return Model(
        predictor=predictor.eval(),
        members={name: member.eval() for name, member in members.items()},
        labels=LabelSet(names=tuple(labels["names"]), values=tuple(labels["values"]), ignore=labels["ignore"]),
        **{
            key: tuple(value) if key in ("patch_size", "channels", "flip") else value
            for key, value in described.items()
        },
    )
