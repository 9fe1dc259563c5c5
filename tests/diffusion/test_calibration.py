"""The calibrator: exact with a perfect predictor, gated, and an alarm where training gives the answer away."""

from __future__ import annotations

import pytest
import torch

from fewmask.diffusion.calibration import ALARM, Guides, LatentCalibrator, States, falling, leak, rule_gate


def bridge(**settings) -> LatentCalibrator:
    torch.manual_seed(0)
    given = {"variant": "bridge", "start": 0.6, "blur": 0.5, "ends": 0.5, "recycled": 0.5, **settings}
    return LatentCalibrator(
        latent=2,
        size=(6, 6),
        halvings=1,
        features=(2, 2, 2),
        classes=3,
        dims=2,
        width=8,
        guide_width=2,
        samples=5,
        dropout=0.0,
        **given,
    )


def alarm_after(calibrator: LatentCalibrator, steps: int = 100) -> float:
    """The leak ratio after training on latents of which the label's tells only a part."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(calibrator.parameters(), lr=3e-3)
    running = torch.ones(2)
    for _ in range(steps):
        z0 = torch.randn(48, 2, 6, 6, generator=generator)
        z1 = 0.7 * z0 + 0.7 * torch.randn(z0.shape, generator=generator)
        guides = Guides(z1, torch.zeros(48, 4, 6, 6), z1[:, :1], z1[:, :1])
        states = calibrator.draw(z0, guides, generator)
        errors = (calibrator.predict(states.x, states.t, guides) - z0).square().flatten(1).mean(1)
        optimiser.zero_grad()
        errors.mean().backward()
        optimiser.step()
        ratio = leak(running, errors.detach(), states)
    return float(ratio)


def test_the_leak_ratio_is_that_of_averages():
    rows = torch.tensor([True, True, False, False])
    states = States(torch.zeros(4), torch.zeros(4), rows, torch.tensor([False, False, True, False]))
    running = torch.ones(2)
    for _ in range(300):
        ratio = leak(running, torch.tensor([2.0, 4.0, 1.5, 99.0]), states)
    assert float(ratio) == pytest.approx(2, abs=1e-3)
    none = states._replace(middle=~rows & False)
    assert float(leak(running, torch.tensor([3.0, 3.0, 7.0, 7.0]), none)) == pytest.approx(2, abs=1e-3)


def test_the_alarm_sounds_where_the_path_gives_the_answer_away():
    """Without noise on the path and with few ends the network solves for z0; with both it has to predict."""
    leaky, sound = alarm_after(bridge(blur=0.0, recycled=0.0, ends=0.1)), alarm_after(bridge())
    assert sound < ALARM < leaky, (sound, leaky)


def test_the_fixed_noise_never_meets_the_clean_latent():
    """2.7 A: else z0 = (x - noise) / scale exactly."""
    calibrator = bridge(variant="ddim")
    generator = torch.Generator().manual_seed(0)
    z0, z1 = torch.full((400, 2, 6, 6), 5.0), torch.full((400, 2, 6, 6), -5.0)
    states = calibrator.draw(z0, Guides(z1, z1, z1, z1), generator)
    t = states.t
    fixed_on_clean = calibrator.diffusion.noise_in(states.x, t, z0) - calibrator.noise
    fixed_on_label = calibrator.diffusion.noise_in(states.x, t, z1) - calibrator.noise
    assert not bool((fixed_on_clean.abs().flatten(1).amax(1) < 1e-2).any())
    close = fixed_on_label.abs().flatten(1).amax(1) < 1e-2
    assert 60 < int(close.sum()) < 140 and bool(states.start[close].all())
    late = t[states.start]
    assert calibrator.first // 2 - 1 <= int(late.min()) and int(late.max()) <= calibrator.first


@pytest.mark.parametrize("calls", [1, 2, 5, 10])
@pytest.mark.parametrize("start", [0.6, 1.0])
def test_the_path_leads_from_the_labels_latent_to_what_a_perfect_predictor_says(calls, start, monkeypatch):
    """2.7, S = 1, 2, 5, 10 from t = 600 and 1000: z1 under the fixed noise first, then z0 under what is left of it."""
    calibrator = bridge(variant="ddim", start=start)
    z0, z1 = torch.randn(2, 3, 2, 6, 6)
    asked = []

    def perfect(x, t, guides):
        asked.append((x, t))
        return z0

    monkeypatch.setattr(calibrator, "predict", perfect)
    found = calibrator.find(Guides(z1, z1, z1, z1), calls)
    assert torch.equal(found, z0)
    times = [int(t[0]) for _, t in asked]
    first = round(1000 * start) - 1
    assert len(times) == calls and times[0] == first and times[-1] == round((first + 1) / calls) - 1
    kept = calibrator.diffusion.alpha_bars[times].sqrt().tolist()
    left = (1 - calibrator.diffusion.alpha_bars[times]).sqrt().tolist()
    torch.testing.assert_close(asked[0][0], kept[0] * z1 + left[0] * calibrator.noise.expand_as(z1))
    rest = (asked[0][0] - kept[0] * z0) / left[0]  # as noise, seen from z0; it stays the same all along
    for (x, _), a, b in zip(asked[1:], kept[1:], left[1:], strict=True):
        torch.testing.assert_close(x, a * z0 + b * rest, rtol=1e-3, atol=1e-3)


def test_more_calls_than_times_are_each_time_once():
    assert falling(4, 10) == (4, 3, 2, 1, 0) and min(falling(599, 1200)) == 0


def test_nothing_changes_outside_the_gate():
    for variant in ("ddim", "bridge", "one_step"):
        calibrator = bridge(variant=variant).eval()
        torch.nn.init.normal_(calibrator.denoiser.out[-1].weight)
        z1, gate = torch.randn(2, 2, 6, 6), torch.zeros(2, 1, 6, 6)
        gate[:, :, :3] = 1
        with torch.no_grad():
            found = calibrator.sample(Guides(z1, torch.randn(2, 4, 6, 6), gate, gate))
        assert torch.equal(found[:, :, 3:], z1[:, :, 3:])
        assert float((found - z1)[:, :, :3].abs().max()) > 0.1


def test_the_gate_is_open_where_there_is_foreground_or_doubt_and_around():
    p = torch.zeros(2, 3, 16, 16)
    p[:, 0] = 1
    assert not rule_gate(p, 1).any()
    p[0, :, 6, 6] = torch.tensor([0.0, 1.0, 0.0])  # a voxel of its cell's four is 25 %
    p[1, :, 6:8, 6:8] = torch.full((3, 1, 1), 1 / 3)
    gate = rule_gate(p, 1)
    assert gate.shape == (2, 1, 8, 8)
    for row in range(2):
        assert float(gate[row, 0, 3, 3]) == 1  # widened by a cell, smoothed over three: full in the middle
        assert 0 < float(gate[row, 0, 1, 3]) < 1 and not gate[row, 0, 7].any()
