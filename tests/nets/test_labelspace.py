"""Colours: the released tables, and no two alike."""

import pytest
import torch

from fewmask.nets.labelspace import class_colours, coloured


@pytest.mark.parametrize(
    ("classes", "table"),
    [
        (2, [[0, 0, 0], [1, 1, 1]]),
        (3, [[0, 0, 0], [1, 0, 0], [0, 1, 0]]),
        (4, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    ],
)
def test_the_released_tables(classes, table):
    assert class_colours(classes).tolist() == table


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 7, 25, 26, 40, 200])
def test_no_two_classes_look_alike(classes):
    table = class_colours(classes)
    assert table.shape == (classes, 3)
    assert table.min() >= 0 and table.max() <= 1
    assert torch.pdist(table).min() > 0.01


@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7)])
def test_a_map_keeps_its_shape_and_can_be_read_back(shape):
    table = class_colours(6)
    label = torch.randint(0, 6, (2, *shape))
    image = coloured(label, table)
    assert image.shape == (2, 3, *shape)
    distance = (image.unsqueeze(1) - table.view(1, 6, 3, *[1] * len(shape))).abs().sum(2)
    assert torch.equal(distance.argmin(1), label)
