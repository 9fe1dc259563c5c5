import pytest
import torch
from torch import nn

from fewmask.methods.pseudo import confident, update_confidence


class Fixed(nn.Module):
    """Logits that are the logarithms of given probabilities."""

    def __init__(self, probabilities: torch.Tensor) -> None:
        super().__init__()
        self.probabilities = probabilities

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.probabilities.log()


PROBABILITIES = torch.tensor([[0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.34, 0.33, 0.33]]).T.reshape(1, 3, 1, 3)


def test_what_is_doubted_is_dropped_and_not_turned_into_background():
    label, keep, probabilities = confident(Fixed(PROBABILITIES), torch.zeros(1, 1, 1, 3), 0.6)
    assert label.tolist() == [[[0, 1, 0]]] and keep.tolist() == [[[True, True, False]]]
    torch.testing.assert_close(probabilities, PROBABILITIES)


def test_each_class_may_have_its_own_threshold():
    thresholds = torch.tensor([0.95, 0.6, 0.6])
    _, keep, _ = confident(Fixed(PROBABILITIES), torch.zeros(1, 1, 1, 3), thresholds)
    assert keep.tolist() == [[[False, True, False]]]


def test_confidence_is_the_moving_mean_over_each_class_s_voxels():
    confidence = torch.ones(3)
    label = PROBABILITIES.argmax(1)
    valid = torch.tensor([[[True, True, True]]])
    update_confidence(confidence, PROBABILITIES, label, valid, decay=0.5)
    # class 0 wins twice (0.9 and 0.34), class 1 once (0.7), class 2 never
    assert confidence.tolist() == pytest.approx([0.5 + 0.5 * 0.62, 0.5 + 0.5 * 0.7, 1.0])
    update_confidence(confidence, PROBABILITIES, label, torch.zeros_like(valid), decay=0.5)
    assert confidence.tolist() == pytest.approx([0.81, 0.85, 1.0])
