"""The diffusion predictor: chance by row, a twin from its spec, and the mean with the network beside it."""

import json

import pytest
import torch

from fewmask.config import Network
from fewmask.errors import DataError
from fewmask.nets import build_segmenter
from fewmask.nets.diffusion_segmenter import DiffusionSegmenter
from fewmask.predictors import DiffusionPredictor, build_predictor
from fewmask.types import Task

TASK = Task(channels=1, classes=3, names=("a", "b", "c"), patch_size=(17, 20))


def build(beside: bool = False, diffuse: bool = True) -> DiffusionPredictor:
    torch.manual_seed(0)
    denoiser = DiffusionSegmenter(channels=1, classes=3, dims=2, width=2, normalisation="group", dropout=1.0)
    network = build_segmenter(Network(width=2), TASK) if beside else None
    return DiffusionPredictor(denoiser, times=50, samples=3, beside=network, diffuse=diffuse).eval()


@torch.no_grad()
def test_a_row_depends_on_its_own_seed_alone():
    """Bit for bit beside other rows; not alone, where rounding differs and an untrained network enlarges it."""
    predictor, image, seed = build(), torch.randn(3, 1, 17, 20), torch.tensor([4, 5, 6])
    together = predictor(image, seed)
    others = image.clone()
    others[1:] = torch.randn(2, 1, 17, 20)
    assert torch.equal(predictor(others, torch.tensor([4, 9, 9]))[0], together[0])
    assert not torch.equal(predictor(image, torch.tensor([7, 5, 6]))[0], together[0])
    torch.testing.assert_close(together.sum(1), torch.ones(3, 17, 20))


@torch.no_grad()
def test_beside_is_averaged():
    image, seed = torch.randn(2, 1, 17, 20), torch.tensor([0, 1])
    both = build(beside=True)
    torch.testing.assert_close(both(image, seed), (build()(image, seed) + both.beside(image).softmax(1)) / 2)


@torch.no_grad()
def test_without_diffusion_there_is_no_chance():
    predictor, image = build(diffuse=False), torch.randn(1, 1, 17, 20)
    assert not predictor.stochastic and build().stochastic
    assert torch.equal(predictor(image, torch.tensor([0])), predictor(image, torch.tensor([1])))


def test_a_model_whose_labels_were_shown_otherwise_is_refused():
    """Those of before the labels had variance 1 lack `diffuse`; they would predict something else without a word."""
    spec = build().spec
    del spec["diffuse"]
    with pytest.raises(DataError, match=r"the model's .*predictor 'diffusion'.* fit"):
        build_predictor(spec)


@torch.no_grad()
@pytest.mark.parametrize("diffuse", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_a_twin_from_its_spec(beside, diffuse):
    predictor = build(beside, diffuse)
    twin = build_predictor(json.loads(json.dumps(predictor.spec))).eval()
    twin.load_state_dict(predictor.state_dict())
    image, seed = torch.randn(2, 1, 17, 20), torch.tensor([0, 1])
    assert torch.equal(twin(image, seed), predictor(image, seed))


def test_a_spec_that_does_not_fit_is_one_line():
    with pytest.raises(DataError, match=r"the model's .*predictor 'diffusion'.* fit"):
        build_predictor({"predictor": "diffusion"})
