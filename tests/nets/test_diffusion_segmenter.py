"""The denoising V-Net: its size, any image size, and that time and noisy label reach the logits."""

import pytest
import torch

from fewmask.nets.diffusion_segmenter import DiffusionSegmenter


def build(dims: int, width: int = 4) -> DiffusionSegmenter:
    torch.manual_seed(0)
    return DiffusionSegmenter(channels=1, classes=2, dims=dims, width=width, normalisation="group", dropout=1.0)


def test_the_published_size():
    """11.2 M parameters at width 16 and 41.0 M at 32, with the unused layers of 9 blocks, 46 widths of channels."""
    for width, published in ((16, 11.2e6), (32, 41.0e6)):
        unused = 46 * width * (512 + 1)
        found = sum(p.numel() for p in build(3, width=width).parameters())
        assert found + unused == pytest.approx(published, rel=0.003)


@pytest.mark.parametrize("size", [(32, 32), (17, 23), (16, 16, 16), (9, 20, 13)])
def test_any_size(size):
    net, rows = build(len(size)).eval(), 2
    image, label, t = torch.randn(rows, 1, *size), torch.randn(rows, 2, *size), torch.tensor([3, 700])
    with torch.no_grad():
        logits = net(label, t, image)
        assert logits.shape == (rows, 2, *size)
        assert not torch.equal(net(label, t + 1, image), logits)
        assert not torch.equal(net(label + 1, t, image), logits)
        assert not torch.equal(net(label, t, image + 1), logits)
        # rows do not meet: each has its own time
        torch.testing.assert_close(net(label[1:], t[1:], image[1:]), logits[1:], rtol=0, atol=2e-3)


def test_all_parameters_learn():
    net = build(2)
    net(torch.randn(2, 2, 32, 32), torch.tensor([1, 5]), torch.randn(2, 1, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_a_step_of_adam_moves_the_time_no_further_than_any_bias():
    """Features have variance 1 where the time is added; a bias moves by the learning rate."""
    net, t, rate = build(2), torch.tensor([999]), 2e-3
    stage, x = net.encoder[1][0], torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(stage.shift.parameters(), lr=rate)

    def told() -> torch.Tensor:
        return stage.eval()(x, net.embed(t).detach())

    before = told()
    (before * torch.randn_like(before)).sum().backward()
    optimiser.step()
    assert 0 < (told() - before).abs().max() < 3 * rate
