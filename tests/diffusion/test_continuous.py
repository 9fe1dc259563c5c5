"""The continuous process: closed forms, ends, sampler times, and an oracle that is found again."""

import pytest
import torch

from fewmask.diffusion.continuous import add_noise, angle, log_snr, sample, sampling_pairs


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_variance_is_preserved(schedule):
    snr = log_snr(torch.rand(1000, generator=torch.Generator().manual_seed(0)).double(), schedule)
    signal = add_noise(torch.ones(1000, 1), snr, torch.zeros(1000, 1))
    spread = add_noise(torch.zeros(1000, 1), snr, torch.ones(1000, 1))
    torch.testing.assert_close(signal.square() + spread.square(), torch.ones(1000, 1).double())


def test_the_ends_are_those_published():
    assert float(log_snr(torch.tensor(1.0))) == pytest.approx(-18.9, abs=0.05)
    assert float(log_snr(torch.tensor(0.0))) == pytest.approx(11.5, abs=0.05)
    assert float(add_noise(torch.ones(1, 1), log_snr(torch.zeros(1)), torch.zeros(1, 1))) > 0.9999
    assert log_snr(torch.tensor([0.0, 1.0]), "linear").isfinite().all()


def test_the_angle_is_that_of_the_logarithm():
    """DDP: log SNR = -2 ln tan a, alpha = sqrt(sigmoid(log SNR)), so alpha = cos a."""
    t = torch.linspace(0.01, 1, 200, dtype=torch.float64)
    snr, zero, one = log_snr(t), torch.zeros(200, 1), torch.ones(200, 1)
    torch.testing.assert_close(add_noise(one, snr, zero)[:, 0], angle(t).cos(), atol=1e-9, rtol=1e-6)
    torch.testing.assert_close(add_noise(zero, snr, one)[:, 0], angle(t).sin(), atol=1e-9, rtol=1e-6)


def test_the_next_time_runs_ahead():
    expected = [(1, 1 / 3), (2 / 3, 0), (1 / 3, 0)]
    assert [pytest.approx(pair) for pair in expected] == list(sampling_pairs(3))
    assert sampling_pairs(1) == ((1.0, 0.0),)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_an_oracle_is_found_again(count):
    """After the first step the denoiser is shown the oracle's own latent, noised: z_t = alpha z0 + sigma eps."""
    z0, noise, seen = 0.1 * torch.randn(2, 4, 5, 6), torch.randn(2, 4, 5, 6), []
    found = sample(lambda z, snr: seen.append(z) or z0, noise, count)
    assert torch.equal(found, z0)
    assert len(seen) == count
    if count > 1:
        later = log_snr(torch.full((2,), sampling_pairs(count)[0][1]))
        torch.testing.assert_close(seen[1], add_noise(z0, later, noise), atol=1e-3, rtol=1e-3)


def test_rows_have_their_own_times():
    z0, noise, snr = torch.randn(3, 2, 4), torch.randn(3, 2, 4), log_snr(torch.tensor([0.1, 0.5, 0.9]))
    together = add_noise(z0, snr, noise)
    for row in range(3):
        alone = add_noise(z0[row : row + 1], snr[row : row + 1], noise[row : row + 1])[0]
        torch.testing.assert_close(together[row], alone)
