import torch

from fewmask.losses import dice_ce
from fewmask.methods.supervised import Supervised
from fewmask.types import Batch, Clock, Stream, Task

TASK = Task(channels=1, classes=2, names=("background", "one"), patch_size=(8, 8))


def make() -> Supervised:
    torch.manual_seed(0)
    return Supervised(Supervised.Config(segmenter={"width": 2, "dropout": 0.0}, ema=0.5), TASK)


def test_it_shows_as_many_labelled_images_as_the_others_and_no_unlabelled_one():
    method = make()
    (stage,) = method.stages()
    assert (stage.labelled_batch, stage.unlabelled_batch) == (12, 0)
    assert not method.views().unlabelled


def test_the_loss_is_of_the_strong_view_and_the_average_follows():
    method = make().train()
    image, label = torch.randn(3, 1, 8, 8), torch.randint(0, 2, (3, 8, 8))
    valid = torch.ones(3, 8, 8, dtype=torch.bool)
    labelled = Stream(image=torch.zeros_like(image), strong=image[None], valid=valid, label=label)
    clock = Clock(step=5, total=10, stage="train", stage_step=5, stage_total=10, generator=torch.Generator())
    before = {name: tensor.clone() for name, tensor in method.average.network.named_parameters()}
    steps = method.step(Batch(labelled=labelled), clock)
    update = next(steps)
    expected = dice_ce(method.segmenter(image), label, valid)
    torch.testing.assert_close(update.terms["supervised"], expected)
    with torch.no_grad():
        for parameter in method.segmenter.parameters():
            parameter.add_(1.0)
    assert next(steps, None) is None
    for (name, tensor), student in zip(
        method.average.network.named_parameters(), method.segmenter.parameters(), strict=True
    ):
        torch.testing.assert_close(tensor, 0.5 * before[name] + 0.5 * student.detach())
