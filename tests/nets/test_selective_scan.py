"""The scan against a float64 loop that is the definition, its gradients against autograd's, and large steps."""

import pytest
import torch

from fewmask.nets import selective_scan as scanning
from fewmask.nets.selective_scan import selective_scan


def definition(u, dt, A, B, C, D):
    state, y = u.new_zeros(len(u), *A.shape), []
    for step in range(u.shape[1]):
        rate = dt[:, step, :, None]
        state = torch.exp(rate * A) * state + rate * B[:, step, None] * u[:, step, :, None]
        y.append((state * C[:, step, None]).sum(-1) + D * u[:, step])
    return torch.stack(y, 1)


def inputs(length: int, dtype=torch.float64, largest: float = 1.0, rows: int = 2, channels: int = 5, states: int = 4):
    g = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=dtype)

    dt = largest * torch.rand(rows, length, channels, generator=g, dtype=dtype)
    A = -torch.arange(1.0, states + 1, dtype=dtype).repeat(channels, 1)
    tensors = (normal(rows, length, channels), dt, A, normal(rows, length, states), normal(rows, length, states))
    return [tensor.requires_grad_() for tensor in (*tensors, normal(channels))]


@pytest.fixture(params=["loop", "two levels"])
def form(request, monkeypatch):
    """The form of the CPU, and that of other devices, which runs here as well."""
    if request.param == "two levels":
        monkeypatch.setattr(scanning, "_recur", scanning._two_level)
    return request.param


@pytest.mark.parametrize("length", [1, 2, 37, 64, 65, 256])
def test_values_and_gradients_are_those_of_the_definition(form, length):
    given = inputs(length)
    found, wanted = selective_scan(*given), definition(*given)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    weight = torch.randn_like(wanted)
    for ours, theirs in zip(
        torch.autograd.grad(found, given, weight), torch.autograd.grad(wanted, given, weight), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_gradcheck():
    assert torch.autograd.gradcheck(selective_scan, inputs(9, rows=1, channels=2, states=3))


def test_large_steps_do_not_overflow(form):
    """Section 6.4: what a cumulative sum of logarithms cannot do, dt up to 5 with A down to -16, in float32."""
    given = inputs(300, torch.float32, largest=5.0, states=16)
    found = selective_scan(*given)
    wanted = definition(*(tensor.detach().double() for tensor in given))
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(found.sum(), given))


def test_memory_holds_no_states_of_the_sequence():
    """Backward keeps the inputs and one state a block, not one a step."""
    given = inputs(640, torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda x: x):
        selective_scan(*given)
    rows, length, channels, states = 2, 640, 5, 4
    inputs_kept = 2 * rows * length * channels + 2 * rows * length * states + channels * (states + 1)
    assert sum(kept) == inputs_kept + length // scanning.CPU_BLOCK * rows * channels * states
