import pytest
import torch

from fewmask.nets.latent_unet import Attention, LatentUNet


def build(size: tuple[int, ...]) -> LatentUNet:
    torch.manual_seed(0)
    net = LatentUNet(channels=2, size=size, guide=3, width=8, dropout=0.0).eval()
    torch.nn.init.normal_(net.out[-1].weight)
    return net


@pytest.mark.parametrize("size", [(6, 7), (1, 5), (3, 4, 5)])
def test_any_size_and_every_input_counts(size):
    net = build(size)
    x, z, g, t = torch.randn(2, 2, *size), torch.randn(2, 2, *size), torch.randn(2, 3, *size), torch.tensor([3, 9])
    found = net(x, t, z, g)
    assert found.shape == x.shape
    for other in (net(x + 1, t, z, g), net(x, t + 200, z, g), net(x, t, z + 1, g), net(x, t, z, g + 1)):
        assert float((other - found).detach().abs().max()) > 1e-4


def test_rows_do_not_meet():
    net = build((6, 7))
    x, z, g, t = torch.randn(3, 2, 6, 7), torch.randn(3, 2, 6, 7), torch.randn(3, 3, 6, 7), torch.tensor([0, 5, 999])
    alone = torch.cat([net(*(one[row : row + 1] for one in (x, t, z, g))) for row in range(3)])
    torch.testing.assert_close(net(x, t, z, g), alone, rtol=1e-4, atol=1e-5)


def test_before_training_the_answer_is_nothing():
    net = LatentUNet(channels=2, size=(4, 4), guide=3, width=8, dropout=0.1)
    assert not net(torch.randn(1, 2, 4, 4), torch.tensor([1]), torch.randn(1, 2, 4, 4), torch.randn(1, 3, 4, 4)).any()


@pytest.mark.parametrize(
    ("size", "attending"), [((32, 32), (16, 8)), ((48, 48), (12,)), ((8, 16), (16, 8, 4)), ((16, 24, 16), (6,))]
)
def test_only_levels_of_few_cells_attend(size, attending):
    """Attention to all cells costs the square of their number; attending: the levels' second side."""
    net, seen = build(size), set()
    for module in net.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda module, given, out: seen.add(out.shape[3]))
    with torch.no_grad():
        net(torch.randn(1, 2, *size), torch.tensor([1]), torch.randn(1, 2, *size), torch.randn(1, 3, *size))
    assert seen == set(attending)


def test_attention_is_torchs():
    torch.manual_seed(1)
    ours, theirs = Attention(2, 64), torch.nn.MultiheadAttention(64, 2, batch_first=True)
    assert ours.heads == 2
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.project.weight,
            "in_proj_bias": ours.project.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    x = torch.randn(2, 64, 3, 5)
    cells = ours.norm(x).flatten(2).transpose(1, 2)
    expected = x + theirs(cells, cells, cells, need_weights=False)[0].transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(ours(x, x), expected, rtol=1e-4, atol=1e-5)
