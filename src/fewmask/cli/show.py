"""What a command prints in the end: text for people, or JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer


def show(values: Mapping[str, Any] | Sequence[Any], text: str, as_json: bool) -> None:
    """Print `text`, or `values` as JSON."""
    typer.echo(json.dumps(values, indent=2, ensure_ascii=False) if as_json else text)
