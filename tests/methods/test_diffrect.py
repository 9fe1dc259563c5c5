"""DiffRect: the released numbers, who learns from what, and settings that cannot be."""

from dataclasses import replace

import pytest
import torch

from fewmask.config import Train, validated
from fewmask.errors import SettingsError
from fewmask.methods import METHODS
from fewmask.methods.diffrect import DiffRect
from fewmask.training.optim import build_optimisers
from fewmask.types import Batch, Clock, Stream, Task

TASK = Task(channels=1, classes=4, names=("background", "a", "b", "c"), patch_size=(16, 19))
CONFIG = DiffRect.Config


def build(seed: int = 0, task: Task = TASK, **settings) -> DiffRect:
    torch.manual_seed(seed)
    return METHODS["diffrect"](CONFIG(**{"segmenter": {"width": 2}, **settings}), task).train()


def batch(rows: int = 3, unlabelled: bool = True, task: Task = TASK, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def stream(labelled: bool) -> Stream:
        label = torch.randint(0, task.classes, (rows, *task.patch_size), generator=generator)
        image = torch.randn((rows, 1, *task.patch_size), generator=generator) * 0.2 + label.unsqueeze(1)
        strong = image + 0.1 * torch.randn((1, *image.shape), generator=generator)
        valid = torch.ones(label.shape, dtype=torch.bool)
        return Stream(image=image, strong=strong, valid=valid, label=label if labelled else None)

    return Batch(labelled=stream(True), unlabelled=stream(False) if unlabelled else None)


def clock(step: int, total: int = 30_000) -> Clock:
    generator = torch.Generator().manual_seed(step)
    return Clock(step=step, total=total, stage="train", stage_step=step, stage_total=total, generator=generator)


# the released preset


def test_the_released_ramp():
    """Section 6.5, fact 3: w(t) of the published code, 30,000 iterations."""
    ramp = CONFIG(preset="released").strong_loss
    for step, weight in ((0, 0.000674), (1000, 0.0009), (3000, 0.0017), (10_000, 0.0106), (20_000, 0.0571)):
        assert ramp.weight(clock(step)) == pytest.approx(weight, abs=5e-5)
    assert ramp.weight(clock(29_999)) == pytest.approx(0.1, abs=1.1e-3)


def test_rectification_begins_after_a_thirtieth():
    ramp = CONFIG(preset="released").rectified_loss
    assert [ramp.weight(clock(step)) for step in (0, 999, 1000, 29_999)] == [0.0, 0.0, 1.0, 1.0]
    names = [[*update.terms] for update in build(preset="released").step(batch(), clock(1000))]
    assert names[2] == ["rectified"]
    assert len([*build(preset="released").step(batch(), clock(999))]) == 2


def test_a_preset_fills_what_is_not_given():
    assert CONFIG().preset == "corrected"
    released = CONFIG(preset="released", threshold=0.5)
    assert (released.threshold, released.clamp, released.base) == (0.5, True, "released")
    assert CONFIG(preset="released", strong_loss={"peak": 0.3}).strong_loss.stairs == 200


def test_released_pseudo_labels_turn_doubt_into_background():
    """Fact 4: (.4, .3, .25, .05) -> 0; (.05, .3, .4, .25) -> 2; (.1, .3, .35, .25) -> 0, where no class passes."""
    p = torch.tensor([[0.4, 0.3, 0.25, 0.05], [0.05, 0.3, 0.4, 0.25], [0.1, 0.3, 0.35, 0.25]]).T.reshape(1, 4, 1, 3)
    label, keep = build(preset="released")._believed(p)
    assert label.tolist() == [[[0, 2, 0]]] and keep.all()
    label, keep = build(confidence="ratio", threshold=0.8)._believed(p)
    assert label.tolist() == [[[0, 2, 2]]] and keep.tolist() == [[[True, True, False]]]


# who learns from what


@pytest.mark.parametrize("preset", ["corrected", "released"])
def test_gradients_never_cross(preset):
    """Fact 7: the rectifier's losses leave the segmenter alone and the other way round."""
    method = build(preset=preset, threshold=0.0, rectified_loss={"peak": 1.0})
    seen = set()
    for update in method.step(batch(), clock(20_000)):
        (group,) = update.groups
        for name, term in update.terms.items():
            for other, module in method.groups().items():
                gradients = torch.autograd.grad(term, [*module.parameters()], retain_graph=True, allow_unused=True)
                moved = any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
                assert moved == (other == group), (name, other)
            seen.add(name)
    pseudo = "raw" if preset == "released" else "pseudo"
    assert {"supervised", pseudo, "rectified", "fine", "fine_latent", "coarse", "coarse_latent"} <= seen


@pytest.mark.parametrize("preset", ["corrected", "released"])
def test_without_its_weight_strong_to_weak_is_not_computed(preset):
    method = build(preset=preset, coarse_loss={"peak": 0.0})
    carried = []
    real = method.rectifier.transport
    method.rectifier.transport = lambda *given: carried.append(given) or real(*given)
    terms = {name for update in method.step(batch(), clock(20_000)) for name in update.terms}
    assert len(carried) == 1 and "fine" in terms and not any(name.startswith("coarse") for name in terms)


@pytest.mark.parametrize(("share", "follows"), [(0.0, 1), (0.4, 1), (0.6, 2), (1.0, 2)])
def test_the_share_decides_whose_label_is_learnt(share, follows):
    """Teacher and student say 1 everywhere, the rectifier 2: the student disagrees with what it learns where 2 wins."""
    method = build(threshold=0.0, rectified_share={"peak": share, "start": 0.0, "length": 0.0})
    one, two = (torch.eye(4)[k].view(1, 4, 1, 1).expand(3, 4, 16, 19) for k in (1, 2))
    method.teacher.forward = method.segmenter.forward = lambda image: 40 * one
    method._rectified = lambda *_: two
    loss = float(next(iter(method.step(batch(), clock(20_000)))).terms["pseudo"])
    assert loss < 0.01 if follows == 1 else loss > 1


def test_without_its_terms_a_step_is_the_supervised_baseline():
    """Fact 12: burn-in equals method `supervised`, bit for bit."""
    torch.manual_seed(0)
    plain = METHODS["supervised"](METHODS["supervised"].Config(segmenter={"width": 2}), TASK).train()
    method = build()
    method.segmenter.load_state_dict(plain.segmenter.state_dict())
    terms = []
    for model in (plain, method):
        torch.manual_seed(5)
        terms.append(next(iter(model.step(batch(unlabelled=False), clock(0)))).terms["supervised"])
    assert torch.equal(*terms)


def test_without_rectified_labels_the_segmenter_is_fixmatch():
    """Equal chance and equal labels: what `diffrect` adds is what the rectifier does, bit for bit nothing before."""
    network = {"segmenter": {"width": 2}, "threshold": 0.4}
    torch.manual_seed(0)
    fixmatch = METHODS["fixmatch"](METHODS["fixmatch"].Config(**network), TASK).train()
    method = build(threshold=0.4, rectified_share={"peak": 0.0})
    method.load_state_dict(fixmatch.state_dict(), strict=False)
    for model in (fixmatch, method):
        optimisers = build_optimisers(model.groups(), Train())
        for step in range(20_000, 20_003):
            torch.manual_seed(step)
            for update in model.step(batch(seed=step), clock(step)):
                for optimiser in optimisers.values():
                    optimiser.zero_grad()
                sum(update.weights.get(name, 1.0) * term for name, term in update.terms.items()).backward()
                for group in update.groups or optimisers:
                    optimisers[group].step()
    for (name, wanted), found in zip(fixmatch.segmenter.named_parameters(), method.segmenter.parameters(), strict=True):
        assert torch.equal(found, wanted), name


def test_guidance_is_the_distance_of_each_label_from_the_better_one():
    method = build()
    one = torch.zeros(2, 16, 19, dtype=torch.int64)
    other = one.clone()
    other[1] = 1
    guidance = method._guidance(one, other, torch.ones_like(one, dtype=torch.bool))
    # row 1: classes 0 and 1 have no overlap, classes 2 and 3 are in neither
    torch.testing.assert_close(guidance, torch.tensor([0.0, 999 / 2]), atol=1e-2, rtol=0)
    together = build(guidance="batch", sampling="train")._guidance(one, other, torch.ones_like(one, dtype=torch.bool))
    assert together.shape == (2,) and together[0] == together[1]
    ignored = method._guidance(one, other, torch.zeros_like(one, dtype=torch.bool))
    assert ignored.abs().max() < 1e-2


@pytest.mark.parametrize("preset", ["corrected", "released"])
def test_the_audit_rectifies_with_the_guidance_that_is_usual(preset):
    method = build(preset=preset, threshold=0.0)
    for _ in method.step(batch(), clock(20_000)):
        pass
    assert 0 < float(method.presumed) <= 999
    assert torch.equal(method.audit()["rectified"].guidance, method.presumed)


def test_guidance_of_labels_without_a_truth():
    known, own = torch.tensor([100.0, 300.0]), torch.tensor([0.0, 600.0, 900.0])
    usual, sample = (build(guidance=name) for name in ("usual", "sample"))
    batch_ = build(guidance="batch", sampling="train")
    assert usual._presumed(known, own).tolist() == [200.0] * 3  # of one batch no more is known
    assert usual._presumed(known + 100, own).tolist() == pytest.approx([202.0] * 3)
    assert sample._presumed(known, own).tolist() == own.tolist() and float(sample.presumed) == 500
    assert batch_._presumed(known[:1], own).tolist() == [100.0] * 3


def test_an_odd_last_batch_hardly_moves_what_the_audit_tells():
    """It moved it to any value before, and rectification depends on it: Dice 0.51 where 0.67 is usual."""
    method = build()
    for _ in range(50):
        method._presumed(torch.full((2,), 100.0), torch.zeros(2))
    method._presumed(torch.full((2,), 900.0), torch.zeros(2))
    assert float(method.presumed) == pytest.approx(116)


def test_burn_in_follows_the_guidance_too():
    method, given = build(), batch()
    for _ in method.step(replace(given, unlabelled=None), clock(1)):
        pass
    assert float(method.presumed) > 0


def test_the_plain_control_has_as_many_parameters_and_no_noise():
    diffusing, plain = build(), build(diffuse=False)
    assert sum(p.numel() for p in diffusing.parameters()) == sum(p.numel() for p in plain.parameters())
    image, seeds = torch.randn(2, 1, 16, 19), (torch.tensor([0, 1]), torch.tensor([2, 3]))
    for method, differs in ((diffusing, True), (plain, False)):
        predictor = method.audit()["rectified"].eval()
        with torch.no_grad():
            assert torch.equal(*(predictor(image, seed) for seed in seeds)) != differs


@pytest.mark.parametrize("preset", ["corrected", "released"])
def test_sampling_as_it_is_trained_has_statistics_of_its_own(preset):
    """The rectifier's own mix the kinds of labels that it carries; audits are to be of what training learns."""
    method = build(preset=preset, sampling="train", rectified_loss={"peak": 1.0, "start": 0.5, "length": 0.0})
    sampler = method.average.network
    list(method.step(batch(), clock(0)))  # nothing is sampled yet
    for name, tensor in method.rectifier.state_dict().items():
        assert torch.equal(sampler.state_dict()[name], tensor), name
    layers = {name: layer for name, layer in sampler.named_modules() if isinstance(layer, torch.nn.BatchNorm2d)}
    seen = {}
    for name, layer in layers.items():
        layer.momentum = 1.0  # the last pass alone
        layer.register_forward_hook(lambda _, given, __, name=name: seen.update({name: given[0].mean((0, 2, 3))}))
    list(method.step(batch(), clock(20_000)))
    assert len(layers) == len(seen) > 20
    for name, layer in layers.items():
        torch.testing.assert_close(layer.running_mean, seen[name])
        assert torch.equal(layer.weight, method.rectifier.get_submodule(name).weight)
        assert not torch.equal(layer.running_mean, method.rectifier.get_submodule(name).running_mean)
    assert not any(module.training for module in sampler.modules())


def test_the_audit_has_its_controls():
    variants = build().audit()
    assert list(variants) == ["raw", "rectified", "latent_zero", "latent_noise", "condition_copy"]
    image, seed = torch.randn(1, 1, 16, 19), torch.tensor([3])
    with torch.no_grad():
        found = {name: predictor.eval()(image, seed) for name, predictor in variants.items()}
    for name in ("latent_zero", "latent_noise", "condition_copy"):
        assert not torch.equal(found[name], found["rectified"]), name


def test_who_predicts():
    image, seed = torch.randn(2, 1, 16, 19), torch.tensor([3, 4])
    for infer, variant in (("segmenter", "raw"), ("rectified", "rectified")):
        method = build(infer=infer)
        with torch.no_grad():
            found, wanted = (p.eval()(image, seed) for p in (method.predictor(), method.audit()[variant]))
        assert torch.equal(found, wanted)


def test_one_row_of_a_small_patch_needs_group_normalisation():
    """The denoiser ends at a 64th of the size: a single voxel, of which a batch of one has no statistics."""
    task = Task(channels=1, classes=4, names=("background", "a", "b", "c"), patch_size=(32, 32))
    method = build(task=task, segmenter={"width": 2, "normalisation": "group"})
    for update in method.step(batch(rows=1, task=task), clock(20_000)):
        assert all(torch.isfinite(term) for term in update.terms.values())


@pytest.mark.parametrize("preset", ["corrected", "released"])
def test_one_labelled_slice_of_one_class(preset):
    method, given = build(preset=preset, rectified_loss={"peak": 1.0, "start": 0.0}), batch()
    x = given.labelled
    alone = {name: getattr(x, name)[:1].expand_as(getattr(x, name)) for name in ("image", "valid")}
    x = replace(x, **alone, strong=x.strong[:, :1].expand_as(x.strong), label=torch.full_like(x.label, 2))
    for update in method.step(replace(given, labelled=x), clock(20_000)):
        assert all(torch.isfinite(term) for term in update.terms.values())


def test_ignored_voxels_teach_the_rectifier_nothing():
    """Whatever stands under ignored voxels of a label, every term is the same."""
    found = []
    for filling in (0, 3):
        method, given = build(threshold=0.0), batch()
        given.labelled.valid[:, :8] = False
        given.labelled.label[:, :8] = filling
        torch.manual_seed(0)
        terms = [update.terms for update in method.step(given, clock(20_000))]
        found.append({name: float(term.detach()) for part in terms for name, term in part.items()})
    assert found[0] == found[1]


def test_doubted_voxels_count_in_the_guidance():
    """Nothing reaches the threshold, teacher and student disagree everywhere: the distance is large, not nothing."""
    method = build(threshold=0.99, cutmix=0.0, guidance="sample")
    one, two = (torch.eye(4)[k].view(1, 4, 1, 1).expand(3, 4, 16, 19) for k in (1, 2))
    method.teacher.forward = lambda image: 2 * one
    method.segmenter.forward = lambda image: 2 * two
    for _ in method.step(batch(), clock(20_000)):
        pass
    assert float(method.presumed) > 400


# impossible settings and sizes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "corectd"}, "preset"),
        ({"preset": "released", "cutmix": 0.5}, "cutmix=0.5 has no place in base=released"),
        ({"guidance": "batch"}, "guidance=batch with sampling=eval: batch norm takes out"),
        ({"preset": "released", "sampling": "eval"}, "guidance=batch with sampling=eval"),
        ({"complementary": True}, "complementary=true has no place in base=averaged"),
        ({"latent_rows": "all"}, "latent_rows=all has no place"),
        (
            {"preset": "released", "rectified_share": {"peak": 0.5}},
            r"rectified_share.peak=0.5 has no place in base=rel",
        ),
        ({"coarse_target": "rectified", "rectified_share": {"peak": 0}}, "coarse_target=rectified needs rectified lab"),
        ({"coarse_target": "rectified", "coarse_loss": {"peak": 0}}, "coarse_target=rectified aims at nothing with"),
        ({"rectified_share": {"peak": 2}}, "rectified_share.peak=2: a share is at most 1"),
        ({"diffuse": False, "samples": 5}, "samples=5 has no place in diffuse=false"),
        ({"preset": "released", "ema": 0.5}, "ema=0.5 has no place in base=released"),
        ({"preset": "released", "cutmix_area": [0.1, 0.2]}, "cutmix_area=.* has no place in base=released"),
        ({"preset": ["released"]}, "preset"),
        ({"skips": "none"}, "skips"),
        ({"start": 0}, "start"),
        ({"samples": 11}, "samples=11 of times=10 diffusion steps; at most 10"),
    ],
)
def test_impossible_settings_are_one_line(settings, message):
    with pytest.raises(SettingsError, match=message) as caught:
        validated(CONFIG, settings, where="method")
    assert "\n" not in str(caught.value)


def test_a_patch_that_cannot_be_halved_four_times():
    task = Task(channels=1, classes=2, names=("a", "b"), patch_size=(32, 8))
    with pytest.raises(SettingsError, match=r"plan.size=\[32, 8\]: diffrect's rectifier halves every side four times"):
        METHODS["diffrect"](CONFIG(), task)


@pytest.mark.parametrize("classes", [2, 40])
def test_few_and_many_classes(classes):
    task = Task(channels=1, classes=classes, names=tuple(map(str, range(classes))), patch_size=(16, 16))
    method = build(task=task, threshold=0.0)
    for update in method.step(batch(task=task), clock(20_000)):
        assert all(torch.isfinite(term) for term in update.terms.values())
