import torch

from fewmask.rows import per_row


def test_a_value_a_row_of_any_rank():
    values, image = torch.tensor([1.0, 2.0]), torch.ones(2, 3, 4, 5)
    assert (per_row(values, image) * image).flatten(1).mean(1).tolist() == [1, 2]
    assert per_row(values, image).shape == (2, 1, 1, 1)
