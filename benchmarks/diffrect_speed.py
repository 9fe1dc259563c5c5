"""Seconds of a step of DiffRect beside a bare supervised step of the same U-Net, in one run, with its parts.

    python benchmarks/diffrect_speed.py --repeats 5                     (CPU: one thread; add --threads 2)
    python benchmarks/diffrect_speed.py --device cuda --repeats 50

256x256, 1 channel, 4 classes, 3 labelled and 3 unlabelled images a step, U-Net and rectifier of width 16, while
rectification runs.  The bare step shows 6 labelled images to the U-Net.  Ratios are of medians, in fp32 and in bf16.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import torch

from fewmask.config import Network
from fewmask.losses import dice_ce
from fewmask.methods import METHODS
from fewmask.methods.diffrect import DiffRect
from fewmask.nets import build_segmenter
from fewmask.types import Batch, Stream, Task
from step_time import Mixed, measured, once, stepping

TASK = Task(channels=1, classes=4, names=("background", "a", "b", "c"), patch_size=(256, 256))


def streams(device: torch.device) -> Batch:
    def stream(labelled: bool) -> Stream:
        image = torch.randn(3, 1, 256, 256, device=device)
        label = torch.randint(0, 4, (3, 256, 256), device=device)
        valid = torch.ones_like(label, dtype=torch.bool)
        return Stream(image=image, strong=image[None], valid=valid, label=label if labelled else None)

    return Batch(labelled=stream(True), unlabelled=stream(False))


def bare(device: torch.device, mixed: Mixed) -> Callable[[], Iterator[str]]:
    network = build_segmenter(Network(width=16), TASK).to(device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters())
    image = torch.randn(6, 1, 256, 256, device=device)
    label = torch.randint(0, 4, (6, 256, 256), device=device)
    valid = torch.ones_like(label, dtype=torch.bool)

    def step() -> Iterator[str]:
        optimiser.zero_grad()
        with mixed():
            loss = dice_ce(network(image), label, valid)
        loss.backward()
        optimiser.step()
        yield "step"

    return step


def components(method: DiffRect, batch: Batch, device: torch.device, mixed: Mixed) -> dict[str, Callable[[], None]]:
    """What a step of the corrected preset is made of, each by itself."""
    x, u = batch.labelled, batch.unlabelled
    generator = torch.Generator(device).manual_seed(0)
    guidance = torch.full((3,), 100.0, device=device)
    noise = torch.randn(method.rectifier.latent_shape(x.label.shape), device=device, generator=generator)

    @torch.no_grad()
    def teacher() -> None:
        with mixed():
            method.teacher(u.image)

    def student() -> None:
        with mixed():
            loss = sum(dice_ce(method.segmenter(stream.image), x.label, x.valid) for stream in (x, u))
        loss.backward()

    def transport() -> None:
        with mixed():
            logits, error = method.rectifier.transport(x.image, x.label, x.label, guidance, generator)
            loss = dice_ce(logits, x.label, x.valid) + error.mean()
        loss.backward()

    @torch.no_grad()
    def sampling() -> None:
        with mixed():
            method.average.network.sample(u.image, x.label, guidance, noise)

    return {
        "teacher, 3 images": teacher,
        "student, 3 + 3 images, with backward": student,
        "rectifier, one transport of 3 labels, with backward": transport,
        "rectifier, sampling 3 labels": sampling,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = torch.device(asked.device)
    batch = streams(device)
    config = METHODS["diffrect"].Config
    full = 0.0
    for precision in ("fp32", "bf16"):
        mixed = partial(torch.autocast, device.type, torch.bfloat16, enabled=precision == "bf16")
        base = measured(bare(device, mixed), asked.repeats, device)["whole"]
        full = base if precision == "fp32" else full
        print(f"{precision}: bare supervised step {base:.3f} s")
        for preset in ("released", "corrected"):
            method = METHODS["diffrect"](config(preset=preset, width=16), TASK)
            parts = measured(stepping(method, batch, device, mixed), asked.repeats, device)
            whole = parts.pop("whole")
            print(f"  {preset}: {whole:.3f} s, ratio {whole / base:.2f}, to the bare step in fp32 {whole / full:.2f}")
            for part, seconds in parts.items():
                print(f"    {seconds:7.3f} s  {part}")
        print("  corrected, by component")
        for name, component in components(method, batch, device, mixed).items():
            seconds = measured(once(component), asked.repeats, device)["whole"]
            print(f"    {seconds:7.3f} s  {name}")


if __name__ == "__main__":
    main()
