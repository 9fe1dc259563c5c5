"""The loop: batch -> step -> update -> log -> validate -> checkpoint.  Everything that is not a method's idea."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from fewmask import distributed
from fewmask.config import Config, validated
from fewmask.data.cache import Cache
from fewmask.data.catalogue import Catalogue
from fewmask.data.loader import Source, StageBatches, iterate
from fewmask.data.views import as_planned
from fewmask.device import choose_device
from fewmask.errors import Interrupted, SettingsError
from fewmask.memory import memory_errors
from fewmask.methods import build_method
from fewmask.predictors import Model, save_model
from fewmask.progress import meter
from fewmask.runs import Run, atomic_write, record_environment, truncate_log
from fewmask.seeding import derive
from fewmask.training.bank import write_bank
from fewmask.training.checkpoint import Progress, load_state, save_state
from fewmask.training.export import export
from fewmask.training.finite import refuse_infinite
from fewmask.training.journal import Journal, note
from fewmask.training.machine import autocast, choose_threads
from fewmask.training.optim import build_optimisers, set_learning_rates
from fewmask.training.signals import listening
from fewmask.training.stages import Span, spans
from fewmask.training.validation import Validation
from fewmask.types import Batch, Clock, Split, Stage, Task, Update


def train(
    catalogue: Catalogue,
    split: Split,
    cache: Cache,
    config: Config,
    run: Run,
    *,
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Train `config.method` on the prepared cases of `split` until run.model exists.

    A run folder with a checkpoint of the same settings is continued, bit for bit on the CPU.  config.plan holds no open
    choice.  Raises SettingsError, DataError; Interrupted after SIGINT or SIGTERM, when the state has been saved.
    """
    chosen = choose_device(device, distributed.local_rank())
    distributed.start(chosen)
    torch.set_num_threads(choose_threads(config.train.threads))
    try:
        _Trainer(catalogue, split, cache, config, run, chosen, quiet).train()
    finally:
        distributed.stop()


class _Trainer:
    def __init__(
        self,
        catalogue: Catalogue,
        split: Split,
        cache: Cache,
        config: Config,
        run: Run,
        device: torch.device,
        quiet: bool,
    ) -> None:
        self.catalogue, self.cache, self.config, self.run = catalogue, cache, config, run
        self.device, self.quiet, self.seed = device, quiet, config.train.seed
        plan = config.plan
        self.task = Task(
            channels=len(catalogue.channels),
            classes=len(catalogue.labels),
            names=catalogue.labels.names,
            patch_size=plan.size,
        )
        training = (*split.labelled_slices, *split.unlabelled)
        self.fingerprint = cache.fingerprint(training, plan.intensity)
        torch.manual_seed(derive(self.seed, "init"))
        self.method = build_method(config.method, self.task)
        self.views = as_planned(self.method.views(), plan.flip, plan.rotation)
        self.source = Source(
            cache,
            split,
            patch_size=plan.size,
            intensity_kind=plan.intensity,
            fingerprint=self.fingerprint,
        )
        self.spans = spans(self.method.stages(), config.train.steps)
        self.batches = [self._batches(span) for span in self.spans]
        self.validation = None
        if split.val and config.train.validations:
            self.validation = Validation.planned(catalogue, split.val, cache, config, self.fingerprint, device)
        memory_format = {2: torch.channels_last, 3: torch.contiguous_format}[self.task.dims]
        self.method.to(device=device, memory_format=memory_format)
        distributed.share_state(self.method)
        self.optimisers = build_optimisers(self.method.groups(), config.train)
        self.parameters = {
            name: [parameter for parameter in module.parameters() if parameter.requires_grad]
            for name, module in self.method.groups().items()
        }
        self.progress = Progress()

    def _batches(self, span: Span) -> StageBatches:
        return StageBatches(
            self.source,
            self.views,
            span.stage,
            seed=self.seed,
            number=span.number,
            bank=self._bank(span) if span.stage.relabel else None,
            rank=distributed.rank(),
            world=distributed.world(),
        )

    def _bank(self, span: Span) -> Path:
        """Banks are numbered from 1, in the order of the stages that ask for one."""
        number = sum(other.stage.relabel for other in self.spans[: span.number + 1])
        return self.run.pseudo / str(number)

    # the run as a whole

    def train(self) -> None:
        if (self.run.model / "model.safetensors").exists():
            return
        self._begin()
        steps, done = self.config.train.steps, self.progress.step
        tensorboard = self.config.train.tensorboard and distributed.rank() == 0
        with (
            closing(Journal(self.run, steps, done, tensorboard)) as self.journal,
            listening() as self.stop,
            meter("train", steps, done=done, quiet=self.quiet) as self.meter,
        ):
            self.saved_at = time.monotonic()
            self.started = self.saved_at - self.progress.seconds
            self.method.train()
            for span, batches in zip(self.spans, self.batches, strict=True):
                if self.progress.step < span.stop:
                    self._stage(span, batches)
        self._save()
        if distributed.rank() == 0:
            chosen = self.run.best if (self.run.best / "model.safetensors").exists() else self.run.last
            for name in ("model.json", "model.safetensors"):  # the weights last: they say that training is complete
                atomic_write(self.run.model / name, (chosen / name).read_bytes())
        distributed.barrier()

    def _begin(self) -> None:
        """Write the settings of a new run, or restore the state of one that was begun with equal settings."""
        settings = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        state = self.run.last / "state.safetensors"
        if state.exists():
            begun = validated(Config, yaml.safe_load(self.run.config.read_text(encoding="utf-8")), str(self.run.config))
            if begun != self.config:
                raise SettingsError(f"{self.run.root}: begun with other settings (config.yaml); choose another --out")
            self.progress = load_state(state, self.method, self.optimisers)
        if distributed.rank() == 0:
            if state.exists():
                truncate_log(self.run.log, self.progress.step)
            else:
                shutil.rmtree(self.run.best, ignore_errors=True)
                self.run.log.unlink(missing_ok=True)
                atomic_write(self.run.config, settings)
            record_environment(self.run, str(self.device))
        distributed.barrier()

    def _stage(self, span: Span, batches: StageBatches) -> None:
        if span.stage.relabel:
            self._relabel(span)
        self.images = sum(batches.sizes.values())
        start = max(self.progress.step, span.start)
        workers = self.config.train.workers
        with closing(iterate(batches, start - span.start, span.stop - span.start, workers)) as served:
            for batch in served:
                with memory_errors(f"step {self.progress.step}", self._memory_settings()):
                    self._step(span, batch)
                self.progress.step += 1
                self._after_step()

    def _relabel(self, span: Span) -> None:
        """Let the method write its bank of pseudo-labels unless it is there."""
        bank = self._bank(span)
        if distributed.rank() == 0 and not bank.exists():
            clock, seed = self._clock(span), derive(self.seed, "relabel", span.number)
            write_bank(self.method, self.source, bank, clock, self.device, seed)
        distributed.barrier()

    def _memory_settings(self) -> str:
        size = list(self.config.plan.size)
        return f"plan.size ({size}), method.labelled_batch ({self.method.config.labelled_batch}){self.method.lower()}"

    # one step

    def _clock(self, span: Span) -> Clock:
        generator = torch.Generator(self.device)
        generator.manual_seed(derive(self.seed, "noise", self.progress.step, distributed.rank()))
        return Clock(
            step=self.progress.step,
            total=self.config.train.steps,
            stage=span.stage.name,
            stage_step=self.progress.step - span.start,
            stage_total=span.stop - span.start,
            generator=generator,
        )

    def _step(self, span: Span, batch: Batch) -> None:
        clock = self._clock(span)
        set_learning_rates(self.optimisers, self.config.train, clock, span.stage.schedule, span.stage.part)
        # dropout draws from the global generator: seeded per step, a resumed run repeats it
        torch.manual_seed(derive(self.seed, "dropout", self.progress.step, distributed.rank()))
        updates = self.method.step(batch.to(self.device), clock)
        self.updates = []
        while (update := self._next(updates)) is not None:
            self._apply(update, span.stage)
            self.updates.append(update)
        refuse_infinite(self.updates, self.progress.step)
        # in every step, so that no saving or validating, which the clock decides on, can change what is learned
        distributed.share_buffers(self.method)

    def _next(self, updates: Iterator[Update]) -> Update | None:
        with autocast(self.config.train.precision, self.device):
            return next(updates, None)

    def _apply(self, update: Update, stage: Stage) -> None:
        """One optimiser update: backward, averaging, clipping, stepping the groups that take part."""
        total = sum(update.weights.get(name, 1.0) * term for name, term in update.terms.items())
        for parameters in self.parameters.values():
            for parameter in parameters:
                parameter.grad = None
        total.backward()
        for name in update.groups or self.optimisers:
            if stage.groups is not None and name not in stage.groups:
                continue
            distributed.average_gradients(self.parameters[name])
            nn.utils.clip_grad_norm_(self.parameters[name], self.config.train.clip)
            self.optimisers[name].step()

    # around the steps

    def _after_step(self) -> None:
        train, now = self.config.train, time.monotonic()
        step, steps = self.progress.step, train.steps
        self.progress.seconds = now - self.started
        validate = self.validation is not None and (
            step == steps or step * train.validations // steps > (step - 1) * train.validations // steps
        )
        val = self._validate() if validate else None
        if distributed.rank() == 0:
            if val or self.journal.due(step):
                self._log(val)
            terms = self.updates[0].terms if self.updates else {}
            self.meter.advance(note=note(terms, self.progress.best_dice) if self.journal.on_beat(step) else "")
        interrupted = distributed.any_of(self.stop.asked, self.device)
        due = distributed.any_of(now - self.saved_at > train.save_minutes * 60, self.device)
        if validate or interrupted or due:
            self._save()
        if interrupted and step < steps:
            raise Interrupted(f"stopped at step {step} of {steps}; the same command continues")

    def _validate(self) -> dict[str, Any] | None:
        """Dice of the predictor, and beside it of the pseudo-labels, on val; keeps the model if it is the best."""
        result = None
        if distributed.rank() == 0:
            result = self.validation.of(self.method)
            if self.progress.best_dice is None or result["dice"] > self.progress.best_dice:
                self.progress.best_dice, self.progress.best_step = result["dice"], self.progress.step
                save_model(self._model(), self.run.best)
            self.method.train()
        distributed.barrier()
        return result

    def _log(self, val: Mapping[str, Any] | None) -> None:
        step = self.progress.step
        self.journal.write(
            step,
            stage=next(span.stage.name for span in self.spans if step <= span.stop),
            seconds=self.progress.seconds,
            images=self.images,
            rates={name: optimiser.param_groups[0]["lr"] for name, optimiser in self.optimisers.items()},
            updates=self.updates,
            val=val,
        )

    def _save(self) -> None:
        if distributed.rank() == 0:
            save_state(self.run.last / "state.safetensors", self.method, self.optimisers, self.progress)
            save_model(self._model(), self.run.last)
        self.saved_at = time.monotonic()

    def _model(self) -> Model:
        return export(self.method, self.progress, self.catalogue, self.cache, self.config, self.fingerprint)
