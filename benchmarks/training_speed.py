"""Steps per second of the product's loop beside a bare loop of the same network on a tensor in memory, in one run.

    python benchmarks/training_speed.py [--steps 60] [--repeats 5]

Both train the CPU tier's U-Net on 6 images of 96x96 with Dice and cross entropy and AdamW, one torch thread, in bf16
where the processor has the hardware; the product reads, augments and logs beside it, with one loader process.  They
take turns, so that a machine whose speed drifts does not favour one; the ratio of each pair is what counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from fewmask import config
from fewmask.data.cache import Preparation
from fewmask.data.catalogue import open_catalogue
from fewmask.data.phantom import write_phantoms
from fewmask.data.prepare import prepare
from fewmask.data.splits import choose_split
from fewmask.losses import dice_ce
from fewmask.nets import build_segmenter
from fewmask.resolution import Request, resolve
from fewmask.runs import Run, read_log
from fewmask.training import trainer
from fewmask.training.machine import autocast
from fewmask.types import Task

WARM_UP = 10


def bare(steps: int) -> float:
    """Seconds a step of a loop that does nothing but train."""
    task = Task(channels=1, classes=4, names=("background", "a", "b", "c"), patch_size=(96, 96))
    network = build_segmenter(config.Network(width=16), task).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    image = torch.randn(6, 1, 96, 96)
    label = torch.randint(0, 4, (6, 96, 96))
    valid = torch.ones_like(label, dtype=torch.bool)
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            started = time.perf_counter()
        optimiser.zero_grad()
        with autocast("auto", torch.device("cpu")):
            loss = dice_ce(network(image), label, valid)
        loss.backward()
        optimiser.step()
    return (time.perf_counter() - started) / steps


def product(folder: Path, steps: int, attempt: int) -> float:
    """Seconds a step of `fewmask train`, from its own log, after the same warm-up."""
    catalogue = open_catalogue(folder / "data", quiet=True)
    split = choose_split(catalogue, "3")[0]
    settings = {"train": {"steps": WARM_UP + steps, "threads": 1, "workers": 1, "validations": 0}}
    resolved = resolve(Request(method="supervised", settings=settings), "cpu", 2).config
    plan = config.Plan(tier="cpu", dims=2, size=(96, 96), intensity="zscore", flip=(0, 1))
    cache = prepare(catalogue, split, Preparation(dims=2, size=(96, 96)), folder / "cache", quiet=True)
    run = Run(folder / f"run{attempt}")
    trainer.train(catalogue, split, cache, resolved.model_copy(update={"plan": plan}), run, device="cpu", quiet=True)
    log = read_log(run.log)
    return (log[-1]["seconds"] - log[WARM_UP - 1]["seconds"]) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_phantoms(folder / "data", patients=6, labelled=3)
        pairs = [(bare(asked.steps), product(folder, asked.steps, attempt)) for attempt in range(asked.repeats)]
    for own, ours in pairs:
        print(f"bare {1 / own:.2f} steps/s   fewmask {1 / ours:.2f} steps/s   ratio of times {ours / own:.3f}")
    print(f"median ratio {statistics.median(ours / own for own, ours in pairs):.3f}")


if __name__ == "__main__":
    main()
