"""Settings of Caudo-Diff; all are inferred, for the paper's abstract names no number (docs/methods/caudo_diff.md)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fewmask.config import Settings, ShareRange
from fewmask.diffusion.calibration import Variant
from fewmask.diffusion.fusion import Trust
from fewmask.methods.base import MethodConfig
from fewmask.methods.ramps import Ramp
from fewmask.methods.synthesis import Synthesis

ONLY_IN = {
    **dict.fromkeys(("blur", "ends", "recycled"), ("bridge",)),
    "start": ("ddim",),
    "samples": ("ddim", "bridge"),
}
"""Settings of the calibrator that only some variants have a place for."""


_PAIRS = ("network_errors", "unchanged", "hide", "matching", "elastic")
_CALIBRATING = (
    *("share", "omega", "infer"),
    *(f"calibrator.{name}" for name in ("variant", "start", "samples", "dropout", *_PAIRS)),
)
_LEARNING = (
    *("perturbed", "cutmix", "cutmix_area"),
    *(f"calibrated_loss.{name}" for name in Ramp.model_fields),
    *(f"trust.{name}" for name in Trust.model_fields),
)
FOREIGN = {
    "calibrated": (),
    "raw": (*_CALIBRATING, *(f"trust.{name}" for name in Trust.model_fields if name != "confidence")),
    "none": (*_CALIBRATING, *_LEARNING),
}
"""Settings that what rounds learn has no place for; the sizes of networks that stay idle may come from a recipe."""


class Budget(Settings):
    """Lengths of the stages in any unit: only their proportions count.  The reconstruction's are 20, 6, 15, 5 times
    3 + 5; these make the networks that are not the segmenter's wait less."""

    autoencoder: float = Field(8.0, gt=0)
    gate: float = Field(0.5, gt=0)
    """In which the autoencoder is measured and nothing is trained."""
    warm_up: float = Field(15.0, gt=0)
    """Of the segmentation network on labelled and synthetic images; a short run needs half of its steps before its
    labels are worth learning."""
    calibrator: float = Field(7.5, gt=0)
    rounds: int = Field(3, ge=1)
    tune: float = Field(2.0, gt=0)
    """Of the calibrator, at the beginning of a round."""
    train: float = Field(5.0, gt=0)
    """Of the segmentation network, in a round."""


class Autoencoder(Settings):
    """The label autoencoder (2.5)."""

    width: int | None = Field(None, ge=1)
    """Channels of its finest level; None: the segmenter's."""
    halvings: int | None = Field(None, ge=1, le=3)
    """Of the sides down to the latent; None: 3 where the longest side is 192 or more, 2 from 112 on, else 1."""
    channels: int = Field(8, ge=1)
    """Of the latent (4 in the reconstruction, for larger pictures)."""
    batch: int | None = Field(None, ge=1)
    """Label maps in a step, made of `labelled_batch` ones and rounded up to a multiple of them; None: twice as many."""
    noise: float = Field(0.2, ge=0)
    """Largest deviation of the noise that latents are decoded under while it learns."""
    gate: float = Field(0.9, ge=0, le=1)
    """Dice that every class must reach on fresh synthetic labels, else the run stops (0.985 in the reconstruction's
    longer stage)."""


class Calibrator(Settings):
    """Guide and denoiser (2.6 to 2.8)."""

    variant: Variant = "ddim"
    width: int | None = Field(None, ge=1)
    """Channels of the denoiser's finest level; None: twice the segmenter's for each halving of the latent."""
    guide_width: int | None = Field(None, ge=1)
    """Channels of each feature in the guide; None: twice the segmenter's."""
    batch: int | None = Field(None, ge=1)
    """Pairs in a step, drawn of twice as many that are made; None: twice `labelled_batch`."""
    start: float = Field(0.6, gt=0, le=1)
    """Share of the noise levels at which ddim starts; 1: nothing of the label is left in the first state."""
    samples: int = Field(1, ge=1)
    """Calls of the denoiser (10 in the reconstruction; further ones made labels worse wherever it was measured)."""
    dropout: float = Field(0.1, ge=0, lt=1)
    ema: float = Field(0.99, ge=0, lt=1)
    """Decay of the average that calibrates (0.999 in the reconstruction's longer stages)."""
    network_errors: float = Field(0.6, ge=0, le=1)
    """Share of pairs whose label an earlier state of the segmenter made of a corrupted image."""
    unchanged: float = Field(0.1, ge=0, le=1)
    """Share of pairs with a right label; the others are damaged by hand."""
    hide: float = Field(0.1, ge=0, le=1)
    """Probability that the guide is hidden, and that the label's latent is."""
    matching: bool = True
    """Whether pairs are drawn as often as labels of their kind occur on unlabelled images."""
    elastic: ShareRange = (0.02, 0.07)
    """Deformation of the pairs' images and of the autoencoder's label maps, beyond what the segmenter trains on."""
    blur: float = Field(0.5, ge=0)
    """bridge: noise on the path."""
    ends: float = Field(0.5, ge=0, le=1)
    """bridge: share of training states at the label's end."""
    recycled: float = Field(0.5, ge=0, le=1)
    """bridge: share of the others on the way to the network's own answer."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.network_errors + self.unchanged > 1:
            raise ValueError("network_errors and unchanged are shares of the same pairs; together at most 1")
        foreign = [name for name, variants in ONLY_IN.items() if self.variant not in variants]
        self.refuse_given(foreign, f"variant={self.variant}")
        return self


class CaudoDiffConfig(MethodConfig):
    """Section numbers are those of the reconstruction that docs/methods/caudo_diff.md quotes."""

    labels: Literal["calibrated", "raw", "none"] = "calibrated"
    """What rounds learn: calibrated labels; the network's own, where it is sure (plain self-training, the control of
    2.10); none: labelled and synthetic images alone."""
    unlabelled_batch: int | None = Field(None, ge=1)
    """Unlabelled samples in a step; None: as many as labelled ones."""
    budget: Budget = Budget()
    synthesis: Synthesis = Synthesis()
    autoencoder: Autoencoder = Autoencoder()
    calibrator: Calibrator = Calibrator()
    trust: Trust = Trust()
    blind: float = Field(0.4, ge=0, le=1)
    """Share of the warm-up in which the network's suspicion is not asked for (2000 of 6000 steps in the
    reconstruction): until then it misses too much."""
    share: ShareRange = (0.5, 0.9)
    """Share of the calibration in the product of probabilities, in the first and in the last round (2.9)."""
    omega: ShareRange = (0.3, 0.8)
    """Weight of voxels where the calibration's winner is not the label's, in the first and in the last round; 0: they
    are left out."""
    calibrated_loss: Ramp = Ramp()
    """Weight of the unlabelled terms over all rounds together (2.10)."""
    perturbed: float = Field(0.5, ge=0)
    """Weight beside it of the term under dropped features (UniMatch)."""
    cutmix: float = Field(0.5, ge=0, le=1)
    """Probability that a strong view carries a box of another one."""
    cutmix_area: ShareRange = (0.02, 0.4)
    """Range of the box's share of the image (UniMatch's values)."""
    ema: float = Field(0.99, ge=0, lt=1)
    """Decay of the segmenter's average, which labels and predicts."""
    infer: Literal["segmenter", "calibrated"] = "segmenter"
    """What predicts: the segmenter's average, or its calibrated label."""
    allow_missing: tuple[str, ...] = ()
    """Classes that the labelled images may lack: what nobody shows cannot be learnt, so each is to be named."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.refuse_given(FOREIGN[self.labels], f"labels={self.labels}")
        for switch, idle in (("cutmix", "cutmix_area"), ("blind", "synthesis.box")):
            if not getattr(self, switch):
                self.refuse_given((idle,), f"{switch}=0")
        return self
