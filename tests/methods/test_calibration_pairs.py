"""Pairs: how many of which kind, what is left alone, and that nothing of the segmenter changes."""

import pytest
import torch

from fewmask.config import Network
from fewmask.methods.calibration_pairs import PairSource, _shares
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
    pairs = source.make(Calibrator(**settings), made, background, segmenter, said, len(made.label) * 6 // 10, generator)
    assert all(torch.equal(one, state[name]) for name, one in segmenter.state_dict().items())
    assert not any(one.requires_grad for one in (pairs.p, *pairs.features))
    return pairs, segmenter


def wrong(pairs) -> torch.Tensor:
    return (pairs.p.argmax(1) != pairs.label).flatten(1).float().mean(1)


def dropped(pairs) -> torch.Tensor:
    return (pairs.features[0] == 0).all(1).flatten(1).float().mean(1)


def test_each_kind_alone(made):
    """An untrained network errs everywhere, damage in places, right labels are softened at their borders alone."""
    made = Sample(*(one.repeat(4, *[1] * (one.ndim - 1)) for one in made))  # damage spares some rows
    networks, _ = make(made, network_errors=1.0, unchanged=0.0, matching=False)
    damage, _ = make(made, network_errors=0.0, unchanged=0.0, matching=False)
    right, _ = make(made, network_errors=0.0, unchanged=1.0, matching=False)
    for pairs in (networks, damage, right):
        torch.testing.assert_close(pairs.p.sum(1), torch.ones(24, *SIZE))
        assert {len(one) for one in pairs.features} == {24}
    assert float(wrong(networks).min()) > 0.1 and float(wrong(right).max()) < 0.03
    assert float(wrong(damage).max()) > 0.03
    assert float(dropped(networks).max()) < 0.1
    assert all(0.15 < float(dropped(pairs).mean()) < 0.45 for pairs in (damage, right))


def test_shares_hold_for_few_rows_too():
    """Of two rows a tenth is none when it is rounded; drawn, it is one in five steps."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor([_shares((0.6, 0.1), 2, generator) for _ in range(2000)], dtype=torch.float32)
    assert counts.mean(0).tolist() == pytest.approx([1.2, 0.2], abs=0.05)
    assert float(counts.sum(1).max()) <= 2


def test_no_pair_is_drawn_twice(made):
    numbered = made._replace(valid=made.valid.clone())
    for row in range(10):
        numbered.valid[row, 0, : row + 1] = False
    for matching in (True, False):
        pairs, _ = make(numbered, matching=matching)
        assert len((~pairs.valid).flatten(1).sum(1).unique()) == 6


def test_pairs_drawn_again_stay_together(made):
    numbered = made._replace(label=made.label.clone())
    numbered.label[:, 0, 0] = torch.arange(10) % 3
    pairs, _ = make(numbered, network_errors=0, unchanged=1)
    known = pairs.p.argmax(1)[:, 2:-2, 2:-2] == pairs.label[:, 2:-2, 2:-2]
    assert float(known.float().mean()) > 0.97 and len(pairs.p) == 6


@pytest.mark.parametrize("network", ["unet", "vnet"])
def test_earlier_states_err_with_dropout_of_every_kind(made, network):
    """Of the same corrupted images two passes differ by dropout alone; the V-Net drops whole channels."""
    torch.manual_seed(0)
    segmenter = build_segmenter(Network(name=network, width=4), TASK).eval()
    source = PairSource(segmenter, 1, 2)
    one, other = (source._erring(made, made.image, segmenter, torch.Generator().manual_seed(1))[0] for _ in range(2))
    assert not torch.equal(one, other)
    assert not any(module.training for module in segmenter.modules())
