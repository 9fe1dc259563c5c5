import sys

import pytest
import torch

from fewmask.errors import FewmaskError, SettingsError
from fewmask.runs import Run, read_log
from fewmask.training import journal
from fewmask.training.journal import Journal, note
from fewmask.types import Update


def write(book: Journal, step: int, val=None) -> None:
    update = Update({"loss": torch.ones((), requires_grad=True) * 2}, {"loss": 0.5}, log={"kept": torch.tensor(0.25)})
    book.write(step, stage="train", seconds=1.0, images=4, rates={"net": 1e-3}, updates=[update], val=val)


def test_an_entry_holds_plain_numbers(tmp_path):
    run = Run(tmp_path)
    write(Journal(run, 10, 0, False), 1, {"dice": 0.5})
    (entry,) = read_log(run.log)
    assert (entry["terms"], entry["weights"], entry["log"]) == ({"loss": 2.0}, {"loss": 0.5}, {"kept": 0.25})
    assert entry["val"] == {"dice": 0.5} and entry["images_per_second"] > 0


def test_what_is_no_finite_number_is_null(tmp_path):
    update = Update(
        {"a": torch.tensor(float("inf"))}, {"a": float("nan")}, log={"b": torch.tensor(float("nan")), "c": 1}
    )
    run = Run(tmp_path)
    Journal(run, 10, 0, False).write(1, stage="train", seconds=1.0, images=4, rates={}, updates=[update], val=None)
    (entry,) = read_log(run.log)
    assert (entry["terms"], entry["weights"], entry["log"]) == ({"a": None}, {"a": None}, {"b": None, "c": 1.0})


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (Update({"loss": torch.ones(())}), "a term 'loss'"),
        (Update({"other": torch.ones(())}, log={"kept": 1.0}), "a log entry 'kept'"),
    ],
)
def test_two_updates_that_share_a_name_are_refused(tmp_path, second, message):
    updates = [Update({"loss": torch.zeros(())}, log={"kept": 0.5}), second]
    with pytest.raises(FewmaskError, match=f"two updates of one step have {message}; give each a name of its own"):
        Journal(Run(tmp_path), 10, 0, False).write(
            1, stage="train", seconds=1.0, images=4, rates={}, updates=updates, val=None
        )


def test_events_are_one_file_that_can_be_read_before_its_end(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def shown() -> list[int]:
        read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        return [event.step for event in read.Scalars("terms/loss")]

    book = Journal(Run(tmp_path), 10, 0, True)
    write(book, 1)
    write(book, 2)
    assert shown() == [1, 2]
    again = Journal(Run(tmp_path), 10, 1, True)  # the checkpoint was of step 1
    write(again, 2)
    again.close()
    book.close()
    assert shown() == [1, 2] and len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_short_runs_log_every_step_and_long_ones_each_hundredth(tmp_path):
    run = Run(tmp_path)
    assert all(Journal(run, 199, 0, False).due(step) for step in range(1, 200))
    long = Journal(run, 1000, 0, False)
    assert [step for step in range(1, 51) if long.due(step)] == [10, 20, 30, 40, 50]


def test_a_slow_run_logs_by_the_clock(tmp_path, monkeypatch):
    long = Journal(Run(tmp_path), 100_000, 0, False)
    assert not long.due(1)
    monkeypatch.setattr(journal, "LOG_SECONDS", -1.0)
    assert long.due(1)


def test_tensorboard_that_is_not_there_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SettingsError, match=r"pip install fewmask\[tensorboard\]"):
        Journal(Run(tmp_path), 10, 0, True)


def test_the_note_is_short():
    assert note({"loss": torch.tensor(0.12345)}, 0.5) == "loss 0.123  best val 0.500"
