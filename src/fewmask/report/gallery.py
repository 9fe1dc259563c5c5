"""Cases to look at: what was learned from, the best, median and worst scored, and some that nobody has labelled."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewmask.data import formats
from fewmask.data.cache import Preparation
from fewmask.data.conform import prepared_geometry
from fewmask.data.grid import Grid, orientation
from fewmask.errors import DataError
from fewmask.overlays import Panel, case_panels
from fewmask.report.page import Content, Markup, element, picture
from fewmask.report.record import Evaluation, Record
from fewmask.review import prediction_of
from fewmask.types import Case, LabelSet

SLICES = 5
"""Pictures of one stack of slices."""
ROOMY, TIGHT = 55, 90
"""Up to so many pictures are drawn large, and middling; more are drawn small, which keeps the page under 5 MB."""
STACKED_RATIO = 3.0
"""Spacing ratio over which a volume is shown as slices where the run does not say."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A case to show.  Its role decides whether its reference may be opened: labelled, val and test only."""

    case: str
    role: str
    heading: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Framing:
    """What of a case is shown, so that several runs show the same: slices or planes, and around which voxels."""

    stack: bool
    focus: np.ndarray
    """(D, H, W) bool on the native grid; slices and cut are chosen by it."""


def labelled_choices(record: Record) -> list[Choice]:
    """The first labelled cases: 4 pictures, or 3 volumes."""
    most = 4 if pictures_of(record) == 1 else 3
    return [Choice(case=case, role="labelled", heading="labelled") for case in record.role("labelled")[:most]]


def scored_choices(record: Record, evaluation: Evaluation) -> list[Choice]:
    """Best, median and worst case of an evaluation; fewer where it has fewer."""
    return ranked_choices(evaluation.ranking, evaluation.split, record.role(evaluation.split))


def ranked_choices(
    ranking: Sequence[tuple[str, float]], role: str, members: Sequence[str], score: str = "Dice"
) -> list[Choice]:
    """Best, median and worst of (case, Dice) from worst to best, of those that are members of the role."""
    members = set(members)
    ranking = [entry for entry in ranking if entry[0] in members]
    if not ranking:
        return []
    places = {len(ranking) - 1: "best", len(ranking) // 2: "median", 0: "worst"}
    if len(ranking) < 3:
        places = {len(ranking) - 1: "best", 0: "worst"} if len(ranking) == 2 else {0: "only case"}
    return [
        Choice(case=ranking[place][0], role=role, heading=f"{word}, {score} {ranking[place][1]:.3f}")
        for place, word in places.items()
    ]


def unlabelled_choices(record: Record, most: int | None = None) -> list[Choice]:
    """Cases spread evenly over the unlabelled ones that have a prediction: chosen by place, not by quality.

    most None: 8 pictures, or 4 volumes.
    """
    most = most or (8 if pictures_of(record) == 1 else 4)
    cases = [case for case in record.role("unlabelled") if prediction_path(record, case) is not None]
    places = sorted({round(float(place)) for place in np.linspace(0, len(cases) - 1, min(most, len(cases)))})
    return [Choice(case=cases[place], role="unlabelled", heading="prediction only") for place in places if cases]


def panel_side(pictures: int) -> int:
    """The longest side in pixels of each of so many pictures."""
    return 256 if pictures <= ROOMY else 200 if pictures <= TIGHT else 144


def is_stack(record: Record, grid: Grid) -> bool:
    """Whether a case is looked at slice by slice: as the run did it, else by its spacing."""
    dims = record.config.get("plan", {}).get("dims")
    if grid.planar or dims in (2, 3):
        return grid.planar or dims == 2
    return grid.spacing_mm is None or max(grid.spacing_mm) / min(grid.spacing_mm) > STACKED_RATIO


def pictures_of(record: Record) -> int:
    """How many pictures one case of the run takes, at most."""
    if record.catalogue is None or record.catalogue.planar:
        return 1
    return 3 if record.config.get("plan", {}).get("dims") == 3 else SLICES


def common_framing(records: Sequence[Record], choice: Choice) -> Framing | None:
    """What all records show of a case: around its reference where the role allows opening that, else around what any
    of them predicted.  None where the image cannot be read, as each record then says itself.
    """
    first = records[0]
    try:
        case = _case(first, choice)
        grid = formats.read_header(case.images[0]).grid
    except (DataError, OSError):
        return None
    focus = np.zeros(grid.shape, dtype=bool)
    for paths in ([_reference_path(case, choice.role)], [prediction_path(record, case.id) for record in records]):
        for path in filter(None, paths):
            with suppress(DataError, OSError):  # a file that is broken is named under its own record
                focus |= native_mask(path, case.images[0], first.catalogue.labels, grid) > 0
        if focus.any():
            break
    return Framing(stack=is_stack(first, grid), focus=focus)


def show(record: Record, choice: Choice, side: int, title: Content = None, framing: Framing | None = None) -> Markup:
    """The pictures of a case with its name; a line of text instead where its files cannot be read.

    framing None: as the run itself looked at the case, around its prediction and the reference.
    """
    try:
        panels = _panels(record, choice, side, framing)
    except (DataError, OSError) as error:
        drawn: Content = element("p", f"No picture: {error}", class_="note")
    else:
        drawn = element(
            "div", [_figure(panel, choice) for panel in panels], class_="panels row" if len(panels) > 3 else "panels"
        )
    heading = title or [element("strong", choice.case), " ", element("span", choice.heading, class_="quiet")]
    return element("div", element("h4", heading), drawn, class_="case")


def wall(record: Record, cases: Sequence[Markup]) -> Content:
    """Cases under each other; single pictures beside each other."""
    return element("div", cases, class_="cases") if pictures_of(record) == 1 else cases


def _figure(panel: Panel, choice: Choice) -> Markup:
    alt = f"{choice.case}, {panel.caption}" if panel.caption else choice.case
    caption = element("figcaption", panel.caption) if panel.caption else None
    return element("figure", picture(panel.png, alt), caption)


def _case(record: Record, choice: Choice) -> Case:
    case = record.catalogue.by_id.get(choice.case) if record.catalogue else None
    if case is None:
        raise DataError("the catalogue of the run is not at hand or does not hold this case")
    return case


def _panels(record: Record, choice: Choice, side: int, framing: Framing | None) -> list[Panel]:
    case = _case(record, choice)
    image, grid = formats.read_case_image(case)
    stack = framing.stack if framing else is_stack(record, grid)
    turn = orientation(grid, slices=stack)
    masks = []
    predicted = None if choice.role == "labelled" else prediction_path(record, case.id)
    for path in (predicted, _reference_path(case, choice.role)):
        mask = None if path is None else native_mask(path, case.images[0], record.catalogue.labels, grid)
        masks.append(None if mask is None else turn.apply(mask))
    oriented = turn.apply_grid(grid)
    prediction, reference = masks
    if choice.role == "labelled" and reference is not None:
        reference = _labelled_part(record, case.id, reference, _prepared_depth(record, grid))
    return case_panels(
        turn.apply(image),
        prediction,
        reference,
        stack=stack,
        spacing=oriented.spacing_mm or (1.0, 1.0, 1.0),
        directions=None if oriented.affine is None or grid.planar else oriented.affine[:3, :3],
        focus=turn.apply(framing.focus) if framing else None,
        count=SLICES,
        side=side,
    )


def native_mask(path: Path, image: Path, labels: LabelSet, grid: Grid) -> np.ndarray:
    """(D, H, W) class indices of a mask file; what is to be ignored counts as background, so it is not drawn."""
    mask = formats.encode_mask(formats.read_mask(path, image, labels.colours)[0], labels, str(path))
    if mask.shape != grid.shape:
        raise DataError(f"{path}: mask {mask.shape} and image {grid.shape} differ in shape; predict again")
    return np.where(mask == formats.IGNORE(mask.dtype), 0, mask)


def _prepared_depth(record: Record, grid: Grid) -> int | None:
    """Slices of a case on the grid that training saw; None: as many as the image has, in its order."""
    plan = record.config.get("plan", {})
    if plan.get("dims") != 3:
        return None  # slices are resized one by one
    preparation = Preparation(dims=3, spacing_mm=plan.get("spacing_mm"), zoom=plan.get("zoom", 1.0))
    return prepared_geometry(grid, preparation)[1].shape[0]


def _labelled_part(record: Record, case: str, reference: np.ndarray, depth: int | None) -> np.ndarray:
    """Only the slices that were labelled for training: the others of `case:slice` stay unseen.

    reference: native; the split counts slices of the prepared grid, of which there are `depth`.
    """
    slices = [
        int(entry.rpartition(":")[2])
        for entry in record.split.get("labelled", ())
        if entry != case and entry.rpartition(":")[0] == case
    ]
    if not slices or case in record.split.get("labelled", ()):
        return reference
    if depth is not None:  # as resize_label took them
        slices = [int((index + 0.5) * len(reference) / depth) for index in slices]
    part = np.zeros_like(reference)
    part[slices] = reference[slices]
    return part


def _reference_path(case: Case, role: str) -> Path | None:
    """The mask of a case whose role allows looking at it."""
    return case.label if role in ("labelled", "val", "test") else None


def prediction_path(record: Record, case: str) -> Path | None:
    """The predicted mask of a case, whatever its format."""
    return prediction_of(record.run, case)
