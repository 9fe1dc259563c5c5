import numpy as np
import pytest
import torch

from fewmask.data.loader import Source
from fewmask.training.bank import write_bank
from fewmask.types import Clock, Pseudo

CLOCK = Clock(step=0, total=1, stage="round", stage_step=0, stage_total=1, generator=torch.Generator())


class Relabeller(torch.nn.Module):
    """Says class 1 everywhere; breaks at the second case if asked to."""

    def __init__(self, breaks: bool = False) -> None:
        super().__init__()
        self.breaks = breaks

    def relabel(self, cases, clock):
        for number, stream in enumerate(cases):
            if self.breaks and number:
                raise OSError("disk gone")
            shape = (stream.image.shape[0], *stream.image.shape[2:])
            ones = np.ones(shape, np.uint8)
            yield Pseudo(case=stream.case[0], raw=ones * 0, label=ones, weight=ones * 0.5, info={"kappa": 0.25})


@pytest.fixture
def source(cache, split) -> Source:
    return Source(cache, split, patch_size=(17, 20), intensity_kind="zscore", fingerprint={})


def test_every_unlabelled_case_has_its_file(source, split, tmp_path):
    method = Relabeller().eval()
    write_bank(method, source, tmp_path / "1", CLOCK, torch.device("cpu"), 0)
    assert {path.stem for path in (tmp_path / "1").iterdir()} == set(source.cases("unlabelled"))
    with np.load(tmp_path / "1" / f"{split.unlabelled[0]}.npz") as file:
        assert file["label"].shape == (3, 17, 20) and file["label"].all() and not file["raw"].any()
        assert file["weight"].dtype == np.float16 and float(file["info_kappa"]) == 0.25
    assert method.training


def test_a_bank_is_there_whole_or_not_at_all(source, tmp_path):
    with pytest.raises(OSError, match="disk gone"):
        write_bank(Relabeller(breaks=True), source, tmp_path / "1", CLOCK, torch.device("cpu"), 0)
    assert not (tmp_path / "1").exists()
    write_bank(Relabeller(), source, tmp_path / "1", CLOCK, torch.device("cpu"), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


class Guesser(torch.nn.Module):
    """Relabels with a student that has dropout and running statistics, and rolls a die of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.student = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.Dropout(0.5))

    def relabel(self, cases, clock):
        for stream in cases:
            found = self.student(stream.image)[:, 0]
            assert not found.requires_grad
            die = torch.rand(found.shape) < 0.5
            shape = die.numpy().astype(np.uint8)
            yield Pseudo(case=stream.case[0], raw=shape, label=shape, weight=found.numpy())


def test_a_bank_depends_on_the_weights_and_its_seed_alone(source, split, tmp_path):
    """Whatever was drawn and shown to the student before: a continued run writes the bank of an uninterrupted one."""
    torch.manual_seed(0)
    method = Guesser().train()
    state = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    found = {}
    for name, seed in (("1", 5), ("2", 5), ("3", 6)):
        torch.rand(3)
        write_bank(method, source, tmp_path / name, CLOCK, torch.device("cpu"), seed)
        assert method.training and method.student.training
        with np.load(tmp_path / name / f"{split.unlabelled[0]}.npz") as file:
            found[name] = (file["raw"], file["weight"])
    assert all(torch.equal(tensor, state[name]) for name, tensor in method.state_dict().items())
    assert all(np.array_equal(one, two) for one, two in zip(found["1"], found["2"], strict=True))
    assert not np.array_equal(found["1"][0], found["3"][0])
