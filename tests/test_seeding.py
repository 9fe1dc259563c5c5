import numpy as np

from fewmask.seeding import derive, generator


def test_seeds_are_the_same_on_every_machine():
    assert derive(0, "view", "labelled", 3) == 5402906107623654439
    assert 0 <= derive("x") < 2**63


def test_every_part_of_the_key_matters():
    keys = [(0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (0, "a1"), ("0a", 1), (0, "a", 1, 0)]
    assert len({derive(*key) for key in keys}) == len(keys)


def test_generators_repeat_and_are_independent():
    assert np.array_equal(generator(1, "x").random(5), generator(1, "x").random(5))
    many = np.array([generator(1, index).random() for index in range(4000)])
    assert abs(many.mean() - 0.5) < 0.02 and abs(np.corrcoef(many[:-1], many[1:])[0, 1]) < 0.05
