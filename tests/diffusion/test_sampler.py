"""Times, the exact path, and MONAI's DDIM as oracle."""

import pytest
import torch

from fewmask.diffusion.gaussian import GaussianDiffusion, cosine_betas
from fewmask.diffusion.sampler import ddim, sampling_times


@pytest.mark.parametrize(
    ("steps", "count", "start", "times"),
    [
        (10, 2, None, (9, 0)),  # DiffRect's
        (10, 1, None, (9,)),
        (10, 10, None, (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)),
        (10, 3, 6, (6, 3, 0)),
        (10, 30, 3, (3, 2, 1, 0)),  # no time twice
        (1000, 5, None, (999, 749, 500, 250, 0)),
    ],
)
def test_times(steps, count, start, times):
    assert sampling_times(steps, count, start) == times


def test_a_denoiser_that_knows_is_followed_to_the_end():
    diffusion = GaussianDiffusion(cosine_betas(10))
    truth = torch.randn(2, 3, 4, 4)
    for count in (1, 2, 10):
        found = ddim(lambda x, t: truth, diffusion, torch.randn_like(truth), sampling_times(10, count))
        assert torch.equal(found, truth)


def test_every_step_is_monai_s():
    """With all T times and no clipping, MONAI's DDIM scheduler takes the same path."""
    from monai.networks.schedulers import DDIMScheduler

    theirs = DDIMScheduler(
        num_train_timesteps=10, schedule="cosine", clip_sample=False, prediction_type="sample", set_alpha_to_one=False
    )
    theirs.set_timesteps(10)
    diffusion = GaussianDiffusion(1 - theirs.alphas.double())

    def denoise(x, t):
        return torch.tanh(x * 0.7) + 0.1 * t.view(-1, 1, 1, 1)

    start = torch.randn(2, 1, 3, 3)
    x = start
    for time in theirs.timesteps[:-1]:
        x, _ = theirs.step(denoise(x, torch.full((2,), int(time))), int(time), x)
    expected = denoise(x, torch.zeros(2))
    found = ddim(denoise, diffusion, start, sampling_times(10, 10))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_clamp_cuts_every_estimate():
    diffusion = GaussianDiffusion(cosine_betas(10))
    seen = []

    def denoise(x, t):
        seen.append(x)
        return torch.full_like(x, 7.0)

    found = ddim(denoise, diffusion, torch.zeros(1, 1, 2, 2), (9, 0), clamp=(-1.0, 1.0))
    assert float(found.max()) == 1.0
    # after t = 9: sqrt(abar_0) * 1 + sqrt(1 - abar_0) * noise with noise = -sqrt(abar_9) / sqrt(1 - abar_9)
    assert float(seen[1].max()) == pytest.approx(0.9721**0.5, abs=2e-3)


def test_rows_do_not_meet():
    diffusion = GaussianDiffusion(cosine_betas(10))
    x = torch.randn(3, 2, 4, 4)
    together = ddim(lambda x, t: x.sin(), diffusion, x, (9, 4, 0))
    alone = torch.cat([ddim(lambda x, t: x.sin(), diffusion, x[row : row + 1], (9, 4, 0)) for row in range(3)])
    torch.testing.assert_close(together, alone)
