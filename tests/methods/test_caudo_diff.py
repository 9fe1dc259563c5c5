"""Caudo-Diff on rings: it is a function, it mends, it does no harm, it invents nothing (T1 to T4, T16).

T11 is in tests/training/test_rounds.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fewmask.config import Optimiser, Train, validated
from fewmask.diffusion.calibration import ALARM
from fewmask.diffusion.fusion import Trust, blend, overlap
from fewmask.errors import SettingsError
from fewmask.methods.caudo_diff import CaudoDiff, halvings_of
from fewmask.methods.damage import damaged, softened
from fewmask.nets.guide import features_of
from fewmask.predictors.largest_component import lesser_pieces
from fewmask.training.optim import build_optimisers, set_learning_rates
from fewmask.training.stages import Span, spans
from fewmask.types import Batch, Clock, Stream, StrongView, Task, WeakView

SIZE = (28, 32)
TASK = Task(channels=1, classes=3, names=("background", "shell", "core"), patch_size=SIZE)
SMALL = {
    "segmenter": {"width": 4},
    "labelled_batch": 8,
    "weak": WeakView(),
    "strong": StrongView(),
    "autoencoder": {"gate": 0.9, "width": 12},
    "synthesis": {"paste": 0.3},
    "calibrator": {"width": 16, "samples": 2, "ema": 0.95, "network_errors": 0.3, "elastic": (0.01, 0.04)},
    "budget": {"autoencoder": 80, "gate": 4, "warm_up": 30, "calibrator": 90, "rounds": 1, "tune": 4, "train": 8},
}
TRAIN = Train(
    optimiser=Optimiser(lr=6e-3),
    optimisers={"autoencoder": Optimiser(lr=8e-3), "calibrator": Optimiser(lr=4e-3)},
)
STEPS = 216
"""The budget's sum: a part of it is a step."""


def rings(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images and labels of a core in a shell, of any size and place, on ground as bright as the shell elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.stack(torch.meshgrid(*[torch.arange(float(side)) for side in SIZE], indexing="ij"))
    middle = torch.tensor(SIZE) / 2 + (torch.rand(rows, 2, generator=generator) - 0.5) * 8
    stretch = 1 + 0.3 * (torch.rand(rows, 2, generator=generator) - 0.5)
    away = ((axes - middle.view(rows, 2, 1, 1)) * stretch.view(rows, 2, 1, 1)).square().sum(1).sqrt()
    outer = 9 + 4 * torch.rand(rows, 1, 1, generator=generator)
    inner = outer * (0.45 + 0.2 * torch.rand(rows, 1, 1, generator=generator))
    label = (away < outer).long() + (away < inner)
    image = label.float() + 0.25 * torch.randn(label.shape, generator=generator)
    return image.unsqueeze(1), label


def stream(rows: int, seed: int, labelled: bool) -> Stream:
    image, label = rings(rows, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    strong = image + 0.1 * torch.randn(2, *image.shape, generator=generator)
    valid = torch.ones_like(label, dtype=torch.bool)
    return Stream(image=image, strong=strong, valid=valid, label=label if labelled else None, case=("a",) * rows)


def clock(span: Span, step: int) -> Clock:
    return Clock(
        step=step,
        total=STEPS,
        stage=span.stage.name,
        stage_step=step - span.start,
        stage_total=span.stop - span.start,
        generator=torch.Generator().manual_seed(step),
    )


def learn(method: CaudoDiff, until: str = "tune 1") -> dict[str, list[dict[str, float]]]:
    """Train stage by stage up to `until`; the numbers of each step."""
    optimisers, told = build_optimisers(method.groups(), TRAIN), {}
    for span in spans(method.stages(), STEPS):
        if span.stage.name == until:
            break
        for step in range(span.start, span.stop):
            torch.manual_seed(step)
            now, stage = clock(span, step), span.stage
            set_learning_rates(optimisers, TRAIN, now, None, stage.part)
            labelled = stream(stage.labelled_batch, 3 * (step % 7), True)
            unlabelled = stream(stage.unlabelled_batch, 3 * step + 1, False) if stage.unlabelled_batch else None
            for update in method.step(Batch(labelled=labelled, unlabelled=unlabelled), now):
                for optimiser in optimisers.values():
                    optimiser.zero_grad()
                sum(update.weights.get(name, 1.0) * term for name, term in update.terms.items()).backward()
                for name in update.groups:
                    torch.nn.utils.clip_grad_norm_(method.groups()[name].parameters(), 12)
                    optimisers[name].step()
                numbers = {**update.terms, **update.log}
                told.setdefault(stage.name, []).append(
                    {name: float(torch.as_tensor(value).detach()) for name, value in numbers.items()}
                )
    return told


@pytest.fixture(scope="module")
def learnt() -> tuple[CaudoDiff, dict[str, list[dict[str, float]]]]:
    torch.manual_seed(0)
    method = CaudoDiff(CaudoDiff.Config(**SMALL), TASK).train()
    told = learn(method)
    return method.eval(), told


@pytest.fixture
def method(learnt) -> CaudoDiff:
    return learnt[0]


@torch.no_grad()
def calibrated(method: CaudoDiff, image: Tensor, p: Tensor, share: float = 1.0) -> Tensor:
    """The label that a wrong one becomes; share: of the calibration."""
    predictor = method.audit()["rectified"].eval()
    _, features = features_of(predictor.segmenter, image, predictor.calibrator.halvings)
    guides = predictor.calibrator.guides(p, features, predictor.autoencoder)
    latent = predictor.calibrator.sample(guides)
    return blend(p, predictor.changed(p, guides.z, latent), share).argmax(1)


def dice(label: Tensor, truth: Tensor) -> float:
    return float(overlap(label, truth, torch.ones_like(truth, dtype=torch.bool), 3).mean())


def test_the_autoencoder_keeps_fresh_labels(method):
    """T2, on label maps that it never saw."""
    _, truth = rings(64, 9000)
    with torch.no_grad():
        latent = method.autoencoder.latent(F.one_hot(truth, 3).movedim(-1, 1).float())
        found = method.autoencoder.logits(latent, SIZE).argmax(1)
    for kind in (1, 2):
        assert dice((found == kind).long(), (truth == kind).long()) > 0.95
    assert float(latent.mean().abs()) < 0.5 and 0.5 < float(latent.std()) < 2
    # before they were standardised; with the reconstruction's weight of the divergence 5, and noise says little
    assert float(method.autoencoder.deviation.mean()) < 4


def test_the_same_image_gives_the_same_label_whatever_was_drawn_before(method):
    """T1: a function of image and weights: bit for bit at one batch shape, without touching any generator."""
    image, _ = rings(16, 50)
    predictor = method.audit()["rectified"].eval()
    with torch.no_grad():
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = predictor(image, torch.zeros(16, dtype=torch.int64))
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        torch.randn(1000)
        assert torch.equal(predictor(image, torch.arange(16) + 7), first)
        method.train()
        again = method.audit()["rectified"].eval()(image, torch.arange(16))
        method.eval()
        assert torch.equal(again, first)
        alone = torch.cat([predictor(image[row : row + 1], torch.zeros(1)) for row in range(16)])
    close = first.topk(2, dim=1).values
    ties = close[:, 0] - close[:, 1] < 1e-4  # probabilities that are equal up to the last digits
    assert float(ties.float().mean()) < 1e-3
    assert not bool(((alone.argmax(1) != first.argmax(1)) & ~ties).any())


def test_a_start_from_fresh_noise_is_not_a_function(method):
    image, _ = rings(16, 51)
    predictor = method.audit()["random_start"].eval()
    with torch.no_grad():
        one, same, other = (predictor(image, torch.full((16,), seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize(("share", "lost"), [(0.5, 0.03), (0.9, 0.06)])
def test_right_labels_stay(method, share, lost):
    """T3, as far as a training of seconds gets: the specification allows half a point after its longer one."""
    image, truth = rings(48, 7000)
    p = softened(truth, 3, torch.Generator().manual_seed(0))
    assert dice(calibrated(method, image, p, share=share), truth) > dice(p.argmax(1), truth) - lost


def test_damage_is_mended_and_more_of_it_the_more_there_is(method):
    """T4: the gain grows over five levels, and at last is over that of keeping the largest piece of each class; under
    little damage a training of seconds still does harm."""
    image, truth = rings(48, 8000)
    gains, cleaning = [], []
    for level in (0.2, 0.4, 0.6, 0.8, 1.0):
        generator = torch.Generator().manual_seed(3)
        wrong = damaged(truth, 3, torch.full((48,), level), generator)
        p = softened(wrong, 3, generator)
        before = dice(wrong, truth)
        gains.append(dice(calibrated(method, image, p), truth) - before)
        cleaning.append(dice(wrong.masked_fill(lesser_pieces(wrong, 3), 0), truth) - before)
    assert gains == sorted(gains), (gains, cleaning)
    assert gains[-1] > max(0.005, cleaning[-1]), (gains, cleaning)


def test_empty_images_stay_empty_and_finite(method):
    """T16: nothing but ground, a constant image; and a class that was never predicted is not born there."""
    predictor = method.audit()["rectified"].eval()
    flat = torch.zeros(2, 1, *SIZE)
    with torch.no_grad():
        found = predictor.calibrated(flat)
        raw = found.raw.argmax(1)
        for value in (found.fused.p, found.fused.weight, found.fused.agreement):
            assert bool(torch.isfinite(value).all())
        assert float(found.fused.weight.min()) >= 0 and float(found.fused.weight.max()) <= 1
    assert not raw.any() and not found.fused.p.argmax(1).any()


def test_start_states_are_learnt_like_those_in_mid_path(learnt):
    """The leak alarm is silent: over the end of the stage the ratio stays near 1."""
    _, told = learnt
    assert 0.3 < told["calibrator"][-1]["leak"] < ALARM


def test_an_autoencoder_that_misses_its_gate_says_by_how_much_and_what_to_do():
    torch.manual_seed(0)
    method = CaudoDiff(CaudoDiff.Config(**{**SMALL, "autoencoder": {"gate": 0.99, "width": 2, "halvings": 2}}), TASK)
    gate = next(span for span in spans(method.stages(), STEPS) if span.stage.name == "gate")
    batch = Batch(labelled=stream(8, 0, True))
    for step in range(gate.start, gate.stop - 1):
        assert list(method.step(batch, clock(gate, step))) == []
    with pytest.raises(SettingsError, match=r"Dice of shell 0\.\d+, core 0\.\d+; its gate is 0.99.*halvings=1"):
        list(method.step(batch, clock(gate, gate.stop - 1)))


def test_relabelling_says_what_was_and_what_is(method):
    """Slices of the patch's size, and a picture that is larger."""
    span = spans(method.stages(), STEPS)[-1]
    image, _ = rings(3, 60)
    larger = torch.cat([image, image], 3)
    cases = [
        replace(stream(3, 60, False), image=image, case=("small",)),
        replace(stream(3, 60, False), image=larger, case=("large",)),
    ]
    found = {pseudo.case: pseudo for pseudo in method.relabel(iter(cases), clock(span, span.start))}
    small = found["small"]
    assert small.raw.shape == small.label.shape == small.weight.shape == (3, *SIZE)
    assert found["large"].label.shape == (3, SIZE[0], 2 * SIZE[1])
    with torch.no_grad():
        expected = method.teacher(image).argmax(1).numpy()
        fused = method.audit()["rectified"].eval().calibrated(image).fused
    assert (small.raw == expected).all()
    assert (small.label == fused.p.argmax(1).numpy()).all()
    assert small.info["agreement"] == pytest.approx(float(fused.agreement.mean()), abs=1e-6)
    assert small.info["changed"] == pytest.approx(float((small.raw != small.label).mean()))
    assert small.info["round"] == 1
    assert small.info["doubted"] == pytest.approx(float((fused.agreement < 0.8).float().mean()))


def test_plain_self_training_learns_what_it_is_sure_of():
    torch.manual_seed(0)
    method = CaudoDiff(CaudoDiff.Config(**{**SMALL, "calibrator": {}, "labels": "raw"}), TASK).eval()
    span = spans(method.stages(), 40)[-1]
    with torch.no_grad():
        p = method.teacher(stream(3, 60, False).image).softmax(1)
    middle = float(p.amax(1).median())
    method.config = method.config.model_copy(update={"trust": Trust(confidence=middle)})
    (pseudo,) = method.relabel([stream(3, 60, False)], clock(span, span.start))
    assert (pseudo.raw == pseudo.label).all() and (pseudo.raw == p.argmax(1).numpy()).all()
    assert (pseudo.weight == (p.amax(1) >= middle).numpy()).all() and 0 < pseudo.weight.mean() < 1
    assert list(method.audit()) == ["raw"]
    assert CaudoDiff(CaudoDiff.Config(labels="none"), TASK).audit() == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"labels": "raw", "calibrator": {"variant": "one_step"}},
            "calibrator.variant=one_step has no place in labels",
        ),
        ({"labels": "raw", "trust": {"agreement": 0.5}}, "trust.agreement=0.5 has no place in labels=raw"),
        ({"labels": "none", "infer": "calibrated"}, "infer=calibrated has no place in labels=none"),
        ({"labels": "raw", "calibrator": {"matching": False}}, "calibrator.matching=false has no place in labels=raw"),
        ({"labels": "none", "cutmix": 0.2}, "cutmix=0.2 has no place in labels=none"),
        ({"labels": "none", "trust": {"birth": 0.5}}, "trust.birth=0.5 has no place in labels=none"),
        ({"labels": "none", "calibrated_loss": {"peak": 0.5}}, "calibrated_loss.peak=0.5 has no place in labels=none"),
        ({"cutmix": 0, "cutmix_area": (0.1, 0.2)}, r"cutmix_area=\[0.1,0.2\] has no place in cutmix=0"),
        ({"blind": 0, "synthesis": {"box": 0.3}}, "synthesis.box=0.3 has no place in blind=0"),
    ],
)
def test_settings_of_what_is_left_out_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        validated(CaudoDiff.Config, settings, where="method")


def test_before_anything_calibrates_there_are_raw_labels_alone():
    method = CaudoDiff(CaudoDiff.Config(**SMALL), TASK)
    assert list(method.audit()) == ["raw"]
    method.calibrating.fill_(True)
    assert list(method.audit())[:2] == ["raw", "rectified"]


@pytest.mark.parametrize(
    ("size", "halvings"),
    [((96, 96), 1), ((112, 96), 2), ((256, 256), 3), ((80, 112, 112), 2), ((8, 256, 256), 1), ((3, 17, 20), 1)],
)
def test_thin_walls_survive_in_the_latent(size, halvings):
    assert halvings_of(size) == halvings


def test_the_denoiser_widens_with_the_latents_coarseness():
    for size, width in (((96, 96), 8), ((128, 128), 16)):
        method = CaudoDiff(CaudoDiff.Config(segmenter={"width": 4}), replace(TASK, patch_size=size))
        assert method.calibrator.spec["width"] == width and method.autoencoder.spec["width"] == 4


def test_what_a_round_found_is_no_background():
    """The ignore rule: where the bank has a structure, synthesis on that image teaches nothing."""
    method = CaudoDiff(CaudoDiff.Config(**SMALL), TASK)
    unlabelled = stream(4, 1, False)
    p = torch.zeros(4, 3, *SIZE)
    p[:, 0] = 1  # the network suspects nothing
    label = rings(4, 1)[1]
    assert not method._suspect(p, unlabelled).any()
    assert torch.equal(method._suspect(p, replace(unlabelled, pseudo=label)), label > 0)


def test_in_bf16_shapes_keep_their_digits_and_every_stage_runs():
    method = CaudoDiff(CaudoDiff.Config(**{**SMALL, "labelled_batch": 4, "autoencoder": {"gate": 0, "width": 4}}), TASK)
    exact = method._fresh_labels(stream(4, 0, True), clock(spans(method.stages(), STEPS)[0], 3))
    with torch.autocast("cpu", torch.bfloat16):
        again = method._fresh_labels(stream(4, 0, True), clock(spans(method.stages(), STEPS)[0], 3))
        for span in spans(method.stages(), STEPS):
            unlabelled = stream(4, 1, False)
            if span.stage.relabel:
                unlabelled = replace(unlabelled, pseudo=rings(4, 1)[1], weight=unlabelled.valid * 0.5)
            batch = Batch(labelled=stream(4, 0, True), unlabelled=unlabelled)
            for update in method.step(batch, clock(span, span.stop - 1)):
                assert all(bool(torch.isfinite(term)) for term in update.terms.values()), span.stage.name
    assert all(torch.equal(a, b) for a, b in zip(exact, again, strict=True))
