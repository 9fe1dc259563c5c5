"""Seconds of a step and of an image of proto_diff for 1 and 3 sampler steps, beside a bare step of the same U-Net.

    python benchmarks/proto_diff_speed.py --repeats 5                  (CPU: one thread; add --threads 2)
    python benchmarks/proto_diff_speed.py --side 192 --repeats 5
    python benchmarks/proto_diff_speed.py --device cuda --side 512 --repeats 50

6 labelled and 6 unlabelled images a step, while pseudo-labels are learnt; prediction is of 6 images, and of the
auxiliary head, which does without the sampler.  Steps and variants take turns; medians, in fp32 and in bf16.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

import torch

from diffrect_speed import measured, once, stepping
from fewmask.config import Network
from fewmask.losses import dice_ce
from fewmask.methods.proto_diff import ProtoDiff
from fewmask.nets import build_segmenter
from fewmask.types import Batch, Stream, Task

CLASSES, ROWS, WIDTH = 7, 6, 16


def streams(side: int, device: torch.device) -> Batch:
    def stream(labelled: bool) -> Stream:
        image = torch.randn(ROWS, 3, side, side, device=device)
        label = torch.randint(0, CLASSES, (ROWS, side, side), device=device)
        valid = torch.ones_like(label, dtype=torch.bool)
        return Stream(image=image, strong=image[None], valid=valid, label=label if labelled else None)

    return Batch(labelled=stream(True), unlabelled=stream(False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", type=int, default=96)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = torch.device(asked.device)
    batch = streams(asked.side, device)
    task = Task(channels=3, classes=CLASSES, names=tuple(map(str, range(CLASSES))), patch_size=(asked.side,) * 2)
    for precision in ("fp32", "bf16"):
        mixed = partial(torch.autocast, device.type, torch.bfloat16, enabled=precision == "bf16")
        base = measured(_bare(task, batch, device, mixed), asked.repeats, device)["whole"]
        print(f"{precision}, {asked.side}x{asked.side}: bare supervised step of {2 * ROWS} images {base:.3f} s")
        for steps in (1, 3):
            config = ProtoDiff.Config(
                segmenter={"width": WIDTH},
                pseudo={"steps": steps},
                sampler={"steps": steps},
                gate={"threshold": 0.0, "agreement": False},
            )
            method = ProtoDiff(config, task)
            method.prototypes.seen.fill_(True)
            whole = measured(stepping(method, batch, device, mixed), asked.repeats, device)["whole"]
            seconds = _predicting(method, batch, device, mixed, asked.repeats)
            told = ", ".join(f"{name} {1000 * value / ROWS:.1f} ms" for name, value in seconds.items())
            print(f"  {steps} sampler steps: a step {whole:.3f} s, ratio {whole / base:.2f}; an image: {told}")
    count = sum(parameter.numel() for parameter in method.network.parameters())
    print(f"parameters: {count:,}")


def _bare(task: Task, batch: Batch, device: torch.device, mixed: partial) -> object:
    network = build_segmenter(Network(width=WIDTH), task).to(device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters())
    image = torch.cat([batch.labelled.image, batch.unlabelled.image])
    label, valid = (torch.cat([values, values]) for values in (batch.labelled.label, batch.labelled.valid))

    def step() -> Iterator[str]:
        optimiser.zero_grad()
        with mixed():
            loss = dice_ce(network(image), label, valid)
        loss.backward()
        optimiser.step()
        yield "step"

    return step


def _predicting(
    method: ProtoDiff, batch: Batch, device: torch.device, mixed: partial, repeats: int
) -> dict[str, float]:
    variants = {"sampled": method.audit()["sampled"], "auxiliary": method.audit()["auxiliary"]}
    seed = torch.arange(ROWS)
    found = {}
    for name, predictor in variants.items():
        predictor.to(device).eval()

        @torch.no_grad()
        def part(predictor: torch.nn.Module = predictor) -> None:
            with mixed():
                predictor(batch.unlabelled.image, seed)

        found[name] = measured(once(part), repeats, device)["whole"]
    return found


if __name__ == "__main__":
    main()
