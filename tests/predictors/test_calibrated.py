"""The calibrated predictor: a twin from its description, controls that differ, rows that do not meet."""

from typing import get_args

import pytest
import torch

from fewmask.config import Network
from fewmask.diffusion.calibration import Guides, LatentCalibrator
from fewmask.diffusion.fusion import Trust
from fewmask.nets import build_segmenter
from fewmask.nets.guide import feature_channels
from fewmask.nets.label_autoencoder import LabelAutoencoder, latent_size
from fewmask.predictors import CalibratedPredictor, build_predictor
from fewmask.predictors.calibrated import Control
from fewmask.types import Task

TASKS = {
    2: Task(channels=1, classes=3, names=("b", "x", "y"), patch_size=(17, 23)),
    3: Task(channels=2, classes=3, names=("b", "x", "y"), patch_size=(9, 11, 13)),
}


def build(dims: int, control: Control = "none", share: float = 0.5, variant: str = "ddim") -> CalibratedPredictor:
    torch.manual_seed(0)
    task = TASKS[dims]
    segmenter = build_segmenter(Network(width=2), task)
    calibrator = LatentCalibrator(
        latent=2,
        size=latent_size(task.patch_size, 2),
        halvings=2,
        features=feature_channels(segmenter, 2),
        classes=3,
        dims=dims,
        width=8,
        guide_width=2,
        variant=variant,
        start=0.6,
        samples=3,
        dropout=0.1,
        blur=0.5,
        ends=0.5,
        recycled=0.5,
    )
    torch.nn.init.normal_(calibrator.denoiser.out[-1].weight)
    autoencoder = LabelAutoencoder(classes=3, dims=dims, width=4, halvings=2, channels=2)
    trust = Trust(agreement=0.0, born=0.0)
    return CalibratedPredictor(
        segmenter, autoencoder, calibrator, share=share, omega=0.5, trust=trust, control=control
    ).eval()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("variant", ["ddim", "bridge", "one_step"])
def test_a_twin_and_rows_that_do_not_meet(dims, variant):
    predictor = build(dims, variant=variant)
    torch.manual_seed(9)
    twin = build_predictor(predictor.spec).eval()
    twin.load_state_dict(predictor.state_dict())
    image, seed = torch.randn(3, TASKS[dims].channels, *TASKS[dims].patch_size), torch.arange(3)
    with torch.no_grad():
        expected = predictor(image, seed)
        assert torch.equal(twin(image, seed), expected)
        alone = torch.cat([predictor(image[row : row + 1], seed[row : row + 1]) for row in range(3)])
    torch.testing.assert_close(alone, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(expected.sum(1), torch.ones_like(expected[:, 0]))


def test_controls_differ_and_only_one_draws():
    image = torch.randn(2, 1, 17, 23)
    found = {}
    for control in get_args(Control):
        predictor = build(2, control)
        assert predictor.stochastic == (control == "random_start")
        with torch.no_grad():
            found[control] = predictor(image, torch.zeros(2, dtype=torch.int64))
    names = list(found)
    for index, one in enumerate(names):
        for other in names[:index]:
            assert not torch.allclose(found[one], found[other], atol=1e-4), (one, other)


def test_no_share_is_the_segmenter():
    predictor, image = build(2, share=0.0), torch.randn(2, 1, 17, 23)
    with torch.no_grad():
        raw = predictor.segmenter(image).softmax(1)
        found = predictor.calibrated(image)
        p, guides = predictor._asked(image)
        q = predictor._decoded(guides, p, None)
    torch.testing.assert_close(found.fused.p, raw)
    # nothing is changed; each voxel counts as far as its row's views agree, and less where calibration contradicts
    doubted = q.argmax(1) != raw.argmax(1)
    assert 0 < float(doubted.float().mean()) < 1
    expected = torch.where(doubted, 0.5 * raw.amax(1), 1.0) * found.fused.agreement.view(2, 1, 1)
    torch.testing.assert_close(found.fused.weight, expected)


def test_the_gate_is_applied_once_in_every_control():
    """Half open, each control ends half way between the label's latent and what was found."""
    for control in ("none", "one_call", "no_features", "no_label"):
        predictor = build(2, control)
        z = torch.randn(2, 2, 5, 6)
        guides = Guides(z, torch.randn(2, 4, 5, 6), z[:, :1], torch.full((2, 1, 5, 6), 0.5))
        with torch.no_grad():
            half = predictor._latent(guides, None)
            full = predictor._latent(guides._replace(gate=torch.ones_like(guides.gate)), None)
        assert not torch.allclose(full, z, atol=1e-2)
        torch.testing.assert_close(half, (z + full) / 2)


def test_the_label_takes_every_call_and_each_other_view_one():
    """2.9, but for the views' later calls; a class that the label alone has is no agreement."""
    predictor, seen = build(2), []
    predictor.calibrator.denoiser.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    with torch.no_grad():
        predictor.calibrated(torch.randn(2, 1, 17, 23))
    assert seen == [2] * (3 + 3)  # samples, and three further views


def test_a_class_that_later_calls_bring_is_not_agreed_on(monkeypatch):
    predictor, image = build(2, share=1.0), torch.randn(1, 1, 17, 23)

    def decoded(guides, p, seed, calls=None):
        q = torch.zeros_like(p)
        q[:, 0] = 1
        if calls is None:
            q[:, :, 4:9, 4:9] = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
        return q

    monkeypatch.setattr(predictor, "_decoded", decoded)
    with torch.no_grad():
        found = predictor.calibrated(image)
    assert float(found.fused.agreement) == pytest.approx(0.5)  # 1 among the three other views, 0 beside the label


@pytest.mark.parametrize("dims", [2, 3])
def test_an_unchanged_latent_changes_nothing(dims):
    """A denoiser that leaves the label's latent alone, behind an autoencoder that has learnt nothing at all."""
    predictor = build(dims, share=1.0, variant="one_step")
    for parameter in (predictor.calibrator.denoiser.out[-1].weight, predictor.calibrator.denoiser.out[-1].bias):
        torch.nn.init.zeros_(parameter)
    image = torch.randn(2, TASKS[dims].channels, *TASKS[dims].patch_size)
    with torch.no_grad():
        raw, fused = predictor.calibrated(image)
    torch.testing.assert_close(fused.p, raw)
