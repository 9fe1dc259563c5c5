"""The consistency term against a computation written out."""

import pytest
import torch

from fewmask.methods.mean_teacher import MeanTeacher
from fewmask.types import Batch, Clock, Stream, Task

TASK = Task(channels=1, classes=3, names=("background", "one", "two"), patch_size=(6, 7))


def test_consistency_is_the_mean_squared_difference_over_valid_voxels():
    torch.manual_seed(0)
    network = {"width": 2, "dropout": 0.0, "normalisation": "group"}
    method = MeanTeacher(MeanTeacher.Config(segmenter=network), TASK)
    with torch.no_grad():  # a teacher that differs from its student
        for parameter in method.teacher.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    image, valid = torch.randn(2, 1, 6, 7), torch.rand(2, 6, 7) > 0.3
    labelled = Stream(image=image, strong=image[None], valid=valid, label=torch.zeros(2, 6, 7, dtype=torch.long))
    unlabelled = Stream(image=image, strong=image[None] + 0.5, valid=valid)
    clock = Clock(step=9, total=10, stage="train", stage_step=9, stage_total=10, generator=torch.Generator())
    update = next(method.step(Batch(labelled=labelled, unlabelled=unlabelled), clock))
    with torch.no_grad():
        teacher, student = method.teacher.network(image).softmax(1), method.segmenter(image + 0.5).softmax(1)
        expected = torch.stack([((teacher - student) ** 2)[:, k][valid].mean() for k in range(3)]).mean()
    assert float(update.terms["consistency"].detach()) == pytest.approx(float(expected), rel=1e-5)
    assert update.weights["consistency"] == method.config.consistency.peak
    assert not any(parameter.grad is not None for parameter in method.teacher.parameters())
