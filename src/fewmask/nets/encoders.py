"""Encoders of images: that of a segmentation network, or a ResNet (MONAI's) with weights from a local file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fewmask.config import Network
from fewmask.errors import SettingsError
from fewmask.nets import build_from_spec, build_segmenter
from fewmask.nets.segmenter import Segmenter
from fewmask.types import Task

EncoderName = Literal["segmenter", "resnet18", "resnet34", "resnet50", "resnet101"]
LAYERS: dict[str, tuple[str, list[int]]] = {
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet34": ("basic", [3, 4, 6, 3]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
    "resnet101": ("bottleneck", [3, 4, 23, 3]),
}
"""Name -> kind of block, and how many in each of the four stages (He et al., CVPR 2016, table 1)."""
PLANES = (64, 128, 256, 512)
DECODING = ("decoder", "up", "head")
"""What segmentation networks call the parts that encoding does without."""


class Encoder(nn.Module, ABC):
    """image (B, C, *S) -> features, fine to coarse, each level at half the size of the one before, rounded up."""

    channels: tuple[int, ...]
    """Of each level."""
    strides: tuple[int, ...]
    """Voxels of the image per voxel of each level."""
    spec: dict[str, Any]

    @abstractmethod
    def forward(self, image: Tensor) -> tuple[Tensor, ...]: ...


class SegmenterEncoder(Encoder):
    """The encoding half of a segmentation network; the rest of it is let go."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.spec = {"encoder": "segmenter", "segmenter": segmenter.spec}
        for name in DECODING:
            if hasattr(segmenter, name):
                delattr(segmenter, name)
        self.segmenter = segmenter
        self.channels, self.strides = segmenter.encoder_channels, (1, 2, 4, 8, 16)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.segmenter.encode(image)


class ResNetEncoder(Encoder):
    """The five features of a ResNet: after its first convolution and after each of its stages."""

    def __init__(self, name: str, channels: int, dims: int) -> None:
        """name: a key of LAYERS; channels: of the image."""
        super().__init__()
        from monai.networks.nets.resnet import ResNet  # costs over a second, and most methods do without

        block, layers = LAYERS[name]
        self.spec = {"encoder": name, "channels": channels, "dims": dims}
        self.resnet = ResNet(
            block=block,
            layers=layers,
            block_inplanes=list(PLANES),
            spatial_dims=dims,
            n_input_channels=channels,
            conv1_t_stride=2,
            shortcut_type="B",
            bias_downsample=False,
            feed_forward=False,
        )
        widen = 4 if block == "bottleneck" else 1
        self.channels = (PLANES[0], *(widen * planes for planes in PLANES))
        self.strides = (2, 4, 8, 16, 32)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        net = self.resnet
        features = [net.act(net.bn1(net.conv1(image)))]
        x = net.maxpool(features[0])
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = stage(x)
            features.append(x)
        return tuple(features)

    def load(self, path: Path) -> None:
        """Take the weights of a classifier of pictures from a safetensors file.

        Keys are the usual ones (conv1.weight, layer1.0.conv1.weight, ...); a classification layer is left out.  A first
        convolution for RGB is summed for grey images, and spread evenly over other counts.  Raises SettingsError.
        """
        try:
            stored = load_file(path)
        except FileNotFoundError:
            raise SettingsError(f"method.encoder_weights={path}: no such file; nothing is downloaded") from None
        except (SafetensorError, OSError) as error:
            raise SettingsError(
                f"method.encoder_weights={path}: not readable as safetensors ({error}); convert it, see "
                "docs/methods/proto_diff.md"
            ) from None
        stored = {key: value for key, value in stored.items() if not key.startswith("fc.")}
        own = self.resnet.state_dict()
        if "conv1.weight" in stored and stored["conv1.weight"].ndim == own["conv1.weight"].ndim:
            stored["conv1.weight"] = _stem(stored["conv1.weight"], own["conv1.weight"].shape[1])
        for key, value in own.items():
            if key.endswith("num_batches_tracked"):
                stored.setdefault(key, value)
            elif key not in stored:
                raise SettingsError(f"method.encoder_weights={path}: no '{key}'; these are not weights of this encoder")
            elif stored[key].shape != value.shape:
                raise SettingsError(
                    f"method.encoder_weights={path}: '{key}' is {tuple(stored[key].shape)}, the encoder's "
                    f"{tuple(value.shape)}; choose the encoder that the weights are of"
                )
        if not own["conv1.weight"].is_meta:
            self.resnet.load_state_dict({key: stored[key] for key in own})


def _stem(weight: Tensor, channels: int) -> Tensor:
    """(F, C, ...) for `channels` in place of C: the same response to an image whose channels are all alike."""
    if weight.shape[1] == channels:
        return weight
    return weight.sum(1, keepdim=True).expand(-1, channels, *weight.shape[2:]) / channels


def build_encoder(name: str, weights: str | None, network: Network, task: Task) -> Encoder:
    """`segmenter`: the encoder of `network`; else a ResNet, with the weights of a file if one is given.

    Raises SettingsError.
    """
    if name == "segmenter":
        if weights is not None:
            raise SettingsError(
                f"method.encoder_weights={weights}: for ResNets alone; choose one as method.encoder: "
                f"{', '.join(LAYERS)}"
            )
        return SegmenterEncoder(build_segmenter(network, task))
    encoder = ResNetEncoder(name, task.channels, task.dims)
    if weights is not None:
        encoder.load(Path(weights))
    return encoder


def encoder_from_spec(spec: Mapping[str, Any]) -> Encoder:
    """The encoder that an `Encoder.spec` describes, freshly initialised."""
    settings = dict(spec)
    name = settings.pop("encoder")
    if name == "segmenter":
        return SegmenterEncoder(build_from_spec(settings["segmenter"]))
    return ResNetEncoder(name, **settings)
