import pytest
import torch

from fewmask.methods.whole_case import ROWS, whole_maps


@pytest.mark.parametrize(("size", "patch"), [((12, 14), (12, 14)), ((20, 31), (12, 14)), ((9, 20, 13), (12, 8, 8))])
def test_maps_of_a_pointwise_function_are_those_of_the_whole(size, patch):
    image, seen = torch.randn(ROWS + 3, 1, *size), []

    def of_patch(rows: torch.Tensor) -> torch.Tensor:
        seen.append((len(rows), rows.shape[2:]))
        return torch.cat([rows, 2 * rows + 1], 1)

    found = whole_maps(of_patch, image, patch)
    torch.testing.assert_close(found, of_patch(image), rtol=1e-4, atol=1e-5)
    assert all(count <= ROWS and shape == torch.Size(patch) for count, shape in seen[:-1])
