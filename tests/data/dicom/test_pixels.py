"""Pixels of a DICOM file: rescale and tables, number by number."""

from __future__ import annotations

import numpy as np

from fewmask.data.dicom.instance import read_instance
from fewmask.data.dicom.pixels import pictures

PIXELS = np.arange(20, dtype=np.uint16).reshape(4, 5)


def test_frames_are_rescaled(dicoms) -> None:
    data = dicoms.picture(np.stack([PIXELS, PIXELS + 7]), RescaleSlope="0.5", RescaleIntercept="-1")
    found = list(pictures(read_instance(dicoms.save(data, dicoms.root / "film.dcm"))))
    np.testing.assert_array_equal(found, [PIXELS * 0.5 - 1, (PIXELS + 7) * 0.5 - 1])
    assert found[0].dtype == np.float32


def test_a_palette_is_looked_up(dicoms) -> None:
    data = dicoms.picture(np.array([[0, 1], [2, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for shift, colour in enumerate(("Red", "Green", "Blue")):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 8])
        setattr(data, f"{colour}PaletteColorLookupTableData", bytes([10 + shift, 20 + shift, 30 + shift, 40]))
    instance = read_instance(dicoms.save(data, dicoms.root / "p.dcm"))
    assert instance.samples == 3
    (found,) = pictures(instance)
    np.testing.assert_array_equal(found[..., 2], [[12, 22], [32, 22]])
