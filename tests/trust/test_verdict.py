"""Flags and their reasons, each brought about alone; the table reads back as it was written."""

from dataclasses import replace

import pytest

from fewmask.errors import DataError
from fewmask.trust.calibration import WHOLE, Bounds, Calibration, ClassRange, Familiar, Point
from fewmask.trust.verdict import RANKING_ONLY, judge, read_trust, write_trust


def calibration(names=("one", WHOLE), count=20, **changes):
    points = tuple(
        Point(case=n, group=n, name=name, score={"quick": n / count}, dice=n / count)
        for n in range(1, count + 1)
        for name in names
    )
    return Calibration(model="m", source="val", points=points, **changes)


@pytest.mark.parametrize(("score", "flag"), [(0.9, "accept"), (0.7, "review"), (0.3, "reject")])
def test_flags_follow_the_predicted_dice(evidence, score, flag):
    whole, one = judge(evidence(scores=(score,)), calibration())
    assert one.predicted_dice == pytest.approx(score) and whole.predicted_dice == pytest.approx(score)
    assert one.low <= one.predicted_dice <= one.high
    assert one.flag == whole.flag == flag
    assert (one.reasons == ()) == (flag == "accept")
    if flag != "accept":
        assert one.reasons == (f"disagreement: {1 - score:.2f}",)


def test_the_whole_mask_is_as_bad_as_its_worst_class(evidence):
    whole, *classes = judge(evidence(scores=(0.95, 0.3)), calibration(("one", "two", WHOLE)))
    assert [row.flag for row in classes] == ["accept", "reject"]
    assert whole.flag == "reject" and whole.name == WHOLE
    assert whole.reasons == ("disagreement: 0.70 (two)",), "a reason says which class it is about"


@pytest.mark.parametrize("known", [None, calibration(count=9)])
def test_without_calibration_it_only_ranks_and_accepts_nothing(evidence, known):
    good, bad = (judge(evidence(scores=(score,)), known)[0] for score in (0.99, 0.2))
    assert (good.predicted_dice, good.low, good.high) == (None, None, None)
    assert (good.flag, bad.flag) == ("review", "reject")
    assert RANKING_ONLY in good.reasons and good.rank > bad.rank


USUAL = {"one": ClassRange(size=Bounds(low=500, high=2000), unit="voxels", components=1, border=0.0)}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"voxels": 100}, "volume out of range: 100 voxels, usual 500 to 2e+03"),
        ({"components": 3}, "components: 3, usual up to 1"),
        ({"border": 0.2}, "touching the border"),
    ],
)
def test_what_is_unusual_is_reviewed_however_sure(evidence, changes, reason):
    known = calibration(ranges=USUAL)
    assert judge(evidence(scores=(0.95,)), known)[1].flag == "accept"
    one = judge(evidence(scores=(0.95,), **changes), known)[1]
    assert (one.flag, one.reasons) == ("review", (reason,))


def test_voxels_are_not_held_against_millilitres(evidence):
    """The run's images say their spacing and this one does not: how large its organ is cannot be told."""
    in_ml = {"one": replace(USUAL["one"], size=Bounds(low=20, high=80), unit="ml")}
    known = calibration(ranges=in_ml)
    assert judge(evidence(scores=(0.95,)), known)[1].reasons == ()
    (reason,) = judge(evidence(scores=(0.95,), volume_ml=90.0), known)[1].reasons
    assert reason == "volume out of range: 90 ml, usual 20 to 80"


def test_an_image_unlike_training_is_named_once(evidence):
    known = calibration(("one", "two", WHOLE), familiar=Familiar(centre={"noise": 0}, spread={"noise": 1}, most=3))
    assert judge(evidence(scores=(0.95, 0.95)), known)[0].flag == "accept"
    strange = replace(evidence(scores=(0.95, 0.95)), image={"noise": 5.0})
    whole = judge(strange, known)[0]
    assert (whole.flag, whole.reasons) == ("review", ("intensity unlike training: noise",))


def test_a_class_that_nobody_found_is_accepted_where_that_is_known_to_be_right(evidence):
    one = evidence(scores=(0.95, None))
    assert judge(one, calibration())[2].flag == "review"
    empty = tuple(Point(case=n, group=n, name="two", score={"quick": None}, dice=None) for n in range(12))
    known = replace(calibration(), points=calibration().points + empty)
    whole, _, two = judge(one, known)
    assert (two.flag, two.reasons) == ("accept", ("not found",))
    assert (whole.flag, whole.reasons) == ("accept", ()), "triage would review every case that lacks a rare class"


def test_the_table_reads_back(evidence, tmp_path):
    rows = judge(evidence(case='a,"<b>\nü', scores=(0.7, None)), calibration())
    write_trust(rows, tmp_path / "trust.csv")
    found = read_trust(tmp_path / "trust.csv")
    assert [row.case for row in found] == ['a,"<b>\nü'] * 3
    for before, after in zip(rows, found, strict=True):
        assert after.flag == before.flag and after.reasons == before.reasons and after.name == before.name
        for key in ("predicted_dice", "low", "high", "agreement", "confidence"):
            first, second = getattr(before, key), getattr(after, key)
            assert (first is None) == (second is None) and (first is None or second == pytest.approx(first, rel=1e-4))


def test_every_voxel_of_a_large_organ_is_counted(evidence, tmp_path):
    write_trust(judge(evidence(voxels=1_753_092), None), tmp_path / "trust.csv")
    assert [row.voxels for row in read_trust(tmp_path / "trust.csv")] == [1_753_092] * 2


def test_a_broken_table_names_the_line(evidence, tmp_path):
    path = tmp_path / "trust.csv"
    with pytest.raises(DataError, match=r"trust\.csv: not there; make it with: fewmask predict"):
        read_trust(path)
    write_trust(judge(evidence(), None), path)
    path.write_text(path.read_text().replace("review", "perhaps", 1))
    with pytest.raises(DataError, match=r"trust\.csv line 2: flag 'perhaps' is none of accept, review, reject"):
        read_trust(path)
