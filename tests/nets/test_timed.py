"""Blocks that a number modulates."""

import pytest
import torch

from fewmask.nets.timed import NumberEmbedding, TimedBlock, TimedUp


def test_the_embedding_is_the_sinusoid_of_its_number():
    embed = NumberEmbedding(6)
    captured = {}
    embed.first.register_forward_pre_hook(lambda module, args: captured.update(code=args[0]))
    assert embed(torch.tensor([0.0, 2.0])).shape == (2, 24)
    rates = torch.tensor([1.0, 10_000**-0.5, 10_000**-1.0])
    expected = torch.cat([(2 * rates).sin(), (2 * rates).cos()])
    torch.testing.assert_close(captured["code"][1], expected)
    torch.testing.assert_close(captured["code"][0], torch.tensor([0.0, 0, 0, 1, 1, 1]))


def test_the_rates_are_no_state():
    assert set(NumberEmbedding(4).state_dict()) == {"first.weight", "first.bias", "second.weight", "second.bias"}


@pytest.mark.parametrize("shape", [(7, 9), (3, 5, 7)])
def test_the_number_reaches_every_row_apart(shape):
    dims = len(shape)
    block = TimedBlock(dims, 2, 4, 8, dropout=0.5).eval()
    x, embedded = torch.randn(1, 2, *shape).expand(2, -1, *[-1] * dims), torch.randn(2, 8)
    out = block(x, embedded)
    assert out.shape == (2, 4, *shape)
    assert not torch.allclose(out[0], out[1])
    same = block(x, embedded[:1].expand(2, -1))
    torch.testing.assert_close(same[0], same[1])


@pytest.mark.parametrize("shape", [(7, 9), (3, 5, 7)])
def test_up_meets_its_skip_at_odd_sizes(shape):
    up = TimedUp(len(shape), 6, 4, 8).eval()
    coarse = torch.randn(1, 6, *[-(-side // 2) for side in shape])
    assert up(coarse, torch.randn(1, 4, *shape), torch.randn(1, 8)).shape == (1, 4, *shape)
