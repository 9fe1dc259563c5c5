"""What commands print: rows for --json and aligned text for people."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewmask.recipe import load_recipe, recipe_names
from fewmask.types import ROLES

if TYPE_CHECKING:
    from fewmask.data.catalogue import Catalogue
    from fewmask.data.nnunet_raw import Exported
    from fewmask.job import Outcome
    from fewmask.types import Split

LISTED = 30
"""DICOM series that are listed one by one; series.csv in the catalogue has all."""


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Columns of text under their names; "" without rows."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = [names, *([_text(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_text(entry) for entry in value) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def method_rows() -> list[dict[str, str]]:
    """One row a method, from the recipes' headers; needs no torch."""
    recipes = [load_recipe(name) for name in recipe_names()]
    return [
        {"name": recipe.name, "title": about.title, "paper": about.paper, "needs": about.needs}
        for recipe in recipes
        if (about := recipe.about).kind == "method"
    ]


def setting_rows(recipe: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every setting that a run with this recipe would have on this machine: key, value, source."""
    # they learn the methods' defaults, for which torch is imported
    from fewmask import resolution
    from fewmask.plan import choose_tier

    request = resolution.Request(recipes=(recipe,), settings=settings)
    plan = resolution.resolve(request).config.plan
    resolved = resolution.resolve(request, choose_tier(plan.tier)[0], plan.dims)
    values = resolution.flat(resolved.config.model_dump(mode="json"))
    return [{"key": key, "value": value, "from": resolved.came_from(key)} for key, value in values.items()]


def catalogue_json(catalogue: Catalogue) -> dict[str, Any]:
    """The catalogue in numbers and names."""
    labels = catalogue.labels
    return {
        "name": catalogue.name,
        "layout": catalogue.layout,
        "planar": catalogue.planar,
        "channels": list(catalogue.channels),
        "labels": dict(zip(labels.names, labels.values, strict=True)),
        "ignore": labels.ignore,
        "cases": len(catalogue.cases),
        "patients": len({case.patient for case in catalogue.cases}),
        "with_mask": sum(case.label is not None for case in catalogue.cases),
        "lists": {name: len(members) for name, members in catalogue.lists.items()},
        "findings": list(catalogue.findings),
        **({"series": [dict(row) for row in catalogue.series]} if catalogue.series else {}),
    }


def catalogue_text(catalogue: Catalogue, folder: Path) -> str:
    """What was inferred, for people."""
    values = catalogue_json(catalogue)
    labels = ", ".join(f"{value} {name}" for name, value in values["labels"].items())
    ignored = "" if values["ignore"] is None else f"; {values['ignore']} is ignored"
    lines = [
        f"layout    {values['layout']}",
        f"cases     {values['cases']} of {values['patients']} patients, {values['with_mask']} with a mask",
        f"channels  {', '.join(values['channels'])}",
        f"labels    {labels}{ignored}",
    ]
    if values["lists"]:
        lines.append("lists     " + ", ".join(f"{name} {count}" for name, count in values["lists"].items()))
    lines += [f"note      {finding}" for finding in values["findings"]]
    lines += _series_lines(catalogue)
    return "\n".join([*lines, f"catalogue {folder}"])


def exported_json(exported: Exported) -> dict[str, Any]:
    """What was written for nnU-Net."""
    return {
        "folder": str(exported.folder),
        "labelled": exported.labelled,
        "pseudo": exported.pseudo,
        "rejected": exported.rejected,
        "held_out": exported.held_out,
        "ignored": exported.ignored,
    }


def exported_text(exported: Exported) -> str:
    """The same for people."""
    return (
        f"{exported.labelled} cases with true masks, {exported.pseudo} with pseudo-labels "
        f"({exported.ignored:.1%} of all voxels ignored), {exported.rejected} left out as trust.csv rejects them, "
        f"{exported.held_out} in imagesTs\nfolder {exported.folder}"
    )


def _series_lines(catalogue: Catalogue) -> list[str]:
    """The table of DICOM series; of many, those that are not simply used."""
    rows = list(catalogue.series)
    if len(rows) > LISTED:
        rows = [row for row in rows if row["verdict"] != "used" or row["why"]][:LISTED]
    return ["", table(rows), ""] if rows else []


def split_json(split: Split, catalogue: Catalogue, voxels: Mapping[str, int] | None) -> dict[str, Any]:
    """Cases and patients of each role, and the labelled voxels of each class, None where they were not counted."""
    roles = {
        role: {"cases": len(ids), "patients": len({catalogue.by_id[case].patient for case in ids})}
        for role, ids in ((role, split.cases(role)) for role in ROLES)
    }
    return {**roles, "labelled_voxels": voxels if voxels is None else dict(voxels)}


def split_text(reasons: Sequence[str], voxels: Mapping[str, int] | None, path: Path) -> str:
    """Who plays which role and why, and what the labelled masks hold, for people."""
    lines = [*reasons]
    if voxels is not None:
        lines.append("labelled voxels: " + ", ".join(f"{name} {count:,}" for name, count in voxels.items()))
        missing = [name for name, count in voxels.items() if not count]
        if missing:
            lines.append(f"no labelled image shows {', '.join(missing)}; it cannot be learnt")
    return "\n".join([*lines, f"split {path}"])


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Where everything lies and how good it is."""
    return {
        "run": str(outcome.run.root),
        "model": str(outcome.run.model),
        "predictions": [str(path) for path in outcome.predictions],
        "report": str(outcome.report),
        "summaries": dict(outcome.summaries),
    }


def outcome_text(outcome: Outcome) -> str:
    """The same for people."""
    parts = [f"{role}\n{summary_text(summary)}\n" for role, summary in outcome.summaries.items()]
    if not parts:
        parts = ["No case outside training has a mask, so nothing could be measured.\n"]
    run = outcome.run
    ends = [("masks", f"{run.predictions}  ({len(outcome.predictions)} cases)"), ("model", run.model)]
    ends += [("report", outcome.report), ("next", f"fewmask predict {shlex.quote(str(run.root))} IMAGES --out DIR")]
    return "\n".join(parts) + "\n" + "\n".join(f"{name:<7} {value}" for name, value in ends)


def summary_text(summary: Mapping[str, Any]) -> str:
    """summary.json as a table: a row for all classes together and one for each."""
    columns = measures(summary)
    rows = [{"class": "all", **{name: interval(summary[name]) for name in columns}}]
    for name, values in summary["per_class"].items():
        rows.append({"class": name, **{column: interval(values[column]) for column in columns}})
    notes = ", ".join(
        f"{summary[note]} {note.replace('_', ' ')}" for note in ("missed", "hallucinated") if summary[note]
    )
    return table(rows) + f"\n{summary['cases']} cases, split {summary['split']}" + (f", {notes}" if notes else "")


def measures(summary: Mapping[str, Any]) -> list[str]:
    """The names in summary.json under which a mean with its interval stands."""
    return [name for name, value in summary.items() if isinstance(value, Mapping) and "mean" in value]


def interval(value: Mapping[str, Any] | None) -> str:
    """`0.812 [0.79, 0.84]`, the interval where there is one."""
    if value is None or value.get("mean") is None:
        return "-"
    if value.get("low") is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def audit_text(found: Mapping[str, Any]) -> str:
    """The table of an audit and its verdict, for people."""
    _, after = found["pair"]
    rows = [
        {
            "pseudo-labels": name,
            "dice": interval(dice),
            f"{after} - this": interval(found["differences"][f"{after} - {name}"]) if name != after else "",
        }
        for name, dice in found["dice"].items()
    ]
    return "\n".join([f"{found['split']}: {found['cases']} cases", "", table(rows), "", found["verdict"]])


def comparison_text(found: Mapping[str, Any], page: Path) -> str:
    """A comparison as a table of Dice, its verdicts, and what failed, for people."""
    rows = [
        {
            "method": row["method"],
            "labelled": row["labelled"],
            "repeats": len(row["repeats"]),
            "dice": interval(row["dice"]),
            "ranks first": "-" if row["first"] is None else f"{100 * row['first']:.0f} %",
            "minutes": "-" if row["minutes"] is None else f"{row['minutes']:.1f}",
        }
        for row in found.get("scores", ())
    ]
    parts = [table(rows)] if rows else ["No cell is finished."]
    told = [*found.get("verdicts", ()), *(entry["verdict"] for entry in found.get("curves", ()))]
    parts += ["\n".join(told)] if told else []
    parts += ["\n".join(f"failed: {title}: {why}" for title, why in found["failed"].items())] if found["failed"] else []
    return "\n\n".join([*parts, *([f"page {page}"] if rows else [])])
