import numpy as np
import pytest

from fewmask.data import patches
from fewmask.seeding import generator


def test_cut_takes_the_block_around_the_middle():
    array = np.arange(5 * 7 * 9).reshape(5, 7, 9)
    block = patches.cut(array, (2, 3, 4), (3, 2, 5), -1)
    assert np.array_equal(block, array[1:4, 2:4, 2:7])


def test_cut_in_2d_takes_the_slice_and_drops_the_axis():
    array = np.arange(2 * 5 * 7 * 9).reshape(2, 5, 7, 9)
    assert np.array_equal(patches.cut(array, (4, 3, 4), (7, 9), None), array[:, 4])


@pytest.mark.parametrize("middle", [(0, 0, 0), (4, 6, 8), (2, 3, 4)])
def test_beyond_the_image_lies_the_fill_or_the_border(middle):
    array = np.random.default_rng(0).normal(size=(5, 7, 9))
    size = (6, 11, 4)
    filled, continued = patches.cut(array, middle, size, -9.0), patches.cut(array, middle, size, None)
    for index in np.ndindex(*size):
        source = tuple(m - s // 2 + i for m, s, i in zip(middle, size, index, strict=True))
        nearest = tuple(min(max(v, 0), n - 1) for v, n in zip(source, array.shape, strict=True))
        assert continued[index] == array[nearest]
        assert filled[index] == (array[source] if source == nearest else -9.0)


def test_random_centres_keep_the_patch_inside():
    shape, patch = (9, 20, 31), (4, 20, 7)
    found = {patches.centre(generator(i), shape, patch) for i in range(300)}
    for centre in found:
        for middle, size, extent in zip(centre, patch, shape, strict=True):
            assert middle - size // 2 >= 0
            assert middle - size // 2 + size <= extent
    assert {centre[0] for centre in found} == set(range(2, 8))  # every position along D occurs
    assert {centre[1] for centre in found} == {10}


def test_an_axis_shorter_than_the_patch_is_centred():
    assert patches.centre(generator(0), (3, 5, 5), (8, 8, 8)) == (1, 2, 2)


def test_foreground_centres_come_from_a_class_drawn_uniformly():
    locations = {
        1: np.array([[1, 2, 3]]),
        2: np.array([[4, 4, 4], [5, 5, 5], [6, 6, 6]]),
        3: np.empty((0, 3), dtype=int),  # a class that this case lacks is never drawn
    }
    found = [patches.centre(generator(i), (9, 9, 9), (3, 3, 3), locations, foreground=1.0) for i in range(400)]
    assert set(found) == {(1, 2, 3), (4, 4, 4), (5, 5, 5), (6, 6, 6)}
    assert abs(found.count((1, 2, 3)) / 400 - 0.5) < 0.1
