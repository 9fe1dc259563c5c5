"""dataset.json of the Medical Segmentation Decathlon and of nnU-Net, versions 1 and 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fewmask.errors import DataError


def read_dataset_json(folder: Path) -> dict[str, Any]:
    """The content of `folder`/dataset.json; {} where there is none.  DataError where it is no JSON object."""
    path = folder / "dataset.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); correct it or remove it") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object with 'labels'; correct it or remove it")
    return content


def class_names(content: dict[str, Any], path: Path) -> tuple[dict[str, int] | None, int | None, tuple[str, ...]]:
    """`labels` -> (name -> raw value, or None if absent; the ignored value or None; findings).

    Version 1 maps value -> name, version 2 name -> value; a list of values there is a region, which is not a class of
    its own: its values are.
    """
    labels = content.get("labels")
    if not labels:
        return None, None, ()
    if not isinstance(labels, dict):
        raise DataError(f'{path}: \'labels\' must map names to values, for example {{"background": 0, "organ": 1}}')
    names: dict[str, int] = {}
    regions: list[str] = []
    values: set[int] = set()
    for key, entry in labels.items():
        if isinstance(entry, list):
            regions.append(key)
            values.update(_value(value, path) for value in entry)
        elif isinstance(entry, str) and not _is_number(entry):
            names[entry] = _value(key, path)
        else:
            names[key] = _value(entry, path)
    for value in sorted(values - set(names.values())):
        names[f"value {value}"] = value
    ignore = next((value for name, value in names.items() if name.lower() == "ignore"), None)
    names = {name: value for name, value in names.items() if name.lower() != "ignore"}
    findings = (f"dataset.json: regions ({', '.join(regions)}) are learned as their single values",) if regions else ()
    return names, ignore, findings


def channel_names(content: dict[str, Any]) -> tuple[str, ...] | None:
    """`channel_names` (version 2) or `modality` (version 1) by channel number, or None."""
    channels = content.get("channel_names") or content.get("modality")
    if isinstance(channels, dict) and channels and all(_is_number(key) for key in channels):
        return tuple(str(channels[key]) for key in sorted(channels, key=int))
    if isinstance(channels, list) and channels:
        return tuple(str(channel) for channel in channels)
    return None


def _is_number(text: object) -> bool:
    return str(text).lstrip("-").isdecimal()


def _value(text: object, path: Path) -> int:
    if isinstance(text, bool) or not _is_number(text):
        raise DataError(f"{path}: label value {text!r} is no whole number; write name: value pairs")
    return int(str(text))
