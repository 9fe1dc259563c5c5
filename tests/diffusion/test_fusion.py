"""Fusion, weights and fall-back, on maps small enough to be read."""

import pytest
import torch
from torch.nn.functional import one_hot

from fewmask.diffusion.fusion import Fused, Trust, agreement, blend, fuse, overlap


def probabilities(label: list[int], sure: float = 0.97, classes: int = 3) -> torch.Tensor:
    """(1, K, 1, N) with `sure` for the label."""
    p = one_hot(torch.tensor(label), classes).float()
    return (p * sure + (1 - p) * (1 - sure) / (classes - 1)).T[None, :, None]


ALL = torch.ones(1, 1, 1, 4)
SURE = torch.ones(1)


def fused(p: torch.Tensor, q: torch.Tensor, agreement: torch.Tensor = SURE, gate: torch.Tensor = ALL, **given) -> Fused:
    """With the calibration alone, unless `share` says otherwise."""
    return fuse(p, q, gate, agreement, **{"share": 1.0, "omega": 0.5, "trust": Trust(), **given})


def test_blending_is_a_geometric_mean():
    p, q = probabilities([0, 1, 2, 1], 0.6), probabilities([1, 1, 0, 2], 0.8)
    for share in (0.0, 0.3, 1.0):
        product = p ** (1 - share) * q**share
        torch.testing.assert_close(blend(p, q, share), product / product.sum(1, keepdim=True))
    assert torch.equal(blend(p, q, 0.0).argmax(1), p.argmax(1))


def test_weights_are_one_where_both_agree_and_less_where_they_do_not():
    p, new = probabilities([0, 1, 2, 1]), probabilities([0, 1, 1, 1], 0.9)
    found = fused(p, new)
    assert found.p.argmax(1).flatten().tolist() == [0, 1, 1, 1]
    assert found.weight.flatten().tolist() == pytest.approx([1, 1, 0.45, 1])
    less = fused(p, new, SURE * 0.85)
    assert less.weight.flatten().tolist() == pytest.approx([0.85, 0.85, 0.3825, 0.85])
    left_out = fused(p, new, omega=0.0)
    assert left_out.weight.flatten().tolist() == [1, 1, 0, 1]


def test_what_calibration_doubts_counts_less_even_where_the_label_prevails():
    """2.9: w = 1 where argmax q = argmax p, whatever their product says; omega 0 leaves every disagreement out."""
    p, q = probabilities([0, 1, 1, 0], 0.98), probabilities([0, 1, 2, 0], 0.6)
    found = fused(p, q, share=0.5)
    assert found.p.argmax(1).flatten().tolist() == [0, 1, 1, 0]
    won = float(found.p[0, 1, 0, 2])
    assert found.weight.flatten().tolist() == pytest.approx([1, 1, 0.5 * won, 1])
    assert fused(p, q, share=0.5, omega=0.0).weight.flatten().tolist() == [1, 1, 0, 1]


def test_without_agreement_the_label_stays_and_counts_where_it_is_sure():
    p, new = torch.cat([probabilities([0, 1]), probabilities([2, 1], 0.6)], 3), probabilities([0, 2, 1, 1])
    found = fused(p, new, SURE * 0.79)
    assert torch.equal(found.p, p)
    assert found.weight.flatten().tolist() == pytest.approx([0.3, 0.3, 0, 0])


def test_a_new_class_needs_agreement_and_another_that_was_there():
    sure = Trust(born=0.05)
    p, new = probabilities([0, 1, 1, 0], 0.99), probabilities([0, 1, 1, 2])
    born = fused(p, new, SURE * 0.95, trust=sure).p.argmax(1).flatten().tolist()
    unborn = fused(p, new, SURE * 0.85, trust=sure).p.argmax(1).flatten().tolist()
    assert (born, unborn) == ([0, 1, 1, 2], [0, 1, 1, 0])
    empty = probabilities([0, 0, 0, 0], 0.99)
    assert not fused(empty, new, trust=sure).p.argmax(1).any(), "empty stays empty"
    shut = fused(p, new, gate=ALL * 0, trust=sure)
    assert shut.p.argmax(1).flatten().tolist() == [0, 1, 1, 0], "nothing is in the gate, so nothing is new"


def test_overlap_counts_present_classes_and_what_is_known():
    one, other = torch.tensor([[0, 1, 1, 2]]), torch.tensor([[0, 1, 0, 2]])
    valid = torch.ones(1, 4, dtype=torch.bool)
    assert float(overlap(one, other, valid, 4)) == pytest.approx((2 / 3 + 1) / 2)
    assert float(overlap(one, other, torch.tensor([[True, True, False, True]]), 4)) == 1
    assert float(overlap(one * 0, other * 0, valid, 4)) == 1
    assert float(overlap(one * 0, other, valid, 4)) == 0


@pytest.mark.parametrize("size", [(33, 40), (12, 30, 34)])
def test_a_labeller_that_moves_with_its_image_agrees_and_a_stubborn_one_does_not(size):
    image = torch.zeros(2, 1, *size)
    box = (slice(None), slice(None), *[slice(length // 4, length // 2 + 2) for length in size])
    image[box] = 1
    follows = agreement(lambda view: (view[:, 0] > 0.5).long(), image, (image[:, 0] > 0.5).long(), 2)
    assert float(follows.min()) > 0.85
    generator = torch.Generator().manual_seed(0)

    def guess(view):
        return torch.randint(2, (len(view), *size), generator=generator)

    assert float(agreement(guess, image, guess(image), 2).max()) < 0.6
    fixed = (image[:, 0] > 0.5).long()
    assert float(agreement(lambda view: fixed, image, fixed, 2).max()) < float(follows.min())


def test_nothing_anywhere_agrees():
    image = torch.full((3, 1, 9, 11), 2.0)
    found = agreement(lambda view: torch.zeros(3, 9, 11, dtype=torch.int64), image, torch.zeros(3, 9, 11).long(), 3)
    assert found.tolist() == [1, 1, 1]
