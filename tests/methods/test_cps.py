"""Cross pseudo supervision: two unlike networks, each learning what the other says."""

import torch

from fewmask.losses import dice_ce
from fewmask.methods.cps import CrossPseudoSupervision
from fewmask.types import Batch, Clock, Stream, Task

TASK = Task(channels=1, classes=3, names=("background", "a", "b"), patch_size=(16, 16))


def build(**settings) -> CrossPseudoSupervision:
    torch.manual_seed(0)
    config = CrossPseudoSupervision.Config(segmenter={"width": 2, "dropout": 0}, **settings)
    return CrossPseudoSupervision(config, TASK).train()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, 16, 16, generator=generator)
    valid = torch.ones(2, 16, 16, dtype=torch.bool)
    labelled = Stream(image=image, strong=image[None], valid=valid, label=valid.long())
    return Batch(labelled=labelled, unlabelled=Stream(image=image, strong=image[None] + 1, valid=valid))


def step(method: CrossPseudoSupervision):
    generator = torch.Generator().manual_seed(0)
    (update,) = method.step(
        batch(), Clock(step=9, total=10, stage="train", stage_step=9, stage_total=10, generator=generator)
    )
    return update


def test_the_networks_differ_from_the_start():
    method = build()
    pairs = zip(method.segmenter.parameters(), method.other.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)


def test_each_learns_the_others_label():
    """Where the other network says class 2 everywhere, the cross term is the loss against class 2."""
    method, given = build(), batch()
    sure = torch.zeros(4, 3, 16, 16)
    sure[:, 2] = 40
    method.other.forward = lambda image: sure
    found = step(method).terms["cross"]
    logits = method.segmenter(torch.cat([given.labelled.strong[0], given.unlabelled.strong[0]]))
    torch.testing.assert_close(found, dice_ce(logits[2:], torch.full((2, 16, 16), 2), given.unlabelled.valid))


def test_averaged_labels_are_those_of_the_other_average_on_the_weak_view():
    method, given = build(labels="averaged"), batch()
    method.other.forward = lambda image: torch.zeros(4, 3, 16, 16)  # what it says as it trains does not count
    with torch.no_grad():
        label = method.other_average(given.unlabelled.image).argmax(1)
    found = step(method).terms["cross"]
    logits = method.segmenter(torch.cat([given.labelled.strong[0], given.unlabelled.strong[0]]))
    torch.testing.assert_close(found, dice_ce(logits[2:], label, given.unlabelled.valid))


def test_no_gradient_passes_through_a_label():
    method = build()
    terms = step(method).terms
    for name, own, foreign in (
        ("cross", method.segmenter, method.other),
        ("other_cross", method.other, method.segmenter),
    ):
        for module, expected in ((own, True), (foreign, False)):
            gradients = torch.autograd.grad(terms[name], [*module.parameters()], retain_graph=True, allow_unused=True)
            assert any(g is not None and bool(g.abs().sum() > 0) for g in gradients) == expected
