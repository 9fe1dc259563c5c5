"""Losses around prototypes: analytic values, who takes part, and a balanced choice of voxels."""

import math

import pytest
import torch
import torch.nn.functional as F

from fewmask.methods.contrast import balanced, consistency, contrast
from fewmask.nets.prototypes import Prototypes


def anchors(classes: int = 4, channels: int = 8, per_class: int = 1, temperature: float = 0.1) -> Prototypes:
    found = Prototypes(classes, channels, per_class, 0.9, temperature)
    if per_class == 1:
        found.place(torch.eye(classes, channels))
    return found


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_on_its_own_prototype_only_the_temperature_is_left(temperature):
    """ln(1 + (C - 1) exp(-1 / tau)), and no compactness: specification 9.7."""
    found, label = anchors(temperature=temperature), torch.tensor([0, 1, 2, 3])
    loss = contrast(found, torch.eye(4, 8), label, torch.ones(4, dtype=torch.bool), 1.0)
    assert float(loss) == pytest.approx(math.log(1 + 3 * math.exp(-1 / temperature)), rel=2e-3)


def test_compactness_is_one_minus_the_cosine_squared():
    found, q, chosen = anchors(), torch.eye(4, 8)[[1]], torch.ones(1, dtype=torch.bool)
    label = torch.tensor([0])
    apart = contrast(found, q, label, chosen, 2.0) - contrast(found, q, label, chosen, 0.0)
    assert float(apart) == pytest.approx(2.0)


def test_classes_without_a_prototype_take_no_part():
    found, q = anchors(), torch.randn(6, 8, requires_grad=True)
    found.seen[3] = False
    label = torch.tensor([0, 1, 3, 3, 2, 3])
    chosen = torch.tensor([True, False, True, True, True, True])
    loss = contrast(found, F.normalize(q, dim=1), label, chosen, 1.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert q.grad.isfinite().all() and q.grad.any(1).tolist() == [True, False, False, False, True, False]


def test_nothing_chosen_is_nothing_lost():
    q = torch.randn(3, 8, requires_grad=True)
    loss = contrast(anchors(), q, torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.bool), 1.0)
    loss.backward()
    assert float(loss.detach()) == 0 and not q.grad.any()


def test_the_nearest_of_several_is_the_target():
    found = anchors(2, 4, per_class=2)
    found.vectors.copy_(torch.eye(4).view(2, 2, 4))
    found.seen.fill_(True)
    q = torch.eye(4)[[1]]  # the second of class 0
    loss = contrast(found, q, torch.tensor([0]), torch.ones(1, dtype=torch.bool), 0.0)
    assert float(loss) == pytest.approx(math.log(1 + 3 * math.exp(-10)), rel=1e-3)


def test_agreement_costs_nothing_and_disagreement_is_the_divergence():
    found = anchors()
    q, teachers = (F.normalize(torch.randn(5, 8), dim=1) for _ in range(2))
    weight = torch.rand(5)
    assert float(consistency(found, q, q, weight)) == pytest.approx(0, abs=1e-6)
    ours, theirs = (torch.log_softmax(rows[:, :4] / 0.1, 1) for rows in (q, teachers))
    each = F.kl_div(ours, theirs, log_target=True, reduction="none").sum(1)
    expected = (weight * each).sum() / weight.sum()
    torch.testing.assert_close(consistency(found, q, teachers, weight), expected)
    found.seen[2] = False
    assert torch.isfinite(consistency(found, q, teachers, weight))


def test_classes_have_equal_parts_and_the_background_the_rest():
    label = torch.zeros(2, 20, 20, dtype=torch.int64)
    label[0, :10, :10], label[0, 10, :5], label[1, 15:] = 1, 2, 1
    valid = torch.ones_like(label, dtype=torch.bool)
    valid[1, :, 10:] = False
    chosen = balanced(label, valid, 4, 0.25, torch.Generator().manual_seed(0))
    counts = [[int((chosen[row] & (label[row] == kind)).sum()) for kind in range(4)] for row in range(2)]
    assert counts == [[62, 33, 5, 0], [50, 50, 0, 0]]
    assert not (chosen & ~valid).any()
    again = balanced(label, valid, 4, 0.25, torch.Generator().manual_seed(1))
    assert not torch.equal(again, chosen)
