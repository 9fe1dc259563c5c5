"""Stages of Caudo-Diff (2.11): autoencoder, gate, warm-up, calibrator; then rounds of tuning, relabelling, training."""

from __future__ import annotations

from fewmask.methods.caudo_diff_settings import CaudoDiffConfig
from fewmask.types import Stage


def stages_of(config: CaudoDiffConfig) -> tuple[Stage, ...]:
    """Each stage trains one network, whose learning rate follows that network's own share of the work.

    Without calibrated labels only the segmenter's stages are left, at equal lengths and rates: the control.
    """
    budget, calibrated = config.budget, config.labels == "calibrated"
    labelled = config.labelled_batch
    unlabelled = config.unlabelled_batch or labelled
    shown = {
        "segmenter": budget.warm_up + budget.rounds * budget.train,
        "calibrator": budget.calibrator + budget.rounds * budget.tune,
        "autoencoder": budget.autoencoder,
    }
    done = dict.fromkeys(shown, 0.0)
    whole = sum(shown.values()) + budget.gate if calibrated else shown["segmenter"]

    def stage(name: str, group: str, length: float, rows: int, others: int, relabel: bool = False) -> Stage:
        part = (done[group] / shown[group], (done[group] + length) / shown[group])
        done[group] += length
        return Stage(
            name=name,
            fraction=length / whole,
            labelled_batch=rows,
            unlabelled_batch=others,
            groups=(group,),
            relabel=relabel,
            part=part,
            least=1,
        )

    stages = []
    if calibrated:
        stages.append(stage("autoencoder", "autoencoder", budget.autoencoder, labelled, 0))
        stages.append(Stage(name="gate", fraction=budget.gate / whole, labelled_batch=labelled, groups=(), least=1))
    stages.append(stage("warm-up", "segmenter", budget.warm_up, labelled, unlabelled))
    if calibrated:
        stages.append(stage("calibrator", "calibrator", budget.calibrator, labelled, unlabelled))
    for number in range(1, budget.rounds + 1):
        if calibrated:
            stages.append(stage(f"tune {number}", "calibrator", budget.tune, labelled, unlabelled))
        relabel = config.labels != "none"
        stages.append(stage(f"round {number}", "segmenter", budget.train, labelled, unlabelled, relabel))
    return tuple(stages)
