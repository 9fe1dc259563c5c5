"""Two processes equal one with the same total batch."""

import os
import socket
import subprocess
import sys

import torch
from safetensors.torch import load_file

from fewmask.training import distributed

LOSS = """
import sys
from collections.abc import Iterator
from fewmask.losses import dice_ce
from fewmask.methods import METHODS
from fewmask.methods.supervised import Supervised
from fewmask.types import Update

class PerSample(Supervised):
    '''A loss that is a mean over rows, so that it can be shared; two updates a step, one with a term that only
    half of the processes' rows reach.'''
    def step(self, batch, clock):
        labelled = batch.labelled
        logits = self.segmenter(labelled.image)
        yield Update({"loss": dice_ce(logits, labelled.label, labelled.valid, per_sample=True)})
        logits = self.segmenter(labelled.strong[0])
        yield Update({"again": dice_ce(logits, labelled.label, labelled.valid, per_sample=True)})

METHODS["per_sample"] = PerSample
"""


def test_two_gloo_processes_equal_one(catalogue, split, cache, settings, job, tmp_path):
    """GroupNorm, no dropout, a per-sample loss: the same weights to 1e-6."""
    segmenter = {"width": 4, "normalisation": "group", "dropout": 0.0}
    train = {"validations": 1, "optimiser": {"name": "sgd", "lr": 1e-2, "weight_decay": 1e-3, "warmup": 0}}
    config = settings("per_sample", steps=3, train=train, segmenter=segmenter)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    runs = {"one": [{}], "two": [{"RANK": str(r), "LOCAL_RANK": str(r), "WORLD_SIZE": "2"} for r in range(2)]}
    for name, processes in runs.items():
        started = [
            subprocess.Popen(job(tmp_path / name, config, first=LOSS), env={**environment, **own}) for own in processes
        ]
        assert [process.wait(timeout=300) for process in started] == [0] * len(processes)
    one, two = (load_file(tmp_path / name / "last" / "model.safetensors") for name in runs)
    moved = 0.0
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-6)
        moved += float(tensor.abs().sum())
    assert moved > 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_gradient_that_one_process_lacks_counts_as_zero(tmp_path):
    job = tmp_path / "job.py"
    job.write_text(MISSING)
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen([sys.executable, str(job)], env={**environment, "RANK": str(rank)}) for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]


def test_alone_everything_is_a_matter_of_course():
    parameter = torch.nn.Parameter(torch.ones(2))
    distributed.average_gradients([parameter])
    assert parameter.grad is None
    assert (distributed.rank(), distributed.world()) == (0, 1)
    assert distributed.any_of(True, torch.device("cpu")) and not distributed.any_of(False, torch.device("cpu"))
    assert torch.equal(distributed.all_sum(torch.ones(3)), torch.ones(3))


MISSING = """
import torch
from fewmask.training import distributed
distributed.start(torch.device("cpu"))
both, one, none = (torch.nn.Parameter(torch.zeros(3)) for _ in range(3))
rank = distributed.rank()
both.grad = torch.full((3,), 1.0 + rank)
if rank == 1:
    one.grad = torch.full((3,), 4.0)
distributed.average_gradients([both, one, none])
assert torch.equal(both.grad, torch.full((3,), 1.5)), both.grad
assert torch.equal(one.grad, torch.full((3,), 2.0)), one.grad
assert none.grad is None
module = torch.nn.Linear(2, 2)
with torch.no_grad():
    module.weight.fill_(float(rank))
distributed.share_state(module)
assert torch.equal(module.weight, torch.zeros(2, 2))
assert distributed.any_of(rank == 1, torch.device("cpu"))
assert torch.equal(distributed.all_sum(torch.ones(2)), torch.full((2,), 2.0))
distributed.stop()
"""
