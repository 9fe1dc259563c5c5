"""The rectified predictor: rows draw from their own seeds, and it can be built again from its spec."""

import json

import torch

from fewmask.config import Network
from fewmask.diffusion.rectification import LabelRectification
from fewmask.nets import build_segmenter
from fewmask.predictors import RectifiedPredictor, build_predictor
from fewmask.predictors.rectified import noise_of
from fewmask.types import Task


def build(bottleneck: str = "denoised", share: float = 1.0) -> RectifiedPredictor:
    torch.manual_seed(0)
    task = Task(channels=1, classes=3, names=("a", "b", "c"), patch_size=(16, 16))
    rectification = LabelRectification(
        channels=1,
        classes=3,
        dims=2,
        width=2,
        times=10,
        samples=2,
        start=1.0,
        diffuse=True,
        clamp=False,
        skips="image",
        entrance="input",
        standardise=True,
        colours=True,
    )
    segmenter = build_segmenter(Network(width=2), task)
    return RectifiedPredictor(segmenter, rectification, torch.tensor(3.0), share, bottleneck).eval()


def test_a_row_depends_on_its_own_seed_alone():
    predictor, image, seed = build(), torch.randn(3, 1, 17, 20), torch.tensor([4, 5, 6])
    with torch.no_grad():
        together = predictor(image, seed)
        alone = torch.cat([predictor(image[row : row + 1], seed[row : row + 1]) for row in range(3)])
        other = predictor(image, seed + 10)
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    assert not torch.equal(other, together)
    torch.testing.assert_close(together.sum(1), torch.ones(3, 17, 20))


def test_a_twin_from_its_spec():
    predictor = build("condition", share=0.25)
    twin = build_predictor(json.loads(json.dumps(predictor.spec))).eval()
    twin.load_state_dict(predictor.state_dict())
    image, seed = torch.randn(2, 1, 16, 16), torch.tensor([0, 1])
    with torch.no_grad():
        assert torch.equal(twin(image, seed), predictor(image, seed))


def test_noise_is_seeded_by_row():
    noise = noise_of(torch.tensor([7, 8]), (3, 2), torch.device("cpu"))
    assert torch.equal(noise[1], noise_of(torch.tensor([8]), (3, 2), torch.device("cpu"))[0])
    assert not torch.equal(noise[0], noise[1])


def test_the_share_mixes_raw_and_rectified():
    image, seed = torch.randn(2, 1, 16, 16), torch.tensor([0, 1])
    with torch.no_grad():
        raw, mixed, rectified = (build(share=share)(image, seed) for share in (0.0, 0.25, 1.0))
        torch.testing.assert_close(raw, build().segmenter(image).softmax(1))
    torch.testing.assert_close(mixed, 0.75 * raw + 0.25 * rectified)
    assert (rectified - raw).abs().max() > 1e-3
