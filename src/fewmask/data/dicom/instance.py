"""One DICOM file: what its header says, checked before any pixel is decoded, and where its frames lie.

A file is untrusted: sizes are held against the length of the file, nothing is followed to other files, and whatever
pydicom stumbles over becomes a DataError.  Tags are read for geometry, grouping and decoding alone; of the patient only
the identifier is touched, and it leaves this package as a code.
"""

from __future__ import annotations

import hashlib
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, RTDoseStorage, SegmentationStorage

from fewmask.data.claims import MAX_VALUES, can_hold
from fewmask.errors import DataError

# What vendors write wrongly in tags that nobody asks for is no news to a user.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\b|fewmask\.data\.dicom\b")

PREAMBLE = 128
FIRST_GROUPS = (b"\x02\0", b"\x08\0")
"""How files begin that have no preamble, as scanners of the nineties wrote them."""
LABELMAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
SEGMENTATIONS = (str(SegmentationStorage), LABELMAP_SEGMENTATION)
NO_IMAGES = (str(RTDoseStorage),)
ELEMENT_HEADER = 8
"""Bytes of tag and length before the pixels, at least."""
LARGE = 2**16
"""Values longer than this, in bytes, are not read with the header."""
MAX_FRAMES = 2**16
TELLING = ("ImageType", "EchoTime", "TemporalPositionIdentifier", "DiffusionBValue", "AcquisitionNumber", "TriggerTime")
"""Tags that tell apart several images of one place in one series, in the order in which they are tried."""
TAGS = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"),
    *("Modality", "InstanceNumber", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation", "PixelSpacing"),
    *("ImagerPixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness"),
    *("SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "ReferencedSeriesSequence", "SegmentSequence", "SegmentationType"),
    "MaximumFractionalValue",
    *TELLING,
)
FAULTS = (
    *(InvalidDicomError, BytesLengthException, EOFError, AttributeError, LookupError, NotImplementedError, ValueError),
    *(TypeError, ArithmeticError, RuntimeError, OSError, struct.error, zlib.error),
)
"""What pydicom and its decoders raise for damaged files."""

Vector = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """One picture of a file: `index` in it, LPS `position` mm and row and column cosines `orientation` (6,), or None.

    `spacing_mm` (rows apart, columns apart), `thickness_mm` and the rescale of its stored values.
    """

    index: int
    position: Vector | None
    orientation: Vector | None
    spacing_mm: Vector | None
    thickness_mm: float | None
    slope: float
    intercept: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Instance:
    """One file with pixels.  `samples` are those of a decoded pixel, `telling` the values of TELLING, as text."""

    path: Path
    kind: str
    uid: str
    series: str
    study: str
    patient: str
    modality: str
    number: int
    rows: int
    columns: int
    samples: int
    inverted: bool
    frames: tuple[Frame, ...]
    telling: tuple[str, ...]
    referenced: tuple[str, ...]

    @property
    def localiser(self) -> bool:
        return "LOCALIZER" in self.telling[0].upper() or "SCOUT" in self.telling[0].upper()

    @property
    def is_segmentation(self) -> bool:
        return self.kind in SEGMENTATIONS


def patient_codes(instances: Iterable[Instance]) -> dict[str, str]:
    """Patient identifier -> a code that does not give it back.

    It is salted with the first of the patient's study UIDs (else that of a series or file): the same files give the
    same code, while trying out a list of identifiers leads nowhere without the images.
    """
    salts: dict[str, str] = {}
    for instance in instances:
        salt = instance.study or instance.series or instance.uid  # no salt at all would give the identifier away
        salts[instance.patient] = min(salts.get(instance.patient, salt), salt)
    return {
        patient: "patient-" + hashlib.blake2b(patient.encode(), key=salt.encode()[:64], digest_size=5).hexdigest()
        for patient, salt in salts.items()
    }


def is_dicom(path: Path) -> bool:
    """Whether the file has DICOM's magic word after its preamble."""
    try:
        with path.open("rb") as stream:
            return stream.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"
    except OSError:
        return False


@contextmanager
def faults(path: Path, what: str) -> Iterator[None]:
    """DataError where pydicom cannot go on; `what` was being done."""
    try:
        yield
    except DataError:
        raise
    except FAULTS as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"{path}: {what} failed ({reason}); export the file again, or take it out") from None


def read_dataset(path: Path, tags: tuple[str, ...] = TAGS) -> Dataset:
    """The named elements of the header, without pixels; raises DataError."""
    return _header(path, tags)[0]


def _header(path: Path, tags: tuple[str, ...]) -> tuple[Dataset, int]:
    """The named elements, and the bytes that follow the header."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with faults(path, "reading the DICOM header"):
        with path.open("rb") as stream:
            bare = not is_dicom(path)
            if bare and stream.read(2) not in FIRST_GROUPS:
                raise DataError(f"{path}: no DICOM file; convert it or take it out")
            if not bare and _syntax(read_file_meta_info(path)) == DeflatedExplicitVRLittleEndian:
                # pydicom would inflate all of it, whatever that becomes
                raise DataError(f"{path}: a deflated DICOM file; inflate it first (dcmconv +te)")
            stream.seek(0)
            data = pydicom.dcmread(
                stream, defer_size=LARGE, stop_before_pixels=True, force=bare, specific_tags=list(tags)
            )
            rest = path.stat().st_size - stream.tell() - ELEMENT_HEADER
        return data, rest


def _syntax(meta: Dataset) -> UID | None:
    return getattr(meta, "TransferSyntaxUID", None)


def read_instance(path: Path) -> Instance:
    """The checked header of one file.  Raises DataError, also where the file holds no picture."""
    data, rest = _header(path, TAGS)
    with faults(path, "reading the DICOM header"):
        if "Rows" not in data or "Columns" not in data:
            raise DataError(f"{path}: no picture in it ({_text(data, 'Modality') or 'no modality'}); take it out")
        if _text(data, "SOPClassUID") in NO_IMAGES:
            raise DataError(f"{path}: a dose distribution, no image; take it out")
        count = int(data.get("NumberOfFrames") or 1)
        rows, columns, samples = (int(data.get(name) or 1) for name in ("Rows", "Columns", "SamplesPerPixel"))
        _check_size(path, data, rest, rows, columns, samples, count)
        return Instance(
            path=path,
            kind=_text(data, "SOPClassUID"),
            uid=_text(data, "SOPInstanceUID") or str(path),
            series=_text(data, "SeriesInstanceUID"),
            study=_text(data, "StudyInstanceUID"),
            patient=_text(data, "PatientID").strip() or _text(data, "StudyInstanceUID"),
            modality=_text(data, "Modality"),
            number=int(data.get("InstanceNumber") or 0),
            rows=rows,
            columns=columns,
            samples=3 if _text(data, "PhotometricInterpretation") == "PALETTE COLOR" else samples,
            inverted=_text(data, "PhotometricInterpretation") == "MONOCHROME1",
            frames=tuple(_frames(path, data, count)),
            telling=tuple(_text(data, name) for name in TELLING),
            referenced=tuple(_text(item, "SeriesInstanceUID") for item in data.get("ReferencedSeriesSequence") or ()),
        )


def _text(data: Dataset, name: str) -> str:
    value = data.get(name)
    return "" if value is None else str(value)


def _check_size(path: Path, data: Dataset, stored: int, rows: int, columns: int, samples: int, count: int) -> None:
    """Whether the `stored` bytes after the header can hold the picture that it promises."""
    values = rows * columns * samples * count
    bits = int(data.get("BitsAllocated") or 0)
    if not 0 < values <= MAX_VALUES or not 0 < count <= MAX_FRAMES or bits not in (1, 8, 16, 32, 64):
        raise DataError(
            f"{path}: the header gives {count} frames of {rows} x {columns} x {samples} at {bits} bits; "
            "it is damaged, export the file again"
        )
    if samples not in (1, 3):
        raise DataError(f"{path}: {samples} samples a pixel; export it as grey or RGB")
    needed = math.ceil(values * bits / 8)
    syntax = _syntax(data.file_meta)
    packed = syntax is not None and not syntax.is_private and syntax.is_transfer_syntax and syntax.is_compressed
    if packed and not can_hold(stored, needed):
        raise DataError(f"{path}: {stored} bytes cannot hold {needed} of pixels; the file is damaged, copy it again")
    if "YBR" in _text(data, "PhotometricInterpretation") and "42" in _text(data, "PhotometricInterpretation"):
        needed //= 2  # colours are stored for every second pixel
    if not packed and stored < needed:
        raise DataError(f"{path}: {stored} bytes where the header promises {needed}: cut short; copy it again")


def _frames(path: Path, data: Dataset, count: int) -> Iterator[Frame]:
    """The frames with their places: those of the file itself, or of its functional groups."""
    shared = _first(data.get("SharedFunctionalGroupsSequence"))
    own = data.get("PerFrameFunctionalGroupsSequence") or [None] * count
    if len(own) != count:
        raise DataError(f"{path}: {count} frames and {len(own)} descriptions of frames; export the file again")
    for index, groups in enumerate(own):

        def macro(name: str, groups: Dataset | None = groups) -> Dataset:
            """A functional group of the frame, else of all frames, else the file itself."""
            for source in (groups, shared):
                found = _first(source.get(name)) if source is not None else None
                if found is not None:
                    return found
            return data

        measures, rescale = macro("PixelMeasuresSequence"), macro("PixelValueTransformationSequence")
        spacing = _numbers(path, measures, "PixelSpacing", 2) or _numbers(path, data, "ImagerPixelSpacing", 2)
        if spacing is not None and min(spacing) <= 0:
            raise DataError(f"{path}: pixel spacing {spacing}; it must be positive, export the file again")
        slope, intercept = _number(rescale, "RescaleSlope", 1.0), _number(rescale, "RescaleIntercept", 0.0)
        if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
            raise DataError(f"{path}: rescale slope {slope}, intercept {intercept}; export the file again")
        position = _numbers(path, macro("PlanePositionSequence"), "ImagePositionPatient", 3)
        orientation = _numbers(path, macro("PlaneOrientationSequence"), "ImageOrientationPatient", 6)
        if orientation is not None and not _right_angled(orientation):
            raise DataError(f"{path}: orientation {orientation} is no pair of right-angled unit vectors; export again")
        yield Frame(
            index=index,
            position=position if orientation else None,
            orientation=orientation if position else None,
            spacing_mm=spacing,
            thickness_mm=_number(measures, "SpacingBetweenSlices", 0) or _number(measures, "SliceThickness", 0) or None,
            slope=slope,
            intercept=intercept,
        )


def _first(sequence: Any) -> Dataset | None:
    return sequence[0] if sequence else None


def _number(data: Dataset, name: str, default: float) -> float:
    value = data.get(name)
    return default if value is None or value == "" else float(value)


def _numbers(path: Path, data: Dataset, name: str, length: int) -> Vector | None:
    values = data.get(name)
    if values is None or values == "":
        return None
    found = tuple(float(value) for value in values)
    if len(found) != length or not all(map(math.isfinite, found)):
        raise DataError(f"{path}: {name} is {list(values)}; expected {length} finite numbers, export the file again")
    return found


def _right_angled(orientation: Vector) -> bool:
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    return bool(np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=1e-2))
