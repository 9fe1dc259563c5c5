import torch
from torch import nn

from fewmask.methods.pseudo import confident


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
