"""Largest components against a flood fill written out."""

import itertools

import torch

from fewmask.methods.components import largest_components


def flood(mask: torch.Tensor) -> list[set[tuple[int, ...]]]:
    """Components of a mask, corners touching, in memory order."""
    left = {tuple(place) for place in mask.nonzero().tolist()}
    steps = [step for step in itertools.product((-1, 0, 1), repeat=mask.ndim) if any(step)]
    parts = []
    for start in sorted(left):
        if start not in left:
            continue
        part, edge = set(), [start]
        left.discard(start)
        while edge:
            here = edge.pop()
            part.add(here)
            for step in steps:
                near = tuple(a + b for a, b in zip(here, step, strict=True))
                if near in left:
                    left.discard(near)
                    edge.append(near)
        parts.append(part)
    return parts


def test_agrees_with_a_flood_fill_in_two_and_three_dimensions():
    for shape in ((3, 17, 13), (2, 7, 9, 8)):
        chance = torch.Generator().manual_seed(len(shape))
        label = torch.randint(0, 9, shape, generator=chance).clamp(max=2)  # mostly class 2, few of class 1
        label[-1] = 0
        expected = torch.zeros_like(label)
        for row in range(shape[0]):
            for index in (1, 2):
                parts = flood(label[row] == index)
                for place in max(parts, key=len, default=set()):
                    expected[(row, *place)] = index
        assert (expected != label).any()
        assert torch.equal(largest_components(label, 3), expected)


def test_of_equal_components_the_first_stays_and_an_absent_class_stays_absent():
    label = torch.zeros(1, 3, 7, dtype=torch.int64)
    label[0, 1, 1:3] = label[0, 1, 4:6] = 2
    expected = label.clone()
    expected[0, 1, 4:6] = 0
    assert torch.equal(largest_components(label, 4), expected)
