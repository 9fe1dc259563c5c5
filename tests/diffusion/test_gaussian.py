"""Schedule, noising and its inverse."""

import torch

from fewmask.diffusion.gaussian import GaussianDiffusion, cosine_betas


def test_the_table_of_diffrect():
    """T = 10, cosine: the betas and abars of the released code."""
    betas = cosine_betas(10)
    expected = [0.0279, 0.0755, 0.1244, 0.1772, 0.2373, 0.3099, 0.4040, 0.5370, 0.7438, 0.9990]
    torch.testing.assert_close(betas, torch.tensor(expected, dtype=torch.float64), atol=1e-4, rtol=0)
    abars = GaussianDiffusion(betas).alpha_bars
    expected = [0.9721, 0.8987, 0.7869, 0.6475, 0.4938, 0.3408, 0.2031, 0.0941, 0.0241, 2.4e-5]
    torch.testing.assert_close(abars, torch.tensor(expected), atol=1e-4, rtol=0)


def test_betas_are_monai_s():
    """MONAI's cosine schedule with the same offset, apart from how it cuts the last."""
    from monai.networks.schedulers import DDPMScheduler

    theirs = DDPMScheduler(num_train_timesteps=50, schedule="cosine")
    torch.testing.assert_close(
        GaussianDiffusion(cosine_betas(50)).alpha_bars[:-1], theirs.alphas_cumprod[:-1].float(), atol=1e-3, rtol=0
    )


def test_noise_is_found_again():
    diffusion = GaussianDiffusion(cosine_betas(10))
    x0, noise, t = torch.randn(4, 3, 5, 7), torch.randn(4, 3, 5, 7), torch.tensor([0, 3, 8, 9])
    torch.testing.assert_close(diffusion.noise_in(diffusion.add_noise(x0, t, noise), t, x0), noise, atol=1e-4, rtol=0)


def test_the_last_step_is_noise_and_the_first_nearly_the_signal():
    diffusion = GaussianDiffusion(cosine_betas(10))
    x0, noise = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    assert float(diffusion.add_noise(x0, torch.tensor([9]), noise).max()) < 0.01
    assert float(diffusion.add_noise(x0, torch.tensor([0]), noise).min()) > 0.98


def test_the_schedule_is_state():
    assert set(GaussianDiffusion(cosine_betas(4)).state_dict()) == {"alpha_bars"}
