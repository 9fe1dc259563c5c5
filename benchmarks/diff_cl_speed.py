"""Seconds of a step of Diff-CL by part, beside cross pseudo supervision with two networks of the same kind, in one run.

    python benchmarks/diff_cl_speed.py --repeats 5                                  (CPU tier: 32x48x32, width 8)
    python benchmarks/diff_cl_speed.py --device cuda --size 80 112 112 --width 16   (left atrium as published)

2 labelled and 2 unlabelled patches, 1 channel, 2 classes, while the networks label for each other; one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch

from fewmask.config import Network
from fewmask.losses import dice_ce
from fewmask.methods import METHODS
from fewmask.methods.diff_cl import DiffCL
from fewmask.types import Batch, Stream, Task
from step_time import measured, once, stepping

SAMPLES = (1, 2, 4, 10)
ROWS = {
    "cps": ("cps", {}),
    "diff_cl without module and contrast": ("diff_cl", {"module": {"levels": ()}, "propagation": {"weight": 0}}),
    "with the module": ("diff_cl", {"propagation": {"weight": 0}}),
    "with contrast": ("diff_cl", {"module": {"levels": ()}}),
    "whole": ("diff_cl", {}),
    "whole, 4 sampler steps": ("diff_cl", {"diffusion": {"samples": 4}}),
    "whole, 10 sampler steps": ("diff_cl", {"diffusion": {"samples": 10}}),
}


def batch_of(task: Task, device: torch.device) -> Batch:
    def stream(labelled: bool) -> Stream:
        image = torch.randn(2, 1, *task.patch_size, device=device)
        label = torch.randint(0, task.classes, (2, *task.patch_size), device=device)
        valid = torch.ones_like(label, dtype=torch.bool)
        return Stream(image=image, strong=image[None], valid=valid, label=label if labelled else None)

    return Batch(labelled=stream(True), unlabelled=stream(False))


def components(method: DiffCL, batch: Batch, device: torch.device, mixed: Callable) -> dict[str, Callable[[], None]]:
    """What a step is made of, each by itself; samplings of 1 to 10 DDIM steps of the two unlabelled patches."""
    x, u = batch.labelled, batch.unlabelled
    image = torch.cat([x.image, u.image])
    label, valid = torch.cat([x.label, x.label]), torch.cat([x.valid, u.valid])
    generator = torch.Generator(device).manual_seed(0)
    noisy, t = method.labels.draw(label, "all", generator)
    noise = torch.randn((2, method.task.classes, *u.image.shape[2:]), device=device)

    def convolutional() -> None:
        with mixed():
            loss = dice_ce(method.segmenter(image), label, valid)
        loss.backward()

    def diffusion() -> None:
        with mixed():
            loss = dice_ce(method.denoiser(noisy, t, image), label, valid)
        loss.backward()

    def sampling(count: int) -> Callable[[], None]:
        @torch.no_grad()
        def part() -> None:
            with mixed():
                method.labels.sample(method.sampler.network, u.image, noise, count)

        return part

    parts = {
        "convolutional network, 4 patches, with backward": convolutional,
        "diffusion network, 4 patches, with backward": diffusion,
    }
    return parts | {f"sampling 2 labels, {count} steps": sampling(count) for count in SAMPLES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, nargs=3, default=(32, 48, 32))
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(asked.device)
    task = Task(channels=1, classes=2, names=("background", "a"), patch_size=tuple(asked.size))
    batch, network = batch_of(task, device), Network(name="vnet", width=asked.width)
    for precision in ("fp32", "bf16"):
        mixed = partial(torch.autocast, device.type, torch.bfloat16, enabled=precision == "bf16")
        print(precision)
        for row, (name, settings) in ROWS.items():
            method = METHODS[name](METHODS[name].Config(segmenter=network, **settings), task)
            seconds = measured(stepping(method, batch, device, mixed), asked.repeats, device)["whole"]
            print(f"  {seconds:7.3f} s  {row}")
        print("  whole, by component")
        for part, component in components(method, batch, device, mixed).items():
            seconds = measured(once(component), asked.repeats, device)["whole"]
            print(f"    {seconds:7.3f} s  {part}")


if __name__ == "__main__":
    main()
