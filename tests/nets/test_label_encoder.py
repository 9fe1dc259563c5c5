"""The label encoder: its grid, what its auxiliary path sees, and colours that no class shares with `unknown`."""

import pytest
import torch

from fewmask.nets.label_encoder import LabelEncoderNetwork


def build(classes: int = 4, dims: int = 2, **settings) -> LabelEncoderNetwork:
    torch.manual_seed(0)
    given = {"schedule": "cosine", "space": "latent", "diffuse": True, "normalisation": "group", **settings}
    return LabelEncoderNetwork(channels=1, classes=classes, dims=dims, width=2, **given).eval()


@pytest.mark.parametrize("size", [(17, 23), (33, 16), (9, 17, 11)])
def test_the_latents_grid_is_what_is_announced(size):
    net = build(dims=len(size))
    label, valid = torch.zeros(2, *size, dtype=torch.int64), torch.ones(2, *size, dtype=torch.bool)
    features = net.features(torch.randn(2, 1, *size))
    z0 = net.latent(label, valid, features)
    assert tuple(z0.shape[1:]) == net.latent_shape(size)
    said = net.denoise(features, torch.randn(z0.shape), torch.zeros(2))
    assert said.logits.shape == (2, 4, *size) and said.clean.shape == said.q.shape == z0.shape


def test_the_auxiliary_path_sees_the_image_alone():
    net = build()
    image = torch.randn(1, 1, 17, 23)
    features = net.features(image)
    assert torch.equal(net.auxiliary(features), net.auxiliary(net.features(image)))
    assert not torch.equal(net.auxiliary(features), net.auxiliary(net.features(image + 1)))


@pytest.mark.parametrize("classes", [2, 4, 7, 30])
def test_unknown_has_a_colour_of_its_own(classes):
    table = build(classes).table
    assert len(table.unique(dim=0)) == classes + 1


def test_the_control_without_diffusion_has_no_noise():
    net = build(diffuse=False)
    features = net.features(torch.randn(1, 1, 17, 23))
    one, other = (net.sample(features, torch.randn(1, *net.latent_shape((17, 23))), 3).logits for _ in range(2))
    assert torch.equal(one, other)
