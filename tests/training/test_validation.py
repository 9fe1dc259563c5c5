import numpy as np
import pytest
import torch

from fewmask.config import Predict
from fewmask.predictors import Predictor
from fewmask.training.validation import Validation


class Threshold(Predictor):
    """Says box where the image is over a half and core where it is over one and a half."""

    @property
    def spec(self):
        return {"predictor": "threshold"}

    @classmethod
    def from_spec(cls, spec):
        return cls()

    def forward(self, image, seed):
        return torch.nn.functional.one_hot((image[:, 0] > 0.5).long() + (image[:, 0] > 1.5), 3).movedim(-1, 1).float()


def test_dice_is_that_of_a_naive_loop(cache, split):
    validation = Validation(
        cache,
        {case: case for case in split.val},
        names=("background", "box", "core"),
        patch_size=(17, 20),
        intensity="zscore",
        fingerprint={},
        flip=(),
        settings=Predict(),
        device=torch.device("cpu"),
        seed=0,
    )
    found = validation.dice(Threshold())
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
