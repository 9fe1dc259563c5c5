"""torchrun: who this process is, and averaging over the processes; all of it does nothing in a single process."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = timedelta(hours=12)
"""How long one process waits for another: while the first scans and prepares a large data set, or predicts val, the
others have nothing to do, and torch's own 10 or 30 minutes would end them."""


def start(device: torch.device) -> None:
    """Join the processes that torchrun started; gloo on the CPU, nccl on CUDA."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """Which device of this machine is ours."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def share_state(module: nn.Module) -> None:
    """Give every process the parameters and buffers of rank 0, to begin with."""
    if dist.is_initialized():
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.data, src=0)


def share_buffers(module: nn.Module) -> None:
    """Give every process the buffers of rank 0, in one message a type: running statistics drift apart in every step.

    Parameters need no sharing: equal gradients move them equally.
    """
    if not dist.is_initialized():
        return
    by_type: dict[torch.dtype, list[Tensor]] = defaultdict(list)
    for buffer in module.buffers():
        by_type[buffer.dtype].append(buffer)
    for buffers in by_type.values():
        flat = torch.cat([buffer.reshape(-1) for buffer in buffers])
        dist.broadcast(flat, src=0)
        for buffer, piece in zip(buffers, flat.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(piece.view_as(buffer))


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on any process, so that all take the same branch."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Mean of the gradients over the processes.

    A gradient that one process lacks counts as zero; one that all lack stays missing, as it would in one process.
    """
    if not dist.is_initialized():
        return
    parameters = list(parameters)
    if not parameters:
        return
    device = parameters[0].device
    present = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=device)
    dist.all_reduce(present, op=dist.ReduceOp.MAX)
    used = [parameter for parameter, somewhere in zip(parameters, present.tolist(), strict=True) if somewhere]
    if not used:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in used]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, gradient, piece in zip(
        used, gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True
    ):
        gradient.copy_(piece.view_as(gradient))
        parameter.grad = gradient


def all_sum(tensor: Tensor) -> Tensor:
    """Sum over the processes, for banks and prototypes that must be equal everywhere."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def all_rows(tensor: Tensor) -> Tensor:
    """The rows of all processes one after the other, rank by rank; each must have equally many."""
    if not dist.is_initialized():
        return tensor
    rows = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, tensor.contiguous())
    return torch.cat(rows)
