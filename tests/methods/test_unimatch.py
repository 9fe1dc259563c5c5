"""UniMatch's terms against computations written out, and the published loss."""

import pytest
import torch
import torch.nn.functional as F

from fewmask.losses import dice
from fewmask.methods.mixing import boxes
from fewmask.methods.unimatch import UniMatch
from fewmask.types import Batch, Clock, Stream, Task

TASK = Task(channels=1, classes=3, names=("background", "one", "two"), patch_size=(9, 11))


def stream(seed: int, labelled: bool) -> Stream:
    chance = torch.Generator().manual_seed(seed)
    image = torch.randn(3, 1, 9, 11, generator=chance)
    label = torch.randint(0, 3, (3, 9, 11), generator=chance)
    valid = torch.rand(3, 9, 11, generator=chance) > 0.2
    strong = torch.stack([image + 0.3, image * 1.5])
    return Stream(image=image, strong=strong, valid=valid, label=label if labelled else None)


def clock() -> Clock:
    chance = torch.Generator().manual_seed(7)
    return Clock(step=99, total=100, stage="train", stage_step=99, stage_total=100, generator=chance)


def make(**settings) -> UniMatch:
    torch.manual_seed(0)
    network = {"width": 2, "dropout": 0.0, "normalisation": "group"}
    return UniMatch(UniMatch.Config(segmenter=network, **settings), TASK).train()


def released_dice(p: torch.Tensor, label: torch.Tensor, ignored: torch.Tensor) -> float:
    """As the released code has it: squared denominators, every class, voxels that are not ignored."""
    total = 0.0
    for k in range(p.shape[1]):
        score, target = p[:, k][~ignored], (label == k)[~ignored].float()
        total += 1 - float((2 * (score * target).sum() + 1e-5) / ((score**2).sum() + (target**2).sum() + 1e-5))
    return total / p.shape[1]


@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_both_strong_views_learn_the_mixed_label_by_the_released_dice(threshold):
    method = make(preset="published", threshold=threshold, cutmix=1.0, feature_dropout=0.0)
    given = Batch(labelled=stream(0, True), unlabelled=stream(1, False))
    update = next(method.step(given, clock()))
    u, chance = given.unlabelled, clock().generator
    with torch.no_grad():
        confidence, label = method.teacher.network(u.image).softmax(1).max(1)
        keep = (confidence >= threshold) & u.valid
        assert keep.float().mean() > 0.1
        for name, view, partner in (("strong", 0, (1, 2, 0)), ("other_strong", 1, (2, 0, 1))):
            box = boxes((3, 9, 11), 1.0, (0.02, 0.4), chance)
            image, told, counted = u.strong[view].clone(), label.clone(), keep.clone()
            for row, other in enumerate(partner):
                inside = box[row]
                image[row, 0][inside] = u.strong[view][other, 0][inside]
                told[row][inside], counted[row][inside] = label[other][inside], keep[other][inside]
            p = method.segmenter(image).softmax(1)
            assert float(update.terms[name].detach()) == pytest.approx(released_dice(p, told, ~counted), rel=1e-5)
        p = method.segmenter(u.image).softmax(1)
        assert float(update.terms["feature"].detach()) == pytest.approx(released_dice(p, label, ~keep), rel=1e-5)
        x = given.labelled
        logits = method.segmenter(x.image)
        entropy = F.cross_entropy(logits, torch.where(x.valid, x.label, -100), ignore_index=-100)
        expected = (float(entropy) + released_dice(logits.softmax(1), x.label, ~x.valid)) / 2
        assert float(update.terms["supervised"].detach()) == pytest.approx(expected, rel=1e-5)
    assert update.weights == {"strong": 0.25, "other_strong": 0.25, "feature": 0.5}


def test_the_feature_term_is_that_of_whole_channels_dropped_on_every_level():
    method = make(threshold=0.0, cutmix=0.0, dice_only=True, feature_dropout=0.5)
    given = Batch(labelled=stream(0, True), unlabelled=stream(1, False))
    seen = []
    decode = method.segmenter.decode
    method.segmenter.decode = lambda pyramid: seen.append(pyramid) or decode(pyramid)
    update = next(method.step(given, clock()))
    whole = method.segmenter.encode(given.unlabelled.image)
    (dropped,) = [pyramid for pyramid in seen[-1:] if len(pyramid[0]) == 3]
    zeroed = 0
    for feature, full in zip(dropped, whole, strict=True):
        for row in range(3):
            for channel in range(full.shape[1]):
                kept = feature[row, channel]
                if kept.abs().sum() == 0:
                    zeroed += 1
                else:
                    torch.testing.assert_close(kept, 2 * full[row, channel])
    count = 3 * sum(feature.shape[1] for feature in whole)
    assert 0.3 < zeroed / count < 0.7
    label = method.teacher.network(given.unlabelled.image).argmax(1)
    logits = method.segmenter.classify(decode(dropped)[-1])
    torch.testing.assert_close(update.terms["feature"], dice(logits, label, given.unlabelled.valid))


def test_the_perturbed_pass_moves_no_running_statistics_of_the_decoder():
    def decoder_after_a_step(feature_dropout: float) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        network = {"width": 2, "dropout": 0.0}
        method = UniMatch(UniMatch.Config(segmenter=network, feature_dropout=feature_dropout), TASK).train()
        next(method.step(Batch(labelled=stream(0, True), unlabelled=stream(1, False)), clock()))
        return {name: value for name, value in method.segmenter.state_dict().items() if "running" in name}

    half, none = decoder_after_a_step(0.5), decoder_after_a_step(0.0)
    assert half
    for name, value in half.items():
        torch.testing.assert_close(value, none[name], rtol=0, atol=0)


def test_without_decay_the_network_labels_itself():
    method = make(ema=0.0)
    optimiser = torch.optim.SGD(method.segmenter.parameters(), lr=0.1)
    for update in method.step(Batch(labelled=stream(0, True), unlabelled=stream(1, False)), clock()):
        sum(update.terms.values()).backward()
        optimiser.step()
    for one, other in zip(method.teacher.network.parameters(), method.segmenter.parameters(), strict=True):
        assert torch.equal(one, other)


def test_it_asks_for_two_strong_views():
    assert len(make().views().strong) == 2
    assert [stage.name for stage in make(preset="published").stages()] == ["train"]
