"""Sums, averages, sharing and a common memory over two processes; alone, nothing happens."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from fewmask import distributed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_processes_average_share_and_remember_as_one(tmp_path):
    job = tmp_path / "job.py"
    job.write_text(TWO)
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen([sys.executable, str(job)], env={**environment, "RANK": str(rank)}) for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda", "nccl")])
def test_processes_wait_for_hours_while_the_first_prepares(monkeypatch, device, backend):
    joined = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda kind, timeout: joined.append((kind, timeout.total_seconds()))
    )
    distributed.start(torch.device(device))
    ((kind, seconds),) = joined
    assert kind == backend and seconds >= 6 * 3600


def test_alone_everything_is_a_matter_of_course():
    parameter = torch.nn.Parameter(torch.ones(2))
    distributed.average_gradients([parameter])
    assert parameter.grad is None
    assert (distributed.rank(), distributed.world()) == (0, 1)
    assert distributed.any_of(True, torch.device("cpu")) and not distributed.any_of(False, torch.device("cpu"))
    assert torch.equal(distributed.all_sum(torch.ones(3)), torch.ones(3))
    assert torch.equal(distributed.all_rows(torch.ones(3, 1)), torch.ones(3, 1))


TWO = """
import torch
from fewmask import distributed
from fewmask.methods.propagation import LabelPropagation
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
norm = torch.nn.BatchNorm1d(3)
with torch.no_grad():
    for buffer in norm.buffers():
        buffer.fill_(1 + rank)
    norm.weight.fill_(1.0 + rank)
distributed.share_buffers(norm)
assert all(torch.equal(buffer, torch.ones_like(buffer)) for buffer in norm.buffers())
assert torch.equal(norm.weight, torch.full((3,), 1.0 + rank))
assert distributed.any_of(rank == 1, torch.device("cpu"))
assert torch.equal(distributed.all_sum(torch.ones(2)), torch.full((2,), 2.0))
assert distributed.all_rows(torch.full((2, 1), rank)).tolist() == [[0], [0], [1], [1]]
ours, whole = (LabelPropagation(2, 4, 3, memory=8, temperature=0.1) for _ in range(2))
generator = torch.Generator().manual_seed(0)
regions, shares = torch.randn(4, 5, 4, generator=generator), torch.eye(3)[torch.arange(20).view(4, 5) % 3]
half = slice(2 * rank, 2 * rank + 2)
ours.remember(regions[half], shares[half], shares[half])
distributed.stop()
whole.remember(regions, shares, shares)
assert all(torch.allclose(a, b) for a, b in zip(ours.buffers(), whole.buffers(), strict=True))
assert ours.pushed.tolist() == [4, 4, 4]
"""
