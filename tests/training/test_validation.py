import numpy as np
import pytest
import torch

from fewmask.config import Predict
from fewmask.predictors import Predictor
from fewmask.training.validation import Validation


class Threshold(Predictor):
    """Says box where the image is over a half and core where it is over one and a half; `more` classes never."""

    def __init__(self, more=0):
        super().__init__()
        self.more = more

    @property
    def spec(self):
        return {"predictor": "threshold"}

    @classmethod
    def from_spec(cls, spec):
        return cls()

    def forward(self, image, seed):
        found = (image[:, 0] > 0.5).long() + (image[:, 0] > 1.5)
        return torch.nn.functional.one_hot(found, 3 + self.more).movedim(-1, 1).float()


class Stray(Threshold):
    """Also says a class that no mask has, in one voxel."""

    def forward(self, image, seed):
        p = super().forward(image, seed)
        p[:, 3, ..., 0, 0] = 2
        return p


def validating(cache, split, names=("background", "box", "core")):
    return Validation(
        cache,
        {case: case for case in split.val},
        names=names,
        patch_size=(17, 20),
        intensity="zscore",
        fingerprint={},
        flip=(),
        settings=Predict(),
        device=torch.device("cpu"),
        seed=0,
    )


def test_dice_is_that_of_a_naive_loop(cache, split):
    found = validating(cache, split).dice(Threshold())
    scores = {1: [], 2: []}
    for case in split.val:
        image = cache.normalised(case, "zscore", {})[0]
        predicted = (image > 0.5).astype(int) + (image > 1.5)
        truth = np.asarray(cache.open(case).label)
        for k, collected in scores.items():
            a, b = predicted == k, truth == k
            collected.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert found["per_class"] == pytest.approx({"box": np.mean(scores[1]), "core": np.mean(scores[2])})
    assert found["dice"] == pytest.approx(np.mean([np.mean(values) for values in scores.values()]))
    assert 0.2 < found["dice"] < 1


def test_a_class_that_no_mask_of_val_has_is_not_judged(cache, split):
    validation = validating(cache, split, ("background", "box", "core", "pathology"))
    missed, stray = validation.dice(Threshold(more=1)), validation.dice(Stray(more=1))
    assert missed["per_class"]["pathology"] is stray["per_class"]["pathology"] is None
    assert stray["dice"] == pytest.approx(missed["dice"], abs=0.01)
