import pytest
import torch
from torch import nn

from fewmask.nets.dropout import Dropout, dropping


def layouts(x: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "contiguous": x,
        "channels last": x.to(memory_format=torch.channels_last),
        "with gaps": torch.cat([x, x], dim=-1)[..., : x.shape[-1]],
    }


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "with gaps"])
@pytest.mark.parametrize("p", [0.05, 0.3, 0.5])
def test_the_share_that_is_dropped_and_the_mean_that_stays(p, layout):
    torch.manual_seed(0)
    x = layouts(torch.ones(3, 5, 171, 173))[layout]
    out = Dropout(p)(x)
    rounded = round(256 * p) / 256
    assert abs(float((out == 0).float().mean()) - rounded) < 3e-3
    assert out.unique().tolist() == pytest.approx([0.0, 1 / (1 - rounded)])
    assert abs(float(out.mean()) - 1) < 6e-3
    assert out.shape == x.shape


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(1, 1, 512, 512)) == 0).flatten().double()
    centred = dropped - dropped.mean()
    for lag in range(1, 10):  # the eight bytes of one word among them
        assert abs(float((centred[lag:] * centred[:-lag]).mean())) < 2e-3


def test_gradients_are_those_of_the_mask():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 7, requires_grad=True)
    out = Dropout(0.25)(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, (out.detach() != 0) / 0.75)


def test_it_repeats_with_the_seed_and_rests_in_evaluation():
    layer, x = Dropout(0.5), torch.randn(4, 33)
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x) and not Dropout(1.0)(x).any()
    assert isinstance(layer, nn.Dropout)


def test_the_precision_stays():
    assert Dropout(0.5)(torch.ones(3, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_dropping_turns_on_dropout_alone_and_puts_it_back():
    network = nn.Sequential(nn.BatchNorm2d(2), Dropout(0.5), nn.Dropout2d(0.5), nn.Conv2d(2, 2, 1)).eval()
    network[2].train()
    with pytest.raises(KeyError), dropping(network):
        assert [module.training for module in network] == [False, True, True, False]
        raise KeyError
    assert [module.training for module in network] == [False, False, True, False]
