"""The selective scan beside that of mambapy (pure PyTorch): time and peak memory, forward and backward, in one run.

    pip install mambapy
    python benchmarks/selective_scan.py                      (one thread; --threads 2, --device cuda)

Sizes are those of the high-frequency module on left-atrium patches: 1,960 steps of 256 channels (level 4) and 15,680 of
128 (level 3), 16 states, one row, float32.  Each measurement is a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch

SIZES = ((1_960, 256), (15_680, 128))


def inputs(length: int, channels: int, device: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    u, B, C = (torch.randn(1, length, width, generator=generator) for width in (channels, 16, 16))
    dt = 0.1 * torch.rand(1, length, channels, generator=generator)
    A = -torch.arange(1.0, 17.0).repeat(channels, 1)
    return [tensor.to(device).requires_grad_() for tensor in (u, dt, A, B, C, torch.ones(channels))]


def mambapy(u, dt, A, B, C, D):
    from mambapy.pscan import pscan

    states = pscan(torch.exp(dt.unsqueeze(-1) * A), dt.unsqueeze(-1) * B.unsqueeze(2) * u.unsqueeze(-1))
    return (states @ C.unsqueeze(-1)).squeeze(3) + D * u


def ours(*given):
    from fewmask.nets.selective_scan import selective_scan

    return selective_scan(*given)


def measured(form: str, length: int, channels: int, device: str, threads: int, repeats: int) -> dict:
    torch.set_num_threads(threads)
    scan, given = {"fewmask": ours, "mambapy": mambapy}[form], inputs(length, channels, device)
    times: dict[str, list[float]] = {"forward": [], "forward and backward": []}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        y = scan(*given)
        _wait(device)
        forward = time.perf_counter() - started
        gradients = torch.autograd.grad(y.square().sum(), given)
        _wait(device)
        if repeat:  # the first warms up
            times["forward"].append(forward)
            times["forward and backward"].append(time.perf_counter() - started)
    peak = (
        torch.cuda.max_memory_allocated() / 2**20
        if device == "cuda"
        else (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    )
    return {
        "seconds": {name: statistics.median(found) for name, found in times.items()},
        "peak_mib": peak,
        "sums": [float(y.detach().double().square().sum()), *(float(g.double().square().sum()) for g in gradients)],
    }


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    shared = (asked.device, asked.threads, asked.repeats)
    if asked.one:
        form, length, channels = asked.one
        print(json.dumps(measured(form, int(length), int(channels), *shared)))
        return
    for length, channels in SIZES:
        found = {}
        for form in ("mambapy", "fewmask"):
            command = [sys.executable, __file__, "--one", form, str(length), str(channels), "--device", asked.device]
            command += ["--threads", str(asked.threads), "--repeats", str(asked.repeats)]
            found[form] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        apart = max(
            abs(a - b) / abs(b) for a, b in zip(found["fewmask"]["sums"], found["mambapy"]["sums"], strict=True)
        )
        print(f"{length} steps, {channels} channels; largest relative difference of a squared sum {apart:.1e}")
        for name in ("forward", "forward and backward"):
            theirs, our = (found[form]["seconds"][name] for form in ("mambapy", "fewmask"))
            print(f"  {name}: mambapy {theirs:.3f} s, fewmask {our:.3f} s, ratio {theirs / our:.1f}")
        theirs, our = (found[form]["peak_mib"] for form in ("mambapy", "fewmask"))
        print(f"  peak memory: mambapy {theirs:.0f} MiB, fewmask {our:.0f} MiB")


if __name__ == "__main__":
    main()
