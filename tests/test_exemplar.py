"""The suggested exemplar is a medoid of images; masks play no part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from fewmask import exemplar
from fewmask.data import formats
from fewmask.data.catalogue import open_catalogue
from fewmask.errors import DataError
from fewmask.exemplar import describe, explain, relative, suggest
from fewmask.types import Split


def test_distances_are_scipys_in_units_of_their_median():
    features = np.random.default_rng(0).normal(size=(12, 5))
    pairs = pdist(features)
    expected = squareform(pairs).sum(1) / 11 / np.median(pairs)
    np.testing.assert_allclose(relative(features), expected)
    assert relative(np.ones((4, 3))).tolist() == [0, 0, 0, 0]


def test_blocks_change_the_unit_alone(monkeypatch):
    features = np.random.default_rng(0).normal(size=(12, 5))
    whole = relative(features)
    monkeypatch.setattr(exemplar, "BLOCK", 5)
    ratio = relative(features) / whole
    np.testing.assert_allclose(ratio, ratio[0])
    unit = np.median(pdist(features)) / np.median(pdist(features[::3]))
    assert ratio[0] == pytest.approx(unit)


def test_the_middle_of_a_line_is_its_medoid():
    assert relative(np.arange(7.0)[:, None]).argmin() == 3


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Five pictures: four alike but for noise, one inverted; the first with a mask."""
    from PIL import Image

    rng = np.random.default_rng(1)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    ground = np.linspace(20, 200, 40)[:, None] * np.ones(50)
    for index in range(5):
        picture = (255 - ground if index == 4 else ground) + rng.normal(0, 1 + 3 * index, ground.shape)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(tmp_path / "images" / f"p{index}.png")
    Image.fromarray((ground > 100).astype(np.uint8)).save(tmp_path / "masks" / "p0.png")
    return tmp_path


def test_the_odd_one_comes_last_and_masks_are_not_opened(images: Path, monkeypatch):
    catalogue = open_catalogue(images, quiet=True)
    monkeypatch.setattr(formats, "read_mask", lambda path: pytest.fail(f"{path} was opened"))
    found = suggest(catalogue, quiet=True)
    assert found.order[-1].id == "p4" and found.order[0].id != "p4"
    means = [found.distances[case.id]["mean"] for case in found.order]
    assert means == sorted(means)
    assert found.slices["p0"] is None
    lines = explain(found)
    assert lines[0] == f"label {found.order[0].id}: of 5 images it is the most like all others"
    assert "the least typical, p4" in lines[1]
    assert [row["case"] for row in found.to_json()] == [case.id for case in found.order]
    assert sum(row["mask"] for row in found.to_json()) == 1


def test_a_split_leaves_its_val_and_test_cases_out(images: Path):
    catalogue = open_catalogue(images, quiet=True)
    split = Split(labelled=("p0",), unlabelled=("p1", "p2"), val=("p3",), test=("p4",))
    assert {case.id for case in suggest(catalogue, split, quiet=True).order} == {"p0", "p1", "p2"}
    with pytest.raises(DataError, match="2 images to choose from; of fewer than 3 none is typical"):
        suggest(catalogue, Split(labelled=("p0",), unlabelled=("p1",)), quiet=True)


def test_a_volume_has_a_slice_and_scale_does_not_matter(phantoms: Path):
    catalogue = open_catalogue(phantoms, quiet=True)
    found = suggest(catalogue, quiet=True)
    assert set(found.slices.values()) <= {0, 1, 2}
    case = catalogue.cases[0]
    plain = describe(case, 1)
    real = formats.read_case_image

    def brighter(one):
        image, grid = real(one)
        return image * 3 + 7, grid

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "read_case_image", brighter)
        scaled = describe(case, 1)
    for kind, feature in plain.features.items():
        np.testing.assert_allclose(scaled.features[kind], feature, rtol=1e-3, atol=1e-3)
