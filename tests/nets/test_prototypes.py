"""Prototypes: who moves them, who does not, and that all processes hold the same ones."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import fewmask
from fewmask.nets.prototypes import FEWEST, Prototypes


def prototypes(classes: int = 3, channels: int = 8, per_class: int = 1, momentum: float = 0.9) -> Prototypes:
    torch.manual_seed(0)
    return Prototypes(classes, channels, per_class, momentum, 0.1)


def directions(count: int, channels: int = 8, seed: int = 1) -> torch.Tensor:
    return F.normalize(torch.randn(count, channels, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_first_sight_places_and_the_next_ones_move():
    anchors, label = prototypes(), torch.zeros(6, dtype=torch.int64)
    first, second = directions(6, seed=1), directions(6, seed=2)
    anchors.follow(first, label, torch.ones(6))
    placed = F.normalize(first.sum(0), dim=0)
    torch.testing.assert_close(anchors.vectors[0, 0], placed)
    anchors.follow(second, label, torch.ones(6))
    moved = F.normalize(0.9 * placed + 0.1 * F.normalize(second.sum(0), dim=0), dim=0)
    torch.testing.assert_close(anchors.vectors[0, 0], moved)
    torch.testing.assert_close(anchors.vectors.norm(dim=-1), torch.ones(3, 1))
    assert anchors.known.tolist() == [True, False, False]


@pytest.mark.parametrize("count", [0, FEWEST - 1])
def test_too_few_voxels_or_none_leave_it_where_it_is(count):
    anchors = prototypes()
    before = {name: value.clone() for name, value in anchors.state_dict().items()}
    weight = torch.zeros(9)
    weight[:count] = 1  # the others are mispredicted, or not labelled
    anchors.follow(directions(9), torch.ones(9, dtype=torch.int64), weight)
    assert all(torch.equal(value, before[name]) for name, value in anchors.state_dict().items())


def test_the_posterior_is_of_known_classes_alone():
    anchors, q = prototypes(), directions(5)
    torch.testing.assert_close(anchors.log_posterior(q).exp(), torch.full((5, 3), 1 / 3))  # nothing is known yet
    anchors.place(torch.eye(3, 8))
    anchors.seen[1] = False
    p = anchors.log_posterior(q).exp()
    torch.testing.assert_close(p.sum(1), torch.ones(5))
    assert not p[:, 1].any()
    expected = (q[:, [0, 2]] / 0.1).softmax(1)
    torch.testing.assert_close(p[:, [0, 2]], expected)


def test_several_of_a_class_are_filled_evenly():
    """Two bundles of a class, one twice as large: Sinkhorn gives each prototype a half of the voxels."""
    anchors, ends = prototypes(classes=2, per_class=2, momentum=0.0), torch.eye(2, 8)
    q = F.normalize(torch.cat([ends[:1].repeat(20, 1), ends[1:].repeat(20, 1)]) + 0.01 * directions(40), dim=1)
    for _ in range(3):
        anchors.follow(q, torch.ones(40, dtype=torch.int64), torch.ones(40))
    assert sorted((anchors.vectors[1] @ ends.T).argmax(1).tolist()) == [0, 1]
    assert float((anchors.vectors[1] @ ends.T).amax(1).min()) > 0.99
    assert anchors._slots(q, torch.ones(40, dtype=torch.int64), torch.ones(40, dtype=torch.bool)).sum(0).tolist() == [
        [0, 0],
        [20, 20],
    ]


SCRIPT = """
import torch
from fewmask import distributed
from fewmask.nets.prototypes import Prototypes
distributed.start(torch.device("cpu"))
rank = distributed.rank()
torch.manual_seed(0)
anchors = Prototypes(3, 4, 1, 0.9, 0.1)
q = torch.eye(4)[[rank] * 6]
anchors.follow(q, torch.full((6,), rank), torch.ones(6))
anchors.follow(torch.eye(4)[[2 + rank] * 3], torch.full((3,), 2), torch.ones(3))  # together enough, alone too few
assert anchors.seen.all(), anchors.seen
expected = torch.stack([torch.eye(4)[0], torch.eye(4)[1], torch.tensor([0, 0, 1, 1.0]) / 2**0.5])
torch.testing.assert_close(anchors.vectors[:, 0], expected)
distributed.stop()
"""


@pytest.mark.slow
def test_two_processes_that_see_different_classes_agree(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(fewmask.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_temperature_bounds_the_posterior():
    """Unit vectors: no class is over exp(2 / tau) times as likely as another."""
    anchors = prototypes(classes=2)
    anchors.place(torch.tensor([[1.0, *[0] * 7], [-1.0, *[0] * 7]]))
    p = anchors.log_posterior(torch.tensor([[1.0, *[0] * 7]]))
    assert float(p[0, 0] - p[0, 1]) == pytest.approx(2 / 0.1)
    assert math.isfinite(float(p[0, 1]))


def test_nothing_is_rounded_in_mixed_precision():
    one, other, q, label = prototypes(), prototypes(), directions(60), torch.arange(60) % 3
    one.follow(q, label, torch.ones(60))
    with torch.autocast("cpu", torch.bfloat16):
        other.follow(q, label, torch.ones(60))
        mixed = other.log_posterior(q)
    assert torch.equal(one.vectors, other.vectors)
    assert torch.equal(one.log_posterior(q), mixed)
