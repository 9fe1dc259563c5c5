"""Synthetic samples: what is pasted is known, what may be an organ of its own is not, classes leave no trace."""

import pytest
import torch

from fewmask.methods.synthesis import (
    Sample,
    Synthesis,
    _filled,
    centred_box,
    deformed_labels,
    exchange_amplitudes,
    smoothed,
    synthesise,
    widened,
)

SIZES = [(33, 40), (22, 27, 24)]
STILL = {"shear": 0, "elastic": (0, 0), "offset": 0, "fourier": 0, "one_missing": 0, "all_missing": 0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rings(size: tuple[int, ...], rows: int = 4) -> Sample:
    """A ball (2) in a shell (1) off the centre, bright on noise; valid everywhere."""
    middle = torch.tensor([0.4 * length for length in size]).view(-1, *[1] * len(size))
    axes = torch.stack(torch.meshgrid(*[torch.arange(float(length)) for length in size], indexing="ij"))
    distance = ((axes - middle) / min(size)).square().sum(0).sqrt()
    label = (distance < 0.28).long() + (distance < 0.14)
    label = label.expand(rows, *size).clone()
    image = label.unsqueeze(1).float() + 0.1 * torch.randn(rows, 1, *size, generator=seeded(1))
    return Sample(image, label, torch.ones_like(label, dtype=torch.bool))


def plain(size: tuple[int, ...], rows: int = 4) -> torch.Tensor:
    return -1 + 0.1 * torch.randn(rows, 1, *size, generator=seeded(2))


@pytest.mark.parametrize("size", SIZES)
def test_with_everything_off_a_sample_is_what_was_given(size):
    given = rings(size)
    made = synthesise(Synthesis(**STILL, paste=0), given, plain(size), None, 3, seeded())
    torch.testing.assert_close(made.image, given.image, rtol=0, atol=1e-4)
    assert torch.equal(made.label, given.label) and torch.equal(made.valid, given.valid)


@pytest.mark.parametrize("size", SIZES)
def test_same_generator_same_sample_and_the_label_follows_the_image(size):
    given = rings(size)
    one, two = (
        synthesise(Synthesis(offset=0, fourier=0, paste=0), given, plain(size), None, 3, seeded(5)) for _ in "ab"
    )
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.label, given.label)
    for kind in (1, 2):  # bright where the label says so: edges apart, the image moved with its label
        inside = ~widened(one.label != kind, 1) & one.valid
        assert inside.any() and float((one.image[:, 0][inside] - kind).abs().max()) < 0.7


def test_the_ignore_rule():
    """Beside a paste, what the network suspects is unknown; all else is background that counts."""
    size, given = (33, 40), rings((33, 40))
    suspect = torch.zeros(4, *size, dtype=torch.bool)
    suspect[:, 24:30, 28:36] = True
    settings = Synthesis(**STILL, paste=1, paste_shift=0)
    made = synthesise(settings, given, plain(size), suspect, 3, seeded())
    cover = widened(given.label > 0, 1)
    assert torch.equal(made.label, given.label)
    assert torch.equal(made.valid, cover | ~widened(suspect, 1))
    assert bool(made.valid.flatten(1).any(1).all()) and not bool(made.valid.all())
    outside = ~widened(cover, 2)
    assert torch.equal(made.image[:, 0][outside], plain(size)[:, 0][outside])


def test_before_the_network_can_tell_all_around_a_paste_is_unknown_or_a_box_is():
    size, given = (33, 40), rings((33, 40))
    cover = widened(given.label > 0, 1)
    pasting = Synthesis(**STILL, paste=1, paste_shift=0)
    blind = synthesise(pasting, given, plain(size), None, 3, seeded())
    assert torch.equal(blind.valid, cover)
    box = centred_box(given.label, 0.5)
    made = synthesise(pasting, given, plain(size), box, 3, seeded())
    assert torch.equal(made.valid, cover | ~widened(box, 1))
    assert float(box[0].float().mean()) == pytest.approx(0.25, abs=0.05)


def test_a_paste_takes_on_the_brightness_of_where_it_lands():
    size, given = (33, 40), rings((33, 40))
    made = synthesise(Synthesis(**STILL, paste=1, paste_shift=0), given, plain(size), None, 3, seeded())
    around = widened(widened(given.label > 0, 1), 3)
    assert float(made.image[:, 0][around].mean()) == pytest.approx(-1, abs=0.1)
    # and keeps its own order: the core stays the brightest
    means = [float(made.image[:, 0][given.label == kind].mean()) for kind in range(3)]
    assert means[1] < means[2]


def test_a_slice_without_structures_is_not_pasted():
    given = rings((33, 40))
    empty = given._replace(label=given.label * 0)
    made = synthesise(Synthesis(**STILL, paste=1), empty, plain((33, 40)), None, 3, seeded())
    torch.testing.assert_close(made.image, given.image, rtol=0, atol=1e-4)
    assert bool(made.valid.all()) and not bool(made.label.any())


def test_unknown_voxels_stay_unknown():
    given = rings((33, 40))
    valid = given.valid.clone()
    valid[:, :, :20] = False
    for paste in (0, 1):
        settings = Synthesis(**STILL, paste=paste, paste_shift=0)
        made = synthesise(settings, given._replace(valid=valid), plain((33, 40)), given.label > 9, 3, seeded())
        known = made.valid & (made.label > 0)
        assert not bool((known & ~valid).any())
        assert bool(known.any())


def test_a_missing_class_is_in_neither_label_nor_image():
    given = rings((33, 40), rows=64)
    settings = Synthesis(**{**STILL, "one_missing": 0.5, "all_missing": 0.25}, paste=0)
    made = synthesise(settings, given, None, None, 3, seeded())
    present = torch.stack([(made.label == kind).flatten(1).any(1) for kind in (1, 2)], 1)
    none, both = (~present).all(1), present.all(1)
    assert 8 <= int(none.sum()) <= 24 and 8 <= int(both.sum()) <= 24 and int((~none & ~both).sum()) >= 20
    assert float(made.image[none].amax()) < 0.8  # the ball had 2, the shell 1, the noise 0.1
    assert (
        torch.equal(made.image[both], given.image[both]) or float((made.image - given.image)[both].abs().max()) < 1e-4
    )


def test_filling_continues_a_flat_image_flatly():
    image = torch.full((1, 1, 20, 20), 3.0)
    gone = torch.zeros(1, 20, 20, dtype=torch.bool)
    gone[:, 5:14, 6:15] = True
    torch.testing.assert_close(_filled(image, gone, seeded()), image)


@pytest.mark.parametrize("size", SIZES)
def test_amplitudes_are_exchanged_with_an_image_itself_for_nothing(size):
    image = torch.randn(2, 2, *size)
    same = exchange_amplitudes(image, image, (0.1, 0.2), seeded())
    torch.testing.assert_close(same, image, rtol=0, atol=1e-4)
    other = exchange_amplitudes(image, image + 5, (0.1, 0.2), seeded())
    torch.testing.assert_close(other - other.mean(), image - image.mean(), rtol=0, atol=6)
    assert float((other - image).abs().max()) > 0.1


def test_labels_alone_are_deformed_the_same_way_and_unknown_where_they_come_from_beyond():
    given = rings((33, 40))
    label, valid = deformed_labels(Synthesis(elastic=(0.1, 0.1)), given.label, given.valid, 3, seeded())
    assert label.shape == given.label.shape and set(label.unique().tolist()) <= {0, 1, 2}
    assert not torch.equal(label, given.label) and not bool(valid.all())


def test_box_means_and_widening_against_scipy():
    from scipy.ndimage import binary_dilation, uniform_filter

    mask = torch.rand(1, 14, 15, generator=seeded()) > 0.9
    expected = binary_dilation(mask[0].numpy(), [[1] * 5] * 5)
    assert torch.equal(widened(mask, 2)[0], torch.from_numpy(expected))
    x = torch.randn(1, 1, 14, 15)
    inner = uniform_filter(x[0, 0].numpy(), 5)[2:-2, 2:-2]
    torch.testing.assert_close(smoothed(x, 2)[0, 0, 2:-2, 2:-2], torch.from_numpy(inner), rtol=1e-4, atol=1e-5)
