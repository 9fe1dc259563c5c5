"""Two processes equal one with the same total batch."""

import os
import socket
import subprocess

import torch
from safetensors.torch import load_file

from fewmask.config import Config, Network
from fewmask.nets import build_segmenter
from fewmask.seeding import derive
from fewmask.types import Task

LOSS = """
from fewmask.losses import dice_ce
from fewmask.methods import METHODS
from fewmask.methods.supervised import Supervised
from fewmask.types import Update

class PerSample(Supervised):
    '''A loss that is a mean over rows, so that it can be shared; two updates a step.'''
    def step(self, batch, clock):
        labelled = batch.labelled
        logits = self.segmenter(labelled.image)
        yield Update({"loss": dice_ce(logits, labelled.label, labelled.valid, per_sample=True)})
        logits = self.segmenter(labelled.strong[0])
        yield Update({"again": dice_ce(logits, labelled.label, labelled.valid, per_sample=True)})

METHODS["per_sample"] = PerSample
"""


def test_two_gloo_processes_equal_one(settings, job, tmp_path):
    """GroupNorm, no dropout, a per-sample loss: the same weights to 1e-6."""
    segmenter = {"width": 4, "normalisation": "group", "dropout": 0.0}
    train = {
        "validations": 1,
        "precision": "fp32",
        "optimiser": {"name": "sgd", "lr": 1e-2, "weight_decay": 1e-3, "warmup": 0},
    }
    config = settings("per_sample", steps=3, train=train, segmenter=segmenter)
    for name, world in (("one", 1), ("two", 2)):
        train_on(world, job(tmp_path / name, config, first=LOSS))
    one, two = (load_file(tmp_path / name / "last" / "state.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-6)
    moved = {name: float((one[f"method/{name}"] - tensor).abs().max()) for name, tensor in untrained(config).items()}
    assert len(moved) == 82 and min(moved.values()) > 5e-6
    assert min(moved[name] for name in moved if name.endswith("weight")) > 1e-4


def test_how_often_is_saved_does_not_change_what_two_processes_learn(settings, job, tmp_path):
    """Batch normalisation's running statistics differ between processes, and the teacher labels with them."""
    for name, save_minutes in (("never", 1e6), ("often", 1e-9)):
        train = {"validations": 0, "save_minutes": save_minutes}
        own = {"segmenter": {"width": 2, "normalisation": "batch"}, "burn_in": 0.0, "ema": 0.5}
        config = settings("mean_teacher", steps=6, train=train, consistency={"length": 0.1}, **own)
        train_on(2, job(tmp_path / name, config))
    never, often = (load_file(tmp_path / name / "last" / "model.safetensors") for name in ("never", "often"))
    assert any("running_mean" in name for name in never)
    assert all(torch.equal(often[name], tensor) for name, tensor in never.items())


def untrained(config: Config) -> dict[str, torch.Tensor]:
    """The weights of the segmenter with which such a run begins."""
    torch.manual_seed(derive(config.train.seed, "init"))
    task = Task(channels=1, classes=3, names=("background", "box", "core"), patch_size=config.plan.size)
    network = build_segmenter(Network(**config.method["segmenter"]), task)
    return {f"segmenter.{name}": tensor for name, tensor in network.state_dict().items()}


def train_on(world: int, command: list[str]) -> None:
    """Run the command as so many processes that train together."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if world > 1:
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world)}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else {} for rank in range(world)]
    started = [subprocess.Popen(command, env={**environment, **rank}) for rank in ranks]
    assert [process.wait(timeout=300) for process in started] == [0] * world


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
