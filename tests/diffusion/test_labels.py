"""Diffusion of label maps: the published noise levels, an oracle that is found again, and what the guard draws."""

import pytest
import torch
from torch import nn

from fewmask.diffusion.gaussian import GaussianDiffusion, linear_betas
from fewmask.diffusion.labels import LabelDiffusion, encoded
from fewmask.diffusion.sampler import sampling_times


def test_the_noise_levels_of_ten_steps():
    """diff_cl.md 1.2: the respaced times and abar there."""
    times = sampling_times(1000, 10)
    assert times == (999, 888, 777, 666, 555, 444, 333, 222, 111, 0)
    wanted = [0.9999, 0.873605, 0.596809, 0.318625, 0.132865, 0.0432501, 0.0109842, 0.00217529, 3.35727e-4, 4.03583e-5]
    found = GaussianDiffusion(linear_betas(1000)).alpha_bars[list(times[::-1])]
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-5, atol=0)
    assert found[-1].sqrt() < 0.01


class Oracle(nn.Module):
    """Knows the label, whatever it is shown."""

    def __init__(self, label: torch.Tensor) -> None:
        super().__init__()
        self.logits = 60 * (encoded(label, 3) > 0)
        self.seen: list[int] = []

    def forward(self, x, t, image):
        self.seen.append(int(t[0]))
        return self.logits.float()


@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize("count", [1, 4, 10])
def test_an_oracle_is_found_again_from_any_noise(count, scale):
    label = torch.randint(0, 3, (2, 5, 7), generator=torch.Generator().manual_seed(0))
    oracle, diffusion = Oracle(label), LabelDiffusion(3, 1000, scale)
    found = diffusion.sample(oracle, torch.zeros(2, 1, 5, 7), torch.randn(2, 3, 5, 7), count)
    torch.testing.assert_close(found, (encoded(label, 3) + 1) / 2)
    assert oracle.seen == list(sampling_times(1000, count))


@pytest.mark.parametrize(("times", "lowest"), [("all", 0), ("upper", 500), ("last", 999)])
def test_the_guard_draws_noisy_levels_only(times, lowest):
    label, generator = torch.zeros(400, 1, 1, dtype=torch.int64), torch.Generator().manual_seed(1)
    noisy, t = LabelDiffusion(2, 1000).draw(label, times, generator)
    assert t.min() >= lowest and t.max() <= 999
    if times != "last":
        assert t.min() < lowest + 25 and t.max() > 975
    else:  # nothing of the label is left
        assert abs(noisy.mean()) < 0.15 and abs(noisy.std() - 1) < 0.1


def test_without_diffusion_nothing_is_told_and_one_pass_labels():
    label = torch.randint(0, 3, (2, 5, 7), generator=torch.Generator().manual_seed(0))
    oracle, plain = Oracle(label), LabelDiffusion(3, 1000, diffuse=False)
    noisy, t = plain.draw(label, "all", torch.Generator())
    assert noisy.shape == (2, 3, 5, 7) and not noisy.any()
    assert t.tolist() == [999, 999]
    found = plain.sample(oracle, torch.zeros(2, 1, 5, 7), torch.randn(2, 3, 5, 7), 4)
    torch.testing.assert_close(found, (encoded(label, 3) + 1) / 2)
    assert oracle.seen == [999]


@pytest.mark.parametrize("scale", [1.0, 0.03])
def test_a_noised_label_has_variance_one_at_every_time(scale):
    labels, generator = LabelDiffusion(2, 1000, scale), torch.Generator().manual_seed(0)
    label = torch.randint(0, 2, (60, 40, 40), generator=generator)
    noisy, t = labels.draw(label, "all", generator)
    assert t.min() < 50 and t.max() > 950
    torch.testing.assert_close(noisy.var((1, 2, 3)), torch.ones(60), rtol=0, atol=0.1)


def test_the_sampler_shows_what_training_shows():
    """At a label found at once, the state at each further time is that label noised, at variance 1."""
    label = torch.zeros(1, 64, 64, dtype=torch.int64)
    label[:, :32] = 1
    labels, seen = LabelDiffusion(2, 1000, 0.03), []
    logits = 60 * encoded(label, 2)
    labels.sample(lambda x, t, image: seen.append(x) or logits, label[:, None].float(), torch.randn(1, 2, 64, 64), 4)
    assert len(seen) == 4
    for x in seen:
        assert abs(float(x.var()) - 1) < 0.1
    mean = float((seen[-1] * encoded(label, 2)).mean())  # at t = 0 of scale 0.03: abar 0.9999
    assert mean == pytest.approx(0.03 / (0.03**2 + 1e-4) ** 0.5, rel=0.02)


def test_of_a_smaller_scale_less_is_left_at_the_same_time():
    """A block of 9 voxels is told by its mean at full scale up to noise that hides a tenth of it wholly."""
    label = torch.randint(0, 2, (400, 1, 1), generator=torch.Generator().manual_seed(2)).expand(400, 3, 3)
    right = {}
    for scale in (1.0, 0.1):
        labels, generator = LabelDiffusion(2, 1000, scale), torch.Generator().manual_seed(3)
        noise = torch.randn(400, 2, 3, 3, generator=generator)
        noisy = labels.diffusion.add_noise(scale * encoded(label, 2), torch.full((400,), 500), noise)
        right[scale] = float((noisy.mean((2, 3)).argmax(1) == label[:, 0, 0]).float().mean())
    assert right[1.0] > 0.85 > 0.65 > right[0.1]


def test_a_class_is_plus_one_and_the_others_minus_one():
    assert encoded(torch.tensor([[0, 2]]), 3).tolist() == [[[1, -1], [-1, -1], [-1, 1]]]
