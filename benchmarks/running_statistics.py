"""Does it matter with which statistics of batch normalisation a rectifier samples?  Dice on a run's val masks.

    python benchmarks/running_statistics.py RUN --cache CACHE

RUN: of `fewmask run --method diffrect`; CACHE: its cache folder.  On the prepared grid, from the last checkpoint; the
rectified label is of one draw, not averaged with the raw one.  Since f3f5686 an audit's statistics are of sampling
alone where method.sampling=train; what was before is measured with the package of before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fewmask.audit import audited, config_of, variants
from fewmask.data.prepare import prepare
from fewmask.data.split_file import read_split
from fewmask.metrics import confusion, dice
from fewmask.order import preparation_for
from fewmask.runs import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    run = Run(asked.run)
    catalogue, _, cases = audited(run, None)
    config = config_of(run)
    cache = prepare(catalogue, read_split(run.split), preparation_for(catalogue, config.plan), asked.cache, quiet=True)
    images = [
        torch.from_numpy(cache.normalised(case.id, config.plan.intensity, None)).transpose(0, 1) for case in cases
    ]
    truths = [np.asarray(cache.open(case.id).label) for case in cases]
    predictor = variants(run)["rectified"].predictor
    classes = len(catalogue.labels.names)

    def score(label: Callable[[Tensor], Tensor]) -> float:
        with torch.no_grad():
            labels = [label(image.contiguous()).numpy() for image in images]
        scores = [dice(confusion(found, truth, classes))[1:] for found, truth in zip(labels, truths, strict=True)]
        return float(np.nanmean(np.nanmean(scores, axis=0)))

    def raw(image: Tensor) -> Tensor:
        return predictor.segmenter(image).argmax(1)

    def rectified(by: nn.Module) -> Callable[[Tensor], Tensor]:
        def label(image: Tensor) -> Tensor:
            given = raw(image)
            noise = torch.randn(by.latent_shape(given.shape), generator=torch.Generator().manual_seed(1))
            return by.sample(image, given, predictor.guidance.expand(len(image)), noise).argmax(1)

        return label

    as_it_is = predictor.rectification
    of_a_case, estimated = (deepcopy(as_it_is) for _ in range(2))
    for layer in _layers(of_a_case):
        layer.train()
        layer.momentum = 0.0
    for layer in _layers(estimated):
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all passes
        layer.train()
    score(rectified(estimated))
    estimated.eval()
    kinds = {"running, as the audit has them": as_it_is, "of a case's slices": of_a_case}
    kinds |= {"running, estimated again by sampling alone": estimated}
    print(f"raw label: {score(raw):.3f}")
    for name, network in kinds.items():
        print(f"rectified, statistics {name}: {score(rectified(network)):.3f}")


def _layers(network: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]


if __name__ == "__main__":
    main()
