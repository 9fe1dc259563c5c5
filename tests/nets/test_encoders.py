"""Encoders: what they announce, weights from a file, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file

from fewmask.config import Network
from fewmask.errors import SettingsError
from fewmask.nets.encoders import build_encoder, encoder_from_spec
from fewmask.types import Task


def task(channels: int = 1, *size: int) -> Task:
    return Task(channels=channels, classes=2, names=("background", "organ"), patch_size=size or (33, 47))


def build(name: str, weights: str | None = None, channels: int = 1, size: tuple[int, ...] = (), network: str = "unet"):
    torch.manual_seed(0)
    return build_encoder(name, weights, Network(name=network, width=2), task(channels, *size))


@pytest.mark.parametrize(
    ("name", "network", "size"),
    [
        ("segmenter", "unet", (33, 47)),
        ("segmenter", "vnet", (17, 18, 19)),
        ("resnet18", "unet", (33, 47)),
        ("resnet50", "unet", (40, 41)),
        ("resnet18", "unet", (17, 18, 19)),
    ],
)
def test_features_are_as_announced(name, network, size):
    encoder = build(name, channels=2, size=size, network=network).eval()
    image = torch.randn(2, 2, *size)
    features = encoder(image)
    assert tuple(feature.shape[1] for feature in features) == encoder.channels
    for feature, stride in zip(features, encoder.strides, strict=True):
        assert list(feature.shape[2:]) == [-(-side // stride) for side in size]
    twin = encoder_from_spec(encoder.spec).eval()
    twin.load_state_dict(encoder.state_dict())
    assert torch.equal(twin(image)[-1], features[-1])


def test_nothing_idle_is_kept():
    encoder = build("segmenter")
    encoder(torch.randn(2, 1, 33, 47))[-1].sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize("channels", [3, 1, 2])
def test_weights_of_a_classifier_of_pictures(tmp_path, channels):
    """An image whose channels are alike is seen as the RGB network sees it."""
    rgb = build("resnet18", channels=3).eval()
    path = tmp_path / "resnet18.safetensors"
    stored = {key: value.clone() for key, value in rgb.resnet.state_dict().items() if "num_batches" not in key}
    save_file({**stored, "fc.weight": torch.zeros(1000, 512)}, path)
    torch.manual_seed(7)
    encoder = build("resnet18", str(path), channels=channels).eval()
    grey = torch.randn(1, 1, 33, 47)
    torch.testing.assert_close(
        encoder(grey.expand(-1, channels, -1, -1))[-1], rgb(grey.expand(-1, 3, -1, -1))[-1], atol=1e-4, rtol=1e-4
    )


def test_what_cannot_be_loaded_is_refused(tmp_path):
    absent = tmp_path / "absent.safetensors"
    with pytest.raises(SettingsError, match="no such file; nothing is downloaded"):
        build("resnet18", str(absent))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"PK\x03\x04 a pickle in a zip")
    with pytest.raises(SettingsError, match="not readable as safetensors"):
        build("resnet18", str(broken))
    other = tmp_path / "other.safetensors"
    save_file({key: value.clone() for key, value in build("resnet50").resnet.state_dict().items()}, other)
    with pytest.raises(SettingsError, match=r"'layer1.0.conv1.weight' is \(64, 64, 1, 1\), the encoder's"):
        build("resnet18", str(other))
    save_file({"weight": torch.zeros(3)}, other)
    with pytest.raises(SettingsError, match="these are not weights of this encoder"):
        build("resnet18", str(other))
    with pytest.raises(SettingsError, match=r"for ResNets alone; choose one as method\.encoder"):
        build("segmenter", str(other))


def test_a_trial_without_memory_says_the_same(tmp_path):
    good = tmp_path / "resnet18.safetensors"
    save_file({key: value.clone() for key, value in build("resnet18", channels=3).resnet.state_dict().items()}, good)
    with torch.device("meta"):
        assert next(build("resnet18", str(good)).parameters()).is_meta
