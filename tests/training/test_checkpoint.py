import pytest
import torch
from torch import nn

from fewmask.config import Optimiser, Train
from fewmask.errors import DataError
from fewmask.training.checkpoint import Progress, load_state, save_state
from fewmask.training.optim import build_optimisers


def make(seed: int, name: str = "adamw"):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    return module, build_optimisers({"one": module[0], "two": module[1]}, Train(optimiser=Optimiser(name=name)))


def step(module, optimisers):
    module(torch.randn(5, 3)).square().sum().backward()
    for optimiser in optimisers.values():
        optimiser.step()
        optimiser.zero_grad()


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_twin_continues_exactly(tmp_path, name):
    module, optimisers = make(0, name)
    step(module, optimisers)
    path = tmp_path / "state.safetensors"
    save_state(path, module, optimisers, Progress(step=7, seconds=1.5, best_dice=0.25, best_step=5))
    twin, twin_optimisers = make(1, name)
    assert load_state(path, twin, twin_optimisers) == Progress(step=7, seconds=1.5, best_dice=0.25, best_step=5)
    for pair in ((module, optimisers), (twin, twin_optimisers)):
        torch.manual_seed(3)
        step(*pair)
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensor, twin.state_dict()[key]), key


def test_what_is_no_checkpoint_is_refused(tmp_path):
    module, optimisers = make(0)
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="not a checkpoint of fewmask"):
        load_state(path, module, optimisers)
    save_state(path, nn.Linear(2, 2), {}, Progress())
    with pytest.raises(DataError, match="another method or version"):
        load_state(path, module, optimisers)
