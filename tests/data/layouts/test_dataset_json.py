"""dataset.json, both versions."""

from pathlib import Path

from fewmask.data.layouts.dataset_json import channel_names, class_names, read_dataset_json

PATH = Path("dataset.json")


def test_no_file(tmp_path) -> None:
    assert read_dataset_json(tmp_path) == {}
    assert class_names({}, PATH) == (None, None, ())
    assert channel_names({}) is None


def test_a_byte_order_mark_does_not_matter(files) -> None:
    files.text("dataset.json", '\ufeff{"name": "ü"}')
    assert read_dataset_json(files.root) == {"name": "ü"}


def test_both_directions() -> None:
    forward = class_names({"labels": {"background": 0, "1st": 1, "ignore": 2}}, PATH)
    backward = class_names({"labels": {"0": "background", "1": "1st", "2": "Ignore"}}, PATH)
    assert forward == backward == ({"background": 0, "1st": 1}, 2, ())


def test_values_as_text() -> None:
    assert class_names({"labels": {"background": "0", "organ": "1"}}, PATH)[0] == {"background": 0, "organ": 1}


def test_channels_by_number() -> None:
    names = {str(index): f"c{index}" for index in (10, 2, 0)}
    assert channel_names({"channel_names": names}) == ("c0", "c2", "c10")
    assert channel_names({"modality": ["CT"]}) == ("CT",)
    assert channel_names({"modality": {"first": "CT"}}) is None
