"""The denoiser of label latents: shapes, what it looks at, and rows that stay apart."""

import pytest
import torch

from fewmask.nets.map_denoiser import MapDenoiser


@pytest.mark.parametrize("size", [(9, 11), (3, 5, 7)])
def test_every_input_matters_and_rows_stay_apart(size):
    torch.manual_seed(0)
    net = MapDenoiser(len(size), 16, 2).eval()
    f, z, snr = torch.randn(2, 16, *size), torch.randn(2, 16, *size), torch.tensor([3.0, -10.0])
    found = net(f, z, snr)
    assert found.shape == f.shape
    torch.testing.assert_close(net(f[1:], z[1:], snr[1:]), found[1:])
    assert not torch.allclose(net(f.roll(1, 0), z, snr), found)
    assert not torch.allclose(net(f, z.roll(1, 0), snr), found)
    assert not torch.allclose(net(f, z, snr.roll(1, 0)), found)


def test_it_sees_far():
    """Two blocks of 7-convolutions: six voxels to each side, and no more."""
    net = MapDenoiser(2, 16, 2).eval()
    f = torch.zeros(1, 16, 1, 31, requires_grad=True)
    net(f, torch.zeros_like(f), torch.zeros(1))[0, :, 0, 15].sum().backward()
    seen = f.grad[0, :, 0].abs().sum(0).nonzero().squeeze(1)
    assert (int(seen.min()), int(seen.max())) == (9, 21)
