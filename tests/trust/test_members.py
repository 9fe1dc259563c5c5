"""Views lead back; levels contain each other; the cheap one runs the network three times."""

import numpy as np
import pytest
import torch

from fewmask.predictors import Model, Predictor
from fewmask.trust.members import QUICK, View, members
from fewmask.types import LabelSet


class Flat(Predictor):
    @property
    def spec(self):
        return {}

    @classmethod
    def from_spec(cls, spec):
        return cls()

    def forward(self, image, seed):
        return torch.full((len(image), 2, *image.shape[2:]), 0.5)


class Drawing(Flat):
    stochastic = True


def model(dims=2, flip=(0, 1), predictor=None, **further):
    return Model(
        predictor=predictor or Flat(),
        labels=LabelSet(names=("background", "one"), values=(0, 1)),
        preparation={},
        intensity="zscore",
        patch_size=(8,) * dims,
        channels=("image",),
        flip=flip,
        members=further,
    )


def names(found):
    return [member.name for member in found]


@pytest.mark.parametrize(
    ("given", "quick"),
    [
        (model(), ["plain", "mirror H", "contrast"]),
        (model(flip=()), ["plain", "contrast", "blur"]),
        (model(3, flip=(0, 1, 2)), ["plain", "mirror D", "contrast"]),
        (model(predictor=Drawing()), ["plain", "mirror H", "draw 1"]),
    ],
)
def test_quick_is_the_start_of_full(given, quick):
    assert names(members(given, "quick")) == quick
    assert len(quick) == QUICK
    full = names(members(given, "full"))
    assert full[:QUICK] == quick and len(set(full)) == len(full)
    assert members(given, "none") == []


def test_full_asks_further_networks_and_every_mirror():
    found = names(members(model(student=Flat()), "full"))
    assert {"mirror H", "mirror W", "mirror HW", "contrast", "blur", "student"} <= set(found)


@pytest.mark.parametrize("dims", [2, 3])
def test_mirrors_lead_back_and_mirror_the_axes_of_the_patch(dims):
    image = np.random.default_rng(0).random((1, 3, 5, 7)).astype(np.float32)
    axes = {"D": 1, "H": 2, "W": 3}
    seen = 0
    for member in members(model(dims, flip=tuple(range(dims))), "full"):
        view: View = member.view
        np.testing.assert_array_equal(view.turn(view.turn(image)), image)
        if member.name.startswith("mirror "):
            expected = np.flip(image, [axes[letter] for letter in member.name.removeprefix("mirror ")])
            np.testing.assert_array_equal(view.turn(image), expected)
            np.testing.assert_array_equal(view.turn(image[0]), expected[0])
            seen += 1
    assert seen == 2**dims - 1
