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


def test_a_stage_that_needs_steps_gets_them_or_says_how_many_are_enough():
    wanted = (*stages(0.9), Stage(name="gate", fraction=0.1, labelled_batch=1, least=1))
    with pytest.raises(SettingsError, match=r"train.steps=4 leaves the stage 'gate' 0 steps; give at least 12"):
        spans(wanted, 4)
    assert [span.stop - span.start for span in spans(wanted, 12)] == [11, 1]
