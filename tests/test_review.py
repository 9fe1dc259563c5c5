"""What was accepted becomes a label, what changed since is refused, and nothing is half-written."""

import json

import numpy as np
import pytest

from fewmask.data import formats
from fewmask.data.catalogue import open_catalogue, read_catalogue
from fewmask.data.split_file import read_split
from fewmask.data.splits import check_split
from fewmask.errors import DataError, SettingsError
from fewmask.review import applied_text, apply_review, mask_hash, prediction_of, read_review


@pytest.fixture
def review(finished, tmp_path):
    """review(case=decision, ...) -> the path of such a review.json."""

    def write(decisions, **changes):
        entries = [
            {
                "case": case,
                "decision": decision,
                "grade": 4,
                "note": "",
                "mask": mask_hash(prediction_of(finished.run, case)),
            }
            for case, decision in decisions.items()
        ]
        path = tmp_path / "review.json"
        path.write_text(json.dumps({"format": 1, "run": str(finished.run.root), "reviews": entries} | changes))
        return path

    return write


def test_accepted_masks_are_labels_of_the_next_round(finished, review, tmp_path):
    split = read_split(finished.run.split)
    taken, rejected = split.unlabelled[:2]
    found = apply_review(review({taken: "accept", rejected: "reject", split.test[0]: "accept"}), tmp_path / "next")
    assert (found.accepted, found.rejected, found.held_out) == ((taken,), (rejected,), (split.test[0],))
    roles = read_split(tmp_path / "next" / "split.json")
    assert set(roles.labelled) == {*split.labelled, taken}
    assert taken not in roles.unlabelled and rejected in roles.unlabelled
    assert (roles.val, roles.test) == (split.val, split.test)
    catalogue = open_catalogue(tmp_path / "next", quiet=True)
    check_split(roles, catalogue)
    label = catalogue.by_id[taken].label
    assert label.parent == tmp_path / "next" / "masks"
    assert mask_hash(label) == mask_hash(prediction_of(finished.run, taken))
    before = read_catalogue(finished.run.catalogue).by_id
    assert catalogue.by_id[split.test[0]].label == before[split.test[0]].label, "test keeps its reference"
    assert "fewmask run" in applied_text(found)


def test_a_mask_to_fix_comes_back_corrected(finished, review, tmp_path):
    case = read_split(finished.run.split).unlabelled[0]
    other = read_split(finished.run.split).unlabelled[1]
    found = apply_review(review({case: "fix", other: "accept"}), tmp_path / "first")
    assert found.to_fix == (case,)
    mask = next((tmp_path / "first" / "fix").iterdir())
    raw, grid = formats.read_mask(mask)
    raw[:] = 0
    formats.write_mask(mask, raw, grid, mask)
    found = apply_review(review({case: "fix"}), tmp_path / "second", fixed=tmp_path / "first" / "fix")
    assert found.fixed == (case,) and not found.to_fix
    label = read_catalogue(tmp_path / "second").by_id[case].label
    assert not np.any(formats.read_mask(label)[0])
    formats.write_mask(mask, np.full_like(raw, 77), grid, mask)
    with pytest.raises(DataError, match="77"):
        apply_review(review({case: "fix"}), tmp_path / "third", fixed=tmp_path / "first" / "fix")
    assert not (tmp_path / "third").exists()


def test_refusals_leave_nothing_behind(finished, review, tmp_path):
    case = read_split(finished.run.split).unlabelled[0]
    out = tmp_path / "next"
    path = review({case: "accept"})
    content = json.loads(path.read_text())
    content["reviews"][0]["mask"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="is not the mask that was reviewed"):
        apply_review(path, out)
    content["reviews"][0] = {"case": "stranger", "decision": "accept"}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="case 'stranger' is not in"):
        apply_review(path, out)
    with pytest.raises(DataError, match="no case to learn from is accepted"):
        apply_review(review({case: "reject"}), out)
    with pytest.raises(DataError, match="no run folder; say with --run"):
        apply_review(review({case: "accept"}, run=str(tmp_path / "moved")), out)
    with pytest.raises(DataError, match=r"--fixed .*: no such folder"):
        apply_review(review({case: "fix"}), out, fixed=tmp_path / "absent")
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").touch()
    with pytest.raises(SettingsError, match="there is something already"):
        apply_review(review({case: "accept"}), out)
    assert apply_review(review({case: "accept"}, run="gone"), tmp_path / "n", run=finished.run.root).accepted == (case,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "no list 'reviews'"),
        ('{"format": 9, "reviews": []}', "format 9"),
        ('{"format": 1, "reviews": [{}]}', r"reviews\[0\]: no case"),
        ('{"format": 1, "reviews": [{"case": "a", "decison": "accept"}]}', "did you mean 'decision'"),
        ('{"format": 1, "reviews": [{"case": "a", "decision": "maybe"}]}', "decision 'maybe'; one of accept"),
        ('{"format": 1, "reviews": [{"case": "a", "grade": 6}]}', "grade 6; 1 to 5"),
        ('{"format": 1, "reviews": [{"case": "a", "note": 3}]}', "note and mask are text"),
        ('{"format": 1, "reviews": [{"case": "a"}, {"case": "a"}]}', "reviewed twice"),
    ],
)
def test_a_broken_review_says_where(tmp_path, text, message):
    path = tmp_path / "review.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_review(path)


def test_an_absent_review_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match=r"no such file; export it from report\.html"):
        read_review(tmp_path / "review.json")
