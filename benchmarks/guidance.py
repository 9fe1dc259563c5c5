"""How much DiffRect's labels depend on what the rectifier is told of the raw label's distance from the truth.

    python benchmarks/guidance.py RUN --cache CACHE

RUN: of `fewmask run --method diffrect`; CACHE: its cache folder.  On val, on the prepared grid, from the last
checkpoint: Dice of the rectified label and of the mean of both networks where the rectifier is told each image's own
distance (that of the segmenter's labels of a strong and of the weak view), the running mean that training kept, or a
constant.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewmask.audit import audited, config_of, variants
from fewmask.data.prepare import prepare
from fewmask.data.split_file import read_split
from fewmask.data.views import strong
from fewmask.methods.diffrect import GUIDANCE
from fewmask.methods.pseudo import label_distance
from fewmask.metrics import confusion
from fewmask.metrics import dice as dice_of
from fewmask.order import preparation_for
from fewmask.runs import Run
from fewmask.types import StrongView

CONSTANTS = (0, 50, 100, 200, 300, 500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args()
    run = Run(given.run)
    catalogue, _, cases = audited(run, None)
    config = config_of(run)
    cache = prepare(catalogue, read_split(run.split), preparation_for(catalogue, config.plan), given.cache, quiet=True)
    predictor = variants(run)["rectified"].predictor.eval()
    view, classes = StrongView(**config.method["strong"]), len(catalogue.labels)
    dice: dict[str, list[float]] = {}
    own: list[float] = []
    for number, case in enumerate(cases):
        image = torch.from_numpy(cache.normalised(case.id, config.plan.intensity, None)).transpose(0, 1).contiguous()
        truth = np.asarray(cache.open(case.id).label)
        with torch.no_grad():
            raw = predictor.segmenter(image).float().softmax(1)
            label = raw.argmax(1)
            chance = [np.random.default_rng([number, row]) for row in range(len(image))]
            seen = predictor.segmenter(strong(image, view, chance)).float().argmax(1)
            distance = GUIDANCE * label_distance(seen, label, classes, per_sample=True)
            own += distance.tolist()
            told = {"its own": distance, f"the running mean, {float(predictor.guidance):.0f}": predictor.guidance}
            told |= {str(constant): torch.tensor(float(constant)) for constant in CONSTANTS}
            shape = predictor.rectification.latent_shape(label.shape)
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(number))
            dice.setdefault("raw", []).append(mean_dice(label, truth, classes))
            for name, guidance in told.items():
                found = predictor.rectification.sample(image, label, guidance.expand(len(label)), noise).softmax(1)
                dice.setdefault(f"rectified, told {name}", []).append(mean_dice(found.argmax(1), truth, classes))
                both = raw.lerp(found.float(), 0.5).argmax(1)
                dice.setdefault(f"mean of both, told {name}", []).append(mean_dice(both, truth, classes))
    for name, found in dice.items():
        print(f"{np.mean(found):.3f}  {name}")
    print(
        "own distance, 10th, 25th, 50th, 75th, 90th percentile:", *np.quantile(own, [0.1, 0.25, 0.5, 0.75, 0.9]).round()
    )


def mean_dice(label: Tensor, truth: np.ndarray, classes: int) -> float:
    """Of the foreground classes of a volume; a class in neither counts as missed."""
    return float(np.nan_to_num(dice_of(confusion(label.numpy(), truth, classes))[1:]).mean())


if __name__ == "__main__":
    main()
