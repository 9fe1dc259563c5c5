"""What every segmentation network promises: shapes, the three steps, settings and specs."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from fewmask.config import Network
from fewmask.errors import DataError, SettingsError
from fewmask.nets import SEGMENTERS, build_from_spec, build_segmenter
from fewmask.types import Task


def task(*size: int, channels: int = 1, classes: int = 3) -> Task:
    names = tuple(f"class {index}" for index in range(classes))
    return Task(channels=channels, classes=classes, names=names, patch_size=size)


def build(name: str, *size: int, **settings):
    torch.manual_seed(0)
    channels, classes = settings.pop("channels", 1), settings.pop("classes", 3)
    network = Network(name=name, **{"width": 4, **settings})
    return build_segmenter(network, task(*size, channels=channels, classes=classes))


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("size", [(17, 23), (32, 16), (1, 19), (5, 17, 23), (1, 16, 16)])
def test_any_size_works_and_channels_are_as_announced(name, size):
    net = build(name, *size, channels=2).eval()
    pyramid = net.encode(torch.randn(2, 2, *size))
    features = net.decode(pyramid)
    assert tuple(level.shape[1] for level in pyramid) == net.encoder_channels
    assert tuple(feature.shape[1] for feature in features) == net.decoder_channels
    for level, feature in zip(reversed(pyramid[:-1]), features, strict=True):
        assert feature.shape == level.shape
    for fine, coarse in pairwise(pyramid):
        assert list(coarse.shape[2:]) == [(length + 1) // 2 for length in fine.shape[2:]]
    assert net.classify(features[-1]).shape == (2, 3, *size)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_forward_is_the_three_steps(name):
    net = build(name, 20, 20).eval()
    image = torch.randn(2, 1, 20, 20)
    assert torch.equal(net(image), net.classify(net.decode(net.encode(image))[-1]))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_every_parameter_gets_a_gradient(name):
    net = build(name, 17, 23, normalisation="group")
    net(torch.randn(2, 1, 17, 23)).square().mean().backward()
    silent = [key for key, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert silent == []


@pytest.mark.parametrize("name", SEGMENTERS)
def test_dropout_can_be_scaled_down_to_none(name):
    image = torch.randn(2, 1, 16, 16)
    with_dropout, without = build(name, 16, 16), build(name, 16, 16, dropout=0)
    assert not torch.equal(with_dropout(image), with_dropout(image))
    assert torch.equal(without(image), without(image))


@pytest.mark.parametrize("name", SEGMENTERS)
def test_group_normalisation_keeps_rows_apart(name):
    net = build(name, 16, 16, normalisation="group", dropout=0)
    image = torch.randn(3, 1, 16, 16)
    assert torch.allclose(net(image)[1:2], net(image[1:2]), atol=1e-5)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_channels_last_gives_the_same(name):
    net = build(name, 17, 23, dropout=0)
    image = torch.randn(2, 1, 17, 23)
    expected = net(image)
    net = net.to(memory_format=torch.channels_last)
    assert torch.allclose(net(image.contiguous(memory_format=torch.channels_last)), expected, atol=1e-4)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_spec_rebuilds_the_network(name):
    net = build(name, 5, 16, 16, channels=3, classes=4, normalisation="group", dropout=0.3).eval()
    twin = build_from_spec(net.spec).eval()
    assert twin.spec == net.spec
    image = torch.randn(1, 3, 5, 16, 16)
    assert not torch.equal(twin(image), net(image))
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin(image), net(image))


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(SettingsError, match="unknown network 'unett'; did you mean 'unet'"):
        build("unett", 16, 16)
    with pytest.raises(DataError, match="the model's network is 'resnet'; this version of fewmask knows unet, vnet"):
        build_from_spec({"name": "resnet"})
    with pytest.raises(DataError, match="does not fit this version"):
        build_from_spec({"name": "unet", "depth": 3})
