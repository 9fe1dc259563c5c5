"""Which cases are shown, and which masks are opened for it."""

from dataclasses import replace

import numpy as np
import pytest

from fewmask.data import formats
from fewmask.data.cache import Preparation
from fewmask.data.conform import prepare_label, prepared_geometry
from fewmask.report import gallery
from fewmask.report.gallery import Choice
from fewmask.report.record import read_records


@pytest.fixture(scope="module")
def record(run):
    return read_records([run])[0]


def test_best_median_and_worst_each_once():
    ranking = [(f"c{place}", place / 10) for place in range(7)]
    chosen = gallery.ranked_choices(ranking, "test", [case for case, _ in ranking])
    assert [choice.heading for choice in chosen] == ["best, Dice 0.600", "median, Dice 0.300", "worst, Dice 0.000"]
    assert [choice.case for choice in gallery.ranked_choices(ranking[:2], "val", ["c0", "c1"])] == ["c1", "c0"]
    assert [choice.case for choice in gallery.ranked_choices(ranking, "val", ["c4"])] == ["c4"]
    assert gallery.ranked_choices(ranking, "val", []) == []


def test_only_members_of_the_role_are_chosen(record, split):
    chosen = gallery.scored_choices(record, record.main)
    assert len(chosen) == 3 and {choice.case for choice in chosen} <= set(split.test)


def test_unlabelled_cases_need_a_prediction(record, split):
    assert [choice.case for choice in gallery.unlabelled_choices(record)] == list(split.unlabelled)
    assert [choice.case for choice in gallery.unlabelled_choices(record, 2)] == [
        split.unlabelled[0],
        split.unlabelled[2],
    ]
    elsewhere = replace(record, run=replace(record.run, root=record.run.root / "nowhere"))
    assert gallery.unlabelled_choices(elsewhere) == []


@pytest.mark.parametrize("role", ["unlabelled", "labelled", "val", "test"])
def test_masks_are_opened_by_role(record, split, catalogue, monkeypatch, role):
    opened = []

    def read_mask(path, *beside):
        opened.append(path)
        return original(path, *beside)

    original = formats.read_mask
    monkeypatch.setattr(formats, "read_mask", read_mask)
    case = getattr(split, role)[0]
    drawn = gallery.show(record, Choice(case=case, role=role, heading=""), side=64)
    assert "No picture" not in drawn
    predicted = record.run.predictions / f"{case}.nii.gz"
    reference = catalogue.by_id[case].label
    wanted = {"unlabelled": [predicted], "labelled": [reference]}.get(role, [predicted, reference])
    assert [path.resolve() for path in opened] == [path.resolve() for path in wanted]


def test_of_a_labelled_slice_no_other_slice_is_shown(record, split, monkeypatch):
    seen = []
    monkeypatch.setattr(
        gallery, "case_panels", lambda image, mask, reference, **_: seen.append((mask, reference)) or []
    )
    for choice in gallery.labelled_choices(record):
        gallery.show(record, choice, side=64)
    (whole_mask, whole), (slice_mask, part) = seen
    assert whole_mask is None and slice_mask is None
    assert np.flatnonzero(whole.any((1, 2))).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(part.any((1, 2))).tolist() == [2]


@pytest.mark.parametrize("spacing_mm", [(3.0, 1.5, 1.25), (15.0, 1.5, 1.25)])
def test_a_labelled_slice_of_a_resampled_volume_is_the_one_that_training_saw(
    record, split, catalogue, monkeypatch, spacing_mm
):
    """5 native slices of 7.5 mm become 12, or 2: the last lies beyond the image, or is another of its slices."""
    case = catalogue.by_id[split.labelled[0]]
    native = formats.read_case_image(case)[1]
    turn, prepared = prepared_geometry(native, Preparation(dims=3, spacing_mm=spacing_mm))
    chosen = prepared.shape[0] - 1
    which = np.broadcast_to(np.arange(native.shape[0])[:, None, None], native.shape)
    expected = prepare_label(which, turn, prepared)[chosen, 0, 0]

    seen = []
    monkeypatch.setattr(gallery, "case_panels", lambda image, mask, reference, **_: seen.append(reference) or [])
    volume = replace(
        record,
        config={"plan": {"dims": 3, "spacing_mm": spacing_mm}},
        split=dict(record.split, labelled=[f"{case.id}:{chosen}"]),
    )
    assert "No picture" not in gallery.show(volume, Choice(case=case.id, role="labelled", heading=""), side=64)
    assert np.flatnonzero(turn.undo(seen[0]).any((1, 2))).tolist() == [expected]


def test_volumes_are_shown_in_three_planes(record, split):
    volume = replace(record, config={"plan": {"dims": 3}})
    drawn = gallery.show(volume, Choice(case=split.test[0], role="test", heading=""), side=64)
    places = [drawn.index(f"<figcaption>{plane} slice") for plane in ("axial", "coronal", "sagittal")]
    assert places == sorted(places) and drawn.count("<img") == 3
    assert gallery.pictures_of(volume) == 3


def test_an_unread_plan_is_told_by_the_spacing(record, catalogue):
    _, grid = formats.read_case_image(catalogue.cases[0])
    unknown = replace(record, config={})
    assert gallery.is_stack(unknown, grid)  # 7.5 mm slices of 1.25 mm pixels
    assert not gallery.is_stack(unknown, replace(grid, spacing_mm=(1.0, 1.0, 1.5)))


def test_a_prediction_of_another_shape_is_refused(record, split, catalogue, tmp_path):
    other = replace(record, run=replace(record.run, root=tmp_path))
    (tmp_path / "predictions").mkdir()
    mask = np.zeros((1, 4, 4), np.uint8)
    grid = formats.read_case_image(catalogue.cases[0])[1]
    path = tmp_path / "predictions" / f"{split.test[0]}.nii.gz"
    formats.write_mask(path, mask, replace(grid, shape=mask.shape), None)
    assert "differ in shape; predict again" in gallery.show(
        other, Choice(case=split.test[0], role="test", heading=""), 64
    )
