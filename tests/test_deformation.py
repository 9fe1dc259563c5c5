"""Deformations: splines that sum to one, fields that do not fold, maps that lead back."""

import math

import pytest
import torch

from fewmask.deformation import (
    _determinant,
    affine,
    diffeomorphism,
    integrated,
    jacobian,
    positions,
    sample,
    smooth_field,
    spline_basis,
)

SIZES = [(17, 23), (9, 11, 13)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_basis_is_scipys_and_sums_to_one():
    from scipy.interpolate import BSpline

    basis = spline_basis(7, 31)
    torch.testing.assert_close(basis.sum(1), torch.ones(31))
    knots = range(-3, 8)
    inside = torch.linspace(0, 4, 31)[:-1]
    for point in range(7):
        expected = BSpline(list(knots), [float(i == point) for i in range(7)], 3)(inside.numpy())
        torch.testing.assert_close(basis[:-1, point].double(), torch.tensor(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_no_displacement_is_the_identity(size):
    image = torch.randn(2, 3, *size)
    here = positions(size, "cpu").expand(2, -1, *[-1] * len(size))
    torch.testing.assert_close(sample(image, here), image, rtol=0, atol=1e-4)
    still = affine(torch.eye(len(size)).expand(2, -1, -1), torch.zeros(2, len(size)), size)
    assert torch.equal(still, torch.zeros_like(still))


def test_a_constant_velocity_is_a_translation():
    velocity = torch.tensor([1.5, -2.0]).view(1, 2, 1, 1).expand(1, 2, 12, 14)
    torch.testing.assert_close(integrated(velocity), velocity.clone(), rtol=0, atol=1e-5)


def test_the_jacobian_of_an_affine_map_is_its_determinant():
    matrix = torch.tensor([[1.2, 0.3], [0.0, 0.8]])[None]
    found = jacobian(affine(matrix, torch.tensor([[3.0, -1.0]]), (11, 13)))
    torch.testing.assert_close(found, torch.full((1, 10, 12), 0.96), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_a_strong_velocity_folds_unless_it_is_integrated(size):
    """At a quarter of the side the plain field folds in some draws, the integrated one in none."""
    std = torch.full((4, len(size)), min(size) / 4)
    plain = smooth_field(4, size, std, 6, seeded())
    assert bool((jacobian(plain) <= 0).any())
    kept = diffeomorphism(4, size, std, 6, seeded())
    assert bool((jacobian(kept) > 0).all())
    assert bool((kept.abs().flatten(1).amax(1) > 2).all())


def test_the_reversed_velocity_leads_back():
    velocity = smooth_field(1, (40, 44), torch.full((1, 2), 2.0), 6, seeded(3))
    there, back = integrated(velocity), integrated(-velocity)
    here = positions((40, 44), "cpu")
    arrived = there + sample(back, here + there)
    inner = arrived[..., 8:-8, 8:-8]
    assert float(inner.abs().max()) < 0.15 < float(there.abs().max())


def test_a_turn_by_a_right_angle_is_a_turn():
    angle = torch.tensor(math.pi / 2)
    matrix = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])[None]
    image = torch.randn(1, 1, 9, 9)
    turned = sample(image, positions((9, 9), "cpu") + affine(matrix, torch.zeros(1, 2), (9, 9)))
    torch.testing.assert_close(turned, image.rot90(-1, (2, 3)), rtol=0, atol=1e-4)


def test_determinants_are_torchs():
    for size in (1, 2, 3):
        matrices = torch.randn(5, 4, size, size)
        torch.testing.assert_close(_determinant(matrices), torch.linalg.det(matrices), rtol=1e-4, atol=1e-5)
