"""Where the condition enters the denoiser."""

import pytest
import torch

from fewmask.nets.denoiser import LatentDenoiser


def build(**settings) -> LatentDenoiser:
    return LatentDenoiser(
        **{"dims": 2, "channels": 8, "frequencies": 4, "entrance": "input", "linear_output": False, **settings}
    )


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (2, 3, 5), (1, 1, 1)])
def test_any_size(shape):
    denoiser = build(dims=len(shape)).eval()
    x = torch.randn(2, 8, *shape)
    assert denoiser(x, torch.tensor([0, 9]), x).shape == x.shape


@pytest.mark.parametrize(("entrance", "seen"), [("input", True), ("last_skip", False)])
def test_the_inner_blocks_see_the_condition_only_where_it_enters_at_the_input(entrance, seen):
    """Released: d(down1) / dc is none (section 5.2, B1)."""
    denoiser = build(entrance=entrance).eval()
    inner = []
    denoiser.down[0].register_forward_hook(lambda module, args, out: inner.append(out))
    condition = torch.randn(1, 8, 4, 4, requires_grad=True)
    out = denoiser(torch.randn(1, 8, 4, 4), torch.tensor([3]), condition)
    (gradient,) = torch.autograd.grad(inner[0].sum(), condition, retain_graph=True, allow_unused=True)
    assert (gradient is not None) == seen
    (gradient,) = torch.autograd.grad(out.sum(), condition)
    assert gradient.abs().sum() > 0


def test_only_a_linear_output_reaches_far_below_zero():
    torch.manual_seed(0)
    x = torch.randn(4, 8, 8, 8)
    assert build()(x, torch.zeros(4), x).min() > -0.2
    assert build(linear_output=True)(x, torch.zeros(4), x).min() < -0.2
