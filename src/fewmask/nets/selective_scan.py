"""Selective scan: the state-space recurrence S6 of Mamba (Gu & Dao 2023, arXiv:2312.00752, section 3.2), exact.

    h_l = exp(dt_l A) h_{l-1} + dt_l B_l u_l,    y_l = C_l h_l + D u_l

The sequence is worked through in blocks: a block's coefficients are made at once, then the recurrence runs over them,
on the CPU as one fused multiply-add a step, elsewhere in two levels, so that the number of kernels grows with the
square root of the length.  All factors lie in (0, 1): nothing can overflow, whatever dt is.  Backwards each block is
made again from its first state, so memory holds the states of one block and not of the sequence.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CPU_BLOCK, OTHER_BLOCK = 64, 4096
"""Steps whose states are held at once: what stays in the cache of a core; what keeps a GPU busy."""


def selective_scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """y (R, L, d) of u (R, L, d), in the precision of u: float32 or float64.

    dt (R, L, d) > 0; A (d, N) < 0; B, C (R, L, N); D (d,).  R rows, L steps, d channels, N states a channel.  Where
    mamba-ssm's kernel can be imported it runs float32 on CUDA.
    """
    kernel = _mamba_ssm() if u.is_cuda and u.dtype == torch.float32 else None
    if kernel is not None:
        u, dt, B, C = (x.transpose(1, 2).contiguous() for x in (u, dt, B, C))
        return kernel(u, dt, A, B, C, D).transpose(1, 2)
    return _Scan.apply(u, dt, A, B, C, D)


def _mamba_ssm() -> Any:
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None
    return selective_scan_fn


class _Scan(torch.autograd.Function):
    """Time comes first inside, (L, R, d, N), so that a step reads one slab of memory."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
        u, dt, B, C = (x.transpose(0, 1).contiguous() for x in (u, dt, B, C))
        state, before, y = u.new_zeros(u.shape[1], *A.shape), [], torch.empty_like(u)
        for block in _blocks(u):
            before.append(state)
            _, h = _states(u[block], dt[block], A, B[block], state)
            y[block] = (h @ C[block].unsqueeze(-1)).squeeze(-1)
            state = h[-1].clone()
        ctx.save_for_backward(u, dt, A, B, C, D, torch.stack(before))
        return y.addcmul_(u, D).transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        u, dt, A, B, C, D, before = ctx.saved_tensors
        grad = grad.transpose(0, 1).contiguous()
        du, ddt, dB, dC = (torch.empty_like(x) for x in (u, dt, B, C))
        dA, later = torch.zeros_like(A), torch.zeros_like(before[0])
        for block, state in reversed(list(zip(_blocks(u), before, strict=True))):
            a, h = _states(u[block], dt[block], A, B[block], state)
            dC[block] = (grad[block].unsqueeze(2) @ h).squeeze(2)
            dh = grad[block].unsqueeze(-1) * C[block].unsqueeze(2)
            dh[-1] += later  # what the steps after this block ask of its last state
            dh = _recur(torch.cat([a[:1], a[1:].flip(0)]), dh.flip(0)).flip(0)
            later = a[0] * dh[0]
            dx = (dh @ B[block].unsqueeze(-1)).squeeze(-1)
            dB[block] = ((dt[block] * u[block]).unsqueeze(2) @ dh).squeeze(2)
            decay = dh.mul_(torch.cat([state.unsqueeze(0), h[:-1]])).mul_(a)  # of the loss by dt A
            dA += (decay * dt[block].unsqueeze(-1)).sum((0, 1))
            ddt[block] = (decay * A).sum(-1) + dx * u[block]
            du[block] = dx * dt[block]
        du.addcmul_(grad, D)
        return (
            *(x.transpose(0, 1) for x in (du, ddt)),
            dA,
            *(x.transpose(0, 1) for x in (dB, dC)),
            (grad * u).sum((0, 1)),
        )


def _blocks(u: Tensor) -> list[slice]:
    """Slices of the steps, first to last."""
    size = OTHER_BLOCK if u.is_cuda else CPU_BLOCK
    return [slice(start, start + size) for start in range(0, len(u), size)]


def _states(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The factors exp(dt A) and the states of a block that follows `state`, both (L, R, d, N)."""
    a = torch.exp_(dt.unsqueeze(-1) * A)
    x = (dt * u).unsqueeze(-1) * B.unsqueeze(2)
    x[0].addcmul_(a[0], state)
    return a, _recur(a, x)


def _recur(a: Tensor, x: Tensor) -> Tensor:
    """h_0 = x_0, h_l = a_l h_{l-1} + x_l along the first axis; may overwrite x."""
    if x.is_cuda:
        return _two_level(a, x)
    steps, factors = x.unbind(0), a.unbind(0)
    for before, now, factor in zip(steps, steps[1:], factors[1:], strict=False):
        now.addcmul_(factor, before)
    return x


def _two_level(a: Tensor, x: Tensor) -> Tensor:
    """The same with all chunks of about sqrt(L) steps at once, then from chunk to chunk."""
    length, rest = len(x), x.shape[1:]
    size = math.isqrt(length - 1) + 1
    count = -(-length // size)
    short = count * size - length
    if short:
        a, x = torch.cat([a, a.new_ones(short, *rest)]), torch.cat([x, x.new_zeros(short, *rest)])
    a, x = (y.view(count, size, *rest).transpose(0, 1).contiguous() for y in (a, x))
    left = torch.empty_like(a)  # of the state before a chunk at each of its steps; x: as if each chunk began at zero
    left[0] = a[0]
    for step in range(1, size):
        x[step].addcmul_(a[step], x[step - 1])
        torch.mul(a[step], left[step - 1], out=left[step])
    carry = torch.zeros_like(x[0])
    for chunk in range(1, count):
        carry[chunk] = torch.addcmul(x[-1, chunk - 1], left[-1, chunk - 1], carry[chunk - 1])
    return x.addcmul_(left, carry).transpose(0, 1).reshape(-1, *rest)[:length]
