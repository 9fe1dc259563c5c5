"""Method: what every semi-supervised algorithm of fewmask is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator
from torch import nn

from fewmask.config import Network, Settings, merge
from fewmask.predictors import Predictor, SegmenterPredictor
from fewmask.types import Batch, Clock, Pseudo, Stage, Stream, StrongView, Task, Update, Views, WeakView


class MethodConfig(Settings):
    """Settings that all methods share."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named sets of defaults; a method that has some also has a field `preset`, whose value fills what is not given."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if not cls.PRESETS or not isinstance(values, Mapping):
            return values
        name = values.get("preset", cls.model_fields["preset"].default)
        preset = cls.PRESETS.get(name, {}) if isinstance(name, str) else {}
        return merge([("", preset), ("", values)])[0]

    segmenter: Network = Network()
    weak: WeakView = WeakView(rotation=None, scale=(0.7, 1.4), shift=0.05, elastic=0.03)
    """Geometry, after nnU-Net (Isensee et al., Nature Methods 2021, supplement 4)."""
    strong: StrongView = StrongView(
        gamma_probability=0.3,
        contrast_probability=0.3,
        brightness_probability=0.3,
        blur_probability=0.2,
        noise_probability=0.2,
        low_resolution_probability=0.2,
        bias_field_probability=0.3,
    )
    """Photometric change of labelled and unlabelled strong views; nnU-Net's set and a bias field."""
    labelled_batch: int = Field(12, ge=1)
    """Labelled samples in a step, over all processes."""


class SemiSupervisedConfig(MethodConfig):
    """Settings of methods that also look at unlabelled images."""

    unlabelled_batch: int | None = Field(None, ge=1)
    """Unlabelled samples in a step, over all processes; None: as many as labelled ones."""
    burn_in: float = Field(0.25, ge=0, lt=1)
    """Share of the budget that is spent on labelled images alone, before a network's opinion of others is worth
    anything."""


class Method(nn.Module, ABC):
    """One algorithm: its networks, its losses, and nothing else.

    All state is parameters and buffers, so `state_dict()` is the complete method.  A method sees tensors and a clock;
    it knows no files, no devices and no optimisers.
    """

    Config: ClassVar[type[MethodConfig]]
    config: MethodConfig
    task: Task
    least_shown: ClassVar[int] = 0
    """Labelled voxels of each class on the prepared grid without which a run is refused, unless `config.allow_missing`
    names the class; 0: a class may be missing."""

    @abstractmethod
    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Yield once per optimiser update; the line after a yield runs with the updated weights."""

    @abstractmethod
    def predictor(self) -> Predictor:
        """Everything that inference needs, and nothing else.  Shares its networks with the method."""

    def views(self) -> Views:
        """What the loader must prepare."""
        return Views(weak=self.config.weak, strong=(self.config.strong,))

    def stages(self) -> tuple[Stage, ...]:
        """The parts of the budget; one by default."""
        return (Stage(labelled_batch=self.config.labelled_batch),)

    def groups(self) -> dict[str, nn.Module]:
        """Optimiser name -> the module whose parameters it updates.  Covers every trainable parameter exactly once."""
        return {"segmenter": self.segmenter}

    def relabel(self, cases: Iterable[Stream], clock: Clock) -> Iterator[Pseudo]:
        """Pseudo-labels of whole unaugmented cases; called at the start of each stage with `relabel=True`.

        Each stream holds one case: image (D, C, H, W) in 2-D, (1, C, D, H, W) in 3-D.
        """
        raise TypeError(f"{type(self).__name__} has a stage with relabel=True but no relabel()")

    def lower(self) -> str:
        """What else to lower where memory is full, to end that message with."""
        return ""

    def members(self) -> dict[str, Predictor]:
        """Further opinions on an image, for the trust in a mask: name -> predictor that shares networks with this.

        By default the weights that are trained, where an average of them predicts; a method whose network is called
        other than `segmenter` says which these are.
        """
        return {"student": SegmenterPredictor(self.segmenter)}

    def audit(self) -> dict[str, Predictor]:
        """Variant -> predictor of its pseudo-labels; empty: it makes none.

        First the labels as they are, then what the method makes of them (`raw`, `rectified`) or another network's; the
        others are controls.
        """
        return {}


class SemiSupervised(Method):
    """A method with a burn-in on labelled images alone, then both streams."""

    config: SemiSupervisedConfig

    def views(self) -> Views:
        return Views(weak=self.config.weak, strong=(self.config.strong,), unlabelled=True)

    def stages(self) -> tuple[Stage, ...]:
        labelled, burn_in = self.config.labelled_batch, self.config.burn_in
        unlabelled = self.config.unlabelled_batch or labelled
        train = Stage(fraction=1 - burn_in, labelled_batch=labelled, unlabelled_batch=unlabelled)
        return (Stage(name="burn-in", fraction=burn_in, labelled_batch=labelled), train) if burn_in else (train,)
