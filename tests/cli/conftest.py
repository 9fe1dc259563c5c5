"""Run a command as a user does, and read its one line."""

from __future__ import annotations

import pytest

from fewmask import cli


@pytest.fixture
def fewmask(capsys: pytest.CaptureFixture[str]):
    """A function that runs a command and returns (exit status, stdout, stderr)."""

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        out = capsys.readouterr()
        return ended.value.code or 0, out.out, out.err

    return call


@pytest.fixture
def one_line():
    """A function: the message of a refused command, which is one line, without a traceback."""

    def read(err: str) -> str:
        lines = err.strip().splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("fewmask: ")
        return lines[0]

    return read
