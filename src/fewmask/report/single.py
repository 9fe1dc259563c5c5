"""The report of one run, section by section."""

from __future__ import annotations

from fewmask.figures import class_colour, training_curves
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
    legend,
    opening,
    tile,
)
from fewmask.report.record import Record
from fewmask.report.rectification import rectification
from fewmask.report.results import case_table, class_table, interval, result_notes
from fewmask.report.review import review
from fewmask.report.words import continuation, counted, headline, provenance, warnings


def one_run(record: Record, volumes: int = 0) -> list[Content]:
    """The whole page of a run; volumes: cases that the review can show whole."""
    head = opening(record.catalogue.name if record.catalogue else record.name, headline(record), tiles(record))
    sections = [
        Section("Results", "results", results(record)),
        Section("Which masks to trust", "review", review(record, volumes)),
        Section("Masks", "masks", masks(record)),
        Section("Pseudo-labels", "pseudo-labels", rectification(record)),
        Section("Training", "training", curves(record)),
        Section("Every case", "cases", cases(record)),
        Section("Where this comes from", "source", provenance(record)),
        Section("How to go on", "next", continuation(record)),
    ]
    return body(head, warnings(record), sections)


def tiles(record: Record) -> list[Markup]:
    """Dice with its interval, and how many cases play each role."""
    found = []
    evaluation = record.main
    dice = evaluation.summary.get("dice") if evaluation else None
    if evaluation is not None and isinstance(dice, dict) and dice.get("mean") is not None:
        known = dice.get("low") is not None and dice.get("high") is not None
        interval = f"95 %: {dice['low']:.3f} to {dice['high']:.3f}" if known else ""
        found.append(tile(f"{dice['mean']:.3f}", f"Dice on {evaluation.split}", interval))
    for role in ("labelled", "unlabelled", "val", "test"):
        members = record.role(role)
        if members or role in ("labelled", "unlabelled"):
            people = record.patients(role)
            found.append(
                tile(f"{len(members):,}", f"{role} cases", f"of {counted(people, 'patient')}" if people else "")
            )
    return found


def class_names(record: Record) -> tuple[str, ...]:
    """All classes, background first: the catalogue's, else those that were scored."""
    if record.catalogue:
        return record.catalogue.labels.names
    scored = [row.name for evaluation in record.evaluations for row in evaluation.rows]
    return ("background", *dict.fromkeys(scored))


def results(record: Record) -> list[Content]:
    """A table per evaluation of the model, and the last checkpoint beside it."""
    found: list[Content] = []
    names = class_names(record)
    for evaluation in record.scored:
        patients = counted(len({row.patient for row in evaluation.rows}), "patient")
        found += [
            element("h3", f"On {evaluation.split}: {counted(evaluation.count, 'case')} of {patients}"),
            class_table(evaluation, names),
        ]
    if record.main is not None:
        found.append(element("p", " ".join(result_notes(record.main)), class_="note"))
    for evaluation in record.evaluations:
        if evaluation.weights:
            which = (
                f"the last checkpoint (step {record.step:,})" if evaluation.weights == "last" else evaluation.weights
            )
            title = f"For comparison, on {evaluation.split} with {which}: Dice "
            found.append(element("p", title, interval(evaluation.summary.get("dice")), class_="note"))
            found.append(folded("Its table", class_table(evaluation, names, boxes=False)))
    return found


def curves(record: Record) -> list[Content]:
    """The log as charts."""
    return charts(training_curves(record.log, class_names(record)))


def cases(record: Record) -> list[Content]:
    """A table per evaluation of the model."""
    names = class_names(record)
    return [
        [element("h3", f"{evaluation.split.capitalize()}, worst first"), case_table(evaluation, names)]
        for evaluation in record.scored
        if evaluation.rows
    ]


def masks(record: Record) -> list[Content]:
    """Pictures of chosen cases, in groups that say how they were chosen."""
    if record.catalogue is None:
        return [element("p", f"No pictures: {record.without_pictures}.")]
    groups: list[tuple[str, str, list[Choice]]] = []
    for evaluation in record.scored:
        chosen = gallery.scored_choices(record, evaluation)
        groups.append((f"{evaluation.split.capitalize()}: best, median and worst", "by mean Dice over classes", chosen))
    groups.append(
        ("Unlabelled", "spread evenly over the list, not chosen by quality", gallery.unlabelled_choices(record))
    )
    groups.append(("What was learned from", "the masks that were given", gallery.labelled_choices(record)))
    groups = [group for group in groups if group[2]]
    side = gallery.panel_side(gallery.pictures_of(record) * sum(len(chosen) for *_, chosen in groups))
    drawn = [
        [
            element("h3", title, element("span", f" – {how}", class_="quiet")),
            gallery.wall(record, [gallery.show(record, choice, side) for choice in chosen]),
        ]
        for title, how, chosen in groups
    ]
    return [key(record), drawn] if drawn else []


def key(record: Record) -> Markup:
    """What the colours and the two kinds of drawing mean."""
    names = class_names(record)
    return element(
        "div",
        legend((name, class_colour(index)) for index, name in enumerate(names[1:], start=1)),
        element(
            "p",
            element("span", element("i", class_="key tint"), "tint: predicted"),
            element("span", element("i", class_="key line"), "line: reference mask"),
            class_="legend",
        ),
    )
