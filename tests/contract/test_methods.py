"""What every registered method owes the trainer; a new method is covered by being registered."""

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from fewmask.config import Network, Optimiser, Train
from fewmask.methods import METHODS, build_method
from fewmask.methods.base import Method
from fewmask.predictors import build_predictor
from fewmask.recipe import load_recipe, recipe_names
from fewmask.training.optim import build_optimisers
from fewmask.training.stages import spans
from fewmask.types import Batch, Clock, Stream, Task, Update

TASKS = {
    2: Task(channels=1, classes=3, names=("background", "one", "two"), patch_size=(17, 23)),
    3: Task(channels=2, classes=3, names=("background", "one", "two"), patch_size=(9, 11, 13)),
}
CASES = [(name, dims) for name in METHODS for dims in TASKS]
TOTAL = 100
# An untrained network is confident of nothing, and what is not believed has no gradient; nor has the contrast of
# classes that no pure region has shown yet.  Labels are drawn voxel by voxel: a coarser latent could not learn them.
BELIEVE_ALL = {
    "fixmatch": {"threshold": 0.0},
    "unimatch": {"threshold": 0.0},
    "ua_mt": {"bound": (1.0, 1.0)},
    "diffrect": {"threshold": 0.0, "width": 2},  # half of 2 channels learns too little in a few steps
    "proto_diff": {
        "gate": {"threshold": 0.0, "agreement": False},
        "latent": {"dim": 16, "layers": 1, "stride": 1},
        "labelled_batch": 4,
    },
    "caudo_diff": {"autoencoder": {"gate": 0.0}, "calibrator": {"samples": 2}, "labelled_batch": 4},
    "diff_cl": {"propagation": {"weight": 0.0}, "diffusion": {"samples": 2}},
}


def make(name: str, dims: int, seed: int = 0, **settings) -> Method:
    torch.manual_seed(seed)
    return build_method(
        {"name": name, "segmenter": {"width": 2}, **BELIEVE_ALL.get(name, {}), **settings}, TASKS[dims]
    ).train()


def stream(task: Task, rows: int, views: int, labelled: bool, seed: int) -> Stream:
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, *task.patch_size)
    label = torch.randint(0, task.classes, shape, generator=generator)
    # an image that shows its label, so that a few steps can learn
    image = torch.randn((rows, task.channels, *task.patch_size), generator=generator) * 0.3 + label.unsqueeze(1)
    valid = torch.rand(shape, generator=generator) > 0.1
    noise = torch.randn((views, *image.shape), generator=generator) * 0.2
    cases = tuple(f"case{seed}-{row}" for row in range(rows))
    return Stream(image=image, strong=image + noise, valid=valid, label=label if labelled else None, case=cases)


def batch(method: Method, at: int, seed: int | None = None) -> Batch:
    """What the loader serves at step `at`."""
    name = clock(method, at).stage
    stage = next(stage for stage in method.stages() if stage.name == name)
    views, seed = method.views(), at if seed is None else seed
    unlabelled = None
    if views.unlabelled and stage.unlabelled_batch:
        unlabelled = stream(method.task, stage.unlabelled_batch, len(views.strong), False, 2 * seed + 1)
        if stage.relabel:
            unlabelled = replace(
                unlabelled, pseudo=unlabelled.image[:, 0].round().long().clamp(0, 2), weight=unlabelled.valid * 0.5
            )
    labelled = stream(method.task, stage.labelled_batch, len(views.strong), True, 2 * seed)
    return Batch(labelled=labelled, unlabelled=unlabelled)


def clock(method: Method, step: int) -> Clock:
    """At `step` of TOTAL, in the stage that the step falls into."""
    span = next(span for span in spans(method.stages(), TOTAL) if step < span.stop)
    return Clock(
        step=step,
        total=TOTAL,
        stage=span.stage.name,
        stage_step=step - span.start,
        stage_total=span.stop - span.start,
        generator=torch.Generator().manual_seed(step),
    )


def run(method: Method, steps: range, optimisers: dict) -> None:
    for step in steps:
        torch.manual_seed(step)
        for update in method.step(batch(method, step), clock(method, step)):
            apply(update, optimisers)


def apply(update: Update, optimisers: dict) -> None:
    for optimiser in optimisers.values():
        optimiser.zero_grad()
    sum(update.weights.get(name, 1.0) * term for name, term in update.terms.items()).backward()
    for name in update.groups or optimisers:
        optimisers[name].step()


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_every_term_reaches_the_groups_it_updates(name, dims):
    method = make(name, dims)
    optimisers = build_optimisers(method.groups(), Train())
    seen = set()
    for step in (0, 30, 60, 99):
        for update in updates_with_graph(method, step):
            assert update.terms, "an update without a term"
            assert set(update.weights) <= set(update.terms)
            stepped = update.groups or tuple(optimisers)
            reached = {group: 0.0 for group in stepped}
            for term_name, term in update.terms.items():
                assert term.ndim == 0 and torch.isfinite(term)
                norms = {group: gradient_norm(term, method.groups()[group]) for group in stepped}
                assert sum(norms.values()) > 0, f"term {term_name} has no gradient in {stepped}"
                reached = {group: reached[group] + norms[group] for group in stepped}
                seen.add(term_name)
            assert all(reached.values()), f"a group is stepped that no term reaches: {reached}"
    assert seen


def updates_with_graph(method: Method, step: int) -> Iterator[Update]:
    torch.manual_seed(step)
    yield from method.step(batch(method, step), clock(method, step))


def gradient_norm(term: torch.Tensor, module: torch.nn.Module) -> float:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_groups_cover_every_trainable_parameter_exactly_once(name, dims):
    method = make(name, dims)
    grouped = [id(p) for module in method.groups().values() for p in module.parameters() if p.requires_grad]
    trainable = [id(p) for p in method.parameters() if p.requires_grad]
    assert sorted(grouped) == sorted(trainable)
    assert len(set(grouped)) == len(grouped)


def equal_states(one: Method, other: Method) -> None:
    """Parameters and buffers, bit for bit."""
    ours, theirs = one.state_dict(), other.state_dict()  # once: gathering them takes longer than comparing them
    assert list(ours) == list(theirs)
    for key, tensor in ours.items():
        assert torch.equal(tensor, theirs[key]), key


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_a_restored_method_continues_exactly(name, dims):
    """Three steps, save, three steps == the same with everything rebuilt from the file in between."""
    settings = Train(optimiser=Optimiser(lr=1e-2))
    whole = make(name, dims)
    optimisers = build_optimisers(whole.groups(), settings)
    run(whole, range(58, 61), optimisers)
    state = save({key: tensor.clone().contiguous() for key, tensor in whole.state_dict().items()})
    optimiser_states = {group: optimiser.state_dict() for group, optimiser in optimisers.items()}
    twin = make(name, dims, seed=99)
    twin.load_state_dict(load(state))
    twin_optimisers = build_optimisers(twin.groups(), settings)
    for group, optimiser in twin_optimisers.items():
        buffer = io.BytesIO()
        torch.save(optimiser_states[group], buffer)
        buffer.seek(0)
        optimiser.load_state_dict(torch.load(buffer, weights_only=True))
    run(whole, range(61, 64), optimisers)
    run(twin, range(61, 64), twin_optimisers)
    equal_states(whole, twin)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_the_same_step_is_the_same_update(name, dims):
    one, other = make(name, dims), make(name, dims)
    for method in (one, other):
        run(method, range(55, 57), build_optimisers(method.groups(), Train()))
    equal_states(one, other)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_the_predictor_has_a_twin_and_does_not_see_its_batch(name, dims):
    method = make(name, dims)
    run(method, range(50, 52), build_optimisers(method.groups(), Train()))
    predictor = method.predictor().eval()
    torch.manual_seed(123)  # a twin that did not load its weights would differ
    twin = build_predictor(predictor.spec).eval()
    twin.load_state_dict(predictor.state_dict())
    image = stream(method.task, 3, 1, False, 7).image
    seed = torch.arange(3)
    with torch.no_grad():
        expected = predictor(image, seed)
        assert torch.equal(twin(image, seed), expected)
        alone = torch.cat([predictor(image[row : row + 1], seed[row : row + 1]) for row in range(3)])
    assert expected.shape == (3, method.task.classes, *method.task.patch_size)
    torch.testing.assert_close(expected.sum(1), torch.ones(3, *method.task.patch_size))
    torch.testing.assert_close(alone, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_audit_variants_are_predictors(name, dims):
    method = make(name, dims)
    image = stream(method.task, 2, 1, False, 3).image
    for variant, predictor in method.audit().items():
        with torch.no_grad():
            probabilities = predictor.eval()(image, torch.arange(2))
        torch.testing.assert_close(probabilities.sum(1), torch.ones(2, *method.task.patch_size), msg=variant)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_members_are_predictors_that_have_twins(name, dims):
    method = make(name, dims)
    image = stream(method.task, 2, 1, False, 3).image
    assert method.members(), "at least the weights that are trained, beside their average"
    for member, predictor in method.members().items():
        twin = build_predictor(predictor.spec).eval()
        twin.load_state_dict(predictor.state_dict())
        with torch.no_grad():
            expected = predictor.eval()(image, torch.arange(2))
            assert torch.equal(twin(image, torch.arange(2)), expected), member
        torch.testing.assert_close(expected.sum(1), torch.ones(2, *method.task.patch_size), msg=member)


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_a_few_steps_lower_the_supervised_loss(name, dims):
    method = make(name, dims, labelled_batch=4)
    optimisers = build_optimisers(method.groups(), Train(optimiser=Optimiser(lr=1e-2)))
    first = None
    for step in range(25):
        torch.manual_seed(step)
        for update in method.step(batch(method, step, seed=0), clock(method, step)):
            last = float(next(iter(update.terms.values())).detach())
            first = last if first is None else first
            apply(update, optimisers)
    assert last < 0.9 * first


def test_methods_and_recipes_name_the_same():
    recipes = {name for name in recipe_names() if load_recipe(name).about.kind == "method"}
    assert recipes == set(METHODS)


def test_every_config_cites_a_default_for_each_field():
    for name, method in METHODS.items():
        config = method.Config()
        assert isinstance(config.segmenter, Network), name
