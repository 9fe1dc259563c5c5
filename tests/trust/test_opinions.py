"""Members are asked about the same place: an equivariant predictor agrees with itself, one that is not, does not."""

import numpy as np
import pytest
import torch

from fewmask.config import Predict
from fewmask.predictors import Model, Predictor
from fewmask.trust.opinions import Opinions
from fewmask.types import LabelSet
from fewmask.windows import Windows


class Threshold(Predictor):
    """The class is whether the image is bright: the same however it is mirrored."""

    @property
    def spec(self):
        return {}

    @classmethod
    def from_spec(cls, spec):
        return cls()

    def forward(self, image, seed):
        bright = torch.sigmoid(8 * (image[:, :1] - 0.5))
        return torch.cat([1 - bright, bright], dim=1)


class Left(Threshold):
    """The class is the left half of what it is shown."""

    def forward(self, image, seed):
        left = (torch.arange(image.shape[-1]) < image.shape[-1] // 2).float().expand(len(image), 1, *image.shape[2:])
        return torch.cat([1 - left, left], dim=1)


def ask(predictor, dims, level="full", shape=(4, 10, 12), **further):
    image = (np.random.default_rng(0).random((1, *shape)) > 0.7).astype(np.float32)
    model = Model(
        predictor=predictor,
        labels=LabelSet(names=("background", "one"), values=(0, 1)),
        preparation={},
        intensity="zscore",
        patch_size=shape[-dims:],
        channels=("image",),
        flip=tuple(range(dims)),
        members=further,
    )
    settings = Predict()
    opinions = Opinions(model, level, settings=settings, device="cpu", seed=0, whole=True)
    windows = Windows(predictor, patch_size=model.patch_size, settings=settings)
    mask = torch.cat([*opinions.overhear(windows.blocks(image, True), shape)], dim=1).argmax(0).numpy()
    found = opinions.evidence("a", image, mask.astype(np.uint8), None)
    if found is None:
        return None, {}
    row = np.array(found.classes["one"].agreement, dtype=float)[0]
    return found, dict(zip(found.members, row, strict=True))


@pytest.mark.parametrize("dims", [2, 3])
def test_mirrored_opinions_are_turned_back(dims):
    _, agreement = ask(Threshold(), dims)
    mirrors = {name: value for name, value in agreement.items() if name.startswith("mirror")}
    assert len(mirrors) == 2**dims - 1 and set(mirrors.values()) == {1.0}


@pytest.mark.parametrize("dims", [2, 3])
def test_what_depends_on_the_side_contradicts_its_mirror_image(dims):
    found, agreement = ask(Left(), dims)
    assert agreement["mirror W"] == 0 and agreement["mirror H"] == 1
    soft = dict(zip(found.members, found.classes["one"].soft_dice, strict=True))
    assert (soft["plain"], soft["mirror W"], soft["mirror H"]) == (1, 0, 1)


def test_another_network_is_a_member():
    _, agreement = ask(Left(), 2, other=Left())
    assert agreement["other"] == 1


def test_nobody_is_asked_at_level_none():
    found, _ = ask(Threshold(), 2, level="none")
    assert found is None
