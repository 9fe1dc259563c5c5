import pytest

from fewmask import progress
from fewmask.progress import meter, say, track


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", -1.0)


def test_items_pass_through_in_order(capsys):
    assert list(track(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""  # what is quickly done says nothing


def test_without_a_terminal_a_line_now_and_then(hasty, capsys):
    with meter("train", 100, done=40) as shown:
        shown.advance(20, note="loss 0.5")
    line = capsys.readouterr().err
    assert line.startswith("train: 60 of 100, ") and "s left" in line and line.endswith("loss 0.5\n")


def test_quiet_is_quiet(hasty, capsys):
    list(track(range(3), "letters", 3, quiet=True))
    say("hello", quiet=True)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    assert list(track(range(3), "letters", 3)) == [0, 1, 2]


def test_what_a_user_wrote_is_not_markup(capsys):
    say("[bold]case[/bold] 1")
    assert capsys.readouterr().err == "[bold]case[/bold] 1\n"
