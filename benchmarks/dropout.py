"""Time of fewmask's dropout beside torch's on the CPU, forward and backward, in one run and one thread.

python benchmarks/dropout.py
"""

import statistics
import time

import torch
from torch import nn

from fewmask.nets.dropout import Dropout


def milliseconds(layer: nn.Module, x: torch.Tensor) -> float:
    started = time.perf_counter()
    layer(x).sum().backward()
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    torch.set_num_threads(1)
    for shape in [(12, 8, 96, 96), (12, 64, 12, 12), (2, 16, 32, 48, 32)]:
        x = torch.randn(shape, requires_grad=True)
        pairs = [(milliseconds(nn.Dropout(0.1), x), milliseconds(Dropout(0.1), x)) for _ in range(30)]
        theirs, ours = (statistics.median(column) for column in zip(*pairs[5:], strict=True))
        print(f"{shape}: torch {theirs:.2f} ms, fewmask {ours:.2f} ms, ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
