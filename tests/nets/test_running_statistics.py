import pytest
import torch

from fewmask.config import Network
from fewmask.nets import build_segmenter
from fewmask.nets.running_statistics import unmoved
from fewmask.types import Task

TASK = Task(channels=1, classes=2, names=("background", "one"), patch_size=(16, 16))


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_segmenter(Network(width=2, dropout=0.0), TASK).train()


def statistics(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in net.named_buffers() if "running" in name}


def test_a_pass_inside_normalises_by_the_batch_and_moves_nothing():
    net, image = network(), torch.randn(3, 1, 16, 16)
    before = statistics(net)
    with unmoved(net):
        inside = net(image)
    assert before
    for name, tensor in statistics(net).items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    torch.testing.assert_close(inside, net(image), rtol=0, atol=0)


def test_afterwards_they_move_again_even_if_the_pass_failed():
    net, image = network(), torch.randn(3, 1, 16, 16)
    with pytest.raises(ZeroDivisionError), unmoved(net):
        raise ZeroDivisionError
    before = statistics(net)
    net(image)
    assert all(not torch.equal(tensor, before[name]) for name, tensor in statistics(net).items())
