"""What a run folder remembers, what it refuses, and what is read instead of done again."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from fewmask import order as ordering
from fewmask.data import formats
from fewmask.data.catalogue import open_catalogue, write_catalogue
from fewmask.data.formats import read_image, write_volume
from fewmask.data.split_file import read_split
from fewmask.errors import DataError, OutOfMemory, SettingsError
from fewmask.order import Order, grouped_by, make_ready, open_run, split_for
from fewmask.resolution import Request
from fewmask.runs import Run


@pytest.fixture
def order(phantoms: Path, tiny: dict) -> Order:
    return Order(data=phantoms, request=Request(settings=tiny), labelled="2", val="1", device="cpu", quiet=True)


def test_ready_leaves_everything_open_to_be_read(order: Order, tmp_path: Path) -> None:
    run = open_run(tmp_path / "run")
    ready = make_ready(order, run)
    assert read_split(run.split) == ready.split
    assert (len(ready.split.labelled), len(ready.split.val), len(ready.split.test)) == (2, 1, 0)
    stored = yaml.safe_load(run.config.read_text())
    assert stored == ready.config.model_dump(mode="json")
    assert stored["plan"] == {
        "tier": "cpu",
        "dims": 2,
        "size": [24, 24],
        "spacing_mm": None,
        "zoom": 1.0,
        "intensity": "zscore",
        "flip": [],
        "rotation": 180.0,
    }
    assert all(ready.cache.has(case.id) for case in ready.catalogue.cases)
    assert ready.cache.root.parent == run.root / "cache"


def test_the_same_order_reads_what_is_there(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(tmp_path / "run")
    first = make_ready(order, run)

    def never(*args: object, **options: object) -> None:
        raise AssertionError("done again")

    for name in ("open_catalogue", "choose_split", "plan_settings"):
        monkeypatch.setattr(ordering, name, never)
    again = make_ready(replace(order, device="auto"), run)
    assert (again.split, again.config) == (first.split, first.config)
    assert again.catalogue.cases == first.catalogue.cases


def test_a_run_may_be_moved(order: Order, tmp_path: Path) -> None:
    first = make_ready(order, open_run(tmp_path / "run"))
    (tmp_path / "deeper").mkdir()
    moved = (tmp_path / "run").rename(tmp_path / "deeper" / "run")
    again = make_ready(order, Run(moved))
    assert again.catalogue.cases == first.catalogue.cases
    assert again.cache.root.is_relative_to(moved)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labelled": "1"}, "labelled was '2' and is now '1'"),
        ({"val": None}, "val was '1' and is now None"),
        ({"request": Request(method="supervised")}, "method was None and is now 'supervised'"),
        (
            {"request": Request(settings={"train": {"steps": 5}})},
            "settings.method.labelled_batch was 2 and is now absent",
        ),
    ],
)
def test_another_order_is_refused_by_its_first_difference(order: Order, tmp_path: Path, changes, words: str) -> None:
    run = open_run(tmp_path / "run")
    make_ready(order, run)
    ordering._compare(replace(order, device="cuda", quiet=False, cache=tmp_path), run)  # these may change
    with pytest.raises(SettingsError, match="holds another run: ") as refused:
        make_ready(replace(order, **changes), run)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "mistake",
    [
        {"request": Request(method="fixmach")},
        {"request": Request(settings={"train": {"stepz": 3}})},
        {"request": Request(settings={"train": {"optimisers": {"foo": {"lr": 3}}}})},
        {"request": Request(settings={"method": {"segmenter": {"name": "foo"}}})},
        {"labelled": "0"},
        {"labelled": "10000"},
        {"data": Path("nowhere")},
    ],
)
def test_a_refused_command_leaves_no_trace_and_the_corrected_one_may_follow(order, tmp_path, mistake) -> None:
    run = open_run(tmp_path / "run")
    with pytest.raises(ValueError), run.locked():
        make_ready(replace(order, **mistake), run)
    assert not run.root.exists()
    with open_run(run.root).locked():
        make_ready(order, run)
    assert run.split.exists()


def test_what_was_wrong_with_the_data_may_be_corrected(order: Order, phantoms: Path, tmp_path: Path) -> None:
    """prepare meets a broken image; without it in the catalogue, the same command goes on in the same folder."""
    data, broken = tmp_path / "data", tmp_path / "broken.nii.gz"
    catalogue = open_catalogue(phantoms, quiet=True)
    first, *others = reversed(catalogue.cases)
    image, grid = read_image(first.images[0])
    write_volume(broken, np.full_like(image[0], np.nan), grid, first.images[0])
    write_catalogue(replace(catalogue, cases=(*others, replace(first, images=(broken,)))), data)
    run = open_run(tmp_path / "run")
    with pytest.raises(DataError, match="NaN"), run.locked():
        make_ready(replace(order, data=data), run)
    assert sorted(path.name for path in run.root.iterdir()) == [".fewmask.lock", "cache"]
    write_catalogue(replace(catalogue, cases=tuple(others)), data)
    assert len(make_ready(replace(order, data=data), run).catalogue.cases) == 5


def all_labelled(phantoms: Path, folder: Path) -> Path:
    """A catalogue of the phantoms that have a mask."""
    catalogue = open_catalogue(phantoms, quiet=True)
    write_catalogue(replace(catalogue, cases=tuple(case for case in catalogue.cases if case.label)), folder)
    return folder


def test_without_unlabelled_images_the_default_is_supervised(
    order: Order, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = replace(order, data=all_labelled(phantoms, tmp_path / "data"), labelled=None, val=None, quiet=False)
    ready = make_ready(plain, open_run(tmp_path / "run"))
    assert not ready.split.unlabelled
    assert ready.config.method["name"] == "supervised"
    assert "plan: method.name=supervised  (no image is unlabelled)" in capsys.readouterr().err
    slice_ = replace(plain, exemplar=f"{ready.catalogue.cases[0].id}:1")
    make_ready(slice_, open_run(tmp_path / "one"))
    assert "no image is unlabelled" not in capsys.readouterr().err  # the other slices are


@pytest.mark.parametrize("asked", [None, "auto"])
def test_the_data_choose_the_method(order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked) -> None:
    order = replace(order, request=replace(order.request, method=asked), quiet=False)
    assert make_ready(order, open_run(tmp_path / "two")).config.method["name"] == "fixmatch"
    assert "plan: method.name=fixmatch  (better than supervised in each of 3 seeds on ACDC" in capsys.readouterr().err
    alone = replace(order, labelled="1")
    assert make_ready(alone, open_run(tmp_path / "one")).config.method["name"] == "supervised"
    assert "nothing is known to be better in 2-D with 1 labelled patient" in capsys.readouterr().err
    settings = {**order.request.settings, "method": {"cutmix": 0}}
    with pytest.raises(SettingsError, match=r"'method\.cutmix'.* \(method supervised, chosen by the data: nothing is"):
        make_ready(replace(alone, request=Request(method=asked, settings=settings)), open_run(tmp_path / "other"))


def test_a_method_that_wants_unlabelled_images_is_refused_without_any(order: Order, phantoms: Path, tmp_path: Path):
    run = open_run(tmp_path / "run")
    request = replace(order.request, method="mean_teacher")
    wrong = replace(order, data=all_labelled(phantoms, tmp_path / "data"), labelled=None, val="0", request=request)
    with pytest.raises(SettingsError, match=r"method mean_teacher learns from unlabelled images.* --method supervised"):
        make_ready(wrong, run)
    assert not list(run.root.iterdir())


def test_contradictions(phantoms: Path) -> None:
    with pytest.raises(SettingsError, match="--exemplar and --labelled were both given"):
        Order(data=phantoms, labelled="1", exemplar="x")
    with pytest.raises(SettingsError, match="--split and --val were both given"):
        Order(data=phantoms, val="1", split=Path("split.json"))


def test_a_device_of_no_machine(phantoms: Path) -> None:
    with pytest.raises(SettingsError, match="--device gpu: choose auto, cpu, cuda or cuda:N"):
        Order(data=phantoms, device="gpu")


def test_exemplar_is_a_list_of_one(order: Order, tmp_path: Path) -> None:
    run = open_run(tmp_path / "run")
    one = replace(order, labelled=None, val=None, exemplar="patient001_frame01:1")
    ready = make_ready(one, run)
    assert ready.split.labelled == ("patient001_frame01:1",)
    assert len(ready.split.unlabelled) >= 5
    label = ready.cache.open("patient001_frame01").label
    assert [bool((plane != 255).any()) for plane in label] == [False, True, False]
    with pytest.raises(DataError, match="patient099"):
        make_ready(replace(one, exemplar="patient099"), open_run(tmp_path / "other"))


def test_a_recipe_says_who_is_labelled_where_the_command_does_not(order: Order, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("about: {kind: data, summary: x}\nsplit: {labelled: 1, val: 1}\n")
    (tmp_path / "two.yaml").write_text("about: {kind: data, summary: x}\nsplit: {labelled: 2}\n")
    catalogue = open_catalogue(order.data, quiet=True)

    def sizes(*names: str, **given: str | None) -> tuple[int, int, int]:
        recipes = tuple(str(tmp_path / name) for name in names)
        asked = replace(order, **{"labelled": None, "val": None, "test": None, **given})
        split, _ = split_for(replace(asked, request=replace(order.request, recipes=recipes)), catalogue)
        return len(split.labelled), len(split.val), len(split.test)

    assert sizes("one.yaml") == (1, 1, 0)
    assert sizes("one.yaml", "two.yaml") == (2, 1, 0)  # the later one wins
    assert sizes("one.yaml", labelled="2", test="1") == (2, 1, 1)
    assert sizes("two.yaml", exemplar=catalogue.cases[0].id)[0] == 1


def test_a_split_file_is_taken_as_it_is(order: Order, phantoms: Path, tmp_path: Path) -> None:
    ready = make_ready(order, open_run(tmp_path / "first"))
    file = tmp_path / "first" / "split.json"
    again, second = replace(order, labelled=None, val=None, split=file), open_run(tmp_path / "second")
    same = make_ready(again, second)
    assert same.split == ready.split
    changed = json.loads(file.read_text()) | {"hash": ""}
    changed["unlabelled"] += changed["val"]
    changed["val"] = []
    file.write_text(json.dumps(changed))
    with pytest.raises(SettingsError, match=r"split.json: changed since .* was begun with it; bring it back or"):
        make_ready(again, second)
    file.unlink()  # the run has its own
    assert make_ready(again, second).split == same.split


def test_a_catalogue_serves_as_data(order: Order, phantoms: Path, tmp_path: Path) -> None:
    write_catalogue(open_catalogue(phantoms, quiet=True), tmp_path / "catalogue")
    direct = make_ready(order, open_run(tmp_path / "one"))
    by_catalogue = make_ready(replace(order, data=tmp_path / "catalogue"), open_run(tmp_path / "two"))
    assert by_catalogue.split == direct.split
    assert json.loads((tmp_path / "two" / "request.json").read_text())["data"] == str(tmp_path / "catalogue")


def test_a_hand_written_split_need_not_list_the_unlabelled(order: Order, phantoms: Path, tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    file.write_text('{"labelled": ["patient001_frame01"], "val": ["patient002_frame01"]}', encoding="utf-8")
    ready = make_ready(replace(order, labelled=None, val=None, split=file), open_run(tmp_path / "run"))
    assert "patient003_frame01" in ready.split.unlabelled
    assert not {"patient001_frame01", "patient002_frame01", "patient002_frame02"} & set(ready.split.unlabelled)


def test_only_the_masks_of_labelled_and_val_are_opened_after_the_split(order: Order, phantoms: Path, tmp_path: Path):
    """The others' masks are gone once the data was scanned."""
    catalogue = open_catalogue(phantoms, quiet=True)
    cases = tuple(replace(case, label=tmp_path / "gone.nii.gz" if case.label else None) for case in catalogue.cases)
    first = next(case for case in catalogue.cases if case.label)
    kept = tuple(first if case.id == first.id else case for case in cases)
    write_catalogue(replace(catalogue, cases=kept), tmp_path / "catalogue")
    one = replace(order, data=tmp_path / "catalogue", labelled=first.id, val="0")
    ready = make_ready(one, open_run(tmp_path / "run"))
    assert sorted(path.stem for path in (ready.cache.root / "labels").glob("*.npy")) == [first.id]


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"file/run: cannot be written \(.*\); choose another folder"):
        open_run(tmp_path / "file" / "run")

    def full(**options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ordering.tempfile, "TemporaryFile", full)
    with pytest.raises(OutOfMemory, match="the disk is full"):
        open_run(tmp_path / "run")


def test_the_folder_of_the_data_is_no_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"^--out \.: the folder of the data; name another one"):
        open_run(Path("."), tmp_path)
    assert open_run(tmp_path / "run", tmp_path).root.is_dir()


def test_groups(phantoms: Path) -> None:
    catalogue = open_catalogue(phantoms, quiet=True)
    assert grouped_by(catalogue, "patient") is catalogue
    with pytest.raises(SettingsError, match="has no site; fill that column"):
        grouped_by(catalogue, "site")
    with pytest.raises(SettingsError, match="--group moon: choose patient or site"):
        grouped_by(catalogue, "moon")
    sited = replace(catalogue, cases=tuple(replace(case, site="north") for case in catalogue.cases))
    assert {case.patient for case in grouped_by(sited, "site").cases} == {"north"}


def test_run_layout_is_that_of_runs(tmp_path: Path) -> None:
    assert open_run(tmp_path / "a" / "b") == Run(tmp_path / "a" / "b")


def test_a_method_that_needs_every_class_refuses_a_budget_without_one(order: Order, tmp_path: Path, capsys) -> None:
    """The phantoms' masks hold what dataset.yaml names, but for one class that no mask shows."""
    catalogue = open_catalogue(order.data, quiet=True)
    labels = replace(catalogue.labels, names=(*catalogue.labels.names, "rare"), values=(*catalogue.labels.values, 77))
    write_catalogue(replace(catalogue, labels=labels), tmp_path / "catalogue", absolute=True)
    settings = {**order.request.settings, "method": {**order.request.settings["method"], "latent": {"dim": 16}}}
    wanted = replace(
        order, data=tmp_path / "catalogue", request=Request(method="proto_diff", settings=settings), quiet=False
    )
    run = open_run(tmp_path / "run")
    with pytest.raises(DataError, match=r"too little of rare \(no voxels\).*proto_diff needs 1 of each.*=\[rare\]"):
        make_ready(wanted, run)
    assert not run.split.exists()

    def allowing(*names: str) -> Order:
        more = {**settings, "method": {**settings["method"], "allow_missing": list(names)}}
        return replace(wanted, request=Request(method="proto_diff", settings=more))

    with pytest.raises(SettingsError, match=r"method\.allow_missing: no class 'rar'; did you mean 'rare'"):
        make_ready(allowing("rar"), run)
    make_ready(allowing("rare"), run)
    assert "no labelled image shows rare; it cannot be learnt" in capsys.readouterr().err
    elsewhere = replace(order, data=tmp_path / "catalogue", quiet=False)
    make_ready(elsewhere, open_run(tmp_path / "other"))
    assert "no labelled image shows rare; it cannot be learnt" in capsys.readouterr().err


@pytest.fixture
def copied(phantoms: Path, tmp_path: Path) -> Path:
    """The phantoms, to be changed."""
    return Path(shutil.copytree(phantoms, tmp_path / "data"))


def exemplar(data: Path, tiny: dict, name: str, **method: object) -> Order:
    settings = {**tiny, "method": {**tiny["method"], **method}}
    request = Request(method="caudo_diff", settings=settings)
    return Order(data=data, request=request, exemplar=name, val="0", test="0", device="cpu", quiet=True)


def only(mask: Path, voxels: dict[int, int]) -> None:
    """Leave so many voxels of each class in a mask."""
    label, grid = formats.read_mask(mask)
    kept = np.zeros_like(label)
    for value, count in voxels.items():
        places = np.flatnonzero(label == value)[:count]
        kept.ravel()[places] = value
    formats.write_mask(mask, kept.astype(np.uint8), grid, mask)


def test_an_exemplar_that_lacks_a_class_is_refused_unless_it_is_named(copied: Path, tiny: dict, tmp_path: Path) -> None:
    catalogue = open_catalogue(copied, quiet=True)
    case = next(case for case in catalogue.cases if case.label)
    make_ready(exemplar(copied, tiny, case.id), open_run(tmp_path / "whole"))
    only(case.label, {1: 10_000, 2: 1})
    with pytest.raises(
        DataError, match=r"myocardium \((no|1) voxels?\), LV \(no voxels\).*allow_missing=\[myocardium,LV\]"
    ):
        make_ready(exemplar(copied, tiny, case.id), open_run(tmp_path / "run"))
    assert not (tmp_path / "run" / "request.json").exists()
    with pytest.raises(DataError, match=r"of LV \(no voxels\).*allow_missing=\[myocardium,LV\]"):
        make_ready(exemplar(copied, tiny, case.id, allow_missing=["myocardium"]), open_run(tmp_path / "run"))
    make_ready(exemplar(copied, tiny, case.id, allow_missing=["myocardium", "LV"]), open_run(tmp_path / "run"))
    with pytest.raises(SettingsError, match=r"method\.allow_missing: no class 'LW'; did you mean 'LV'"):
        make_ready(exemplar(copied, tiny, case.id, allow_missing=["LW"]), open_run(tmp_path / "other"))


def test_wrong_exemplars_are_refused_in_one_line(copied: Path, tiny: dict, tmp_path: Path) -> None:
    catalogue = open_catalogue(copied, quiet=True)
    case = next(case for case in catalogue.cases if case.label)
    bare = next(case for case in catalogue.cases if not case.label)
    for name, said in (
        ("patient077", "'patient077' is no case and no patient"),
        (bare.id, "has no mask; draw one"),
        (f"{case.id}:3", "the case has slices 0 to 2"),
    ):
        with pytest.raises(DataError, match=said):
            make_ready(exemplar(copied, tiny, name), open_run(tmp_path / "run"))
    only(case.label, {3: 1})
    with pytest.raises(DataError, match=r"LV \((no|1) voxel"):
        make_ready(exemplar(copied, tiny, case.id), open_run(tmp_path / "run"))
