import pytest
import torch
from torch.nn.functional import interpolate

from fewmask.restore import native_rows


@pytest.mark.parametrize("shape", [(9, 17, 23), (30, 31, 14), (5, 40, 9), (1, 17, 23), (9, 12, 12)])
def test_equals_trilinear_resizing_of_the_whole(shape):
    probabilities = torch.randn(3, 9, 17, 23)
    blocks = probabilities.split([4, 1, 4], dim=1)
    found = torch.stack(list(native_rows(blocks, 9, shape)), dim=1)
    expected = interpolate(probabilities[None], size=shape, mode="trilinear", align_corners=False)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_same_grid_is_untouched():
    probabilities = torch.rand(2, 5, 7, 9)
    found = torch.stack(list(native_rows([probabilities], 5, (5, 7, 9))), dim=1)
    assert torch.equal(found, probabilities)


def test_blocks_are_asked_for_only_when_needed():
    asked = []

    def blocks():
        for index in range(6):
            asked.append(index)
            yield torch.rand(2, 1, 4, 4)

    rows = native_rows(blocks(), 6, (12, 4, 4))
    next(rows)
    assert asked == [0]
    next(rows), next(rows)
    assert asked == [0, 1]
