"""What prediction reads is what the cache gave to training, rounding included."""

import numpy as np

from fewmask.data.cache import Cache, Preparation
from fewmask.data.catalogue import read_catalogue
from fewmask.data.split_file import read_split
from fewmask.predictors import load_model
from fewmask.reading import read_prepared


def test_a_read_image_is_that_of_the_cache(finished):
    run = finished.run
    model = load_model(run.model)
    root = next(path.parent for path in (run.root / "cache").rglob("images"))
    cache = Cache(root, Preparation(**model.preparation))
    case = read_catalogue(run.catalogue).by_id[read_split(run.split).unlabelled[0]]
    expected = cache.normalised(case.id, model.intensity, model.fingerprint)
    found = read_prepared(model, case)
    np.testing.assert_array_equal(found.image, expected)
    assert found.grid.shape == expected.shape[1:]
