import math

import pytest
import torch

from fewmask.methods.mixing import _sides, boxes, paste, placed_boxes


def draw(shape, probability=1.0, area=(0.1, 0.3), seed=0):
    return boxes(shape, probability, area, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(400, 50, 31), (300, 30, 17, 23), (300, 3, 40, 40)])
@pytest.mark.parametrize("area", [(0.02, 0.4), (0.3, 0.3), (0.8, 1.0)])
def test_each_row_has_one_filled_box_whose_share_is_in_the_range(shape, area):
    whole, shares = math.prod(shape[1:]), []
    for row in draw(shape, area=area):
        sides = [row.any(dim=[d for d in range(row.ndim) if d != axis]).nonzero() for axis in range(row.ndim)]
        assert row[tuple(slice(int(s.min()), int(s.max()) + 1) for s in sides)].all()
        counts = [len(side) for side in sides]
        assert math.prod(max(0, count - 1) for count in counts) < area[1] * whole * (1 + 1e-5)
        assert math.prod(count + 1 for count in counts) > area[0] * whole
        shares.append(math.prod(counts) / whole)
    assert sum(shares) / len(shares) == pytest.approx(sum(area) / 2, rel=0.1)


@pytest.mark.parametrize("rank", [2, 3])
def test_the_sides_of_a_box_multiply_to_its_share_and_differ_by_no_more_than_two(rank):
    share = torch.linspace(0.02, 1, 1000)
    sides = _sides(share, rank, torch.Generator().manual_seed(0))
    torch.testing.assert_close(sides.prod(0), share)
    assert sides.max() < 1 + 1e-5
    ratio = sides.amax(0) / sides.amin(0)
    assert ratio.max() < 2 + 1e-5 and ratio.max() > 1.8 and torch.allclose(ratio[-1], torch.ones(()))


def test_probability_says_how_many_rows_are_mixed():
    mixed = draw((2000, 9, 9), probability=0.3).flatten(1).any(1).float().mean()
    assert abs(mixed - 0.3) < 0.04
    assert not draw((5, 9, 9), probability=0.0).any()


def test_boxes_repeat_with_the_generator():
    assert torch.equal(draw((4, 9, 9), seed=3), draw((4, 9, 9), seed=3))
    assert not torch.equal(draw((4, 9, 9), seed=3), draw((4, 9, 9), seed=4))


def test_paste_agrees_with_a_naive_loop_and_keeps_images_and_labels_together():
    box = draw((3, 7, 9))
    image, label = torch.randn(3, 2, 7, 9), torch.randint(0, 4, (3, 7, 9))
    other_image, other_label = torch.randn(3, 2, 7, 9), torch.randint(0, 4, (3, 7, 9))
    mixed_image, mixed_label = paste(box, image, other_image), paste(box, label, other_label)
    for row in range(3):
        for y in range(7):
            for x in range(9):
                image_source, label_source = (other_image, other_label) if box[row, y, x] else (image, label)
                assert torch.equal(mixed_image[row, :, y, x], image_source[row, :, y, x])
                assert mixed_label[row, y, x] == label_source[row, y, x]


@pytest.mark.parametrize("shape", [(1000, 30, 17), (1500, 9, 17, 12), (20, 1, 2)])
def test_a_placed_box_has_its_side_on_every_axis_and_reaches_every_place(shape):
    found = placed_boxes(shape, 2 / 3, torch.Generator().manual_seed(0))
    seen = torch.zeros(shape[1:], dtype=torch.bool)
    for row in found:
        sides = [row.any(dim=[d for d in range(row.ndim) if d != axis]).nonzero() for axis in range(row.ndim)]
        assert [len(side) for side in sides] == [max(1, int(2 / 3 * length)) for length in shape[1:]]
        assert row[tuple(slice(int(s.min()), int(s.max()) + 1) for s in sides)].all()
        seen |= row
    assert seen.all()
