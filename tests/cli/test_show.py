"""Text for people, JSON for programs."""

from __future__ import annotations

import pytest

from fewmask.cli.show import show


def test_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    show({"größe": 1}, "eins", as_json=False)
    assert capsys.readouterr().out == "eins\n"
    show({"größe": 1}, "eins", as_json=True)
    assert capsys.readouterr().out == '{\n  "größe": 1\n}\n'
