"""BCP's regions against a computation written out, with the released code's weights."""

import pytest
import torch
import torch.nn.functional as F

from fewmask.methods.bcp import BidirectionalCopyPaste
from fewmask.methods.mixing import placed_boxes
from fewmask.types import Batch, Clock, Stream, Task

TASK = Task(channels=1, classes=3, names=("background", "one", "two"), patch_size=(9, 11))
ROWS = 3


def stream(seed: int, labelled: bool, rows: int = ROWS) -> Stream:
    chance = torch.Generator().manual_seed(seed)
    image = torch.randn(rows, 1, 9, 11, generator=chance)
    label = torch.randint(0, 3, (rows, 9, 11), generator=chance)
    valid = torch.rand(rows, 9, 11, generator=chance) > 0.2
    return Stream(image=image, strong=image[None] + 0.3, valid=valid, label=label if labelled else None)


def clock() -> Clock:
    chance = torch.Generator().manual_seed(7)
    return Clock(step=99, total=100, stage="train", stage_step=99, stage_total=100, generator=chance)


def make(**settings) -> BidirectionalCopyPaste:
    torch.manual_seed(0)
    network = {"width": 2, "dropout": 0.0, "normalisation": "group"}
    return BidirectionalCopyPaste(BidirectionalCopyPaste.Config(segmenter=network, **settings), TASK).train()


def region_loss(logits: torch.Tensor, label: torch.Tensor, region: torch.Tensor) -> float:
    """(Dice + cross entropy) / 2 of one region, classes that it lacks left out of Dice."""
    logits, target = logits.movedim(1, -1)[region], label[region]
    p, scores = logits.softmax(-1), []
    for k in target.unique():
        truth = (target == k).float()
        scores.append(1 - (2 * (p[:, k] * truth).sum() + 1e-5) / ((p[:, k] ** 2).sum() + truth.sum() + 1e-5))
    return float(torch.stack(scores).mean() + F.cross_entropy(logits, target)) / 2


@pytest.mark.parametrize("rows", [3, 2])
def test_each_region_of_both_mixes_learns_its_own_label(rows):
    method = make(largest_component=False)
    x, u = stream(0, True), stream(1, False, rows)
    update = next(method.step(Batch(labelled=x, unlabelled=u), clock()))
    box = placed_boxes((ROWS, 9, 11), 2 / 3, clock().generator)
    with torch.no_grad():
        pseudo = method.teacher.network(u.image).argmax(1)
        outward, inward = torch.empty(2, ROWS, 1, 9, 11)
        told = {name: [] for name in ("outward", "outward_pseudo", "inward", "inward_pseudo")}
        for row in range(ROWS):
            same, following = row % rows, (row % rows + 1) % rows
            inside = box[row]
            outward[row, 0] = torch.where(inside, x.strong[0, row, 0], u.strong[0, same, 0])
            inward[row, 0] = torch.where(inside, u.strong[0, following, 0], x.strong[0, row, 0])
            told["outward"].append((x.label[row], x.valid[row] & inside))
            told["outward_pseudo"].append((pseudo[same], u.valid[same] & ~inside))
            told["inward"].append((x.label[row], x.valid[row] & ~inside))
            told["inward_pseudo"].append((pseudo[following], u.valid[following] & inside))
        for name, pairs in told.items():
            image = outward if name.startswith("outward") else inward
            label, region = (torch.stack(part) for part in zip(*pairs, strict=True))
            expected = region_loss(method.segmenter(image), label, region)
            assert float(update.terms[name].detach()) == pytest.approx(expected, rel=1e-5), name
    assert update.weights == {"outward_pseudo": 0.5, "inward_pseudo": 0.5}


def test_pretraining_mixes_labelled_images_with_their_labels():
    method, x = make(), stream(0, True)
    update = next(method.step(Batch(labelled=x), clock()))
    box = placed_boxes((ROWS, 9, 11), 2 / 3, clock().generator)
    image, label, valid = x.strong[0].clone(), x.label.clone(), x.valid.clone()
    for row in range(ROWS):
        other, inside = (row + 1) % ROWS, box[row]
        image[row, 0][inside] = x.strong[0][other, 0][inside]
        label[row][inside], valid[row][inside] = x.label[other][inside], x.valid[other][inside]
    with torch.no_grad():
        expected = region_loss(method.segmenter(image), label, valid)
    assert float(update.terms["supervised"].detach()) == pytest.approx(expected, rel=1e-5)
    assert method.stages()[0].unlabelled_batch == 0 and method.stages()[0].fraction == 0.25


def test_a_pseudo_label_keeps_the_largest_component_of_each_class():
    method = make()
    logits = torch.zeros(1, 3, 9, 11)
    logits[:, 0] = 1
    logits[0, 1, 1:4, 1:4] = logits[0, 1, 7, 8] = logits[0, 2, 6:8, 2:4] = 5
    method.teacher.forward = lambda image: logits
    label = method._pseudo(torch.zeros(1, 1, 9, 11))
    assert (label == 1).sum() == 9 and label[0, 7, 8] == 0 and (label == 2).sum() == 4
    method.config = method.config.model_copy(update={"largest_component": False})
    assert method._pseudo(torch.zeros(1, 1, 9, 11))[0, 7, 8] == 1
