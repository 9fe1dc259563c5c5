"""Losses against identities, naive loops, F.cross_entropy and MONAI; what is not valid never counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss

from fewmask import losses

SHAPES = [(7, 9), (3, 5, 7)]


@pytest.fixture(params=SHAPES, ids=["2d", "3d"])
def sample(request):
    """(logits, label, valid) with three classes, a quarter of the voxels invalid."""
    generator = torch.Generator().manual_seed(0)
    size = request.param
    logits = torch.randn(4, 3, *size, generator=generator, requires_grad=True)
    label = torch.randint(0, 3, (4, *size), generator=generator)
    valid = torch.rand(4, *size, generator=generator) > 0.25
    return logits, label, valid


def sure(label: torch.Tensor, classes: int) -> torch.Tensor:
    """Logits of a network that is certain of `label`."""
    return 100 * (label.unsqueeze(1) == torch.arange(classes).view(-1, *[1] * (label.ndim - 1))).float()


def voxels(x: torch.Tensor) -> torch.Tensor:
    """(B, K, *S) -> (N, K)."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def test_a_perfect_prediction_costs_nothing(sample):
    _, label, valid = sample
    for loss in (losses.dice, losses.cross_entropy, losses.dice_ce):
        assert loss(sure(label, 3), label, valid).item() == pytest.approx(0, abs=1e-6)
    assert losses.mse(sure(label, 3), sure(label, 3), valid) == 0


def test_a_wholly_wrong_prediction_costs_a_dice_of_one(sample):
    _, label, valid = sample
    assert losses.dice(sure((label + 1) % 3, 3), label, valid).item() == pytest.approx(1, abs=1e-4)


def test_dice_is_monais(sample):
    logits, label, valid = sample
    everywhere = torch.ones_like(valid)
    settings = {"softmax": True, "to_onehot_y": True, "squared_pred": True, "smooth_nr": 1e-5, "smooth_dr": 1e-5}
    joint = DiceLoss(batch=True, **settings)(logits, label.unsqueeze(1))
    rows = DiceLoss(batch=False, **settings)(logits, label.unsqueeze(1))
    assert torch.allclose(losses.dice(logits, label, everywhere), joint)
    assert torch.allclose(losses.dice(logits, label, everywhere, per_sample=True), rows)


def test_dice_leaves_out_classes_that_do_not_occur():
    label = torch.tensor([[[0, 0, 1, 1]]])
    logits = torch.randn(1, 4, 1, 4, generator=torch.Generator().manual_seed(0))
    p = logits.softmax(1)
    expected = []
    for k in (0, 1):
        target = (label == k).float()
        expected.append(1 - 2 * (p[:, k] * target).sum() / (p[:, k].square().sum() + target.sum()))
    result = losses.dice(logits, label, torch.ones_like(label, dtype=torch.bool))
    assert result.item() == pytest.approx(sum(expected).item() / 2, abs=1e-5)


def test_cross_entropy_is_torchs(sample):
    logits, label, valid = sample
    target = torch.where(valid, label, -100)
    assert torch.allclose(losses.cross_entropy(logits, label, valid), F.cross_entropy(logits, target))
    rows = [F.cross_entropy(logits[row : row + 1], target[row : row + 1]) for row in range(4)]
    assert torch.allclose(losses.cross_entropy(logits, label, valid, per_sample=True), torch.stack(rows).mean())


def test_mse_is_a_mean_over_classes_and_valid_voxels(sample):
    logits, _, valid = sample
    p, q = logits.softmax(1), logits.flip(0).softmax(1)
    expected = F.mse_loss(voxels(p)[valid.ravel()], voxels(q)[valid.ravel()])
    assert torch.allclose(losses.mse(p, q, valid), expected)


@pytest.mark.parametrize("loss", [losses.dice, losses.cross_entropy, losses.dice_ce])
@pytest.mark.parametrize("per_sample", [False, True])
def test_what_is_invalid_never_counts(sample, loss, per_sample):
    logits, label, valid = sample
    before = loss(logits, label, valid, per_sample=per_sample)
    (gradient,) = torch.autograd.grad(before, logits)
    assert not gradient.movedim(1, -1)[~valid].any()
    assert gradient.movedim(1, -1)[valid].any()
    changed = torch.where(valid.unsqueeze(1), logits, 50 * torch.randn_like(logits))
    relabelled = torch.where(valid, label, (label + 1) % 3)
    assert torch.allclose(loss(changed, relabelled, valid, per_sample=per_sample), before)


@pytest.mark.parametrize("loss", [losses.dice, losses.cross_entropy, losses.dice_ce])
@pytest.mark.parametrize("per_sample", [False, True])
def test_nothing_valid_is_zero_with_a_gradient(sample, loss, per_sample):
    logits, label, valid = sample
    value = loss(logits, label, torch.zeros_like(valid), per_sample=per_sample)
    assert value.item() == 0
    (gradient,) = torch.autograd.grad(value, logits)
    assert not gradient.any()


def test_nothing_valid_is_zero_for_mse(sample):
    logits, _, valid = sample
    value = losses.mse(logits.softmax(1), logits.detach().softmax(1), torch.zeros_like(valid))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", [losses.dice, losses.cross_entropy, losses.dice_ce])
def test_weights_of_one_change_nothing_and_of_zero_hide(sample, loss):
    logits, label, valid = sample
    assert torch.allclose(loss(logits, label, valid, torch.ones(label.shape)), loss(logits, label, valid))
    weight = torch.ones(label.shape)
    weight[0] = 0
    (gradient,) = torch.autograd.grad(loss(logits, label, valid, weight), logits)
    assert not gradient[0].any()
    assert gradient[1].any()


def test_the_scale_of_the_weight_matters_for_cross_entropy(sample):
    logits, label, valid = sample
    halved = losses.cross_entropy(logits, label, valid, torch.full(label.shape, 0.5))
    assert torch.allclose(halved, 0.5 * losses.cross_entropy(logits, label, valid))


def test_dice_ce_is_the_mean_of_both(sample):
    overlap, entropy = losses.dice(*sample), losses.cross_entropy(*sample)
    assert torch.allclose(losses.dice_ce(*sample), (overlap + entropy) / 2)


@pytest.mark.parametrize("loss", [losses.dice, losses.cross_entropy, losses.dice_ce])
def test_per_sample_is_the_mean_over_rows(sample, loss):
    logits, label, valid = sample
    rows = [loss(logits[row : row + 1], label[row : row + 1], valid[row : row + 1]) for row in range(4)]
    assert torch.allclose(loss(logits, label, valid, per_sample=True), torch.stack(rows).mean())


def test_uniform_logits_cost_log_k(sample):
    logits, label, valid = sample
    assert losses.cross_entropy(torch.zeros_like(logits), label, valid).item() == pytest.approx(math.log(3))


def test_losses_stay_float32_under_autocast(sample):
    logits, label, valid = sample
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = losses.dice_ce(logits, label, valid)
        reduced = losses.dice_ce(logits.bfloat16(), label, valid)
    assert value.dtype == reduced.dtype == torch.float32
    assert torch.allclose(value, losses.dice_ce(logits, label, valid))
