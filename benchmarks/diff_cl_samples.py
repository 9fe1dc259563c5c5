"""What fewer DDIM steps cost Diff-CL in pseudo-labels: Dice on val of the diffusion network's labels, and seconds.

    python benchmarks/diff_cl_samples.py RUN [--samples 1,2,4,10]

RUN: of `fewmask run --method diff_cl`.  The last checkpoint's averaged weights, windows stitched as in any prediction;
the CNN's labels stand beside.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from fewmask.audit import audited, config_of, variants
from fewmask.collection import predict
from fewmask.evaluation import evaluate
from fewmask.predictors import Model, save_model
from fewmask.runs import Run


def measured(model: Model, run: Run) -> tuple[float, float]:
    """Mean Dice on val, and seconds a case."""
    catalogue, role, cases = audited(run, None)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        save_model(model, place / "model")
        started = time.perf_counter()
        settings = config_of(run).predict
        predict(
            place / "model",
            [],
            place / "masks",
            cases=cases,
            trust="none",
            settings=settings,
            device="cpu",
            quiet=True,
        )
        seconds = (time.perf_counter() - started) / len(cases)
        names = [case.id for case in cases]
        found = evaluate(place / "masks", catalogue, place / "scores", names, split=role, quiet=True)
    return found["dice"]["mean"], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", default="1,2,4,10")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    run = Run(asked.run)
    found = variants(run)
    print("labels              Dice   s a case")
    print("CNN                 {:.3f}  {:.2f}".format(*measured(found["cnn"], run)))
    for samples in map(int, asked.samples.split(",")):
        found["diffusion"].predictor.samples = samples
        print("diffusion, {:2} steps {:.3f}  {:.2f}".format(samples, *measured(found["diffusion"], run)), flush=True)


if __name__ == "__main__":
    main()
