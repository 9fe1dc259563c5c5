import pytest

from fewmask.errors import SettingsError
from fewmask.training.stages import spans
from fewmask.types import Stage


def stages(*fractions: float) -> tuple[Stage, ...]:
    return tuple(Stage(fraction=fraction, labelled_batch=1) for fraction in fractions)


@pytest.mark.parametrize("steps", [1, 7, 100, 3001])
def test_spans_cover_every_step_once(steps):
    found = spans(stages(0.25, 0.6, 0.15), steps)
    assert [span.number for span in found] == [0, 1, 2]
    assert [step for span in found for step in range(span.start, span.stop)] == list(range(steps))


def test_a_share_is_its_share():
    assert [(span.start, span.stop) for span in spans(stages(0.25, 0.75), 1000)] == [(0, 250), (250, 1000)]


def test_fractions_must_add_up():
    with pytest.raises(SettingsError, match=r"\[0.5, 0.4\] do not add up"):
        spans(stages(0.5, 0.4), 10)
