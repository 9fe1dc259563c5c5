"""Damage: nothing at level 0, more with the level, and every kind of it as large as it says."""

import pytest
import torch

from fewmask.diffusion.fusion import overlap
from fewmask.methods.damage import _centre, _grown, corrupted, damaged, softened, widened_label
from fewmask.methods.synthesis import widened

SIZES = [(40, 46), (20, 24, 22)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rings(size: tuple[int, ...], rows: int) -> torch.Tensor:
    axes = torch.stack(torch.meshgrid(*[torch.arange(float(length)) for length in size], indexing="ij"))
    middle = torch.tensor([(length - 1) / 2 for length in size]).view(-1, *[1] * len(size))
    distance = ((axes - middle) / min(size)).square().sum(0).sqrt()
    return ((distance < 0.35).long() + (distance < 0.2)).expand(rows, *size).clone()


@pytest.mark.parametrize("size", SIZES)
def test_level_zero_is_the_label(size):
    label = rings(size, 6)
    assert torch.equal(damaged(label, 3, torch.zeros(6), seeded()), label)


@pytest.mark.parametrize("size", SIZES)
def test_damage_grows_with_the_level(size):
    label, valid = rings(size, 24), torch.ones(24, *size, dtype=torch.bool)
    dice = [
        float(overlap(damaged(label, 3, torch.full((24,), level), seeded(1)), label, valid, 3).mean())
        for level in (0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    assert dice == sorted(dice, reverse=True)
    assert dice[0] > 0.9 and 0.3 < dice[-1] < 0.95, dice


@pytest.mark.parametrize("size", SIZES)
def test_growing_by_a_radius_is_widening_by_it(size):
    mask = rings(size, 3) == 2
    grown = _grown(mask, torch.tensor([0, 1, 3]))
    for row, radius in enumerate((0, 1, 3)):
        assert torch.equal(grown[row], widened(mask, radius)[row])


def test_the_centre_is_the_centre_of_mass():
    mask = torch.zeros(2, 11, 13, dtype=torch.bool)
    mask[0, 2:5, 7:12] = True
    torch.testing.assert_close(_centre(mask), torch.tensor([[3 - 5.0, 9 - 6.0], [0.0, 0.0]]))


def test_softened_probabilities_keep_the_label_away_from_borders():
    label = rings((40, 46), 8)
    p = softened(label, 3, seeded())
    torch.testing.assert_close(p.sum(1), torch.ones(8, 40, 46))
    edge = torch.stack([widened(label == kind, 2) for kind in range(3)]).sum(0) > 1
    assert torch.equal(p.argmax(1)[~edge], label[~edge])
    assert float(p.amax(1)[edge].min()) < 0.9 < float(p.amax(1)[~edge].min())


def test_a_class_spreads_into_background_alone():
    label = torch.zeros(1, 5, 9, dtype=torch.int64)
    label[:, :, 0], label[:, :, 8] = 1, 2
    assert widened_label(label, 2)[0, 0].tolist() == [1, 1, 1, 0, 0, 0, 2, 2, 2]


@pytest.mark.parametrize("size", SIZES)
def test_corruption_leaves_some_rows_alone_and_none_infinite(size):
    image = torch.randn(16, 2, *size, generator=seeded(3))
    found = corrupted(image, torch.randn(16, 2, *size, generator=seeded(4)), seeded())
    assert bool(torch.isfinite(found).all()) and found.shape == image.shape
    changed = (found - image).abs().flatten(1).amax(1) > 1e-4
    assert int(changed.sum()) >= 8
    flat = corrupted(torch.zeros(4, 1, *size), None, seeded())
    assert bool(torch.isfinite(flat).all())


def test_no_rows_are_no_rows():
    assert damaged(torch.zeros(0, 8, 9, dtype=torch.int64), 3, torch.zeros(0), seeded()).shape == (0, 8, 9)
