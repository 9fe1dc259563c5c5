"""Settings of DiffRect: the published code's quirks, each a field, and the preset that has them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fewmask.config import written
from fewmask.methods.base import SemiSupervisedConfig
from fewmask.methods.ramps import Ramp
from fewmask.nets.denoiser import Entrance
from fewmask.nets.rectifier import Skips
from fewmask.types import ShareRange, StrongView, WeakView


class DiffRectConfig(SemiSupervisedConfig):
    """Section, B and D numbers count the findings of a review of the released code; docs/methods/diffrect.md says what
    each is."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "corrected": {},
        "released": {
            "burn_in": 0.0,
            "base": "released",
            "confidence": "ratio",
            "threshold": 0.8,
            "uncertain": "background",
            "strong_loss": {"peak": 0.1, "length": 1.0, "stairs": 200},
            "complementary": True,
            "entrance": "last_skip",
            "standardise": False,
            "clamp": True,
            "skips": "label",
            "sampling": "train",
            "guidance": "batch",
            "latent_rows": "all",
            "coarse_target": "mixed",
            "coarse_loss": {"peak": 0.1, "length": 1.0, "stairs": 200},
            "rectified_share": {"peak": 0.0},
            "rectified_loss": {"peak": 1.0, "start": 1 / 30, "length": 0.0},
            "cutmix": 0.0,
            "labelled_batch": 3,
            "weak": WeakView(rotation=180).model_dump(),
            "strong": StrongView(
                contrast=(1.0, 1.1),
                contrast_probability=0.5,
                brightness=0.05,
                brightness_probability=0.5,
                blur=(0.01, 1.0),
                blur_probability=0.5,
            ).model_dump(),
        },
    }

    preset: Literal["corrected", "released"] = "corrected"
    """released: the published code with all its quirks; each field below can still be set."""

    # the segmenter
    base: Literal["averaged", "released"] = "averaged"
    """averaged: as in FixMatch, an averaged teacher labels the weak view, and the rectifier with it; the student learns
    true and pseudo-labels on strong views, in one update.  released: the student labels itself; it learns true labels
    on the weak view, raw ones on the strong view, and in a second update rectified ones on the weak view."""
    ema: float = Field(0.99, ge=0, lt=1)
    """Decay of the averages of segmenter and rectifier (base averaged)."""
    confidence: Literal["probability", "ratio"] = "probability"
    """What must pass `threshold`: the highest probability, or (highest - lowest) / highest (section 1.3)."""
    threshold: float = Field(0.5, ge=0, lt=1)
    """That of `fixmatch`."""
    uncertain: Literal["ignore", "background"] = "ignore"
    """What becomes of voxels that do not pass (section 5.2, B5)."""
    strong_loss: Ramp = Ramp(peak=0.3)
    """Weight of the pseudo-labels on the strong view; that of `fixmatch`."""
    complementary: bool = False
    """The complementary terms of section 1.4 (B6)."""
    cutmix: float = Field(0.5, ge=0, le=1)
    """Probability that a strong view carries a box of another one (base averaged)."""
    cutmix_area: ShareRange = (0.02, 0.4)
    """Range of the box's share of the image."""
    rectified_share: Ramp = Ramp(peak=0.5, start=0.6, length=0.2)
    """Share of the rectified label in the probabilities whose winner is learnt as pseudo-label; 0: the raw label alone
    (base averaged).  Late, for at first rectified labels are worse than raw ones (docs/results/acdc-diffrect.md)."""
    rectified_loss: Ramp = Ramp(peak=0.0, start=0.6, length=0.2)
    """Weight of the rectified labels as a term of their own (B8)."""

    infer: Literal["segmenter", "rectified"] = "segmenter"
    """What predicts in the end; rectified: the mean that was learnt from, at three times the cost."""

    # the rectifier
    width: int | None = Field(None, ge=1)
    """Channels of its finest level; None: half the segmenter's; base released: as the segmenter's."""
    diffuse: bool = True
    """False: a plain network of equal size in the denoiser's place, the control that the paper lacks."""
    times: int = Field(10, ge=2)
    """Diffusion steps T."""
    samples: int = Field(2, ge=1)
    """Times that DDIM visits."""
    start: float = Field(1.0, gt=0, le=1)
    """Share of T at which sampling starts, from the noised latent of the raw label; 1: from noise (section 1.7)."""
    entrance: Entrance = "input"
    """Where the condition enters the denoiser (B1)."""
    standardise: bool = True
    """Bring latents to mean 0 and variance 1 per channel (B2)."""
    clamp: bool = False
    """Cut sampled latents to [-1, 1] (B2)."""
    skips: Skips = "image"
    """What the decoder sees beside the latent (B4)."""
    colours: bool = True
    """Labels as colours (section 1.5a), else one channel a class."""
    sampling: Literal["eval", "train"] = "eval"
    """eval: the rectifier's average without dropout; train: as it is trained (B10); audits then take the running
    statistics of sampling alone."""
    guidance: Literal["usual", "sample", "batch"] = "usual"
    """Distance of each label from a better one that is known, and what stands for it where none is, when the label of
    an unlabelled image is rectified: usual: what it was of late in labelled rows; sample: how far the other view's
    label is; batch: one number for all rows, known or not, that of the labelled ones together; of the unlabelled ones
    in the released strong -> weak (B7)."""
    latent_rows: Literal["own", "all"] = "own"
    """Rows of the latent error, and so rows that are computed: labelled ones weak -> truth and unlabelled ones
    strong -> weak, or all in both (D4)."""
    coarse_target: Literal["raw", "rectified", "mixed"] = "raw"
    """Which weak label strong -> weak aims at; mixed: raw in the latent, rectified at the voxels (B11)."""
    coarse_loss: Ramp = Ramp()
    """Weight of strong -> weak (D5)."""

    @classmethod
    def _default(cls, name: str) -> Any:
        return cls.model_fields[name].default

    @model_validator(mode="after")
    def _belongs(self) -> Self:
        """Refuse what the chosen base has no place for: an option that does nothing would be mistaken for one."""
        if self.base == "released":
            foreign = {
                "cutmix": self.cutmix > 0,
                "burn_in": self.burn_in > 0,
                "rectified_share": self.rectified_share.peak > 0,
                "ema": self.sampling == "train" and self.ema != self._default("ema"),
                "cutmix_area": self.cutmix_area != self._default("cutmix_area"),
            }
        else:
            foreign = {
                "complementary": self.complementary,
                "latent_rows": self.latent_rows == "all",
                "coarse_target": self.coarse_target == "mixed",
            }
        if self.rectified_share.peak > 1:
            raise ValueError(f"rectified_share.peak={self.rectified_share.peak:g}: a share is at most 1")
        if self.samples > self.times:
            raise ValueError(f"samples={self.samples} of times={self.times} diffusion steps; at most {self.times}")
        if not self.diffuse:
            self.refuse_given(("times", "samples", "start"), "diffuse=false")
        if self.guidance == "batch" and self.sampling == "eval" and self.segmenter.normalisation == "batch":
            raise ValueError(
                "guidance=batch with sampling=eval: batch norm takes out a guidance that all rows share while training "
                "and leaves it in when sampling, which spoils labels; set guidance=usual, sampling=train, or "
                "segmenter.normalisation=group"
            )
        unheard = not self.rectified_share.peak and not self.rectified_loss.peak
        if self.base == "averaged" and self.coarse_target == "rectified" and not self.coarse_loss.peak:
            raise ValueError("coarse_target=rectified aims at nothing with coarse_loss.peak=0; leave one out")
        if self.base == "averaged" and self.coarse_target == "rectified" and unheard:
            raise ValueError("coarse_target=rectified needs rectified labels; set rectified_share or rectified_loss")
        for name, given in foreign.items():
            if given:
                told = getattr(self, name)
                told = f".peak={told.peak:g}" if isinstance(told, Ramp) else f"={written(told)}"
                raise ValueError(f"{name}{told} has no place in base={self.base}; leave it out")
        return self
