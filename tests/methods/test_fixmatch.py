"""FixMatch's terms against a computation written out voxel by voxel."""

import math

import pytest
import torch
import torch.nn.functional as F

from fewmask.methods.fixmatch import FixMatch
from fewmask.types import Batch, Clock, Stream, Task

TASK = Task(channels=1, classes=3, names=("background", "one", "two"), patch_size=(6, 7))


def stream(seed: int, labelled: bool) -> Stream:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(2, 1, 6, 7, generator=generator)
    label = torch.randint(0, 3, (2, 6, 7), generator=generator)
    valid = torch.rand(2, 6, 7, generator=generator) > 0.2
    return Stream(
        image=image, strong=image[None] + 0.1, valid=valid, label=label if labelled else None, case=("a", "b")
    )


def clock(stage_step: int = 90) -> Clock:
    return Clock(
        step=100 + stage_step,
        total=200,
        stage="train",
        stage_step=stage_step,
        stage_total=100,
        generator=torch.Generator().manual_seed(0),
    )


def make(**settings) -> FixMatch:
    torch.manual_seed(0)
    network = {"width": 2, "dropout": 0.0, "normalisation": "group"}
    return FixMatch(FixMatch.Config(segmenter=network, **settings), TASK)


@pytest.mark.parametrize("threshold", [0.0, 0.36])
def test_the_strong_term_is_the_masked_mean_over_believed_voxels(threshold):
    method = make(threshold=threshold, cutmix=0, dice=False, strong_loss={"peak": 3.0})
    unlabelled = stream(1, False)
    update = next(method.step(Batch(labelled=stream(0, True), unlabelled=unlabelled), clock()))
    with torch.no_grad():
        teacher = method.teacher.network(unlabelled.image).softmax(1)
        student = F.log_softmax(method.segmenter(unlabelled.strong[0]), 1)
    total, count = 0.0, 0
    for row in range(2):
        for y in range(6):
            for x in range(7):
                confidence, label = teacher[row, :, y, x].max(0)
                if confidence >= threshold and unlabelled.valid[row, y, x]:
                    total -= float(student[row, label, y, x])
                    count += 1
    assert count > 5
    assert float(update.terms["strong"].detach()) == pytest.approx(total / count, rel=1e-5)
    assert update.weights["strong"] == 3.0
    assert float(update.log["kept"]) == pytest.approx(count / 84)


def test_nothing_believed_is_no_loss_and_no_background():
    method = make(threshold=0.999)
    update = next(method.step(Batch(labelled=stream(0, True), unlabelled=stream(1, False)), clock()))
    assert float(update.terms["strong"].detach()) == 0.0 and float(update.log["kept"]) == 0.0


def test_during_burn_in_only_labelled_images_are_asked_for_and_used():
    method = make(burn_in=0.25)
    burn_in, train = method.stages()
    assert (burn_in.fraction, burn_in.labelled_batch, burn_in.unlabelled_batch) == (0.25, 12, 0)
    assert (train.fraction, train.labelled_batch, train.unlabelled_batch) == (0.75, 12, 12)
    update = next(method.step(Batch(labelled=stream(0, True)), clock()))
    assert set(update.terms) == {"supervised"}
    assert len(make(burn_in=0.0).stages()) == 1


def test_the_weight_follows_the_ramp():
    method = make(strong_loss={"peak": 2.0, "length": 0.5})
    update = next(method.step(Batch(labelled=stream(0, True), unlabelled=stream(1, False)), clock(0)))
    assert update.weights["strong"] == pytest.approx(2 * math.exp(-5))
