"""Pairs: how many of which kind, what is left alone, and that nothing of the segmenter changes."""

import pytest
import torch

from fewmask.config import Network
from fewmask.methods.calibration_pairs import PairSource
from fewmask.methods.caudo_diff_settings import Calibrator
from fewmask.methods.synthesis import Sample
from fewmask.nets import build_segmenter
from fewmask.types import Task

SIZE = (24, 28)
TASK = Task(channels=1, classes=3, names=("b", "x", "y"), patch_size=SIZE)


@pytest.fixture
def made() -> Sample:
    label = torch.zeros(10, *SIZE, dtype=torch.int64)
    label[:, 4:18, 4:20], label[:, 8:12, 9:14] = 1, 2
    image = label.unsqueeze(1).float() + 0.1 * torch.randn(10, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    return Sample(image, label, torch.ones_like(label, dtype=torch.bool))


def make(made: Sample, **settings) -> tuple:
    torch.manual_seed(0)
    segmenter = build_segmenter(Network(width=2), TASK).eval()
    source, generator = PairSource(segmenter, 2, 2), torch.Generator().manual_seed(1)
    state = {name: one.clone() for name, one in segmenter.state_dict().items()}
    background = torch.randn(4, 1, *SIZE, generator=generator)
    said = segmenter(background).detach().softmax(1)
    pairs = source.make(Calibrator(**settings), made, background, segmenter, said, generator)
    assert all(torch.equal(one, state[name]) for name, one in segmenter.state_dict().items())
    assert not any(one.requires_grad for one in (pairs.p, *pairs.features))
    return pairs, segmenter


def test_right_labels_come_last_and_errors_first(made):
    pairs, _ = make(made, network_errors=0.4, unchanged=0.3, matching=False)
    torch.testing.assert_close(pairs.p.sum(1), torch.ones(10, *SIZE))
    wrong = (pairs.p.argmax(1) != made.label).flatten(1).float().mean(1)
    assert float(wrong[:4].min()) > 0.1  # of an untrained network
    assert float(wrong[7:].max()) < 0.03  # softened at their borders alone
    assert float(wrong[4:7].max()) > float(wrong[7:].max())
    assert {len(one) for one in pairs.features} == {10}
    dropped = (pairs.features[0] == 0).all(1).flatten(1).float().mean(1)
    assert float(dropped[:4].max()) < 0.1 and 0.15 < float(dropped[4:].mean()) < 0.45


def test_pairs_drawn_again_stay_together(made):
    numbered = made._replace(label=made.label.clone())
    numbered.label[:, 0, 0] = torch.arange(10) % 3
    pairs, _ = make(numbered, network_errors=0, unchanged=1)
    known = pairs.p.argmax(1)[:, 2:-2, 2:-2] == pairs.label[:, 2:-2, 2:-2]
    assert float(known.float().mean()) > 0.97 and len(pairs.p) == 10


@pytest.mark.parametrize("network", ["unet", "vnet"])
def test_earlier_states_err_with_dropout_of_every_kind(made, network):
    """Of the same corrupted images two passes differ by dropout alone; the V-Net drops whole channels."""
    torch.manual_seed(0)
    segmenter = build_segmenter(Network(name=network, width=4), TASK).eval()
    source = PairSource(segmenter, 1, 2)
    one, other = (source._erring(made, made.image, segmenter, torch.Generator().manual_seed(1))[0] for _ in range(2))
    assert not torch.equal(one, other)
    assert not any(module.training for module in segmenter.modules())


def test_all_kinds_alone(made):
    for settings in ({"network_errors": 1.0, "unchanged": 0.0}, {"network_errors": 0.0, "unchanged": 0.0}):
        pairs, _ = make(made, **settings)
        assert bool(torch.isfinite(pairs.p).all())
