"""Both readings of the label latent: grids, an oracle that is found again, and what a rejected label leaves behind."""

import pytest
import torch
import torch.nn.functional as F

from fewmask.config import Network
from fewmask.nets.encoders import build_encoder
from fewmask.nets.label_encoder import LabelEncoderNetwork
from fewmask.nets.label_latent import Said, TableNetwork, coarsened, nearest
from fewmask.types import Task

SIZE = (17, 23)


def table(stride: int = 2, **settings) -> TableNetwork:
    torch.manual_seed(0)
    task = Task(channels=1, classes=4, names=("background", "a", "b", "c"), patch_size=SIZE)
    encoder = build_encoder("segmenter", None, Network(width=2), task)
    given = {"scale": 0.01, "schedule": "cosine", "estimate": "hard", "space": "latent", "diffuse": True, **settings}
    return TableNetwork(encoder, classes=4, dims=2, stride=stride, channels=16, layers=1, **given).eval()


def encoder() -> LabelEncoderNetwork:
    torch.manual_seed(0)
    return LabelEncoderNetwork(
        channels=1, classes=4, dims=2, width=2, schedule="cosine", space="latent", diffuse=True, normalisation="group"
    ).eval()


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_the_latents_grid_is_the_features(stride):
    net = table(stride)
    features = net.features(torch.randn(1, 1, *SIZE))
    assert net.latent_shape(SIZE) == tuple(features.shape[1:]) == (16, *coarsened(SIZE, stride))


@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("estimate", ["hard", "soft"])
def test_an_oracle_is_found_again(monkeypatch, steps, estimate):
    """Specification 9.3: logits that are the true label give the label for every number of steps."""
    net = table(estimate=estimate)
    label = torch.randint(0, 4, (2, 9, 12))
    logits = 100.0 * F.one_hot(label, 4).movedim(-1, 1)
    monkeypatch.setattr(net.classifier, "forward", lambda r: logits)
    features = net.features(torch.randn(2, 1, *SIZE))
    said = net.sample(features, torch.randn(2, 16, 9, 12), steps)
    assert torch.equal(said.logits.argmax(1), label)
    torch.testing.assert_close(said.clean, net.table(label), atol=1e-4, rtol=0)


@pytest.mark.parametrize("net", [table(), encoder()], ids=["table", "encoder"])
def test_a_rejected_label_leaves_nothing(net):
    features = net.features(torch.randn(1, 1, *SIZE))
    one, other = (torch.randint(0, 4, (1, *SIZE), generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    nothing, all_ = torch.zeros(1, *SIZE, dtype=torch.bool), torch.ones(1, *SIZE, dtype=torch.bool)
    assert torch.equal(net.latent(one, nothing, features), net.latent(other, nothing, features))
    assert not torch.equal(net.latent(one, all_, features), net.latent(other, all_, features))


@pytest.mark.parametrize("net", [table(), encoder()], ids=["table", "encoder"])
def test_rows_are_repeated_next_to_each_other(net):
    image = torch.randn(2, 1, *SIZE)
    noise = torch.randn(4, *net.latent_shape(SIZE))
    snr = torch.zeros(4)
    twice: Said = net.denoise(net.repeated(net.features(image), 2), noise, snr)
    for row in range(4):
        alone = net.denoise(net.features(image[row // 2 : row // 2 + 1]), noise[row : row + 1], snr[:1])
        torch.testing.assert_close(twice.logits[row], alone.logits[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(twice.q.norm(dim=1), torch.ones(4, *twice.q.shape[2:]))
    assert twice.clean.shape == noise.shape


def test_directions_of_the_feature_see_no_noise():
    net = table(space="feature")
    features = net.features(torch.randn(1, 1, *SIZE))
    one, other = (net.denoise(features, torch.randn(1, 16, 9, 12), torch.zeros(1)) for _ in range(2))
    assert torch.equal(one.q, other.q) and not torch.equal(one.logits, other.logits)


def test_nearest_takes_the_middle_of_odd_cells():
    line = torch.tensor([[[0, 1, 2, 3, 4, 5]]])
    assert nearest(line, (1, 2)).tolist() == [[[1, 4]]]
    assert nearest(line > 2, (1, 2)).tolist() == [[[False, True]]]
