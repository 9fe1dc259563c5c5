"""What passes by is what would be seen at once."""

import numpy as np
import pytest
import torch

from fewmask.trust.watch import Watch


def probabilities(seed=0, shape=(3, 5, 7, 9)):
    return torch.from_numpy(np.random.default_rng(seed).random(shape, np.float32)).softmax(0)


@pytest.mark.parametrize("lengths", [(5,), (2, 3), (1, 1, 1, 1, 1)])
def test_blocks_do_not_matter_and_pass_unchanged(lengths):
    whole = probabilities()
    watch = Watch(3, whole.shape[1:])
    passed = torch.cat(list(watch.over(whole.split(lengths, dim=1))), dim=1)
    assert torch.equal(passed, whole)
    label = whole.argmax(0).numpy()
    np.testing.assert_array_equal(watch.label, label)
    for index in range(3):
        inside = whole[index].numpy()[label == index]
        assert watch.confidence[index] == pytest.approx(inside.mean(), rel=1e-5)
        expected = 2 * inside.sum() / (whole[index].sum().item() + (label == index).sum())
        assert watch.soft_dice[index] == pytest.approx(expected, rel=1e-5)


def test_of_several_samples_the_mean_counts():
    one, two = probabilities(0), probabilities(1)
    apart, mean = Watch(3, one.shape[1:]), Watch(3, one.shape[1:])
    both = torch.cat([one, two])
    assert torch.equal(torch.cat(list(apart.over(both.split(2, dim=1))), dim=1), both)
    list(mean.over([(one + two) / 2]))
    np.testing.assert_array_equal(apart.label, mean.label)
    np.testing.assert_allclose([apart.confidence, apart.soft_dice], [mean.confidence, mean.soft_dice], rtol=1e-5)


def test_against_a_mask_of_its_own():
    whole, mask = probabilities(), np.zeros((5, 7, 9), np.uint8)
    mask[:, :3] = 1
    watch = Watch(3, whole.shape[1:], mask)
    list(watch.over([whole]))
    expected = 2 * whole[1].numpy()[mask == 1].sum() / (whole[1].sum().item() + (mask == 1).sum())
    assert watch.soft_dice[1] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(watch.soft_dice[2]) and np.isnan(watch.confidence[2])


def test_certainty_and_agreement_are_one():
    label = np.random.default_rng(1).integers(0, 3, (4, 6, 5)).astype(np.uint8)
    sure = torch.nn.functional.one_hot(torch.from_numpy(label).long(), 3).permute(3, 0, 1, 2).float()
    watch = Watch(3, label.shape)
    list(watch.over([sure]))
    np.testing.assert_allclose([watch.confidence, watch.soft_dice], 1)
