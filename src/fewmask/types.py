"""What the parts of fewmask hand each other: frozen values without behaviour beyond moving between devices.

Letters in shapes: B batch, V strong views, C channels, K classes, S space = (H, W) or (D, H, W).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from fewmask.config import Axis, PositiveRange, Settings, ShareRange

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""


@dataclass(frozen=True, kw_only=True)
class LabelSet:
    """The classes of a data set: the only place that maps raw values of a user's masks <-> 0..K-1.

    `names[0]` is the background. `values[k]` is the raw value of class k; `ignore` is the raw value that is neither
    trained on nor scored, or None.  `merged`: raw values that are read as another raw value; `colours`: (red, green,
    blue) of masks in colours -> raw value.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignore: int | None = None
    merged: Mapping[int, int] = field(default_factory=dict, hash=False)
    colours: Mapping[Colour, int] = field(default_factory=dict, hash=False)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of a catalogue: an image of one or more files, and its mask if there is one."""

    id: str
    patient: str
    images: tuple[Path, ...]
    label: Path | None = None
    site: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a network must know about the data.  `dims = len(patch_size)` is the rank."""

    channels: int
    classes: int
    names: tuple[str, ...]
    patch_size: tuple[int, ...]
    dims: int = 0

    def __post_init__(self) -> None:
        if self.dims not in (0, len(self.patch_size)):
            raise ValueError(f"dims {self.dims} and patch_size {self.patch_size} differ in rank; leave dims out")
        object.__setattr__(self, "dims", len(self.patch_size))


class WeakView(Settings):
    """The geometry shared by all views of a sample.  Ranges are those of nnU-Net unless measured otherwise."""

    flip: tuple[Axis, ...] | None = None
    """Spatial axes that are mirrored with probability 1/2; None: those of `plan.flip`."""
    rotation: float | None = Field(0.0, ge=0, le=180)
    """Largest rotation in degrees, drawn uniformly in [-rotation, rotation]; in 3-D about each axis; None:
    `plan.rotation`."""
    rotation_probability: float = Field(0.5, ge=0, le=1)
    scale: PositiveRange = (1.0, 1.0)
    """Zoom range; over 1 enlarges."""
    scale_probability: float = Field(0.5, ge=0, le=1)
    shift: float = Field(0.0, ge=0, le=1)
    """Largest translation as a fraction of the patch, per axis; acts with the rotation's probability."""
    elastic: float = Field(0.0, ge=0, le=0.5)
    """Standard deviation of a smooth displacement as a fraction of the patch; 0: none."""
    elastic_probability: float = Field(0.3, ge=0, le=1)


class StrongView(Settings):
    """A photometric change on top of the weak view.  Each acts with its own probability; probability 0 turns it off.

    Intensities are in units of the normalised image (standard deviation 1).
    """

    gamma: PositiveRange = (0.7, 1.5)
    gamma_probability: float = Field(0.0, ge=0, le=1)
    contrast: PositiveRange = (0.65, 1.5)
    contrast_probability: float = Field(0.0, ge=0, le=1)
    brightness: float = Field(0.3, ge=0)
    """Standard deviation of an added constant."""
    brightness_probability: float = Field(0.0, ge=0, le=1)
    blur: PositiveRange = (0.5, 1.5)
    """Range of the Gaussian's standard deviation in pixels."""
    blur_probability: float = Field(0.0, ge=0, le=1)
    noise: float = Field(0.15, ge=0)
    """Largest standard deviation of added Gaussian noise."""
    noise_probability: float = Field(0.0, ge=0, le=1)
    low_resolution: ShareRange = (0.5, 1.0)
    """Range of the factor by which the image is reduced and enlarged again."""
    low_resolution_probability: float = Field(0.0, ge=0, le=1)
    bias_field: float = Field(0.3, ge=0)
    """Standard deviation of the logarithm of a smooth multiplicative field."""
    bias_field_probability: float = Field(0.0, ge=0, le=1)
    cutout: float = Field(0.5, ge=0, le=1)
    """Largest side of one erased box as a fraction of the patch."""
    cutout_probability: float = Field(0.0, ge=0, le=1)


@dataclass(frozen=True, kw_only=True)
class Views:
    """What the loader must prepare: one weak view, strong ones, and whether unlabelled images are wanted."""

    weak: WeakView
    strong: tuple[StrongView, ...] = ()
    unlabelled: bool = False


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A share of the training budget.  Batch sizes are totals over all processes."""

    name: str = "train"
    fraction: float = 1.0
    labelled_batch: int
    unlabelled_batch: int = 0
    groups: tuple[str, ...] | None = None
    """Optimisers that may step in this stage; None: all."""
    relabel: bool = False
    """Whether `Method.relabel` writes a bank of pseudo-labels before the stage starts."""
    schedule: str | None = None
    """Learning-rate schedule of this stage over its own steps; None: the run's schedule over the whole budget."""
    part: tuple[float, float] | None = None
    """Shares of its groups' own schedule between which this stage lies, where each stage trains another network; None:
    by the run's clock.  So a rate does not depend on the stages of others."""
    least: int = 0
    """Steps below which the stage cannot do its work."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream of a batch.  Strong views share the weak view's geometry, so one label serves all.

    image (B, C, *S) float32, normalised; strong (V, B, C, *S) float32; valid (B, *S) bool: inside the image and not
    ignored; label (B, *S) int64, None on the unlabelled stream, so that it cannot leak; pseudo (B, *S) int64 and
    weight (B, *S) float32 from the bank of `relabel`, else None; case: `id` or `id:slice` per row.
    """

    image: Tensor
    strong: Tensor
    valid: Tensor
    label: Tensor | None = None
    pseudo: Tensor | None = None
    weight: Tensor | None = None
    case: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> Stream:
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("image", "strong", "valid", "label", "pseudo", "weight")
            if getattr(self, name) is not None
        }
        return replace(self, **moved)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one step sees."""

    labelled: Stream
    unlabelled: Stream | None = None

    def to(self, device: torch.device | str) -> Batch:
        unlabelled = self.unlabelled.to(device) if self.unlabelled is not None else None
        return Batch(labelled=self.labelled.to(device), unlabelled=unlabelled)


@dataclass(frozen=True, kw_only=True)
class Clock:
    """The only notion of time and chance that a method sees; schedules are fractions of the budget.

    `generator` lives on the device of the batch and is seeded from (seed, step, rank), so a step can be repeated alone.
    """

    step: int
    total: int
    stage: str
    stage_step: int
    stage_total: int
    generator: torch.Generator

    @property
    def fraction(self) -> float:
        """Share of the whole budget that is spent, in [0, 1)."""
        return self.step / self.total

    @property
    def stage_fraction(self) -> float:
        """Share of this stage's budget that is spent, in [0, 1)."""
        return self.stage_step / self.stage_total


@dataclass(frozen=True)
class Update:
    """One optimiser update: raw terms are logged, their weighted sum is minimised.

    terms: name -> scalar tensor; weights: name -> factor, 1 where absent; groups: the optimisers that step, None: all;
    log: further numbers (floats or scalar tensors) for the log.
    """

    terms: Mapping[str, Tensor]
    weights: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[str, ...] | None = None
    log: Mapping[str, Tensor | float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pseudo:
    """What `relabel` says of one case on its prepared grid.

    raw and label (D, H, W) uint8 (uint16 over 255 classes): before and after calibration; weight (D, H, W) float16 in
    [0, 1]: how much each voxel counts; info: numbers for the record.
    """

    case: str
    raw: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    info: Mapping[str, float] = field(default_factory=dict)


ROLES = ("labelled", "unlabelled", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Split:
    """Who plays which role.  An entry of `labelled` is `case` or `case:slice`; the others are case ids."""

    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    seed: int = 0

    @cached_property
    def labelled_slices(self) -> dict[str, tuple[int, ...] | None]:
        """case -> its labelled slices on the first axis of the prepared array; None: the whole case."""
        slices: dict[str, tuple[int, ...] | None] = {}
        for entry in self.labelled:
            case, colon, index = entry.rpartition(":")
            if colon and index.isdecimal():
                slices[case] = (*(slices.get(case) or ()), int(index))
            else:
                slices[entry] = None
        return slices

    def cases(self, role: str) -> tuple[str, ...]:
        """The case ids of a role, each once."""
        return tuple(self.labelled_slices) if role == "labelled" else getattr(self, role)
