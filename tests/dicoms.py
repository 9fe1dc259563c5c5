"""DICOM files as scanners and archives write them, for tests: series, pictures, multi-frame files, segmentations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Dicoms:
    """Writes DICOM below a folder; every value that a test does not name is one that a scanner would write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def series(
        self,
        name: str,
        volume: np.ndarray,
        affine: np.ndarray,
        *,
        order: np.ndarray | None = None,
        suffix: str = ".dcm",
        **tags: Any,
    ) -> Path:
        """volume (D, H, W) int16 or uint16 on `affine`, index (d, h, w) -> RAS mm, a file a slice, stored in `order`.

        `tags`: elements of every file; a callable is asked with the slice's index.
        """
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        uid, study, place = generate_uid(), generate_uid(), generate_uid()
        lps = RAS_TO_LPS @ affine
        for number, index in enumerate(range(len(volume)) if order is None else order):
            data = self.slice(volume[index], lps, float(index))
            data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = uid, study, place
            data.InstanceNumber = number + 1
            for key, value in tags.items():
                setattr(data, key, value(index) if callable(value) else value)
            self.save(data, folder / f"{number:04d}{suffix}")
        return folder

    def slice(self, pixels: np.ndarray, lps: np.ndarray, index: float) -> FileDataset:
        """One slice of a volume on `lps`, index (d, h, w) -> LPS mm."""
        rows_apart, columns_apart = np.linalg.norm(lps[:3, 1]), np.linalg.norm(lps[:3, 2])
        data = self.picture(pixels)
        data.SOPClassUID = CTImageStorage
        data.Modality = "CT"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        cosines = (*lps[:3, 2] / columns_apart, *lps[:3, 1] / rows_apart)
        data.ImageOrientationPatient = [f"{value:.12g}"[:16] for value in cosines]
        data.ImagePositionPatient = [f"{value:.12g}"[:16] for value in (lps @ [index, 0, 0, 1])[:3]]
        data.PixelSpacing = [f"{rows_apart:.12g}"[:16], f"{columns_apart:.12g}"[:16]]
        data.SliceThickness = f"{np.linalg.norm(lps[:3, 0]):.6g}"
        return data

    def picture(self, pixels: np.ndarray, **tags: Any) -> FileDataset:
        """A file with pixels (H, W) or (H, W, 3), or frames (N, H, W), and no place; not saved yet."""
        data = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
        data.SOPClassUID = MRImageStorage
        data.SOPInstanceUID = generate_uid()
        data.SeriesInstanceUID, data.StudyInstanceUID = generate_uid(), generate_uid()
        data.PatientID, data.PatientName, data.PatientBirthDate, data.PatientSex = (
            "0815-4711",
            "Doe^Jane",
            "19700101",
            "F",
        )
        data.StudyDate, data.StudyTime, data.AccessionNumber, data.StudyID = "20200101", "101010", "1", "1"
        data.ReferringPhysicianName, data.SeriesNumber, data.InstanceNumber = "", 1, 1
        data.Modality, data.Manufacturer = "OT", "none"
        colour = pixels.ndim == 3 and pixels.shape[-1] == 3
        data.Rows, data.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
        data.SamplesPerPixel = 3 if colour else 1
        data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            data.PlanarConfiguration = 0
        if pixels.ndim == 3 and not colour:
            data.NumberOfFrames = len(pixels)
        data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
        data.HighBit = data.BitsStored - 1
        data.PixelRepresentation = int(pixels.dtype.kind == "i")
        data.PixelData = np.ascontiguousarray(pixels).tobytes()
        if pixels.dtype.itemsize == 1 and len(data.PixelData) % 2:
            data.PixelData += b"\0"
        data["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
        for key, value in tags.items():
            setattr(data, key, value)
        return data

    def multiframe(self, name: str, volume: np.ndarray, affine: np.ndarray, order: np.ndarray | None = None) -> Path:
        """An enhanced file: all slices in one, each with its place in functional groups."""
        order = np.arange(len(volume)) if order is None else order
        lps = RAS_TO_LPS @ affine
        one = self.slice(volume[0], lps, 0)
        data = self.picture(volume[order], Modality="MR")
        data.SOPClassUID = EnhancedMRImageStorage
        data.FrameOfReferenceUID = generate_uid()
        shared, measures, plane = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = one.PixelSpacing, one.SliceThickness
        plane.ImageOrientationPatient = one.ImageOrientationPatient
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
        data.SharedFunctionalGroupsSequence = Sequence([shared])
        groups = []
        for index in order:
            group, position, rescale = Dataset(), Dataset(), Dataset()
            position.ImagePositionPatient = [f"{value:.12g}"[:16] for value in (lps @ [index, 0, 0, 1])[:3]]
            rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = "2", "-3", "US"
            group.PlanePositionSequence = Sequence([position])
            group.PixelValueTransformationSequence = Sequence([rescale])
            groups.append(group)
        data.PerFrameFunctionalGroupsSequence = Sequence(groups)
        return self.save(data, self.root / name)

    def save(self, data: FileDataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
        """Write the file; returns its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        data.file_meta.TransferSyntaxUID = syntax
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        pydicom.dcmwrite(path, data, enforce_file_format=True)
        return path
