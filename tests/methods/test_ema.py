import pytest
import torch
from torch import nn

from fewmask.methods.ema import copy_but_statistics, teacher_of, update_teacher
from fewmask.types import Clock


def clock(step: int) -> Clock:
    return Clock(step=step, total=100, stage="train", stage_step=step, stage_total=100, generator=torch.Generator())


def test_the_average_is_the_recursion_written_out():
    student = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    teacher = teacher_of(student)
    expected = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    for step in range(20):
        with torch.no_grad():
            for tensor in (*student.parameters(), *student.buffers()):
                tensor.add_(1)
        update_teacher(teacher, student, 0.9, clock(step))
        decay = min(0.9, 1 - 1 / (step + 2))
        for name, tensor in student.state_dict().items():
            mixed = decay * expected[name] + (1 - decay) * tensor if tensor.is_floating_point() else tensor
            expected[name] = mixed.clone()
    for name, tensor in teacher.network.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], msg=name)


def test_a_teacher_never_trains():
    student = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    holder = nn.ModuleDict({"student": student, "teacher": teacher_of(student)}).train()
    assert student[1].training and not holder["teacher"].network[1].training
    assert not any(parameter.requires_grad for parameter in holder["teacher"].parameters())
    image = torch.ones(5, 2)
    assert torch.equal(holder["teacher"](image), holder["teacher"](image))


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_first_update_is_the_plain_mean(decay):
    student = nn.Linear(1, 1, bias=False)
    teacher = teacher_of(student)
    with torch.no_grad():
        student.weight.fill_(4.0)
        teacher.network.weight.fill_(0.0)
    update_teacher(teacher, student, decay, clock(0))
    assert float(teacher.network.weight.detach()) == 4.0 * (1 - min(decay, 0.5))


def test_a_copy_keeps_its_running_statistics():
    source = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    source.register_buffer("scale", torch.zeros(()))
    target = teacher_of(source).network
    with torch.no_grad():
        for tensor in (*source.parameters(), *source.buffers()):
            tensor.add_(1)
    copy_but_statistics(target, source)
    for name, tensor in target.state_dict().items():
        kept = "running" in name or "num_batches" in name
        assert torch.equal(tensor, source.state_dict()[name] - int(kept)), name
