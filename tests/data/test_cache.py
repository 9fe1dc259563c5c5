import pickle

import numpy as np
import pytest

from fewmask.data.cache import Cache, Preparation
from fewmask.data.grid import Grid
from fewmask.errors import DataError


def test_key_depends_on_every_setting():
    keys = {
        Preparation(**settings).key
        for settings in (
            {"dims": 2},
            {"dims": 3},
            {"dims": 2, "size": (96, 96)},
            {"dims": 2, "size": (96, 64)},
            {"dims": 3, "spacing_mm": (1, 1, 1)},
            {"dims": 2, "channels": 3},
        )
    }
    assert len(keys) == 6
    assert Preparation(dims=2).key == Preparation(dims=2, size=None, channels=1).key


def test_open_names_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="case1: not in the cache"):
        Cache(tmp_path, Preparation(dims=2)).open("case1")


def test_labels_of_single_slices_have_their_own_file(tmp_path):
    preparation = Preparation(dims=2)
    paths = {Cache(tmp_path, preparation, {"a": slices}).label_path("a") for slices in (None, (1,), (1, 2), (12,))}
    assert len(paths) == 4
    assert Cache(tmp_path, preparation, {"a": (2, 1)}).label_path("a") in paths


def test_cache_goes_to_loader_processes(tmp_path):
    cache = Cache(tmp_path, Preparation(dims=2), {"a": None})
    assert pickle.loads(pickle.dumps(cache)).labels == {"a": None}


def test_normalised_uses_the_scale():
    from fewmask.data.cache import Prepared
    from fewmask.data.grid import Orientation

    values = np.random.default_rng(0).normal(size=(1, 3, 5, 7)).astype(np.float16)
    grid = Grid(shape=(3, 5, 7))
    prepared = Prepared(
        id="a",
        image=values,
        scale=8.0,
        label=None,
        locations={},
        native=grid,
        orientation=Orientation(),
        grid=grid,
        statistics={},
    )
    found = prepared.normalised("rgb", {"mean": [0.0], "std": [2.0]})
    assert np.array_equal(found, values.astype(np.float32) * 4)
