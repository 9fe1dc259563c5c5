import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from fewmask.errors import FewmaskError, Interrupted, OutOfMemory, SettingsError
from fewmask.losses import dice_ce
from fewmask.methods import METHODS, build_method
from fewmask.methods.diff_cl import DiffCL
from fewmask.methods.fixmatch import FixMatch
from fewmask.methods.supervised import Supervised
from fewmask.predictors import Predictor, SegmenterPredictor, load_model
from fewmask.runs import Run, read_log
from fewmask.seeding import derive
from fewmask.training import bank, trainer
from fewmask.types import Batch, Clock, Pseudo, Stage, Stream, Task, Update, Views


def files(run: Run) -> dict[str, bytes]:
    """What a run leaves that must not depend on interruptions."""
    return {name: (run.root / name).read_bytes() for name in ("model/model.safetensors", "last/model.safetensors")}


def losses(run: Run) -> list[tuple]:
    return [(e["step"], e["terms"], e["log"], e.get("val")) for e in read_log(run.log)]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_leaves_what_it_promises(catalogue, split, cache, settings, tmp_path, method):
    run = Run(tmp_path)
    trainer.train(catalogue, split, cache, settings(method), run, device="cpu", quiet=True)
    log = read_log(run.log)
    assert [entry["step"] for entry in log] == list(range(1, 13))
    assert [entry["step"] for entry in log if "val" in entry] == [4, 8, 12]
    assert all(np.isfinite(list(entry["terms"].values())).all() for entry in log)
    assert yaml.safe_load(run.config.read_text())["method"]["name"] == method
    assert json.loads(run.environment.read_text())["device"] == "cpu"
    best = max((entry["val"]["dice"], -entry["step"]) for entry in log if "val" in entry)
    chosen = load_model(run.root)
    assert chosen.extra["best_dice"] == best[0] and chosen.extra["step"] == -best[1]
    assert chosen.labels == catalogue.labels
    assert set(log[-1]["val"]["per_class"]) == {"box", "core"}
    assert bool(log[-1]["val"]["pseudo"]) == (method != "supervised")


def test_training_learns(catalogue, split, cache, settings, tmp_path):
    run = Run(tmp_path)
    config = settings("supervised", steps=60, train={"validations": 2}, segmenter={"width": 4}, ema=0.8)
    trainer.train(catalogue, split, cache, config, run, device="cpu", quiet=True)
    assert max(entry["val"]["dice"] for entry in read_log(run.log) if "val" in entry) > 0.6


def test_a_single_step_trains(catalogue, split, cache, settings, tmp_path):
    config = settings("supervised", steps=1, train={"validations": 0, "optimiser": {}}, ema=0.0)
    trainer.train(catalogue, split, cache, config, Run(tmp_path), device="cpu", quiet=True)
    torch.manual_seed(derive(config.train.seed, "init"))
    task = Task(channels=1, classes=3, names=catalogue.labels.names, patch_size=config.plan.size)
    untrained = build_method(config.method, task).predictor().state_dict()
    trained = load_model(Run(tmp_path).root).predictor.state_dict()
    assert not torch.equal(trained["segmenter.head.weight"], untrained["segmenter.head.weight"])


def test_without_val_the_last_checkpoint_is_the_model(catalogue, split, cache, settings, tmp_path):
    run = Run(tmp_path)
    config = settings("supervised", train={"validations": 0})
    trainer.train(catalogue, split, cache, config, run, device="cpu", quiet=True)
    assert not run.best.exists()
    assert (run.model / "model.safetensors").read_bytes() == (run.last / "model.safetensors").read_bytes()


def test_workers_do_not_change_the_run(catalogue, split, cache, settings, tmp_path):
    for workers in (0, 2):
        config = settings(steps=6, train={"workers": workers})
        trainer.train(catalogue, split, cache, config, Run(tmp_path / str(workers)), device="cpu", quiet=True)
    alone, helped = (load_file(tmp_path / name / "last" / "model.safetensors") for name in ("0", "2"))
    assert all(torch.equal(tensor, helped[name]) for name, tensor in alone.items())


@pytest.mark.parametrize("moment", ["in a step", "while saving", "in validation"])
def test_a_killed_run_continues_bit_for_bit(catalogue, split, cache, settings, tmp_path, monkeypatch, moment):
    """The process vanishes (here: an exception that nothing handles) and the same call goes on."""
    config = settings(steps=14, train={"save_minutes": 1e-9})
    whole, broken = Run(tmp_path / "whole"), Run(tmp_path / "broken")
    trainer.train(catalogue, split, cache, config, whole, device="cpu", quiet=True)

    class Killed(BaseException):
        pass

    calls = {"count": 0}

    def dying(real, at):
        def call(*args, **kwargs):
            calls["count"] += 1
            if calls["count"] == at:
                raise Killed
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        if moment == "in a step":
            patch.setattr(trainer._Trainer, "_apply", dying(trainer._Trainer._apply, 8))
        elif moment == "while saving":
            patch.setattr(trainer, "save_model", dying(trainer.save_model, 8))
        else:
            patch.setattr(trainer.Validation, "dice", dying(trainer.Validation.dice, 2))
        with pytest.raises(Killed):
            trainer.train(catalogue, split, cache, config, broken, device="cpu", quiet=True)
    assert not broken.model.exists()
    trainer.train(catalogue, split, cache, config, broken, device="cpu", quiet=True)
    assert files(broken) == files(whole)
    assert losses(broken) == losses(whole)


def test_sigterm_saves_and_the_same_call_continues(catalogue, split, cache, settings, tmp_path, monkeypatch):
    config = settings(steps=10, train={"validations": 0})
    whole, stopped = Run(tmp_path / "whole"), Run(tmp_path / "stopped")
    trainer.train(catalogue, split, cache, config, whole, device="cpu", quiet=True)
    real = trainer._Trainer._apply
    before = signal.getsignal(signal.SIGTERM)

    def signalled(self, *args):
        if self.progress.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Trainer, "_apply", signalled)
        with pytest.raises(Interrupted, match="step 5 of 10"):
            trainer.train(catalogue, split, cache, config, stopped, device="cpu", quiet=True)
    assert signal.getsignal(signal.SIGTERM) == before
    assert (stopped.last / "state.safetensors").exists()
    trainer.train(catalogue, split, cache, config, stopped, device="cpu", quiet=True)
    assert files(stopped) == files(whole)


def test_sigterm_to_the_whole_group_saves_too(settings, job, tmp_path):
    """As slurm and docker send it: the loader's processes hear it, and the run still ends in order."""
    config = settings(steps=400, train={"workers": 2, "validations": 0})
    run = Run(tmp_path / "run")
    command = job(run.root, config)
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if read_log(run.log) or process.poll() is not None:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert "Interrupted: stopped at step" in errors, errors
    assert (run.last / "state.safetensors").exists()


def test_another_setting_does_not_continue_a_run(catalogue, split, cache, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer._Trainer, "_after_step", interrupting(trainer._Trainer._after_step))
    with pytest.raises(Interrupted):
        trainer.train(catalogue, split, cache, settings(), Run(tmp_path), device="cpu", quiet=True)
    with pytest.raises(SettingsError, match=r"other settings \(config.yaml\)"):
        trainer.train(catalogue, split, cache, settings(ema=0.5), Run(tmp_path), device="cpu", quiet=True)


def interrupting(real):
    def call(self):
        self.stop.asked = True
        return real(self)

    return call


def test_a_term_that_is_not_finite_is_named(catalogue, split, cache, settings, tmp_path, monkeypatch):
    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        logits = self.segmenter(batch.labelled.image)
        yield Update({"fine": logits.mean(), "broken": logits.mean() / 0.0})

    monkeypatch.setattr(Supervised, "step", step)
    with pytest.raises(FewmaskError, match="step 0: loss term 'broken' is"):
        trainer.train(catalogue, split, cache, settings("supervised"), Run(tmp_path), device="cpu", quiet=True)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you ..."),
    ],
)
def test_full_memory_says_what_to_lower(catalogue, split, cache, settings, tmp_path, monkeypatch, error):
    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        raise error
        yield

    monkeypatch.setattr(DiffCL, "step", step)
    wanted = (
        r"step 0: memory is full; lower plan.size \(\[\d+, \d+\]\), method.labelled_batch \(4\), or drop the finest of"
    )
    with pytest.raises(OutOfMemory, match=wanted):
        trainer.train(catalogue, split, cache, settings("diff_cl"), Run(tmp_path), device="cpu", quiet=True)


def test_what_a_broken_term_spoilt_is_never_saved(catalogue, split, cache, settings, tmp_path, monkeypatch):
    """The second update of a step breaks after three good steps: the checkpoint of the third is what stays."""

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        yield Update({"fine": self.segmenter(batch.labelled.image).mean()})
        yield Update({"coarse_latent": self.segmenter(batch.labelled.image).mean() * (0 if clock.step < 3 else np.nan)})

    monkeypatch.setattr(Supervised, "step", step)
    config = settings("supervised", steps=9, train={"save_minutes": 1e-9, "validations": 0})
    with pytest.raises(FewmaskError, match="step 3: loss term 'coarse_latent' is nan; lower"):
        trainer.train(catalogue, split, cache, config, Run(tmp_path), device="cpu", quiet=True)
    state = Run(tmp_path).last / "state.safetensors"
    with safe_open(state, "pt") as file:
        assert json.loads(file.metadata()["progress"])["step"] == 3
    assert all(value.isfinite().all() for value in load_file(state).values())


def test_only_the_named_groups_step(catalogue, split, cache, settings, tmp_path, monkeypatch):
    """Two groups, updates that alternate: each moves its own weights, though both terms touch both networks."""
    moved = {"first": [], "second": []}

    class Pair(Supervised):
        def groups(self):
            return {"first": self.segmenter, "second": self.other}

        def __init__(self, config, task):
            super().__init__(config, task)
            self.other = type(self.segmenter)(**{k: v for k, v in self.segmenter.spec.items() if k != "name"})

        def step(self, batch, clock):
            labelled = batch.labelled
            for name in ("first", "second"):
                before = {key: [p.clone() for p in module.parameters()] for key, module in self.groups().items()}
                both = self.segmenter(labelled.image) + self.other(labelled.image)
                yield Update({f"both, for {name}": dice_ce(both, labelled.label, labelled.valid)}, groups=(name,))
                for key, module in self.groups().items():
                    changed = any(not torch.equal(a, b) for a, b in zip(before[key], module.parameters(), strict=True))
                    moved[key].append(changed)

    monkeypatch.setitem(METHODS, "pair", Pair)
    config = settings("pair", steps=2, train={"validations": 0, "optimiser": {"lr": 1e-2, "warmup": 0}})
    trainer.train(catalogue, split, cache, config, Run(tmp_path), device="cpu", quiet=True)
    assert moved == {"first": [True, False, True, False], "second": [False, True, False, True]}


class TwoRounds(FixMatch):
    """A toy that uses stages and relabelling: warm-up, then a stage that learns from the bank it wrote."""

    served: list

    def stages(self):
        sizes = {"labelled_batch": 4, "unlabelled_batch": 2}
        return (
            Stage(name="warm-up", fraction=0.5, labelled_batch=2, schedule="constant"),
            Stage(name="round 1", fraction=0.25, relabel=True, **sizes),
            Stage(name="round 2", fraction=0.25, relabel=True, **sizes),
        )

    def relabel(self, cases: Iterable[Stream], clock: Clock) -> Iterator[Pseudo]:
        for stream in cases:
            assert stream.label is None
            raw = self.segmenter(stream.image).argmax(1).numpy().astype(np.uint8)
            # a label that says where it lies, so that a wrong warp or a wrong slice would show
            label = (stream.image[:, 0] > 0.5).numpy().astype(np.uint8)
            weight = np.where(label, 0.75, 0.25)
            yield Pseudo(case=stream.case[0], raw=raw, label=label, weight=weight, info={"stage_step": 0.0})

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        labelled, unlabelled = batch.labelled, batch.unlabelled
        self.served.append((clock, labelled, unlabelled))
        terms = {"supervised": dice_ce(self.segmenter(labelled.strong[0]), labelled.label, labelled.valid)}
        if clock.stage != "warm-up":
            logits = self.segmenter(unlabelled.strong[0])
            terms["bank"] = dice_ce(logits, unlabelled.pseudo, unlabelled.valid, unlabelled.weight)
        yield Update(terms)

    def views(self) -> Views:
        return Views(weak=self.config.weak, strong=(self.config.strong,), unlabelled=True)

    def predictor(self) -> Predictor:
        return SegmenterPredictor(self.segmenter)


def test_stages_and_relabelling(catalogue, split, cache, settings, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "two_rounds", TwoRounds)
    monkeypatch.setattr(TwoRounds, "served", [], raising=False)
    run = Run(tmp_path / "whole")
    train = {"validations": 0, "save_minutes": 1e-9}
    config = settings("two_rounds", steps=8, train=train, weak={"flip": [0, 1]})
    trainer.train(catalogue, split, cache, config, run, device="cpu", quiet=True)
    clocks = [clock for clock, _, _ in TwoRounds.served]
    assert [(c.stage, c.stage_step, c.stage_total) for c in clocks] == [
        *[("warm-up", step, 4) for step in range(4)],
        *[("round 1", step, 2) for step in range(2)],
        *[("round 2", step, 2) for step in range(2)],
    ]
    assert [(len(x.case), u and len(u.case)) for _, x, u in TwoRounds.served] == [(2, None)] * 4 + [(4, 2)] * 4
    for _, _, unlabelled in TwoRounds.served[4:]:
        assert unlabelled.label is None
        expected = (unlabelled.image[:, 0] > 0.5).long()
        assert torch.equal(unlabelled.pseudo, expected)
        torch.testing.assert_close(unlabelled.weight, torch.where(expected.bool(), 0.75, 0.25))
    # every unlabelled case, and the one of which a single slice is labelled, has a file in each round
    wanted = {f"{case}.npz" for case in (*split.unlabelled, split.labelled[1].split(":")[0])}
    for number in ("1", "2"):
        folder = run.pseudo / number
        assert {path.name for path in folder.iterdir()} == wanted
        with np.load(folder / f"{split.unlabelled[0]}.npz") as file:
            assert file["raw"].shape == file["label"].shape == (3, 17, 20)
            assert file["weight"].dtype == np.float16 and set(file.files) >= {"info_stage_step"}

    broken = Run(tmp_path / "broken")
    real, calls = bank.np.savez_compressed, []

    def dying(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise OSError("gone")
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(bank.np, "savez_compressed", dying)
        with pytest.raises(OSError, match="gone"):
            trainer.train(catalogue, split, cache, config, broken, device="cpu", quiet=True)
    assert not (broken.pseudo / "1").exists()  # a bank is there whole or not at all
    trainer.train(catalogue, split, cache, config, broken, device="cpu", quiet=True)
    assert files(broken) == files(run)
    for path in sorted(run.pseudo.glob("*/*.npz")):  # the student's dropout and statistics took no part
        with np.load(path) as one, np.load(broken.pseudo / path.relative_to(run.pseudo)) as other:
            assert all(np.array_equal(one[name], other[name]) for name in one.files)


def test_no_unlabelled_image_is_said(catalogue, split, cache, settings, tmp_path):
    whole = type(split)(labelled=split.labelled[:1], val=split.val)
    with pytest.raises(SettingsError, match="no unlabelled image"):
        trainer.train(catalogue, whole, cache, settings(), Run(tmp_path), device="cpu", quiet=True)


def test_tensorboard_shows_every_step_once_after_a_kill(catalogue, split, cache, settings, tmp_path, monkeypatch):
    """One event file a sitting; what the killed one wrote after its last checkpoint is written again, not twice."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run(tmp_path)
    config = settings("supervised", steps=8, train={"tensorboard": True, "validations": 2})
    real = trainer._Trainer._apply

    def dying(self, *args):
        if self.progress.step == 6:  # two steps after the checkpoint
            raise KeyError("killed")
        return real(self, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyError, match="killed"):
        patch.setattr(trainer._Trainer, "_apply", dying)
        trainer.train(catalogue, split, cache, config, run, device="cpu", quiet=True)
    assert len(list((run.root / "tensorboard").iterdir())) == 1
    trainer.train(catalogue, split, cache, config, run, device="cpu", quiet=True)
    assert len(list((run.root / "tensorboard").iterdir())) == 2
    shown = EventAccumulator(str(run.root / "tensorboard")).Reload()
    assert [event.step for event in shown.Scalars("terms/supervised")] == list(range(1, 9))
    assert [event.step for event in shown.Scalars("val/dice")] == [4, 8]


def test_images_per_second_are_those_of_all_processes(catalogue, split, cache, settings, tmp_path, monkeypatch):
    """As the first of two processes, which alone writes: the log counts the whole batch, not its half of it."""
    counted = []
    real = trainer.Journal.write
    monkeypatch.setattr(trainer.distributed, "world", lambda: 2)
    monkeypatch.setattr(
        trainer.Journal, "write", lambda *args, **entry: (counted.append(entry["images"]), real(*args, **entry))
    )
    config = settings(steps=4, train={"validations": 0}, burn_in=0.5)
    trainer.train(catalogue, split, cache, config, Run(tmp_path), device="cpu", quiet=True)
    assert counted == [4, 4, 8, 8]


def test_a_log_entry_that_is_no_number_does_not_end_a_run(catalogue, split, cache, settings, tmp_path, monkeypatch):
    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        loss = dice_ce(self.segmenter(batch.labelled.image), batch.labelled.label, batch.labelled.valid)
        yield Update({"loss": loss}, log={"kept": torch.tensor(float("nan"))})

    monkeypatch.setattr(Supervised, "step", step)
    config = settings("supervised", steps=2, train={"validations": 0})
    trainer.train(catalogue, split, cache, config, Run(tmp_path), device="cpu", quiet=True)
    assert [entry["log"] for entry in read_log(Run(tmp_path).log)] == [{"kept": None}] * 2


@pytest.mark.slow
def test_sigkill_at_any_moment(catalogue, split, cache, settings, job, tmp_path):
    """A real process, killed again and again at moments that nobody chose, ends as the undisturbed one."""
    config = settings(steps=40, train={"save_minutes": 1e-3})
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    trainer.train(catalogue, split, cache, config, whole, device="cpu", quiet=True)
    command = job(killed.root, config)
    random = np.random.default_rng(1)
    kills = 0
    for _ in range(30):
        process = subprocess.Popen(command)
        wait_for(killed.root / "started", process)
        time.sleep(random.uniform(0.1, 0.8))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        (killed.root / "started").unlink(missing_ok=True)
        if (killed.model / "model.safetensors").exists():
            break
    assert kills > 1, "the run was over before it could be killed twice"
    trainer.train(catalogue, split, cache, config, killed, device="cpu", quiet=True)
    assert files(killed) == files(whole)
    assert losses(killed) == losses(whole)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    for _ in range(600):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.1)
    raise AssertionError("the job did not start")
