"""Diff-CL: who learns from what, what is skipped when, and settings that cannot be."""

import pytest
import torch

from fewmask.config import validated
from fewmask.errors import SettingsError
from fewmask.methods.diff_cl import DiffCL
from fewmask.methods.propagation import FILLED
from fewmask.nets.high_frequency import HighFrequencySegmenter
from fewmask.types import Batch, Clock, Stream, Task

TASK = Task(channels=1, classes=2, names=("background", "organ"), patch_size=(16, 17, 9))
SMALL = {"segmenter": {"name": "vnet", "width": 2}, "diffusion": {"samples": 2}}


def build(task: Task = TASK, **settings) -> DiffCL:
    torch.manual_seed(0)
    given = {**SMALL, **settings}
    given["diffusion"] = {**SMALL["diffusion"], **settings.get("diffusion", {})}
    return DiffCL(DiffCL.Config(**given), task).train()


def batch(task: Task = TASK, rows: int = 2, foreground: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(0)
    label = torch.zeros(rows, *task.patch_size, dtype=torch.int64)
    if foreground:
        label[(slice(None), *[slice(4, 12)] * len(task.patch_size))] = 1
    valid = torch.ones_like(label, dtype=torch.bool)

    def stream(labelled: bool) -> Stream:
        image = label.unsqueeze(1) + 0.1 * torch.randn(rows, 1, *task.patch_size, generator=generator)
        return Stream(image=image, strong=image[None], valid=valid, label=label if labelled else None)

    return Batch(labelled=stream(True), unlabelled=stream(False))


def clock(step: int, total: int = 100) -> Clock:
    generator = torch.Generator().manual_seed(step)
    return Clock(step=step, total=total, stage="train", stage_step=step, stage_total=total, generator=generator)


def only_update(method: DiffCL, given: Batch, step: int = 90):
    (update,) = method.step(given, clock(step))
    return update


def moved(term: torch.Tensor, module: torch.nn.Module) -> bool:
    gradients = torch.autograd.grad(term, [*module.parameters()], retain_graph=True, allow_unused=True)
    return any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients)


def test_each_term_teaches_its_own_network():
    """Pseudo-labels carry no gradient: section 7, fact 7."""
    method = build()
    method.propagation.pushed.fill_(FILLED)
    method.propagation.memory.normal_()
    method.propagation.frequency.fill_(0.5)
    update = only_update(method, batch())
    for name, group in (
        ("supervised", "cnn"),
        ("cross", "cnn"),
        ("propagation", "cnn"),
        ("diffusion_supervised", "diffusion"),
        ("diffusion_cross", "diffusion"),
    ):
        assert {other: moved(update.terms[name], module) for other, module in method.groups().items()} == {
            other: other == group for other in method.groups()
        }, name


def test_a_cheap_start_samples_nothing(monkeypatch):
    """Under 3 % of the ramp the unlabelled images cost nothing; the ramp is exp(-5 (1 - t / 0.4)^2)."""
    method, sampled = build(), []
    monkeypatch.setattr(method, "_sampled", lambda image, clock: sampled.append(clock.step) or image[:, 0].long() * 0)
    for step in range(0, 41, 4):
        update = only_update(method, batch(), step)
        ramp = float(torch.exp(torch.tensor(-5 * (1 - step / 40) ** 2)))
        assert ("cross" in update.terms) == (ramp > 0.03), step
        if "cross" in update.terms:
            assert update.weights["cross"] == pytest.approx(ramp)
            assert update.weights["propagation"] == pytest.approx(0.1 * ramp)
    assert sampled == list(range(8, 41, 4))


@pytest.mark.parametrize(("guard", "lowest"), [("upper", 500), ("all", 0), ("last", 999)])
def test_the_guard_keeps_the_target_out_of_the_input(monkeypatch, guard, lowest):
    method = build(diffusion={"guard": guard})
    seen = []
    real = method.denoiser.forward
    monkeypatch.setattr(method.denoiser, "forward", lambda x, t, image: seen.append(t) or real(x, t, image))
    for step in range(60, 90):
        only_update(method, batch(), step)
    unlabelled = torch.stack([t[2:] for t in seen])
    assert int(unlabelled.min()) >= lowest
    assert lowest == 999 or int(unlabelled.min()) < lowest + 150
    assert int(torch.stack([t[:2] for t in seen]).min()) < 150  # labelled ones learn at all levels


def test_without_diffusion_the_same_network_sees_images_alone(monkeypatch):
    method, seen = build(diffuse=False, diffusion={"samples": 1}), []
    real = method.denoiser.forward
    monkeypatch.setattr(method.denoiser, "forward", lambda x, t, image: seen.append((x, t)) or real(x, t, image))
    update = only_update(method, batch())
    assert seen and not any(x.any() for x, _ in seen) and all((t == 999).all() for _, t in seen)
    assert {"cross", "diffusion_cross"} <= update.terms.keys()
    assert sum(p.numel() for p in method.denoiser.parameters()) == sum(p.numel() for p in build().denoiser.parameters())


def test_what_each_part_can_be_left_out():
    assert isinstance(build().segmenter, HighFrequencySegmenter)
    bare = build(module={"levels": ()}, propagation={"weight": 0.0})
    assert not isinstance(bare.segmenter, HighFrequencySegmenter)
    assert "propagation" not in only_update(bare, batch()).terms


@pytest.mark.parametrize("size", [(16, 17, 9), (24, 19)])
def test_a_batch_without_foreground(size):
    """No class is shown, the memory stays empty, and every term is finite."""
    task = Task(channels=1, classes=2, names=("background", "organ"), patch_size=size)
    method = build(task)
    update = only_update(method, batch(task, foreground=False))
    assert all(bool(term.isfinite()) for term in update.terms.values())
    assert not method.propagation.memory[1].any()


@pytest.mark.parametrize("infer", ["cnn", "diffusion", "mean"])
def test_who_predicts(infer):
    method = build(infer=infer)
    image, seed = batch().labelled.image, torch.tensor([1, 2])
    with torch.no_grad():
        found = method.predictor().eval()(image, seed)
        cnn, diffusion = (predictor.eval()(image, seed) for predictor in method.audit().values())
    wanted = {"cnn": cnn, "diffusion": diffusion, "mean": (cnn + diffusion) / 2}[infer]
    torch.testing.assert_close(found, wanted)


def test_the_propagation_reads_the_level_it_is_told():
    for level, channels in ((1, 2), (3, 8), (4, 16)):
        assert build(propagation={"level": level}).propagation.memory.shape[-1] == channels


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"diffusion": {"samples": 0}}, "method.diffusion.samples=0: at least 1"),
        (
            {"diffusion": {"samples": 11, "times": 10}},
            "^settings of method.diffusion: samples=11 of times=10 noise levels; at most 10$",
        ),
        ({"module": {"levels": [5]}}, r"method.module.levels=\[5\]: at most 4"),
        ({"diffuse": False, "diffusion": {"guard": "all"}}, "diffusion.guard=all has no place in diffuse=false"),
        ({"infer": "both"}, "method.infer='both': choose 'cnn', 'diffusion' or 'mean'"),
    ],
)
def test_impossible_settings_are_one_line(settings, message):
    with pytest.raises(SettingsError, match=message) as caught:
        validated(DiffCL.Config, settings, where="method")
    assert "\n" not in str(caught.value)


def test_a_restored_method_remembers_what_classes_look_like():
    """Memory, its write positions and the classes' frequency are state: the contrast goes on where it was."""
    whole = build()
    with torch.no_grad():  # untrained as it is, it is right somewhere, and that enters the memory
        for step in range(90, 95):
            torch.manual_seed(step)
            only_update(whole, batch(), step)
    assert whole.propagation.pushed[0] > 0
    twin = build()
    twin.load_state_dict(whole.state_dict())
    for method in (whole, twin):
        method.propagation.pushed.clamp_(min=FILLED)
        torch.manual_seed(0)
    update = only_update(whole, batch(), 95)
    torch.manual_seed(0)
    again = only_update(twin, batch(), 95)
    assert update.terms["propagation"].item() > 0
    for name, term in update.terms.items():
        assert torch.equal(term, again.terms[name]), name
    for name, buffer in whole.propagation.named_buffers():
        assert torch.equal(buffer, twin.propagation.get_buffer(name)), name
