"""proto_diff: what the gate lets through, who moves the prototypes, who learns, and settings that cannot be."""

import pytest
import torch
from torch.nn.functional import one_hot

from fewmask.config import validated
from fewmask.errors import SettingsError
from fewmask.methods.proto_diff import ProtoDiff, _rows
from fewmask.nets.label_latent import Said, nearest
from fewmask.predictors import build_predictor
from fewmask.types import Batch, Clock, Stream, Task

TASK = Task(channels=1, classes=3, names=("background", "one", "two"), patch_size=(17, 22))
SMALL = {"segmenter": {"width": 2, "normalisation": "group", "dropout": 0.0}, "latent": {"dim": 16, "layers": 1}}


def build(task: Task = TASK, seed: int = 0, **settings) -> ProtoDiff:
    torch.manual_seed(seed)
    small = {key: SMALL[key] for key in SMALL if key != "latent" or settings.get("label_latent") != "encoder"}
    merged = {key: {**small[key], **settings.get(key, {})} for key in small}
    return ProtoDiff(ProtoDiff.Config(**{**settings, **merged}), task).train()


def batch(task: Task = TASK, seed: int = 0, unlabelled: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    label = torch.zeros(2, *task.patch_size, dtype=torch.int64)
    label[(slice(None), *[slice(2, 9)] * task.dims)] = 1
    label[(slice(None), *[slice(10, 15)] * task.dims)] = 2
    valid = torch.rand(label.shape, generator=generator) > 0.1

    def stream(labelled: bool) -> Stream:
        image = label.unsqueeze(1) + 0.1 * torch.randn(2, task.channels, *task.patch_size, generator=generator)
        return Stream(image=image, strong=image[None], valid=valid, label=label if labelled else None)

    return Batch(labelled=stream(True), unlabelled=stream(False) if unlabelled else None)


def clock(step: int = 90, total: int = 100) -> Clock:
    generator = torch.Generator().manual_seed(step)
    return Clock(step=step, total=total, stage="train", stage_step=step, stage_total=total, generator=generator)


def update(method: ProtoDiff, given: Batch | None = None, step: int = 90):
    (found,) = method.step(given or batch(), clock(step))
    return found


def known(method: ProtoDiff) -> ProtoDiff:
    """With prototypes of all classes, somewhere."""
    method.prototypes.seen.fill_(True)
    return method


OPEN = {"gate": {"threshold": 0.0, "agreement": False}}


@pytest.mark.parametrize("latent", ["table", "encoder"])
def test_every_term_teaches_the_student_and_nothing_else(latent):
    """Specification 9.8: a gradient at the student, none at the teacher or the prototypes."""
    method = known(build(label_latent=latent, **OPEN))
    found = update(method)
    wanted = {"supervised", "auxiliary", "contrast", "pseudo", "auxiliary_pseudo", "contrast_pseudo", "consistency"}
    assert set(found.terms) == wanted | ({"latent"} if latent == "encoder" else set())
    parameters = list(method.network.parameters())
    for name, term in found.terms.items():
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        assert any(gradient is not None and bool(gradient.any()) for gradient in gradients), name
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())
    assert not any(buffer.requires_grad for buffer in method.buffers())
    # all of them together leave no parameter of the student without a gradient
    total = sum(found.terms.values())
    total.backward()
    silent = [name for name, parameter in method.network.named_parameters() if parameter.grad is None]
    assert silent == []


def test_a_closed_gate_teaches_nothing_and_hides_the_labels(monkeypatch):
    """Specification 9.9: no loss, no NaN, and `unknown` everywhere in the unlabelled rows' latent."""
    method = known(build(gate={"threshold": 0.999999, "agreement": False}))
    seen = []
    real = method.network.latent
    monkeypatch.setattr(method.network, "latent", lambda *given: seen.append(given[1]) or real(*given))
    found = update(method)
    for name in ("pseudo", "auxiliary_pseudo", "contrast_pseudo"):
        assert float(found.terms[name].detach()) == 0, name
    assert all(bool(term.isfinite()) for term in found.terms.values())
    assert seen[0][:2].any() and not seen[0][2:].any()
    sum(found.terms.values()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in method.network.parameters() if p.grad is not None)


def test_no_agreement_no_label():
    """Prototypes far from everything that the classifier says reject all; without the question all pass."""
    method = known(build(gate={"threshold": 0.0, "agreement": True}))
    u, network = batch().unlabelled, method.teacher.network
    told = method._told(u, clock())
    assert 0 < float(told.keep.float().mean()) < 1 or not told.keep.any() or told.keep.all()
    said = network.sample(network.features(u.image), torch.zeros(2, *network.latent_shape((17, 22))), 1)
    winner = int(said.logits.argmax(1).flatten().mode().values)
    opposite = torch.nn.functional.normalize(_rows(said.q).mean(0), dim=0)
    method.prototypes.vectors[:, 0] = opposite
    method.prototypes.vectors[winner, 0] = -opposite
    assert float(method._told(u, clock()).keep.float().mean()) < float((u.valid).float().mean())
    open_gate = known(build(**OPEN))
    assert torch.equal(open_gate._told(u, clock()).keep.sum(), open_gate._told(u, clock()).valid.sum())


def test_nothing_passes_before_two_classes_have_a_prototype():
    method = build(gate={"threshold": 0.0, "agreement": True})
    assert not method._told(batch().unlabelled, clock()).keep.any()
    blank = torch.zeros_like(batch().labelled.valid)
    labelled = Stream(**{**vars(batch().labelled), "valid": blank})
    found = update(method, Batch(labelled=labelled, unlabelled=batch().unlabelled))
    assert set(found.terms) == {"supervised", "auxiliary", "pseudo", "auxiliary_pseudo"}


def test_labelled_voxels_alone_move_prototypes():
    """Specification 9.6, through a step: no unlabelled voxel, no ignored and no mispredicted one."""
    one, other = build(**OPEN), build(**OPEN)
    full = batch()
    mixed = Batch(labelled=full.labelled, unlabelled=batch(seed=5).unlabelled)
    update(one, full)
    update(other, mixed)
    assert torch.equal(one.prototypes.vectors, other.prototypes.vectors)
    assert torch.equal(one.prototypes.seen, other.prototypes.seen)
    ignored = build(**OPEN)
    nothing = torch.zeros_like(full.labelled.valid)
    before = ignored.prototypes.vectors.clone()
    blank = Stream(**{**vars(full.labelled), "valid": nothing})
    found = update(ignored, Batch(labelled=blank, unlabelled=full.unlabelled))
    assert torch.equal(ignored.prototypes.vectors, before) and not ignored.prototypes.seen.any()
    assert float(found.terms["supervised"].detach()) == 0


def test_no_voxel_that_was_classified_wrongly_moves_a_prototype():
    """Specification 9.6: with every labelled voxel mispredicted nothing is seen."""
    full = batch()
    for shift, seen in ((1, [False] * 3), (0, [True] * 3)):
        method = build(**OPEN)
        size = method.network.latent_shape(TASK.patch_size)[1:]
        wrong = (nearest(full.labelled.label, size) + shift) % 3
        said = Said(10.0 * one_hot(wrong, 3).movedim(-1, 1), torch.randn(2, 16, *size), torch.zeros(2, 16, *size))
        method._follow(said, full.labelled.label, full.labelled.valid, 2)
        assert method.prototypes.known.tolist() == seen


@pytest.mark.parametrize("aligned", [0.0, 1.0])
def test_the_clean_latent_is_that_of_the_truth_on_labelled_rows(aligned, monkeypatch):
    """Reading B: neither the network's own answer, where that enters, nor a rejected pseudo-label is a target."""
    method = known(build(label_latent="encoder", diffusion={"self_aligned": aligned}, gate={"threshold": 0.999999}))
    full, said, encoded = batch(), [], []
    denoise, latent = method.network.denoise, method.network.latent
    monkeypatch.setattr(method.network, "denoise", lambda *given: said.append(denoise(*given)) or said[-1])
    monkeypatch.setattr(
        method.network, "latent", lambda label, *given: encoded.append((label, latent(label, *given))) or encoded[-1][1]
    )
    found = update(method, full)
    assert len(encoded) == 1 + int(aligned)
    label, target = encoded[-1]
    assert torch.equal(label[:2], full.labelled.label)
    torch.testing.assert_close(found.terms["latent"], (said[-1].clean[:2] - target[:2]).square().mean())


def test_confident_unlabelled_voxels_may_move_them_a_little():
    settings = {**OPEN, "proto": {"source": "confident"}}
    one, other = build(**settings), build(**settings)
    full = batch()
    update(one, full)
    update(other, Batch(labelled=full.labelled, unlabelled=batch(seed=5).unlabelled))
    assert not torch.equal(one.prototypes.vectors, other.prototypes.vectors)


def test_ignored_voxels_change_no_loss():
    """Specification 9.10: the label under an ignored voxel may be anything."""
    full = batch()
    other = torch.where(full.labelled.valid, full.labelled.label, 2)
    twins = [
        update(build(**OPEN), Batch(labelled=Stream(**{**vars(full.labelled), "label": label}), unlabelled=None))
        for label in (full.labelled.label, other)
    ]
    for name, term in twins[0].terms.items():
        assert torch.equal(term, twins[1].terms[name]), name


def test_pseudo_labels_have_noise_enough():
    method = build()
    t = torch.stack([method._times(4, 2, clock(step)) for step in range(300)])
    assert float(t[:, :2].min()) < 0.02 and 0.05 <= float(t[:, 2:].min()) < 0.07
    assert float(t.max()) < 0.999 and float(t.max()) > 0.98


@pytest.mark.parametrize("source", ["classifier", "prototype", "mean", "aux"])
@pytest.mark.parametrize("latent", ["table", "encoder"])
def test_rows_are_predicted_alike_alone_and_together(source, latent):
    """Specification 9.4: noise is that of a row's seed, and samples are averaged within an image."""
    method = build(predict_from=source, label_latent=latent, sampler={"samples": 3})
    update(method)
    predictor = method.predictor().eval()
    assert predictor.stochastic == (source != "aux")
    image, seed = torch.randn(4, 1, 17, 22), torch.tensor([3, 1, 4, 1])
    with torch.no_grad():
        together = predictor(image, seed)
        alone = torch.cat([predictor(image[row : row + 1], seed[row : row + 1]) for row in range(4)])
        assert torch.equal(together, predictor(image, seed))
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.sum(1), torch.ones(4, 17, 22))
    twin = build_predictor(predictor.spec).eval()
    twin.load_state_dict(predictor.state_dict())
    with torch.no_grad():
        assert torch.equal(twin(image, seed), together)


def test_the_mean_is_that_of_the_samples():
    method = build(sampler={"samples": 2}, diffusion={"x0": "soft"}, latent={"scale": 1.0})
    predictor, image, seed = method.predictor().eval(), torch.randn(1, 1, 17, 22), torch.tensor([5])
    network = predictor.network
    from fewmask.nets.feature_pyramid import resized
    from fewmask.predictors.rectified import noise_of

    with torch.no_grad():
        noise = noise_of(seed, (2, *network.latent_shape((17, 22))), image.device)[0]
        each = [
            resized(network.sample(network.features(image), noise[n : n + 1], 3).logits, (17, 22)).softmax(1)
            for n in (0, 1)
        ]
        assert not torch.equal(*each)
        torch.testing.assert_close(predictor(image, seed), (each[0] + each[1]) / 2)


def test_without_diffusion_noise_is_not_looked_at():
    method = build(diffuse=False)
    update(method)
    predictor = method.predictor().eval()
    assert not predictor.stochastic
    image = torch.randn(2, 1, 17, 22)
    with torch.no_grad():
        assert torch.equal(predictor(image, torch.tensor([1, 2])), predictor(image, torch.tensor([3, 4])))
    assert "one_step" not in method.audit()


def test_the_audit_sets_the_auxiliary_head_beside_the_sampler():
    variants = build().audit()
    assert list(variants) == ["auxiliary", "sampled", "one_step", "prototypes"]
    assert [v.steps for v in variants.values()] == [3, 3, 1, 3]
    assert list(build(auxiliary=0.0).audit()) == ["sampled", "one_step", "prototypes"]


@pytest.mark.parametrize("settings", [
    {"proto": {"space": "feature"}},
    {"proto": {"space": "embedding"}},
    {"proto": {"per_class": 3}},
    {"proto": {"weight": 0.0}},
    {"proto": {"consistency": 0.0}},
    {"diffusion": {"schedule": "linear"}},
    {"diffusion": {"target": "latent"}},
    {"diffusion": {"x0": "soft"}},
    {"diffusion": {"self_aligned": 1.0}},
    {"dice_weight": 0.0},
    {"ema": 0.0},
    {"latent": {"stride": 4}},
    {"encoder": "resnet18"},
])  # fmt: skip
def test_every_switch_changes_what_is_learnt(settings):
    """Two steps with it and without it do not end alike."""

    def weights(**given) -> tuple:
        method = build(**{**OPEN, **given})
        known(method)
        optimiser = torch.optim.SGD(method.network.parameters(), lr=0.1)
        for step in (90, 91):
            for found in method.step(batch(seed=step), clock(step)):
                total = sum(found.weights.get(name, 1.0) * term for name, term in found.terms.items())
                assert bool(total.isfinite())
                optimiser.zero_grad()
                total.backward()
                optimiser.step()
        return tuple(sorted(found.terms)), float(total.detach())

    base = {"latent": {"stride": 2}} if settings.get("encoder") else {}
    assert weights(**{**base, **settings}) != weights(**base)


def test_a_resnet_takes_no_stride_that_it_has_not():
    with pytest.raises(SettingsError, match=r"method.latent.stride=1: the encoder 'resnet18' .* 2, 4, 8, 16, 32"):
        build(encoder="resnet18", latent={"stride": 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent": {"dim": 20}}, "method.latent.dim=20: input should be a multiple of 16"),
        ({"latent": {"stride": 3}}, "method.latent.stride=3: .*choose 1, 2, 4, 8 or 16"),
        ({"gate": {"threshold": 1.0}}, "method.gate.threshold=1.0: below 1"),
        ({"predict_from": "aux", "auxiliary": 0}, "predict_from=aux needs the auxiliary head"),
        ({"proto": {"space": "embedding", "per_class": 2}}, "proto.space=embedding takes the rows"),
        ({"encoder": "resnet50", "label_latent": "encoder"}, "encoder=resnet50 has no place in label_latent=encoder"),
        ({"encoder_weights": "a.safetensors", "label_latent": "encoder"}, "encoder_weights=a.* has no place"),
        ({"latent": {"scale": 0.1}, "label_latent": "encoder"}, "latent.scale=0.1 has no place in label_latent"),
        ({"diffusion": {"target": "latent"}, "label_latent": "encoder"}, "diffusion.target=latent has no place"),
        ({"diffuse": False, "sampler": {"steps": 5}}, "sampler.steps=5 has no place in diffuse=false"),
        ({"diffuse": False, "latent": {"scale": 0.1}}, "latent.scale=0.1 has no place in diffuse=false"),
        ({"encoder": "resnet51"}, "method.encoder='resnet51': choose "),
    ],
)
def test_impossible_settings_are_one_line(settings, message):
    with pytest.raises(SettingsError, match=message) as caught:
        validated(ProtoDiff.Config, settings, where="method")
    assert "\n" not in str(caught.value)
