import pytest

from fewmask.methods.caudo_diff_settings import CaudoDiffConfig
from fewmask.methods.caudo_diff_stages import stages_of


def test_stages_are_the_schedule_and_a_control_has_the_segmenters_alone():
    config = CaudoDiffConfig()
    assert [stage.name for stage in stages_of(config)] == [
        *("autoencoder", "gate", "warm-up", "calibrator"),
        *(f"{kind} {number}" for number in (1, 2, 3) for kind in ("tune", "round")),
    ]
    own = [stage for stage in stages_of(config) if stage.groups == ("segmenter",)]
    assert sum(stage.fraction for stage in own) == pytest.approx(30 / 52)
    for labels in ("raw", "none"):
        control = stages_of(CaudoDiffConfig(labels=labels))
        assert [stage.name for stage in control] == [stage.name for stage in own]
        # the segmenter's learning rate is the same function of its own steps
        assert [stage.part for stage in control] == [stage.part for stage in own]
        assert [stage.relabel for stage in control] == [False, *[labels == "raw"] * 3]
    assert own[0].part[0] == 0 and own[-1].part[1] == pytest.approx(1)
