import json

import pytest
import torch
from safetensors.torch import save_file

from fewmask.config import Network
from fewmask.errors import DataError
from fewmask.nets import build_segmenter
from fewmask.predictors import (
    Model,
    SegmenterPredictor,
    build_predictor,
    find_model,
    load_model,
    model_hash,
    save_model,
)
from fewmask.types import LabelSet, Task


def predictor(seed=0, patch_size=(32, 32)):
    torch.manual_seed(seed)
    task = Task(channels=1, classes=3, names=("a", "b", "c"), patch_size=patch_size)
    return SegmenterPredictor(build_segmenter(Network(width=4), task)).eval()


def model(**changes):
    values = {
        "predictor": predictor(),
        "labels": LabelSet(names=("background", "lésion", "c"), values=(0, 128, 255), ignore=7),
        "preparation": {"dims": 2, "size": [32, 32]},
        "intensity": "rgb",
        "fingerprint": {"mean": [0.25], "std": [1 / 3]},
        "patch_size": (32, 32),
        "channels": ("MR",),
        "planar": True,
        "flip": (1,),
        "layout": "image_pairs",
        "seed": 5,
        "extra": {"method": "supervised"},
    }
    return Model(**{**values, **changes})


def test_probabilities_sum_to_one():
    with torch.no_grad():
        found = predictor()(torch.randn(2, 1, 17, 23), torch.zeros(2, dtype=torch.int64))
    assert found.shape == (2, 3, 17, 23)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 17, 23))


def test_members_travel_with_the_model(tmp_path):
    save_model(model(members={"student": predictor(1)}), tmp_path)
    found = load_model(tmp_path)
    image, seed = torch.randn(1, 1, 17, 23), torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        assert torch.equal(found.predictor(image, seed), predictor()(image, seed))
        assert torch.equal(found.members["student"](image, seed), predictor(1)(image, seed))
        assert not torch.equal(found.members["student"](image, seed), found.predictor(image, seed))
    assert json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))["members"]["student"]


def test_twin_from_the_spec_loads_the_weights():
    first = predictor(0)
    torch.manual_seed(1)
    twin = build_predictor(json.loads(json.dumps(first.spec))).eval()
    image, seed = torch.randn(1, 1, 17, 23), torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        assert not torch.equal(first(image, seed), twin(image, seed))
        twin.load_state_dict(first.state_dict())
        assert torch.equal(first(image, seed), twin(image, seed))


def test_saved_model_comes_back(tmp_path):
    saved = model()
    save_model(saved, tmp_path / "model")
    loaded = load_model(tmp_path)  # a run folder holds model/
    for name in Model.__dataclass_fields__:
        if name != "predictor":
            assert getattr(loaded, name) == getattr(saved, name), name
    image, seed = torch.randn(1, 1, 17, 23), torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        assert torch.equal(loaded.predictor(image, seed), saved.predictor(image, seed))
    assert not loaded.predictor.training


def test_description_travels_with_the_weights(tmp_path):
    save_model(model(), tmp_path)
    (tmp_path / "model.json").unlink()
    assert load_model(tmp_path).labels.values == (0, 128, 255)


def test_tied_weights_can_be_saved(tmp_path):
    saved = model()
    weights = [parameter for parameter in saved.predictor.parameters() if parameter.ndim == 1]
    weights[1].data = weights[0].data
    save_model(saved, tmp_path)
    assert load_model(tmp_path).layout == "image_pairs"


def test_hash_tells_models_apart(tmp_path):
    for name, saved in (("a", model()), ("b", model()), ("c", model(predictor=predictor(1))), ("d", model(seed=6))):
        save_model(saved, tmp_path / name)
    first, again, other, settings = (model_hash(tmp_path / name) for name in "abcd")
    assert first == again
    assert len({first, other, settings}) == 3


def test_missing_model_says_what_to_give(tmp_path):
    with pytest.raises(DataError, match="give a run folder"):
        find_model(tmp_path)


def test_foreign_and_broken_weights_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="not saved by fewmask"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    with pytest.raises(DataError, match="not readable as safetensors"):
        load_model(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch):
    save_model(model(), tmp_path)
    monkeypatch.setattr("fewmask.predictors.model.build_predictor", lambda spec: torch.nn.Linear(1, 1))
    with pytest.raises(DataError, match="weights do not fit the network"):
        load_model(tmp_path)


def test_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fewmask.predictors.model.FORMAT", 2)
    save_model(model(), tmp_path)
    monkeypatch.undo()
    with pytest.raises(DataError, match="update fewmask"):
        load_model(tmp_path)


def test_unknown_predictor_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'segmenter'"):
        build_predictor({"predictor": "segmentor"})
