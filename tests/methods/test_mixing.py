import torch

from fewmask.methods.mixing import boxes, paste


def draw(shape, probability=1.0, area=(0.1, 0.3), seed=0):
    return boxes(shape, probability, area, torch.Generator().manual_seed(seed))


def test_each_row_has_one_filled_box_of_about_the_asked_area():
    for shape in [(50, 31, 40), (20, 12, 15, 18)]:
        found = draw(shape)
        for row in found:
            sides = [row.any(dim=[d for d in range(row.ndim) if d != axis]).nonzero() for axis in range(row.ndim)]
            box = row[tuple(slice(int(s.min()), int(s.max()) + 1) for s in sides)]
            assert box.all()
        share = found.flatten(1).float().mean(1)
        assert share.min() > 0.05 and share.max() < 0.5
        assert 0.15 < share.mean() < 0.26


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
