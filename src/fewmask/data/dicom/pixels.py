"""The pixels of a DICOM file: decoded, looked up in its tables, rescaled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, iter_pixels
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian

from fewmask.data.dicom.instance import Instance, faults, is_dicom
from fewmask.errors import DataError

PALETTE = (
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
)


def pictures(instance: Instance) -> Iterator[np.ndarray]:
    """The decoded frames (rows, columns) or (rows, columns, 3), rescaled, float32; raises DataError.

    MONOCHROME1, in which low values are bright, is turned round within the range that was stored.
    """
    source: Path | Dataset = instance.path
    image = Dataset()
    extra = [Tag(name) for name in ("ModalityLUTSequence", "PixelPaddingValue", *PALETTE)]
    with faults(instance.path, "decoding the pixels"):
        if not is_dicom(instance.path):  # without meta information: the syntax of those days
            source = image = pydicom.dcmread(instance.path, force=True)
            image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        count = 0
        for frame, values in zip(instance.frames, iter_pixels(source, ds_out=image, specific_tags=extra), strict=False):
            if image.PhotometricInterpretation == "PALETTE COLOR":
                values = apply_color_lut(values, image)
            elif instance.samples == 1:
                if "ModalityLUTSequence" in image:
                    values = apply_modality_lut(values, image)
                if instance.inverted:
                    signed, stored = image.PixelRepresentation == 1, image.BitsStored
                    values = (-1 if signed else 2**stored - 1) - values.astype(np.int64)
                values = values * np.float32(frame.slope) + np.float32(frame.intercept)
            count += 1
            yield values.astype(np.float32, copy=False)
        if count < len(instance.frames):
            raise DataError(f"{instance.path}: {count} of {len(instance.frames)} frames; cut short, copy it again")
