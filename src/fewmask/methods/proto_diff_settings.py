"""Settings of `proto_diff`.  Numbers in brackets: rows of docs/methods/proto_diff.md; all of them are inferred."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fewmask.config import Settings, ShareRange
from fewmask.diffusion.continuous import Schedule
from fewmask.methods.base import SemiSupervisedConfig
from fewmask.methods.ramps import Ramp
from fewmask.nets.encoders import EncoderName
from fewmask.nets.label_latent import Estimate, Space
from fewmask.predictors.label_latent import Source

TABLE_ALONE = (
    "encoder",
    "encoder_weights",
    *(f"latent.{name}" for name in ("dim", "stride", "scale", "layers")),
    *(f"diffusion.{name}" for name in ("target", "x0")),
)
"""Settings that label_latent=encoder has no place for: it has an encoder, a width and a loss of its own."""
DIFFUSED_ALONE = (
    *("latent.scale", "diffusion.x0", "diffusion.self_aligned"),
    *("sampler.steps", "sampler.samples", "pseudo.steps"),
)
"""Settings of what diffuse=false leaves out."""


def _power_of_two(number: int) -> int:
    if number & (number - 1):
        raise ValueError("choose 1, 2, 4, 8 or 16")
    return number


class ProtoDiffConfig(SemiSupervisedConfig):
    """Defaults are of a size that a CPU trains; recipe proto_diff-ddp holds DDP's."""

    class Latent(Settings):
        """The table's latent, which is diffused (2, 3)."""

        dim: int = Field(32, ge=16, multiple_of=16)
        """Width d of latent, image feature and prototype; DDP 256."""
        stride: Annotated[int, AfterValidator(_power_of_two)] = Field(2, ge=1, le=16)
        """Voxels of the image per voxel of the latent; DDP 4, of far larger pictures than the CPU tier's."""
        scale: float = Field(0.01, gt=0)
        """Over 0.1, noise hides no label and wrong pseudo-labels are copied."""
        layers: int = Field(3, ge=1)
        """Blocks of the denoiser; DDP 6."""

    class Diffusion(Settings):
        """The process and what is learnt from it (4, 5)."""

        schedule: Schedule = "cosine"
        target: Literal["logits", "latent"] = "logits"
        """What the denoiser is judged by: cross entropy of its class logits, or the squared error of the mean latent
        under them."""
        x0: Estimate = "hard"
        """What the sampler takes for z0; soft ones keep doubt, so that samples differ more."""
        self_aligned: float = Field(0.0, ge=0, le=1)
        """Share of the budget, at its end, in which the labelled images' latents are those of the network's own first
        answer (DDP)."""

    class Sampler(Settings):
        """Prediction (6)."""

        steps: int = Field(3, ge=1)
        samples: int = Field(1, ge=1)
        """Averaged within an image; more of them at prediction: `fewmask predict --samples`."""

    class Prototypes(Settings):
        """Anchors (8 to 14)."""

        space: Space = "latent"
        per_class: int = Field(1, ge=1)
        """Over 1, a class's voxels are dealt out evenly (Sinkhorn)."""
        source: Literal["labelled", "confident"] = "labelled"
        """confident: gated unlabelled voxels move prototypes, too, with a tenth of the weight."""
        momentum: float = Field(0.99, ge=0, lt=1)
        """ProtoSeg 0.999: for a rare class that is a memory of thousands of batches."""
        temperature: float = Field(0.1, gt=0)
        """ClusterNet's."""
        compactness: float = Field(1.0, ge=0)
        """Weight of (1 - cosine)^2 beside the contrast."""
        consistency: float = Field(1.0, ge=0)
        """Weight of the teacher's posterior over prototypes beside the contrast."""
        weight: float = Field(0.1, ge=0)
        """Of all of it; 0: no prototype loss.  ProtoSeg and ClusterNet 0.01."""
        share: float = Field(0.25, gt=0, le=1)
        """Of an image's latent voxels that contrast at most, in equal parts per class, the rest background."""

    class Pseudo(Settings):
        """Pseudo-labels (16, 18)."""

        steps: int = Field(3, ge=1)
        """Sampler steps of the teacher."""
        t_min: float = Field(0.05, ge=0, lt=0.999)
        """Least noise on a pseudo-label: under it the noised latent spells the label out."""

    class Gate(Settings):
        """Which of them count (17); the others enter the latent as `unknown`."""

        threshold: float = Field(0.95, ge=0, lt=1)
        agreement: bool = True
        """The nearest prototype must be of the classifier's class.  Nothing passes before two classes have one."""

    label_latent: Literal["table", "encoder"] = "table"
    """What is diffused (1): a table's rows, or the bottleneck of a label encoder (as DiffRect), which has no place for
    `latent`, `encoder`, `encoder_weights`, `diffusion.target` and `diffusion.x0`."""
    encoder: EncoderName = "segmenter"
    """Of the image (7): that of `segmenter`, or a ResNet, for which `segmenter` says nothing."""
    encoder_weights: str | None = None
    """A safetensors file with weights of that ResNet; nothing is downloaded."""
    latent: Latent = Latent()
    diffusion: Diffusion = Diffusion()
    diffuse: bool = True
    """False: the control without diffusion.  The denoiser sees zeros in the latent's place; all else is equal."""
    sampler: Sampler = Sampler()
    proto: Prototypes = Prototypes()
    pseudo: Pseudo = Pseudo()
    gate: Gate = Gate()
    ema: float = Field(0.99, ge=0, lt=1)
    """Decay of the teacher, which labels and predicts; 0: the weights themselves (15)."""
    pseudo_loss: Ramp = Ramp(peak=0.3)
    """Weight of what is learnt from pseudo-labels: that of `fixmatch`, at 1 there it blurs what was learned well."""
    dice_weight: float = Field(1.0, ge=0)
    """Of Dice beside cross entropy; 0: cross entropy alone, as DDP (19)."""
    auxiliary: float = Field(0.4, ge=0)
    """Weight of the auxiliary head, which sees no noise (DDP)."""
    cutmix: float = Field(0.5, ge=0, le=1)
    """Probability that a strong view carries a box of another one (20)."""
    cutmix_area: ShareRange = (0.02, 0.4)
    """Range of the box's share of the image (UniMatch's values)."""
    predict_from: Source = "classifier"
    """Who predicts: aux is the ablation without diffusion at prediction."""
    allow_missing: tuple[str, ...] = ()
    """Classes that may be without a labelled pixel, by name; they get no prototype and are not found."""

    @model_validator(mode="after")
    def _fit(self) -> ProtoDiffConfig:
        if self.proto.space == "embedding" and (self.label_latent == "encoder" or self.proto.per_class > 1):
            raise ValueError(
                "proto.space=embedding takes the rows of the label table for prototypes, one a class; "
                "use label_latent=table and proto.per_class=1, or another space"
            )
        if self.predict_from == "aux" and not self.auxiliary:
            raise ValueError("predict_from=aux needs the auxiliary head; give method.auxiliary a weight over 0")
        if self.label_latent == "encoder":
            self.refuse_given(TABLE_ALONE, "label_latent=encoder")
        if not self.diffuse:
            self.refuse_given(DIFFUSED_ALONE, "diffuse=false")
        return self
