"""Segmentation by denoising a latent of the label map, given features of the image; the latent is a table's row.

After DDP (Ji et al., ICCV 2023).  What the paper of `proto_diff` diffuses was not at hand; nets/label_encoder.py holds
the other reading.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewmask.diffusion import continuous
from fewmask.diffusion.continuous import Schedule
from fewmask.nets.blocks import CONVOLUTION, norm
from fewmask.nets.encoders import Encoder, encoder_from_spec
from fewmask.nets.feature_pyramid import FeaturePyramid
from fewmask.nets.label_table import LabelTable
from fewmask.nets.map_denoiser import MapDenoiser

Estimate = Literal["hard", "soft"]
"""What the sampler takes for z0: the latent of the winning class, or the mean latent under the probabilities."""
Space = Literal["latent", "feature", "embedding"]
"""Where directions are taken, and prototypes lie: in the denoised latent; in the image's feature, which no noise has
touched; in the denoised latent, with the rows of the label table as prototypes."""


class Said(NamedTuple):
    """What the denoiser says of a noised latent."""

    logits: Tensor
    """(B, K, *S'), on the latent's grid or a finer one."""
    q: Tensor
    """Unit directions (B, d, *S') float32 on the latent's grid."""
    clean: Tensor
    """z0-hat (B, d, *S')."""


class LabelLatentNetwork(nn.Module, ABC):
    """image -> features, once; then as many denoising steps of a label's latent as wanted."""

    spec: dict[str, Any]
    width: int
    """Channels of the finest level, by which memory is estimated."""
    latent_channels: int
    schedule: Schedule
    diffuse: bool

    @abstractmethod
    def features(self, image: Tensor) -> Any:
        """image (B, C, *S) -> what `latent`, `denoise` and `auxiliary` need of it."""

    @abstractmethod
    def repeated(self, features: Any, times: int) -> Any:
        """Every row's features `times` times, next to each other."""

    @abstractmethod
    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """*S of an image -> (d, *S') of its label's latent."""

    @abstractmethod
    def latent(self, label: Tensor, valid: Tensor, features: Any) -> Tensor:
        """z0 (B, d, *S') of label (B, *S) int64; where valid (B, *S) is False, that of `unknown`."""

    @abstractmethod
    def denoise(self, features: Any, z: Tensor, snr: Tensor) -> Said:
        """z (B, d, *S') float32; log SNR (B,)."""

    @abstractmethod
    def auxiliary(self, features: Any) -> Tensor:
        """Logits (B, K, *S'') from the features alone: one pass, no noise."""

    def noised(self, z0: Tensor, snr: Tensor, noise: Tensor) -> Tensor:
        """z_t (B, d, *S'); zeros where nothing is diffused, which is the control of equal size."""
        return continuous.add_noise(z0, snr, noise) if self.diffuse else torch.zeros_like(noise)

    def sample(self, features: Any, noise: Tensor, steps: int) -> Said:
        """What is said at the last of `steps` deterministic steps from noise (B, d, *S')."""
        if not self.diffuse:
            start = continuous.log_snr(torch.ones(len(noise), device=noise.device), self.schedule)
            return self.denoise(features, torch.zeros_like(noise), start)
        said: list[Said] = []

        def find_clean(z: Tensor, snr: Tensor) -> Tensor:
            said[:] = [self.denoise(features, z, snr)]
            return said[0].clean

        continuous.sample(find_clean, noise, steps, self.schedule)
        return said[0]


class TableNetwork(LabelLatentNetwork):
    """The latent of a label map is a table's row at each voxel of a grid `stride` times as coarse as the image.

    An encoder and a neck see the image; the denoiser sees what they found beside the noised latent.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        classes: int,
        dims: int,
        stride: int,
        channels: int,
        layers: int,
        scale: float,
        schedule: Schedule,
        estimate: Estimate,
        space: Space,
        diffuse: bool,
    ) -> None:
        """stride: one of the encoder's; channels: of latent, feature and direction, d; layers: of the denoiser; scale:
        of the latent, b; diffuse: False shows the denoiser zeros in the latent's place, always."""
        super().__init__()
        self.spec = {
            "latent": "table",
            "encoder": encoder.spec,
            "classes": classes,
            "dims": dims,
            "stride": stride,
            "channels": channels,
            "layers": layers,
            "scale": scale,
            "schedule": schedule,
            "estimate": estimate,
            "space": space,
            "diffuse": diffuse,
        }
        self.stride, self.latent_channels = stride, channels
        self.schedule, self.estimate, self.space, self.diffuse = schedule, estimate, space, diffuse
        finest = encoder.strides.index(stride)
        # for each voxel of the image, a block holds about eight features of its own grid's
        self.width = encoder.channels[0] // encoder.strides[0] ** dims + -(-8 * channels // stride**dims)
        self.encoder, self.first = encoder, finest
        self.neck = FeaturePyramid(dims, encoder.channels[finest:], channels)
        self.table = LabelTable(classes, channels, scale)
        self.denoiser = MapDenoiser(dims, channels, layers)
        self.classifier = CONVOLUTION[dims](channels, classes, 1)
        self.directions = Directions(dims, channels, channels)
        self.helper = nn.Sequential(
            CONVOLUTION[dims](channels, channels, 3, padding=1),
            norm("batch", dims, channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            CONVOLUTION[dims](channels, classes, 1),
        )

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> TableNetwork:
        return cls(encoder_from_spec(spec.pop("encoder")), **spec)

    def features(self, image: Tensor) -> Tensor:
        return self.neck(self.encoder(image)[self.first :])

    def repeated(self, features: Tensor, times: int) -> Tensor:
        return features.repeat_interleave(times, dim=0)

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (self.latent_channels, *coarsened(shape, self.stride))

    def latent(self, label: Tensor, valid: Tensor, features: Tensor) -> Tensor:
        size = features.shape[2:]
        return self.table(nearest(label, size), nearest(valid, size))

    def denoise(self, features: Tensor, z: Tensor, snr: Tensor) -> Said:
        r = self.denoiser(features, z, snr)
        logits = self.classifier(r)
        if self.estimate == "soft":
            clean = self.table.expected(logits.float().softmax(1))
        else:
            clean = self.table(logits.argmax(1))
        return Said(logits, self.directions(features if self.space == "feature" else r), clean)

    def auxiliary(self, features: Tensor) -> Tensor:
        return self.helper(features)


class Directions(nn.Module):
    """(B, channels, *S) -> unit vectors (B, d, *S) float32: two 1-convolutions, layer norm, L2 norm (as ProtoSeg)."""

    def __init__(self, dims: int, channels: int, width: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[dims]
        self.project = nn.Sequential(
            convolution(channels, width, 1), nn.ReLU(inplace=True), convolution(width, width, 1)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        q = self.project(x).float().movedim(1, -1)
        with torch.autocast(x.device.type, enabled=False):  # a contrast at temperature 0.1 needs its digits
            return F.normalize(self.norm(q), dim=-1).movedim(-1, 1)


def nearest(x: Tensor, size: Sequence[int]) -> Tensor:
    """A map (B, *S) of any type -> (B, *size), the nearest value of each."""
    return F.interpolate(x.unsqueeze(1).float(), size=tuple(size), mode="nearest-exact").squeeze(1).to(x.dtype)


def coarsened(shape: Sequence[int], stride: int) -> tuple[int, ...]:
    """The grid that `stride`, a power of two, leaves of `shape`: halved again and again, rounded up."""
    return tuple(-(-side // stride) for side in shape)
