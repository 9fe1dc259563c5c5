"""The noise-free path: constant between equal ends, exact with a perfect answer, and what its states give away."""

import pytest
import torch

from fewmask.diffusion.bridge import bridge_state, euler


def test_equal_ends_give_a_constant_path():
    z = torch.randn(4, 3, 5, 6)
    torch.testing.assert_close(bridge_state(z, z, torch.tensor([0, 0.3, 0.7, 1.0])), z)


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_a_perfect_answer_leads_to_it(steps):
    z0, z1 = torch.randn(2, 2, 3, 4, 4)
    torch.testing.assert_close(euler(lambda z, tau: z0, z1, steps), z0, rtol=0, atol=1e-5)


def test_steps_follow_the_path():
    """With a perfect answer each state that is asked at is on the path: cold diffusion's corrected update."""
    z0, z1 = torch.randn(2, 2, 3, 4, 4)
    asked = []
    euler(lambda z, tau: asked.append((z, tau)) or z0, z1, 5)
    assert [round(float(tau[0]), 6) for _, tau in asked] == [1.0, 0.8, 0.6, 0.4, 0.2]
    for z, tau in asked:
        torch.testing.assert_close(z, bridge_state(z0, z1, tau), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("blur", "tau", "told"),
    [
        *((0, 0.2, 0), (0, 0.5, 0), (0, 0.9, 0), (0, 0.99, 0), (0, 1.0, 0.302)),
        *((0.5, 0.2, 0.05), (0.5, 0.5, 0.14), (0.5, 0.9, 0.27), (0.5, 0.99, 0.30)),
    ],
)
def test_what_a_state_gives_away(blur, tau, told):
    """The least-squares error of z0 from state and end, which is 0.302 from the end alone: zero without noise."""
    generator = torch.Generator().manual_seed(0)
    z0 = torch.randn(200_000, 1, generator=generator, dtype=torch.float64)
    # an end from which 0.302 of the clean latent's variance cannot be told
    z1 = z0 + torch.randn(z0.shape, generator=generator, dtype=torch.float64) * (0.302 / 0.698) ** 0.5
    noise = torch.randn(z0.shape, generator=generator, dtype=torch.float64)
    state = bridge_state(z0, z1, torch.full((len(z0),), tau, dtype=torch.float64), noise, blur)
    known = torch.cat([state, z1, torch.ones_like(z0)], 1)
    guess = known @ torch.linalg.lstsq(known, z0, driver="gelsd").solution
    assert float((guess - z0).square().mean()) == pytest.approx(told, abs=0.012)
