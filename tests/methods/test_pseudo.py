import pytest
import torch
from torch import nn

from fewmask.methods.pseudo import clear_of_the_least, confident, label_distance


class Fixed(nn.Module):
    """Logits that are the logarithms of given probabilities."""

    def __init__(self, probabilities: torch.Tensor) -> None:
        super().__init__()
        self.probabilities = probabilities

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.probabilities.log()


PROBABILITIES = torch.tensor([[0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.34, 0.33, 0.33]]).T.reshape(1, 3, 1, 3)


def test_what_is_doubted_is_dropped_and_not_turned_into_background():
    label, keep = confident(Fixed(PROBABILITIES), torch.zeros(1, 1, 1, 3), 0.6)
    assert label.tolist() == [[[0, 1, 0]]] and keep.tolist() == [[[True, True, False]]]


def test_the_released_rule_drops_only_nearly_uniform_voxels():
    """(max - min) / max > 0.8: (.4, .3, .25, .05) passes, (.1, .3, .35, .25) does not."""
    p = torch.tensor([[0.4, 0.3, 0.25, 0.05], [0.05, 0.3, 0.4, 0.25], [0.1, 0.3, 0.35, 0.25]])
    label, keep = clear_of_the_least(p.T.reshape(1, 4, 1, 3), 0.8)
    assert label.tolist() == [[[0, 2, 2]]] and keep.tolist() == [[[True, True, False]]]


def test_label_distance_is_one_minus_dice_over_all_classes():
    one = torch.tensor([[[0, 0, 1, 1]], [[2, 2, 2, 2]]])
    other = torch.tensor([[[0, 1, 1, 1]], [[2, 2, 2, 2]]])
    assert float(label_distance(one, one, 3)) == pytest.approx(0, abs=1e-5)
    # row 0: Dice 2/3 and 4/5, class 2 in neither; row 1: equal
    rows = label_distance(one, other, 3, per_sample=True)
    assert rows.tolist() == pytest.approx([(1 / 3 + 1 / 5) / 3, 0.0], abs=1e-5)
    assert float(label_distance(one, other, 3)) == pytest.approx((1 / 3 + 1 / 5) / 3, abs=1e-5)
    assert torch.equal(label_distance(one, other, 3), label_distance(other, one, 3))
    disjoint = label_distance(torch.zeros(1, 4, 4, dtype=torch.int64), torch.ones(1, 4, 4, dtype=torch.int64), 2)
    assert float(disjoint) == pytest.approx(1, abs=1e-5)
