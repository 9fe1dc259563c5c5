"""The rectifier: the released size, what its decoder may know, and standardised latents."""

import pytest
import torch

from fewmask.nets.rectifier import Rectifier


def build(**settings) -> Rectifier:
    torch.manual_seed(0)
    return Rectifier(
        **{
            "channels": 1,
            "label_channels": 3,
            "classes": 4,
            "dims": 2,
            "width": 2,
            "skips": "label",
            "entrance": "last_skip",
            "standardise": False,
            **settings,
        }
    )


def count(*modules) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_released_parameter_counts():
    rectifier = build(width=16)
    assert count(rectifier.embed) == 328_704
    assert count(rectifier.label_encoder) == 1_435_344
    assert count(rectifier.image_encoder) == 1_434_912
    assert count(rectifier.decoder, rectifier.head) == 756_420
    assert count(rectifier.denoiser) == 13_512_832
    assert count(rectifier) == 17_468_212
    assert count(build(width=16, classes=3)) == 17_468_067


@pytest.mark.parametrize("shape", [(16, 16), (17, 23), (9, 11, 13)])
@pytest.mark.parametrize("skips", ["image", "label"])
def test_any_size_there_and_back(shape, skips):
    rectifier = build(dims=len(shape), skips=skips).eval()
    image, label, guidance = torch.randn(2, 1, *shape), torch.rand(2, 3, *shape), torch.tensor([0.0, 500.0])
    context = rectifier.context(image, guidance)
    features = rectifier.encode(image, label, context)
    assert features[-1].shape == (2, 32, *[-(-side // 16) for side in shape])
    assert rectifier.decode(features[-1], features, context).shape == (2, 4, *shape)


@pytest.mark.parametrize(("skips", "leaks"), [("image", False), ("label", True)])
def test_label_information_must_pass_the_latent_where_skips_are_of_the_image(skips, leaks):
    """With a fixed latent the label changes the output only through label skips (section 5.2, B4)."""
    rectifier = build(skips=skips).eval()
    image, guidance = torch.randn(1, 1, 16, 16), torch.zeros(1)
    context = rectifier.context(image, guidance)
    latent = torch.randn(1, 32, 1, 1)
    outs = [
        rectifier.decode(latent, rectifier.encode(image, label, context), context)
        for label in torch.rand(2, 1, 3, 16, 16)
    ]
    assert torch.equal(*outs) != leaks


def test_guidance_modulates_encoder_and_decoder():
    rectifier = build().eval()
    image, label = torch.randn(1, 1, 16, 16), torch.rand(1, 3, 16, 16)
    contexts = [rectifier.context(image, torch.tensor([value])) for value in (0.0, 300.0)]
    latents = [rectifier.encode(image, label, context)[-1] for context in contexts]
    assert not torch.allclose(*latents)
    features = rectifier.encode(image, label, contexts[0])
    decoded = [rectifier.decode(features[-1], features, contexts[0]._replace(embedded=c.embedded)) for c in contexts]
    assert not torch.allclose(*decoded)


def test_batch_norm_takes_out_a_guidance_that_all_rows_share():
    """Why `guidance=batch` teaches nothing of guidance: the same shift in every row is the batch's mean (B7)."""
    rectifier = build(width=4, dropout=0.0)
    image, label = torch.randn(4, 1, 64, 64), torch.rand(4, 3, 64, 64)

    def changed(*told: float) -> float:
        """By how much features differ from those under a guidance of 300, inside: zero padding does see a shift."""
        with torch.no_grad():
            one, other = (
                rectifier.encode(image, label, rectifier.context(image, torch.tensor(values)))[0][..., 8:-8, 8:-8]
                for values in ((300.0,) * 4, told)
            )
        return float((one - other).abs().mean())

    learning = changed(50, 50, 50, 50)
    rows_apart = changed(0, 100, 300, 900)
    rectifier.eval()
    assert 10 * learning < min(changed(50, 50, 50, 50), rows_apart)


def test_standardised_latents_have_mean_zero_and_variance_one():
    rectifier = build(standardise=True, width=4).train()
    image, label = torch.randn(4, 1, 32, 32), torch.rand(4, 3, 32, 32)
    for _ in range(600):  # the statistics lag behind by a hundred steps
        with torch.no_grad():
            latent = rectifier.encode(image, label, rectifier.context(image, torch.zeros(4)))[-1]
    axes = (0, 2, 3)
    assert latent.mean(axes).abs().max() < 0.5  # dropout makes every pass another one
    torch.testing.assert_close(latent.var(axes).mean(), torch.tensor(1.0), atol=0.3, rtol=0)
    assert {"standard.mean", "standard.variance"} <= set(rectifier.state_dict())


def test_dropout_can_be_scaled_down_to_none():
    image, label, guidance = torch.randn(3, 1, 32, 32), torch.randn(3, 3, 32, 32), torch.zeros(3)
    for dropout, same in ((1.0, False), (0.0, True)):
        net = build(dropout=dropout, normalisation="group").train()
        found = [net.encode(image, label, net.context(image, guidance))[-1] for _ in range(2)]
        assert torch.equal(*found) == same
