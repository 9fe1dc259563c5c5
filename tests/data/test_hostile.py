"""Hostile files: headers of every format changed at random, and a corpus of files that were broken by hand.

Each read ends in an array or in a DataError of one line: no other error, no hang, and no memory beyond what a file
can hold.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import h5py
import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from fewmask.data import formats
from fewmask.errors import DataError

VOLUME = np.random.default_rng(0).integers(0, 3, (3, 8, 8)).astype(np.uint8)
AFFINE = np.diag([4.0, 1.5, 1.25, 1.0])
KINDS = (
    *("a.nii", "a.nii.gz", "b.nii", "a.nrrd", "a.mha", "a.h5", "a.png", "a.jpg", "a.tif", "a.bmp"),
    *("slice/a.dcm", "enhanced/a.dcm", "packed/a.dcm", "seg/a.dcm"),
)
EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def dicom_writer(folder: Path):
    path = Path(__file__).parents[1] / "dicoms.py"
    specification = importlib.util.spec_from_file_location("dicoms", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.Dicoms(folder)


def sound(folder: Path) -> dict[str, Path]:
    """A sound file of every format."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(nib.Nifti1Image(VOLUME.T, AFFINE), folder / name)
    nib.save(nib.Nifti2Image(VOLUME.T, AFFINE), folder / "b.nii")
    nrrd.write(str(folder / "a.nrrd"), VOLUME.T, {"encoding": "gzip", "spacings": [1.0, 2.0, 3.0]})
    sitk.WriteImage(sitk.GetImageFromArray(VOLUME), str(folder / "a.mha"), True)
    with h5py.File(folder / "a.h5", "w") as file:
        file["image"], file["label"] = VOLUME.astype(np.float32), VOLUME
    for ending in ("png", "jpg", "tif", "bmp"):
        Image.fromarray(VOLUME[0]).save(folder / f"a.{ending}")
    dicoms = dicom_writer(folder)
    dicoms.save(dicoms.slice(VOLUME[0], AFFINE, 0), folder / "slice" / "a.dcm")
    dicoms.multiframe("enhanced/a.dcm", VOLUME.astype(np.int16), AFFINE)
    packed = dicoms.picture(VOLUME[0])
    packed.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    packed.compress(RLELossless, generate_instance_uid=False)
    dicoms.save(packed, folder / "packed" / "a.dcm", RLELossless)
    series = dicoms.series("series", VOLUME.astype(np.int16), AFFINE)
    (folder / "seg").mkdir()
    formats.write_mask(folder / "seg" / "a.dcm", VOLUME, formats.read_header(series).grid, series)
    return {name: folder / name for name in KINDS}


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """The folder of sound files."""
    folder = tmp_path_factory.mktemp("sound")
    sound(folder)
    return folder


def verdict(path: Path) -> None:
    """Every way of reading the file ends in an array or in one line."""
    for read in (formats.read_header, formats.read_image, formats.read_mask, formats.mask_names):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(path)
            except DataError as error:
                assert str(error) and "\n" not in str(error)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@EXAMPLES
@given(
    edits=st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    cut=st.one_of(st.none(), st.floats(0, 1)),
)
def test_changed_at_random(originals, tmp_path, name, edits, cut) -> None:
    content = bytearray((originals / name).read_bytes())
    for place, piece in edits:
        place %= max(1, min(len(content), 4096))
        content[place : place + len(piece)] = piece
    if cut is not None:
        content = content[: int(cut * len(content))]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    verdict(path)


def test_changed_text_headers(tmp_path) -> None:
    """NRRD and MetaImage are text: every field with every odd value."""
    odd = (
        "",
        "-1",
        "0",
        "nan",
        "inf",
        "1e308",
        "99999999999999999999",
        "(1,2",
        "x" * 300,
        "none none none",
        "\x00\xff",
    )
    seen = 0
    nrrd_head = ["NRRD0004", "type: uint8", "dimension: 3", "sizes: 8 8 3", "encoding: raw"]
    nrrd_head += [
        "space: left-posterior-superior",
        "space directions: (1,0,0) (0,1,0) (0,0,1)",
        "space origin: (0,0,0)",
    ]
    mha_head = ["ObjectType = Image", "NDims = 3", "DimSize = 8 8 3", "ElementType = MET_UCHAR", "Offset = 0 0 0"]
    mha_head += ["TransformMatrix = 1 0 0 0 1 0 0 0 1", "ElementSpacing = 1 1 1", "ElementDataFile = LOCAL"]
    for name, head, sign, end in (("a.nrrd", nrrd_head, ": ", "\n\n"), ("a.mha", mha_head, " = ", "\n")):
        for line in range(1 if name == "a.nrrd" else 0, len(head)):
            for value in odd:
                changed = [*head]
                changed[line] = head[line].partition(sign)[0] + sign + value
                (tmp_path / name).write_bytes(("\n".join(changed) + end).encode("latin-1") + bytes(192))
                verdict(tmp_path / name)
                seen += 1
    assert seen == (7 + 8) * len(odd)


def corpus(folder: Path) -> list[Path]:
    """Files broken by hand, each in a way that was seen or could be meant to harm."""
    files = sound(folder / "sound")
    made: list[Path] = []

    def put(name: str, content: bytes) -> None:
        path = folder / f"{len(made):02d}" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        made.append(path)

    def nifti(**fields) -> bytes:
        header = nib.Nifti1Header.from_fileobj(io.BytesIO(files["a.nii"].read_bytes()))
        for field, value in fields.items():
            header[field] = value
        return header.binaryblock + files["a.nii"].read_bytes()[348:]

    for fields in (
        {"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]},
        {"dim": [3, -8, 8, 3, 1, 1, 1, 1]},
        {"dim": [0] * 8},
        {"dim": [7, 8, 8, 3, 1, 1, 1, 32767]},
        {"vox_offset": 1e30},
        {"vox_offset": np.nan},
        {"pixdim": [1, 0, 0, 0, 1, 1, 1, 1]},
        {"pixdim": [1, np.nan, 1, 1, 1, 1, 1, 1]},
        {"srow_x": [np.nan] * 4},
        {"srow_x": [0] * 4},
        {"scl_slope": np.inf, "scl_inter": 0},
        {"datatype": 1792},
        {"datatype": 9999},
    ):
        put("a.nii", nifti(**fields))
    large = nifti(dim=[3, 2000, 1000, 1000, 1, 1, 1, 1])
    put("bomb.nii.gz", gzip.compress(large + bytes(2**24)))
    put("bomb2.nii.gz", gzip.compress(files["a.nii"].read_bytes() + bytes(2**27)))
    put("tail.nii.gz", files["a.nii.gz"].read_bytes()[:-9])
    head = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2000 1000 1000\nencoding: gzip\n\n"
    put("bomb.nrrd", head + gzip.compress(bytes(2**24)))
    put("long.nrrd", b"NRRD0004\n" + b"x" * 2**22)
    put("elsewhere.nrrd", b"NRRD0004\ntype: uint8\ndimension: 1\nsizes: 5\nencoding: raw\ndata file: /etc/passwd\n\n")
    put(
        "elsewhere.mhd", b"NDims = 3\nDimSize = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = ../../../etc/passwd\n"
    )
    put("huge.mha", b"NDims = 3\nDimSize = 60000 60000 60000\nElementType = MET_DOUBLE\nElementDataFile = LOCAL\n")
    put("bomb.png", bomb_png(30000, 30000))
    put("empty.png", b"")
    put("named.png", files["a.nii"].read_bytes())
    put("cut.jpg", files["a.jpg"].read_bytes()[:200])
    for link in ("external", "soft", "object", "virtual"):
        path = folder / f"{len(made):02d}" / f"{link}.h5"
        path.parent.mkdir(parents=True)
        hostile_h5(path, link)
        made.append(path)
    source = files["slice/a.dcm"]
    for tags in (
        {"Rows": 65535, "Columns": 65535},
        {"NumberOfFrames": "99999999"},
        {"BitsAllocated": 7},
        {"PixelSpacing": ["-1", "1"]},
        {"PixelSpacing": ["nan", "1"]},
        {"ImageOrientationPatient": ["0"] * 6},
        {"ImagePositionPatient": ["1", "2"]},
        {"RescaleSlope": "inf"},
        {"RescaleSlope": "7.25"},
        {"PatientID": "../../../etc/cron.d/x", "SeriesDescription": "<script>"},
    ):
        data = pydicom.dcmread(source)
        for tag, value in tags.items():
            setattr(data, tag, value)
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, data, enforce_file_format=True)
        put("a.dcm", buffer.getvalue().replace(b"7.25", b"text"))
    put("preamble.dcm", bytes(128) + b"DICM")
    put("nothing.dcm", b"nothing of the kind")
    put("deflated.dcm", deflated(source))
    put("nested.dcm", nested(4000))
    return made


def bomb_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(2**20))) + chunk(b"IEND", b"")


def hostile_h5(path: Path, kind: str) -> None:
    with h5py.File(path, "w") as file:
        if kind == "external":
            file["image"] = h5py.ExternalLink("/etc/passwd", "/x")
        elif kind == "soft":
            file["image"] = h5py.SoftLink("/image")
        elif kind == "object":
            file.create_dataset("image", data=np.array([b"x"], dtype=object), dtype=h5py.special_dtype(vlen=bytes))
        else:
            layout = h5py.VirtualLayout((3, 8, 8), "u1")
            layout[:] = h5py.VirtualSource("/etc/passwd", "image", (3, 8, 8))
            file.create_virtual_dataset("image", layout)


def deflated(source: Path) -> bytes:
    """64 MiB of zeros in a text element, deflated."""
    data = pydicom.dcmread(source)
    data.add_new(0x0040A160, "UT", " " * 2**26)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    return buffer.getvalue()


def nested(depth: int) -> bytes:
    """Sequences within sequences, implicit little endian, so deep that a recursive reader runs out of stack."""
    opening = struct.pack("<HHI", 0x5200, 0x9229, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = "1.2.840.10008.1.2", "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    buffer = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(buffer, meta)
    return bytes(128) + b"DICM" + buffer.getvalue() + opening * depth


CHILD = """
import json, sys, warnings
from pathlib import Path
from fewmask.data import formats
from fewmask.errors import DataError
warnings.simplefilter("ignore")
told = {}
for line in sys.stdin:
    path = Path(line.strip())
    said = []
    for read in (formats.read_header, formats.read_image, formats.read_mask):
        try:
            read(path)
            said.append("read")
        except DataError as error:
            said.append(str(error))
    told[str(path)] = said
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({"told": told, "mib": int(status["VmHWM"].split()[0]) / 1024}))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="/proc tells the child's own peak; getrusage begins with its parent's"
)
def test_the_corpus_ends_in_verdicts_within_a_gibibyte(tmp_path) -> None:
    paths = corpus(tmp_path)
    words = "\n".join(map(str, paths))
    done = subprocess.run([sys.executable, "-c", CHILD], input=words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found["told"]) == len(paths) >= 40
    assert found["mib"] < 1024
    for path, said in found["told"].items():
        assert all("\n" not in line and len(line) < 600 for line in said), path
    read = {Path(path).name for path, said in found["told"].items() if "read" in said}
    assert read <= {"a.dcm", "bomb2.nii.gz"}, read  # what only a tag spoils that nobody needs
    assert not any("root:" in line for said in found["told"].values() for line in said)


def test_no_name_comes_from_a_tag(tmp_path) -> None:
    from fewmask.data.scan import scan

    dicoms = dicom_writer(tmp_path / "in")
    evil = "../../../etc/cron.d/x"
    dicoms.series("p", VOLUME.astype(np.int16), AFFINE, PatientID=evil, PatientName="Doe^Jane", SeriesDescription=evil)
    catalogue = scan(tmp_path / "in", quiet=True)
    assert [case.id for case in catalogue.cases] == ["p"]
    assert evil not in str(catalogue) and "Doe" not in str(catalogue)
