from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

from fewmask.config import Predict
from fewmask.predictors import Predictor
from fewmask.windows import Windows, evaluating, predict_prepared, window_starts, window_weight


class Noisy(Predictor):
    """Probabilities that depend on the image and on each row's seed, but not on position in the batch."""

    stochastic = True
    spec: ClassVar = {}

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.BatchNorm3d(1)

    @classmethod
    def from_spec(cls, spec):
        return cls()

    def forward(self, image, seed):
        generators = [torch.Generator().manual_seed(int(s)) for s in seed]
        noise = torch.stack([torch.randn(image.shape[2:], generator=g) for g in generators])[:, None]
        return torch.cat([image * image + noise, noise * image, image - noise], 1).softmax(1)


class Pointwise(Noisy):
    """Depends on the voxel alone, so windows, mirrors and batches cannot matter."""

    stochastic = False

    def forward(self, image, seed):
        return torch.cat([image, image * image, -image], 1).softmax(1)


IMAGE = np.random.default_rng(0).normal(size=(1, 31, 17, 23)).astype(np.float32)


def found(predictor, patch_size, whole=True, **settings):
    flip = settings.pop("flip", (0,))
    samples = settings.pop("samples", 1)
    windows = Windows(
        predictor, patch_size=patch_size, settings=Predict(**settings), flip=flip, seed=5, samples=samples
    )
    return torch.cat(list(windows.blocks(IMAGE, whole)), dim=1)


@pytest.mark.parametrize("patch_size", [(17, 23), (8, 12), (32, 10), (16, 8, 12), (64, 8, 12), (5, 17, 23)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_pointwise_predictor_is_found_again_exactly(patch_size, overlap):
    image = torch.from_numpy(IMAGE)
    expected = torch.cat([image, image * image, -image]).softmax(0)
    for whole in (True, False):
        probabilities = found(Pointwise(), patch_size, whole, overlap=overlap, flips=True, batch=3)
        torch.testing.assert_close(probabilities, expected)


@pytest.mark.parametrize("patch_size", [(17, 23), (8, 12), (16, 8, 12), (64, 8, 12), (16, 32, 32)])
def test_chance_depends_neither_on_batches_nor_on_blocks(patch_size):
    first = found(Noisy(), patch_size, whole=True, batch=4, flips=True, samples=2)
    second = found(Noisy(), patch_size, whole=False, batch=3, flips=True, samples=2)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first.sum(0), torch.ones(first.shape[1:]))


def test_blocks_equal_monai_on_the_whole_volume():
    class Local(Pointwise):
        def forward(self, image, seed):
            mean = torch.nn.functional.avg_pool3d(image, 3, 1, 1)
            return torch.cat([mean, -mean], 1).softmax(1)

    size = (16, 8, 12)
    weight = torch.einsum("i,j,k->ijk", *map(window_weight, size))
    network = Local()
    expected = sliding_window_inference(
        torch.from_numpy(IMAGE)[None], size, 4, lambda rows: network(rows, None), 0.5, roi_weight_map=weight
    )[0]
    for whole in (True, False):
        torch.testing.assert_close(found(network, size, whole), expected)


def test_a_large_volume_comes_in_blocks():
    windows = Windows(Pointwise(), patch_size=(8, 17, 23), settings=Predict(), seed=0)
    depths = [block.shape[1] for block in windows.blocks(IMAGE, whole=False)]
    assert sum(depths) == 31 and max(depths) <= 8


def test_samples_are_averaged_and_differ():
    single = found(Noisy(), (17, 23))
    several = found(Noisy(), (17, 23), samples=8)
    assert not torch.equal(single, several)
    assert several.std(0).mean() < single.std(0).mean()


def test_samples_cost_nothing_without_chance():
    assert Windows(Pointwise(), patch_size=(8, 8), settings=Predict(), samples=9).samples == 1


def test_mirrors_make_the_result_symmetric():
    class Shifted(Pointwise):
        def forward(self, image, seed):
            moved = torch.roll(image, 1, dims=-1)
            return torch.cat([moved, -moved], 1).softmax(1)

    def predict(image, flips):
        windows = Windows(Shifted(), patch_size=(17, 23), settings=Predict(flips=flips), flip=(1,))
        return torch.cat(list(windows.blocks(image, True)), dim=1)

    mirrored = IMAGE[..., ::-1].copy()
    assert not torch.allclose(predict(mirrored, False).flip(-1), predict(IMAGE, False))
    torch.testing.assert_close(predict(mirrored, True).flip(-1), predict(IMAGE, True))


@pytest.mark.parametrize(
    "extent, size, overlap", [(31, 16, 0.5), (31, 16, 0.0), (16, 16, 0.5), (9, 16, 0.5), (17, 2, 0.9)]
)
def test_windows_cover_the_axis(extent, size, overlap):
    starts = window_starts(extent, size, overlap)
    assert starts == sorted(set(starts)) and starts[0] == 0
    assert starts[-1] == max(0, extent - size)
    assert all(second - first <= size for first, second in pairwise(starts))


def test_modes_are_put_back():
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)).train()
    network[0].eval()
    with evaluating(network, "cpu"):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == [True, False, True]


def test_predict_prepared_depends_on_case_and_seed():
    def predict(**changes):
        settings = {"case": "a", "patch_size": (17, 23), "settings": Predict(), "seed": 0}
        return predict_prepared(Noisy(), IMAGE, **{**settings, **changes})

    first = predict()
    assert first.shape == (3, 31, 17, 23) and first.dtype == np.float32
    assert np.array_equal(first, predict())
    assert not np.array_equal(first, predict(case="b"))
    assert not np.array_equal(first, predict(seed=1))
    assert predict(patch_size=(16, 17, 23)).shape == first.shape


def test_samples_that_stay_apart_have_the_mean_of_those_that_do_not():
    for patch_size in ((17, 23), (8, 12), (16, 8, 12)):
        mean = found(Noisy(), patch_size, samples=3, flips=True)
        windows = Windows(
            Noisy(), patch_size=patch_size, settings=Predict(flips=True), flip=(0,), seed=5, samples=3, apart=True
        )
        apart = torch.cat(list(windows.blocks(IMAGE, whole=True)), dim=1).unflatten(0, (3, 3))
        assert not torch.equal(apart[0], apart[1])
        torch.testing.assert_close(apart.mean(0), mean)
