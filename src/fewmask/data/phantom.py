"""Anatomy phantoms: short-axis cine MR of hearts that never were, for the demo, the tests and trying things out.

A patient is a draw of shapes and intensities; a frame is that heart at one contraction.  Tissue is painted on a finer
grid and averaged down (partial volume), then blurred, shaded by a bias field and covered with Rician noise.  Around the
heart lies what a network must tell from it: fat, lung with vessels, liver, and an aorta as bright as the ventricles.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from fewmask.data import formats
from fewmask.data.grid import Grid
from fewmask.seeding import generator

NAMES = ("background", "RV", "myocardium", "LV")
"""Classes of the phantoms; the raw value is the position."""

SPACING_MM = (8.0, 1.6, 1.6)
FINER = 2
"""Samples per voxel and axis from which its intensity and its class are averaged."""
OBLIQUE = 15.0
"""Largest angle of the scan planes to the body's axes, in degrees and about each axis."""


@dataclass(frozen=True, kw_only=True)
class Heart:
    """One patient.  Lengths in mm, angles in radians, intensities with ventricular blood near 1."""

    centre: np.ndarray  # (y, x) from the middle of the picture
    tilt: np.ndarray  # drift of the centre per mm towards the apex
    first_slice: float  # of the first slice below the base; negative: above
    length: float
    radius: float
    wall: float
    right_radius: float
    right_angle: float
    contraction: float  # share by which the radius shrinks
    wobble: np.ndarray  # (3 contours, harmonics 2 to 5, cosine and sine)
    papillary: np.ndarray  # angles of the two muscles
    fat: float
    aorta: np.ndarray  # (y, x) from the centre of the heart
    lung: float  # edge of the left lung, from the centre
    liver: float
    blood: float
    muscle: float
    tissue: dict[str, float]


def draw_heart(rng: np.random.Generator) -> Heart:
    """A patient from a population with normal, dilated and thick-walled hearts."""
    kinds = [(23.0, 8.0), (30.0, 7.0), (19.0, 13.0)]
    radius, wall = (rng.choice(kinds, p=[0.5, 0.25, 0.25]) * rng.uniform(0.88, 1.12, 2)).tolist()
    harmonics = np.arange(2, 6)
    return Heart(
        centre=rng.uniform(-16, 16, 2),
        tilt=rng.uniform(-0.18, 0.18, 2),
        first_slice=rng.uniform(-9, 5),
        length=rng.uniform(62, 88),
        radius=radius,
        wall=wall,
        right_radius=rng.uniform(21, 32),
        right_angle=np.pi + rng.uniform(-0.9, 0.9),
        contraction=rng.uniform(0.16, 0.42),
        wobble=rng.normal(0, 0.14, (3, 4, 2)) / harmonics[:, None],
        papillary=np.array([0.9, -0.9]) + rng.uniform(-0.5, 0.5, 2),
        fat=rng.uniform(1, 7),
        aorta=np.array([rng.uniform(38, 54), rng.uniform(2, 34)]),
        lung=rng.uniform(2, 16),
        liver=rng.uniform(0, 16),
        blood=rng.uniform(0.75, 1.1),
        muscle=rng.uniform(0.3, 0.54),
        tissue={
            "body": rng.uniform(0.35, 0.68),
            "fat": rng.uniform(0.5, 1.15),
            "lung": rng.uniform(0.05, 0.16),
            "liver": rng.uniform(0.3, 0.7),
        },
    )


def render(
    heart: Heart, phase: float, shape: tuple[int, int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One frame: image (D, H, W) float32, label (D, H, W) uint8.  `phase` is 0 at end diastole and 1 at end systole."""
    fine = [(np.arange(size * FINER) + 0.5) / FINER * step for size, step in zip(shape, SPACING_MM, strict=True)]
    depth = fine[0] - SPACING_MM[0] / 2 + heart.first_slice
    rows, columns = (np.float32(axis - axis.mean()) for axis in fine[1:])
    rows, columns = np.meshgrid(rows, columns, indexing="ij")
    vessels = np.zeros(rows.shape, bool)
    for (row, column), radius in zip(rng.uniform(-80, 80, (40, 2)), rng.uniform(1.5, 4, 40), strict=True):
        vessels |= (rows - float(row)) ** 2 + (columns - float(column)) ** 2 < radius**2
    planes = [_plane(heart, phase, z, rows, columns, vessels) for z in depth.tolist()]
    intensity = _averaged(np.stack([plane[0] for plane in planes]))
    fractions = [_averaged(np.stack([plane[1] == index for plane in planes])) for index in range(len(NAMES))]
    label = np.argmax(fractions, axis=0).astype(np.uint8)
    return _scanned(intensity, rng), label


def _averaged(fine: np.ndarray) -> np.ndarray:
    """Mean of each block of FINER samples along every axis."""
    for axis in range(3):
        samples = [fine[(slice(None),) * axis + (slice(offset, None, FINER),)] for offset in range(FINER)]
        fine = sum(sample.astype(np.float32) for sample in samples)
    return fine / FINER**3


def _plane(
    heart: Heart, phase: float, z: float, rows: np.ndarray, columns: np.ndarray, vessels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intensity (H, W) and class (H, W) of the plane `z` mm below the base; later tissue covers earlier."""
    middle = (heart.centre + heart.tilt * z).tolist()
    y, x = rows - middle[0], columns - middle[1]
    distance = np.hypot(y, x)
    wave = _waves(heart.wobble, (x + 1j * y) / (distance + 1e-6))
    along = np.clip((z / heart.length - 0.25) / np.array([0.75, 0.64, 0.55]), 0, 1)
    outer, inner, right = (np.sqrt(1 - along**2) if 0 <= z <= heart.length else np.zeros(3)).tolist()
    cavity = heart.radius * (1 - heart.contraction * phase) * inner * (1 + wave[0])
    wall = heart.wall * (1 + 0.45 * phase) * outer**0.5 * (1 + wave[1])
    muscle = cavity + wall
    ventricle = _right_ventricle(heart, phase, right, y, x) * (1 + wave[2])

    image = np.full(distance.shape, heart.tissue["body"], np.float32)
    lung = x > heart.radius + heart.lung + 6 * np.sin(y / 19)
    image[lung] = heart.tissue["lung"]
    image[lung & vessels] = 0.6
    image[y - 0.25 * x > heart.radius + heart.wall + heart.liver + 5 * np.sin(x / 23)] = heart.tissue["liver"]
    row, column = heart.aorta.tolist()
    aorta = np.hypot(y - row, x - column)
    image[aorta < 13] = heart.muscle
    image[aorta < 11] = heart.blood
    if not outer:
        if z < 0:  # the atria: blood that belongs to no class
            image[distance < 0.8 * heart.radius * (1 + wave[0])] = heart.blood
        return image, np.zeros(distance.shape, np.uint8)
    image[(distance < muscle + heart.fat * (1 + wave[2])) | (ventricle < 1.1 + heart.fat / 60)] = heart.tissue["fat"]
    image[ventricle < 1.1] = heart.muscle  # the thin wall of the right ventricle is background
    label = np.zeros(distance.shape, np.uint8)
    for index, inside, intensity in (
        (1, (ventricle < 1) & (right > 0), heart.blood * 0.96),
        (2, distance < muscle, heart.muscle),
        (3, distance < cavity, heart.blood),
    ):
        image[inside], label[inside] = intensity, index
    for direction in heart.papillary:
        offset = 0.6 * heart.radius * (1 - heart.contraction * phase) * inner
        muscle_tip = np.hypot(y - offset * np.sin(direction), x - offset * np.cos(direction))
        image[(muscle_tip < 0.17 * heart.radius) & (label == 3)] = heart.muscle
    return image, label


def _right_ventricle(heart: Heart, phase: float, taper: float, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Distance from the middle of the ellipse that the septum cuts into a crescent; 1 on its edge."""
    cosine, sine = float(np.cos(heart.right_angle)), float(np.sin(heart.right_angle))
    outwards = cosine * x + sine * y - 0.95 * (heart.radius + heart.wall) * max(taper, 0.3)
    sideways = cosine * y - sine * x
    size = heart.right_radius * (1 - 0.6 * heart.contraction * phase) * taper + 1e-3
    return np.hypot(outwards / (0.8 * size), sideways / (1.3 * size))


def _waves(coefficients: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Relative bulge of each contour.  coefficients (contours, harmonics from 2, 2), direction (H, W) complex."""
    bulge = np.zeros((len(coefficients), *direction.shape), np.float32)
    harmonic = direction
    for order in range(coefficients.shape[1]):
        harmonic = harmonic * direction
        for contour, (cosine, sine) in enumerate(coefficients[:, order].tolist()):
            bulge[contour] += cosine * harmonic.real + sine * harmonic.imag
    return bulge


def _scanned(intensity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a scanner makes of it: uneven tissue, blur, bias field, Rician noise and an arbitrary gain."""
    texture = gaussian_filter(rng.normal(size=intensity.shape), (0, 2, 2)) * rng.uniform(0.2, 0.5)
    blurred = gaussian_filter(intensity * (1 + texture), (0, *[rng.uniform(0.4, 1.1)] * 2))
    field = gaussian_filter(rng.normal(size=intensity.shape), (3, 24, 24), mode="nearest", truncate=2)
    shaded = blurred * np.exp(0.35 * (field - field.mean()) / field.std())
    noise = rng.normal(0, rng.uniform(0.05, 0.13), (2, *intensity.shape))
    return (np.hypot(shaded + noise[0], noise[1]) * rng.uniform(150, 900)).astype(np.float32)


def _affine(rng: np.random.Generator) -> np.ndarray:
    """(d, h, w) index -> RAS mm: base to apex, front to back and right to left, oblique to the body."""
    turn = np.eye(3)
    for (first, second), degrees in zip(((0, 1), (0, 2), (1, 2)), rng.uniform(-OBLIQUE, OBLIQUE, 3), strict=True):
        about = np.eye(3)
        angle = np.deg2rad(degrees)
        about[[first, second], [first, second]] = np.cos(angle)
        about[first, second], about[second, first] = -np.sin(angle), np.sin(angle)
        turn = turn @ about
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, -1], [0, -1, 0], [-1, 0, 0]]) * SPACING_MM
    affine[:3, 3] = rng.uniform(-80, 80, 3)
    return affine


def write_phantoms(
    folder: Path,
    *,
    patients: int = 24,
    labelled: int | None = None,
    seed: int = 0,
    size: tuple[int, int, int] = (8, 96, 96),
    frames: int = 2,
) -> None:
    """Write `patients` times `frames` volumes of `size` (D, H, W) as an nnU-Net raw folder of NIfTI files.

    Cases are named patient001_frame01, frames from end diastole to end systole.  The first `labelled` patients have
    masks; None: all.  A patient depends on the seed and its own number only.
    """
    labelled = patients if labelled is None else labelled
    for patient in range(1, patients + 1):
        rng = generator(seed, "phantom", patient)
        heart = draw_heart(rng)
        grid = Grid(shape=size, spacing_mm=SPACING_MM, affine=_affine(rng))
        for frame in range(1, frames + 1):
            image, label = render(heart, (frame - 1) / max(frames - 1, 1), size, rng)
            case = f"patient{patient:03d}_frame{frame:02d}"
            stored = image.round().astype(np.int16)
            formats.write_volume(folder / "imagesTr" / f"{case}_0000.nii.gz", stored, grid, None)
            if patient <= labelled:
                formats.write_mask(folder / "labelsTr" / f"{case}.nii.gz", label, grid, None)
    description = {
        "name": "heart phantoms",
        "channel_names": {"0": "cine MRI"},
        "labels": {name: value for value, name in enumerate(NAMES)},
        "numTraining": labelled * frames,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def write_pictures(
    folder: Path,
    *,
    patients: int = 3,
    frames: int = 2,
    seed: int = 0,
    size: tuple[int, int] = (61, 67),
    colour: bool = False,
    values: tuple[int, ...] = (0, 1, 2, 3),
) -> None:
    """Write the middle slices as PNG pairs images/<patient>/<frame>.png and masks/ the same, grey or RGB.

    `values` gives the grey value of background, RV, myocardium and LV in the masks; equal ones merge classes.
    """
    for patient, frame in product(range(1, patients + 1), range(1, frames + 1)):
        rng = generator(seed, "picture", patient)
        heart = draw_heart(rng)
        image, label = render(heart, (frame - 1) / max(frames - 1, 1), (5, *size), rng)
        grey = np.clip(image[2] / np.quantile(image, 0.99) * 230, 0, 255).astype(np.uint8)
        if colour:
            grey = np.stack([grey, grey // 2, 255 - grey], axis=-1)
        name = Path(f"patient{patient}") / f"{frame:04d}.png"
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(folder / "images" / name)
        mask = np.array(values, np.uint8)[label[2:3]]
        formats.write_mask(folder / "masks" / name, mask, Grid(shape=mask.shape, planar=True), None)
