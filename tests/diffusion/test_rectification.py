"""Transport and sampling of label latents: targets, noise, controls."""

import pytest
import torch

from fewmask.diffusion.rectification import LabelRectification


def build(seed: int = 0, **settings) -> LabelRectification:
    torch.manual_seed(seed)
    defaults = {"channels": 1, "classes": 3, "dims": 2, "width": 2, "times": 10, "samples": 2, "start": 1.0}
    flags = {
        "diffuse": True,
        "clamp": False,
        "skips": "label",
        "entrance": "input",
        "standardise": True,
        "colours": True,
    }
    return LabelRectification(**{**defaults, **flags, **settings})


def rows(shape=(17, 20)):
    label = torch.randint(0, 3, (2, *shape))
    return torch.randn(2, 1, *shape), label, torch.randint(0, 3, (2, *shape)), torch.tensor([0.0, 300.0])


@pytest.mark.parametrize("shape", [(17, 20), (9, 11, 13)])
@pytest.mark.parametrize("colours", [True, False])
def test_shapes(shape, colours):
    rectification = build(dims=len(shape), colours=colours)
    image, label, better, guidance = rows(shape)
    logits, error = rectification.transport(image, label, better, guidance, torch.Generator().manual_seed(0))
    assert logits.shape == (2, 3, *shape) and error.shape == (2,)
    noise = torch.randn(rectification.latent_shape(label.shape))
    assert rectification.sample(image, label, guidance, noise).shape == (2, 3, *shape)


def test_the_latent_shape_is_that_of_the_encoder():
    rectification = build().eval()
    image, label, _, guidance = rows()
    context = rectification.rectifier.context(image, guidance)
    latent = rectification.rectifier.encode(image, rectification.table[label].movedim(-1, 1), context)[-1]
    assert tuple(latent.shape) == rectification.latent_shape(label.shape)


def test_the_better_label_is_a_target_without_gradient():
    """The error's gradient is that of the same error against a constant."""
    rectification = build().eval()
    rectifier = rectification.rectifier
    image, label, better, guidance = rows()
    _, error = rectification.transport(image, label, better, guidance, torch.Generator().manual_seed(0))
    parameters = [*rectifier.label_encoder.parameters()]
    found = torch.autograd.grad(error.sum(), parameters)

    context = rectifier.context(image, guidance)
    condition = rectifier.encode(image, rectification.table[label].movedim(-1, 1), context)[-1]
    x0 = rectifier.encode(image, rectification.table[better].movedim(-1, 1), context)[-1].detach()
    generator = torch.Generator().manual_seed(0)
    t = torch.randint(10, (2,), generator=generator)
    noise = torch.randn(x0.shape, generator=generator)
    again = rectifier.denoiser(rectification.diffusion.add_noise(x0, t, noise), t, condition)
    expected = torch.autograd.grad((again - x0).square().flatten(1).mean(1).sum(), parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert sum(float(gradient.abs().sum()) for gradient in found) > 0


def test_sampling_is_a_function_of_its_noise():
    rectification = build().eval()
    image, label, _, guidance = rows()
    one, other = torch.randn(2, *rectification.latent_shape(label.shape))
    with torch.no_grad():
        found = [rectification.sample(image, label, guidance, noise) for noise in (one, one, other)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_the_controls_replace_the_latent():
    rectification = build().eval()
    image, label, _, guidance = rows()
    noise = torch.randn(rectification.latent_shape(label.shape))
    with torch.no_grad():
        kinds = ("denoised", "zero", "noise", "condition")
        found = {kind: rectification.sample(image, label, guidance, noise, kind) for kind in kinds}
    for one in kinds:
        for other in kinds:
            assert torch.equal(found[one], found[other]) == (one == other), (one, other)


def test_released_latents_stay_within_one():
    """Section 6.5, fact 8: the clamp of the released sampler."""
    rectification = build(clamp=True, standardise=False).eval()
    seen = []
    rectification.rectifier.decode = lambda latent, *rest: seen.append(latent) or torch.zeros(2, 3, 17, 20)
    image, label, _, guidance = rows()
    noise = 5 * torch.randn(rectification.latent_shape(label.shape))
    with torch.no_grad():
        rectification.sample(image, label, guidance, noise)
    assert seen[0].abs().max() <= 1.0


def test_a_start_from_the_label_depends_less_on_the_noise():
    image, label, _, guidance = rows()
    spread = {}
    for start in (1.0, 0.3):
        rectification = build(start=start).eval()
        assert rectification.times[0] == {1.0: 9, 0.3: 3}[start]
        noise = torch.randn(8, *rectification.latent_shape(label.shape))
        with torch.no_grad():
            found = torch.stack([rectification.sample(image, label, guidance, one) for one in noise])
        spread[start] = float(found.std(0).mean())
    assert spread[0.3] < spread[1.0]


def test_the_plain_control_ignores_noise_and_time():
    rectification = build(diffuse=False).eval()
    image, label, better, guidance = rows()
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    with torch.no_grad():
        found = [rectification.transport(image, label, better, guidance, generator)[0] for generator in generators]
        noise = torch.randn(rectification.latent_shape(label.shape))
        sampled = rectification.sample(image, label, guidance, noise)
    assert torch.equal(*found)
    torch.testing.assert_close(sampled, found[0])


def test_a_twin_from_the_spec():
    first = build()
    assert LabelRectification(**first.spec).spec == first.spec
