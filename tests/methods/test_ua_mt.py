"""The consistency over certain voxels against a computation written out voxel by voxel."""

import math

import pytest
import torch

from fewmask.methods.ua_mt import UncertaintyAwareMeanTeacher
from fewmask.types import Batch, Clock, Stream, Task

TASK = Task(channels=1, classes=3, names=("background", "one", "two"), patch_size=(6, 7))


def make(dropout: float = 0.0, **settings) -> UncertaintyAwareMeanTeacher:
    torch.manual_seed(0)
    network = {"width": 2, "dropout": dropout, "normalisation": "group"}
    method = UncertaintyAwareMeanTeacher(UncertaintyAwareMeanTeacher.Config(segmenter=network, **settings), TASK)
    with torch.no_grad():  # a teacher that differs from its student
        for parameter in method.teacher.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return method.train()


def clock(stage_step: int) -> Clock:
    return Clock(
        step=stage_step,
        total=100,
        stage="train",
        stage_step=stage_step,
        stage_total=100,
        generator=torch.Generator().manual_seed(5),
    )


def batch() -> Batch:
    chance = torch.Generator().manual_seed(1)
    image, valid = torch.randn(2, 1, 6, 7, generator=chance), torch.rand(2, 6, 7, generator=chance) > 0.3
    labelled = Stream(image=image, strong=image[None], valid=valid, label=torch.zeros(2, 6, 7, dtype=torch.long))
    return Batch(labelled=labelled, unlabelled=Stream(image=image, strong=image[None] + 0.5, valid=valid))


def naive(method: UncertaintyAwareMeanTeacher, given: Batch, at: Clock) -> tuple[float, float]:
    """(consistency, share of certain voxels); `at` must be a clock whose generator nobody has drawn from."""
    u, config = given.unlabelled, method.config
    with torch.no_grad():
        passes = []
        for _ in range(config.passes):
            noise = torch.randn(u.image.shape, generator=at.generator) * config.noise
            passes.append(method.teacher.network(u.image + noise.clip(-2 * config.noise, 2 * config.noise)).softmax(1))
        teacher, student = method.teacher.network(u.image).softmax(1), method.segmenter(u.strong[0]).softmax(1)
    rising = math.exp(-5 * (1 - at.stage_step / at.stage_total) ** 2)
    bound = (config.bound[0] + (config.bound[1] - config.bound[0]) * rising) * math.log(3)
    total, count, certain = 0.0, 0, 0
    for row in range(2):
        for y in range(6):
            for x in range(7):
                p = [sum(float(one[row, k, y, x]) for one in passes) / len(passes) for k in range(3)]
                if -sum(q * math.log(q) for q in p) < bound:
                    certain += 1
                    if u.valid[row, y, x]:
                        total += float(((teacher - student)[row, :, y, x] ** 2).mean())
                        count += 1
    assert 5 < count < 50
    return total / count, certain / 84


@pytest.mark.parametrize("stage_step", [10, 60])
def test_consistency_counts_certain_voxels_only(stage_step):
    method, given = make(bound=(0.85, 0.95), consistency={"peak": 2.0, "length": 0}), batch()
    update = next(method.step(given, clock(stage_step)))
    expected, share = naive(method, given, clock(stage_step))
    assert float(update.terms["consistency"].detach()) == pytest.approx(expected, rel=1e-5)
    assert float(update.log["certain"]) == pytest.approx(share)
    assert update.weights["consistency"] == 2.0


def test_the_bound_rises_from_its_first_to_its_last_share_of_the_largest_entropy():
    method = make(bound=(0.5, 1.0))
    assert method._bound(clock(0)) == pytest.approx((0.5 + 0.5 * math.exp(-5)) * math.log(3))
    assert method._bound(clock(100)) == pytest.approx(math.log(3))


def test_passes_drop_features_and_the_target_does_not():
    """Without noise on the image the passes differ by dropout alone, so their mean is not the teacher's own answer."""
    method, given = make(dropout=1.0, noise=0.0), batch()
    image = given.unlabelled.image
    torch.manual_seed(0)
    with torch.no_grad():
        one, other = method._entropy(image, clock(0)), method._entropy(image, clock(0))
        assert not torch.equal(one, other)
        assert torch.equal(method.teacher(image), method.teacher(image))
    certain = make(noise=0.0)
    p = certain.teacher(image).softmax(1)
    torch.testing.assert_close(certain._entropy(image, clock(0)), -(p * p.log()).sum(1))
