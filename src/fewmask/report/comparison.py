"""The report of several runs: one table, curves over each other, the same cases beside each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from fewmask.figures import comparison_curves, run_colour, training_curves
from fewmask.report import gallery
from fewmask.report.gallery import Choice
from fewmask.report.page import (
    Content,
    Markup,
    Section,
    body,
    charts,
    element,
    folded,
    opening,
    swatch,
    table,
)
from fewmask.report.record import Evaluation, Record
from fewmask.report.results import case_table, class_table, column_title, interval, result_notes
from fewmask.report.single import class_names, key
from fewmask.report.words import counted, method_title, provenance, same_split, warnings

MOST_SHOWN = 6
"""Runs whose masks are drawn."""


def several_runs(records: Sequence[Record]) -> list[Content]:
    """The whole page of several runs."""
    first = records[0]
    sections = [
        Section("Results", "results", results(records)),
        Section("Masks", "masks", masks(records)),
        Section("Training", "training", curves(records)),
        Section("Each run", "runs", [_run(record) for record in records]),
    ]
    lead = (
        f"{counted(len(records), 'run')}: {', '.join(dict.fromkeys(method_title(record) for record in records))}. "
        "Differences between single runs with few labels are partly luck: at least 2 seeds make a table, 3 a claim."
    )
    head = opening(first.catalogue.name if first.catalogue else first.name, lead, [])
    return body(head, cautions(records), sections)


def cautions(records: Sequence[Record]) -> list[str]:
    """What stands in the way of comparing."""
    found = []
    if not same_split(list(records)):
        found.append("The runs were given different splits: their scores are not of the same cases.")
    if len({record.budget for record in records}) > 1:
        steps = ", ".join(f"{record.name} {record.budget:,}" for record in records)
        found.append(f"The runs had different budgets of steps: {steps}.")
    if len({evaluation.protocol for evaluation in _evaluations(records)}) > 1:
        found.append("Some distances are in mm and some in voxels: do not compare them.")
    return found + [f"{record.name}: {text}" for record in records for text in _own_warnings(record)]


def _own_warnings(record: Record) -> list[str]:
    """Those of the run, without the findings of the scan, which all share."""
    shared = set(record.catalogue.findings) if record.catalogue else set()
    return [text for text in warnings(record) if text not in shared]


def _evaluations(records: Sequence[Record]) -> list[Evaluation]:
    return [found for record in records if (found := record.main) is not None]


def results(records: Sequence[Record]) -> list[Content]:
    """A row per run, the scores on test, else on val; then Dice per class."""
    evaluations = {record.name: record.main for record in records}
    distances = list(dict.fromkeys(name for found in _evaluations(records) for name in found.distances))
    head = ["Run", "method", "labelled", "steps", "seed", "best val", "scored on", "Dice", "IoU"]
    head += [*map(column_title, distances), "minutes"]
    rows = []
    for index, record in enumerate(records):
        evaluation = evaluations[record.name]
        summary = evaluation.summary if evaluation else {}
        rows.append(
            [
                swatch(record.name, run_colour(index)),
                method_title(record),
                str(len(record.role("labelled"))),
                f"{record.step:,}",
                str(record.config.get("train", {}).get("seed", "–")),
                interval(record.best[1] if record.best else None),
                f"{evaluation.split} ({evaluation.count})" if evaluation else "–",
                interval(summary.get("dice")),
                interval(summary.get("iou")),
                *(interval(summary.get(distance), 2) for distance in distances),
                "–" if record.minutes is None else f"{record.minutes:.1f}",
            ]
        )
    content: list[Content] = [table(head, rows)]
    if not any(evaluations.values()):
        return content
    classes = list(dict.fromkeys(name for record in records for name in class_names(record)[1:]))
    per_class = [
        [
            swatch(record.name, run_colour(index)),
            *(
                interval(found.summary.get("per_class", {}).get(name, {}).get("dice"))
                if (found := evaluations[record.name])
                else "–"
                for name in classes
            ),
        ]
        for index, record in enumerate(records)
    ]
    content += [element("h3", "Dice per class"), table(["Run", *classes], per_class)]
    return [*content, element("p", " ".join(result_notes(_evaluations(records)[0])), class_="note")]


def curves(records: Sequence[Record]) -> list[Content]:
    """Val and pseudo-label Dice of all runs in the same axes."""
    return charts(comparison_curves({record.name: record.log for record in records}))


def masks(records: Sequence[Record]) -> list[Content]:
    """The best, median and worst case by the mean over the runs, and unlabelled ones, as each run sees them."""
    shown = [record for record in records if record.catalogue is not None][:MOST_SHOWN]
    if not shown:
        return []
    choices = _shared_choices(shown)
    side = gallery.panel_side(sum(gallery.pictures_of(record) for record in shown) * len(choices))
    drawn: list[Content] = []
    for choice in choices:
        framing = gallery.common_framing(shown, choice)
        rows = [
            gallery.show(record, choice, side, swatch(record.name, run_colour(records.index(record))), framing)
            for record in shown
        ]
        heading = element("h3", choice.case, element("span", f" – {choice.heading}", class_="quiet"))
        drawn.append([heading, gallery.wall(shown[0], rows)])
    left_out = len(records) - len(shown)
    note = element("p", f"{counted(left_out, 'run')} not drawn.", class_="note") if left_out else None
    return [key(shown[0]), drawn, note] if drawn else []


def _shared_choices(records: Sequence[Record]) -> list[Choice]:
    scores: dict[str, list[float]] = defaultdict(list)
    evaluations = _evaluations(records)
    for evaluation in evaluations:
        for case, dice in evaluation.ranking:
            scores[case].append(dice)
    common = [(case, sum(found) / len(found)) for case, found in scores.items() if len(found) == len(evaluations)]
    choices = []
    if evaluations:
        role = evaluations[0].split
        members = set.intersection(*(set(record.role(role)) for record in records))
        ranking = sorted(common, key=lambda entry: (entry[1], entry[0]))
        choices = gallery.ranked_choices(ranking, role, tuple(members), "mean Dice")
    unlabelled = set.intersection(*(set(record.role("unlabelled")) for record in records))
    return choices + [choice for choice in gallery.unlabelled_choices(records[0], 2) if choice.case in unlabelled]


def _run(record: Record) -> Markup:
    """What only this run has to say, folded away."""
    evaluation = record.main
    return folded(
        f"{record.name}: {method_title(record)}",
        class_table(evaluation, class_names(record)) if evaluation else None,
        case_table(evaluation, class_names(record)) if evaluation else None,
        charts(training_curves(record.log, class_names(record))),
        provenance(record),
    )
