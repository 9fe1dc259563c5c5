"""A mask -> DICOM-SEG: binary segments with names and codes, on the slices of the series that it was found in.

Needs highdicom (fewmask[dicom]).  The patient and study of the source are repeated, as the standard demands.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from fewmask import __version__
from fewmask.data.colours import class_rgb
from fewmask.data.dicom.images import series_at
from fewmask.data.dicom.instance import faults
from fewmask.errors import DataError, SettingsError
from fewmask.types import LabelSet

INSTALL = "pip install 'fewmask[dicom]'"
ABBREVIATIONS = {
    "lv": "left ventricle",
    "rv": "right ventricle",
    "la": "left atrium",
    "ra": "right atrium",
    "myo": "left ventricle myocardium",
    "myocardium": "left ventricle myocardium",
    "tumour": "tumor",
}
"""What data sets call structures -> what SNOMED CT calls them; the label keeps the data set's own word."""
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
ALTERED = Code("49755003", "SCT", "Morphologically Altered Structure")
TISSUE = Code("85756007", "SCT", "Tissue")
WANTED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)
"""Elements that every image must have and that some anonymisers remove: written empty then."""


def require_highdicom() -> None:
    """SettingsError where it is not installed."""
    if importlib.util.find_spec("highdicom") is None:
        raise SettingsError(f"--format dicom-seg needs highdicom; {INSTALL}")


def structure_code(name: str) -> tuple[Code, Code]:
    """Category and type of a class by its name: SNOMED CT where it knows the word, else tissue."""
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
    keyword = ABBREVIATIONS.get(words, words).replace(" ", "")
    known = next((entry for entry in _keywords().get(keyword, ())), None)
    if known is None:
        return TISSUE, TISSUE
    return (ALTERED if keyword in ("tumor", "neoplasm", "lesion", "edema", "cyst") else ANATOMY), known


_KNOWN: dict[str, tuple[Code, ...]] = {}


def _keywords() -> dict[str, tuple[Code, ...]]:
    """Keyword in small letters -> the code."""
    if not _KNOWN:
        for keyword in codes.SCT.dir():
            _KNOWN.setdefault(keyword.lower(), (getattr(codes.SCT, keyword),))
    return _KNOWN


def write(stream: BinaryIO, mask: np.ndarray, labels: LabelSet, image: Path, origin: str) -> None:
    """mask (D, H, W), raw values, of the series that `image` stands for -> one DICOM-SEG.

    Segment k is class k of `labels`; its raw value stands in SegmentDescription, from where fewmask reads it again.
    origin: what made the mask (SegmentAlgorithmName).
    """
    require_highdicom()
    import highdicom as hd

    series = series_at(image)
    if mask.shape != series.grid.shape:
        raise DataError(f"{image}: mask {mask.shape} and series {series.grid.shape} differ; predict again")
    values = {value: index for index, value in enumerate(labels.values)}
    classes = np.zeros(mask.shape, np.uint8 if len(labels) <= 255 else np.uint16)
    for value in np.unique(mask).tolist():
        if value not in values and value != labels.ignore:
            raise DataError(f"{image}: the mask holds {value}, which is no class; name it in dataset.yaml")
        classes[mask == value] = values.get(value, 0)
    with faults(image, "writing the DICOM-SEG"):
        instances = list(dict.fromkeys(one.instance for one in series.slices))
        sources = [_source(instance.path) for instance in instances]
        if len(instances) < len(series.slices):  # one file of many frames: in the order of the file
            order = np.argsort([one.frame.index for one in series.slices])
            classes = classes[order]
        made = hashlib.blake2b(classes.tobytes() + origin.encode(), digest_size=16).hexdigest()
        written = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=classes,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=_described(hd, labels, origin),
            series_instance_uid=generate_uid(entropy_srcs=["series", instances[0].series, made]),
            series_number=int(sources[0].get("SeriesNumber") or 0) + 1000,
            sop_instance_uid=generate_uid(entropy_srcs=["instance", instances[0].series, made]),
            instance_number=1,
            manufacturer="fewmask",
            manufacturer_model_name="fewmask",
            software_versions=__version__,
            device_serial_number="0",
            content_label="SEGMENTATION",
            content_description="automatic segmentation, research use",
            series_description=f"Segmentation ({origin})"[:64],
        )
        written.save_as(stream)


def _described(hd: Any, labels: LabelSet, origin: str) -> list[Any]:
    algorithm = hd.AlgorithmIdentificationSequence(
        name=origin[:64], family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    found = []
    for number, (name, value) in enumerate(zip(labels.names[1:], labels.values[1:], strict=True), start=1):
        category, kind = structure_code(name)
        segment = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=category,
            segmented_property_type=kind,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            display_color=hd.color.CIELabColor.from_rgb(*class_rgb(number)),
        )
        segment.SegmentDescription = f"value {value}"
        found.append(segment)
    return found


def _source(path: Path) -> pydicom.Dataset:
    """The header of a source image, with what the standard demands and anonymisers remove."""
    data = pydicom.dcmread(path, stop_before_pixels=True, defer_size=2**16)
    for keyword in WANTED:
        if keyword not in data:
            setattr(data, keyword, "")
    return data
