"""comparison.html: one self-contained page from comparison.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewmask.comparison.analysis import LEAST_REPEATS
from fewmask.comparison.charts import budget_chart
from fewmask.comparison.grid import EXEMPLAR
from fewmask.figures import box_plot, run_colour
from fewmask.report.page import (
    Content,
    Section,
    body,
    charts,
    element,
    folded,
    opening,
    page,
    picture,
    swatch,
    table,
)
from fewmask.report.results import interval
from fewmask.report.words import counted
from fewmask.runs import atomic_write

HOW = (
    "A method's Dice is the mean over cases, then classes, then repeats (seeds, or exemplars). Intervals: 95 % "
    "bootstrap over patients and repeats, each drawn with replacement, the same resamples for all methods. p: "
    "Wilcoxon's signed-rank test over patients, of the mean difference over the runs that both methods have, after "
    "Holm's correction over all pairs with the same number of labelled patients. Established: p under 0.05, an "
    "interval clear of zero, and three repeats whose own interval (Student's t) is clear of zero, too. The best other "
    "method is chosen on val where there is one."
)


def write_page(found: Mapping[str, Any], out: Path) -> None:
    """Write the page of comparison.json's content."""
    methods = list(dict.fromkeys(row["method"] for row in found["scores"]))
    colours = {method: run_colour(index) for index, method in enumerate(methods)}
    sections = [
        Section("Verdicts", "verdicts", _verdicts(found)),
        Section("Dice", "dice", _scores(found, colours, methods)),
        Section("What further masks would bring", "curve", _curves(found)),
        Section("Patients", "patients", _boxes(found, colours)),
        Section("Paired tests", "tests", _tests(found, colours)),
        Section("Time and memory", "cost", _cost(found, colours)),
        Section("Cells", "cells", _cells(found, colours)),
    ]
    budgets = ", ".join(budget["labelled"] for budget in found["budgets"])
    lead = (
        f"{counted(len(methods), 'method')} with {budgets} labelled, {counted(len(found['seeds']), 'seed')}: scored on "
        f"{counted(found['cases'], 'case')} of {counted(found['patients'], 'patient')} ({found['scored_on']})."
    )
    content = body(opening(found["name"], lead, []), _cautions(found), sections)
    atomic_write(out, page(f"{found['name']} – fewmask comparison", *content))


def _cautions(found: Mapping[str, Any]) -> list[str]:
    said = [f"{title}: {why}" for title, why in found["failed"].items()]
    if found["unfinished"]:
        said.append(f"{counted(len(found['unfinished']), 'cell')} not finished: the same command continues.")
    for kind, key in (("seeds", "seed"), ("exemplars", "labelled")):
        rows = [row for row in found["scores"] if (row["labelled"] == EXEMPLAR) == (kind == "exemplars")]
        if 0 < max((len({run[key] for run in row["repeats"]}) for row in rows), default=0) < LEAST_REPEATS:
            said.append(f"Fewer than three {kind}: differences are partly luck, and none is called established.")
    if len(found["steps"]) > 1:
        steps = " and ".join(f"{steps:,}" for steps in found["steps"])
        said.append(f"The runs had different budgets of steps ({steps}), so more than the methods differs; --steps N.")
    if found["scored_on"] == "val":
        said.append("There are no test cases: the scores are on val, which also chose the checkpoints.")
    return said


def _verdicts(found: Mapping[str, Any]) -> list[Content]:
    if not found["verdicts"]:
        return [element("p", "Nothing to compare yet: two methods with finished cells of one budget are needed.")]
    content: list[Content] = []
    for budget in found["budgets"]:
        told = [entry["verdict"] for entry in found["comparisons"] if entry["labelled"] == budget["labelled"]]
        if told:
            content += [element("h3", f"{budget['labelled']} labelled"), _listed(told)]
    return [*content, element("p", HOW, class_="note")]


def _listed(sentences: Sequence[str]) -> Content:
    return element("ul", [element("li", text) for text in sentences])


def _scores(found: Mapping[str, Any], colours: Mapping[str, str], methods: Sequence[str]) -> list[Content]:
    head = ["Method", "labelled", "repeats", "Dice", "worst", "best", *found["classes"], "ranks first"]
    rows = []
    for row in found["scores"]:
        values = [repeat["dice"] for repeat in row["repeats"] if repeat["dice"] is not None]
        rows.append(
            [
                swatch(row["method"], colours[row["method"]]),
                row["labelled"],
                str(len(row["repeats"])),
                interval(row["dice"]),
                *(_number(value) for value in ((min(values), max(values)) if values else (None, None))),
                *(_number(row["per_class"][name]) for name in found["classes"]),
                "–" if row["first"] is None else f"{100 * row['first']:.0f} %",
            ]
        )
    note = "Ranks first: in how many of the resamples of patients and repeats this method has the highest Dice."
    drawn = charts([budget_chart(found, methods)]) if methods else []
    return [*drawn, table(head, rows), element("p", note, class_="note")]


def _curves(found: Mapping[str, Any]) -> list[Content]:
    if not found.get("curves"):
        return []
    head = ["Method", "fitted to", "ceiling", "gain with twice the masks", "known"]
    rows = [
        [
            entry["method"],
            ", ".join(f"{n:g}" for n in entry["patients"]),
            _number(entry["ceiling"]),
            interval(entry["gain"]),
            "yes" if entry["known"] else "no",
        ]
        for entry in found["curves"]
        if "patients" in entry
    ]
    told = (
        "Dice(n) = ceiling - drop · n^-power, of least squares; its interval is that of the fits to each resample. It "
        "knows the luck of seeds and of the patients it is scored on, not that of who is labelled, nor whether the "
        "curve goes on as it began."
    )
    sentences = [entry["verdict"] for entry in found["curves"]]
    fits = [table(head, rows), element("p", told, class_="note")] if rows else []
    return [_listed(sentences), *fits]


def _boxes(found: Mapping[str, Any], colours: Mapping[str, str]) -> list[Content]:
    rows = []
    for row in found["scores"]:
        values = list(row["per_patient"].values())
        said = f"{len(values)} patients between {min(values):.2f} and {max(values):.2f}" if values else "no patient"
        drawn = picture(box_plot(values, colours[row["method"]]), said, "image/svg+xml", width=320, height=44)
        worst = min(row["per_patient"].items(), key=lambda item: item[1], default=None)
        told = f"{worst[1]:.3f} ({worst[0]})" if worst else "–"
        rows.append([swatch(row["method"], colours[row["method"]]), row["labelled"], drawn, told])
    head = ["Method", "labelled", "Dice of each patient, 0 to 1, mean over repeats", "worst patient"]
    return [table(head, rows)]


def _tests(found: Mapping[str, Any], colours: Mapping[str, str]) -> list[Content]:
    if not found["comparisons"]:
        return []
    head = ["Method", "labelled", "minus", "difference of Dice", "repeat by repeat", "p", "p, Holm", "established"]
    rows = [
        [
            swatch(entry["method"], colours[entry["method"]]),
            entry["labelled"],
            entry["against"] + (" (best other)" if entry["kind"] == "best" else ""),
            _signed(entry["difference"]),
            ", ".join(_points(told["difference"]) for told in entry["repeats"]),
            _p(entry["p"]),
            _p(entry["p_holm"]),
            "yes" if entry["established"] else "no",
        ]
        for entry in found["comparisons"]
    ]
    return [table(head, rows)]


def _signed(value: Mapping[str, float | None]) -> Content:
    if value["low"] is None:
        return _points(value["mean"])
    return [_points(value["mean"]) + " ", element("small", f"{_points(value['low'])} to {_points(value['high'])}")]


def _cost(found: Mapping[str, Any], colours: Mapping[str, str]) -> list[Content]:
    head = ["Method", "labelled", "minutes of training, mean", "memory at most, MB", "GPU memory at most, MB"]
    rows = [
        [
            swatch(row["method"], colours[row["method"]]),
            row["labelled"],
            _number(row["minutes"], 1),
            _number(row["memory_mb"], 0),
            _number(row["gpu_memory_mb"], 0),
        ]
        for row in found["scores"]
    ]
    note = (
        "Memory is that of the whole process. Cells that ran beside each other shared the machine, so times are not "
        "those of a quiet one."
    )
    return [table(head, rows), element("p", note, class_="note")]


def _cells(found: Mapping[str, Any], colours: Mapping[str, str]) -> list[Content]:
    rows: list[list[Content]] = [
        [
            swatch(row["method"], colours[row["method"]]),
            repeat["labelled"],
            str(repeat["seed"]),
            *(_number(repeat[key]) for key in ("dice", "last", "val")),
        ]
        for row in found["scores"]
        for repeat in row["repeats"]
    ]
    provenance: list[list[Content]] = [
        ["command", element("code", found["command"] or "from Python")],
        ["commit", found["git_commit"] or "–"],
        ["steps", ", ".join(f"{steps:,}" for steps in found["steps"])],
    ]
    return [
        table(["Method", "labelled", "seed", "Dice", "last checkpoint", "val"], rows),
        element("h3", "How it was made"),
        table(["", ""], provenance, class_="plain"),
        folded("Not finished", element("pre", "\n".join(found["unfinished"]))) if found["unfinished"] else None,
    ]


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else _number(value)


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"
