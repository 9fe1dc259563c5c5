"""Caudo-Diff (Yu & Liu, Pattern Recognition 170, 2026, 112007): a collection from one labelled exemplar.

Only the paper's abstract is public; this is a reconstruction, and docs/methods/caudo_diff.md tells known from inferred.
A synthesiser makes a training set of the exemplar; an autoencoder learns its label maps; a deterministic diffusion in
that latent space, guided by the segmenter's labels and features, learns to undo errors; then rounds of calibrating the
labels of all unlabelled images and learning them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from fewmask.diffusion.calibration import LatentCalibrator
from fewmask.errors import SettingsError
from fewmask.losses import dice_ce
from fewmask.methods.base import Method
from fewmask.methods.calibration_loss import calibrator_terms
from fewmask.methods.calibration_pairs import Pairs, PairSource
from fewmask.methods.caudo_diff_settings import CaudoDiffConfig
from fewmask.methods.caudo_diff_stages import stages_of
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.methods.label_gate import LabelGate, autoencoder_terms
from fewmask.methods.mixing import boxes, paste
from fewmask.methods.synthesis import Sample, Synthesis, centred_box, deformed_labels, synthesise
from fewmask.methods.whole_case import whole_maps
from fewmask.nets import build_segmenter
from fewmask.nets.blocks import CHANNEL_DROPOUT
from fewmask.nets.guide import feature_channels
from fewmask.nets.label_autoencoder import LabelAutoencoder, latent_size
from fewmask.predictors import CalibratedPredictor, LargestComponentPredictor, Predictor, SegmenterPredictor
from fewmask.predictors.calibrated import Control
from fewmask.rows import per_row
from fewmask.types import Batch, Clock, Pseudo, Stage, Stream, Task, Update, Views

EARLY = (1 / 3, 1 / 2, 2 / 3, 5 / 6)
"""Shares of the warm-up at which the segmenter is kept, to err on what it will have learnt later (2.8); before a third
of a short one it knows nothing, and errs like no network that labels."""
CANDIDATES = 2
"""Pairs that are made for each that is learnt."""
COARSER = (112, 192)
"""Longest sides from which the latent is a quarter and an eighth of the image's, else half: a thin wall of two voxels
has to survive."""
DIVERGENCE = 1e-3
"""Weight that holds latents near a unit deviation, so that the noise they are decoded under counts; with the
reconstruction's 1e-6 theirs was 7, and the least class came out at 0.906 in place of 0.943."""
THINNEST = 4
"""Cells that the latent's shortest side keeps, where one halving lets it."""
PERTURBATION = 0.5
"""Share of channels that UniMatch's feature perturbation drops."""


class CaudoDiff(Method):
    """Groups `autoencoder`, `segmenter` and `calibrator`; each stage trains one of them."""

    Config = CaudoDiffConfig
    config: CaudoDiffConfig
    least_shown = 16  # its whole training set is made of them

    def __init__(self, config: CaudoDiffConfig, task: Task) -> None:
        super().__init__()
        self.config, self.task = config, task
        width, latent, calibrator = config.segmenter.width, config.autoencoder, config.calibrator
        halvings = latent.halvings or halvings_of(task.patch_size)
        self.segmenter = build_segmenter(config.segmenter, task)
        self.autoencoder = LabelAutoencoder(
            classes=task.classes,
            dims=task.dims,
            width=latent.width or width,
            halvings=halvings,
            channels=latent.channels,
        )
        self.calibrator = LatentCalibrator(
            latent=latent.channels,
            size=latent_size(task.patch_size, halvings),
            halvings=halvings,
            features=feature_channels(self.segmenter, halvings),
            classes=task.classes,
            dims=task.dims,
            width=calibrator.width or 2 * halvings * width,
            guide_width=calibrator.guide_width or 2 * width,
            variant=calibrator.variant,
            start=calibrator.start,
            samples=calibrator.samples,
            dropout=calibrator.dropout,
            blur=calibrator.blur,
            ends=calibrator.ends,
            recycled=calibrator.recycled,
        )
        self.teacher, self.average = teacher_of(self.segmenter), teacher_of(self.calibrator)
        self.pairs = PairSource(self.segmenter, len(EARLY) + config.budget.rounds, halvings, len(EARLY))
        self.gate = LabelGate(latent.channels, task.classes)
        self.drop = CHANNEL_DROPOUT[task.dims](PERTURBATION)
        self.register_buffer("path_errors", torch.ones(2))  # at the start and in mid path, for the leak alarm
        self.register_buffer("calibrating", torch.zeros((), dtype=torch.bool))  # whether the calibrator has learnt
        self.register_buffer("round", torch.zeros((), dtype=torch.int64))  # the current one, from 1

    def groups(self) -> dict[str, nn.Module]:
        return {"autoencoder": self.autoencoder, "segmenter": self.segmenter, "calibrator": self.calibrator}

    def views(self) -> Views:
        strong = self.config.strong
        return Views(weak=self.config.weak, strong=(strong, strong), unlabelled=True)

    def stages(self) -> tuple[Stage, ...]:
        return stages_of(self.config)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        kind, _, number = clock.stage.partition(" ")
        if kind == "autoencoder":
            yield self._autoencoder_update(batch.labelled, clock)
        elif kind == "gate":
            self._measure(batch.labelled, clock)
        elif kind in ("calibrator", "tune"):
            self.calibrating.fill_(True)
            yield self._calibrator_update(batch.labelled, batch.unlabelled, clock)
            update_teacher(self.average, self.calibrator, self.config.calibrator.ema, _own(clock, kind == "tune"))
        else:
            self.round.fill_(int(number or 0))
            yield self._segmenter_update(batch.labelled, batch.unlabelled, clock)
            update_teacher(self.teacher, self.segmenter, self.config.ema, _own(clock, bool(number)))
            self._keep(clock, int(number or 0))

    # the label autoencoder (2.5)

    def _autoencoder_update(self, x: Stream, clock: Clock) -> Update:
        label, valid = self._fresh_labels(x, clock)
        terms = autoencoder_terms(self.autoencoder, label, valid, self.config.autoencoder.noise, clock.generator)
        return Update(terms, {"divergence": DIVERGENCE}, groups=("autoencoder",))

    def _measure(self, x: Stream, clock: Clock) -> None:
        """Nothing is learnt; at the end latents are standardised, and a poor autoencoder ends the run."""
        self.gate.measure(self.autoencoder, *self._fresh_labels(x, clock))
        if clock.stage_step + 1 < clock.stage_total:
            return
        self.gate.gather()
        self.autoencoder.standardise(*self.gate.moments, self.gate.cells)
        least, budget = self.config.autoencoder.gate, self.config.budget.autoencoder
        complaint = self.gate.complaint(self.task.names[1:], least, self.autoencoder, budget)
        if complaint:
            raise SettingsError(complaint)

    def _fresh_labels(self, x: Stream, clock: Clock) -> tuple[Tensor, Tensor]:
        """Each label map in several deformations, as many as a batch holds."""
        labelled = self.config.labelled_batch
        each = -(-(self.config.autoencoder.batch or 2 * labelled) // labelled)
        label, valid = (one.repeat(each, *[1] * self.task.dims) for one in (x.label, x.valid))
        return deformed_labels(self._wider(), label, valid, self.task.classes, clock.generator)

    # guide and denoiser (2.6 to 2.8)

    def _calibrator_update(self, x: Stream, u: Stream, clock: Clock) -> Update:
        terms, log = calibrator_terms(
            self.calibrator,
            self.autoencoder,
            self._pairs(x, u, clock),
            hide=self.config.calibrator.hide,
            path_errors=self.path_errors,
            generator=clock.generator,
        )
        log["autoencoder_dice"] = min(self.gate.dice())
        return Update(terms, {"error": 0.1}, groups=("calibrator",), log=log)

    def _pairs(self, x: Stream, u: Stream, clock: Clock) -> Pairs:
        """Of samples deformed further than those that the segmenter learns, several of each image that was loaded."""
        settings, labeller, said = self.config.calibrator, self.teacher.network, self._probabilities(u.image)
        batch = settings.batch or 2 * self.config.labelled_batch
        wanted = -(-batch * len(x.label) // self.config.labelled_batch)  # of several processes each makes its part
        each = -(-CANDIDATES * wanted // len(x.label))
        image, label, valid, background, suspect = (
            one.repeat(each, *[1] * (one.ndim - 1)) for one in (*_sample(x), u.strong[0], self._suspect(said, u))
        )
        given = Sample(image, label, valid)
        made = synthesise(self._wider(), given, background, suspect, self.task.classes, clock.generator)
        return self.pairs.make(settings, made, u.strong[1], labeller, said, wanted, clock.generator)

    # the segmenter (2.4, 2.10)

    def _segmenter_update(self, x: Stream, u: Stream, clock: Clock) -> Update:
        """The labelled images, synthetic ones, and in rounds what the bank says of the unlabelled ones."""
        config, number = self.config, int(self.round)
        blind = number == 0 and clock.stage_fraction < config.blind
        suspect = self._untold(u) if blind else self._suspect(self._probabilities(u.image), u)
        made = synthesise(config.synthesis, _sample(x), u.strong[0], suspect, self.task.classes, clock.generator)
        logits = self.segmenter(torch.cat([x.strong[0], made.image]))
        n = len(x.label)
        terms = {
            "supervised": dice_ce(logits[:n], x.label, x.valid),
            "synthetic": dice_ce(logits[n:], made.label, made.valid),
        }
        if not number or u.pseudo is None:
            return Update(terms, groups=("segmenter",))
        weight = config.calibrated_loss.weight(_rounds(clock, number, config.budget.rounds))
        views = []
        for strong in u.strong:
            box = boxes(tuple(u.pseudo.shape), config.cutmix, config.cutmix_area, clock.generator)
            views.append([paste(box, one, one.roll(-1, dims=0)) for one in (strong, u.pseudo, u.valid, u.weight)])
        image, label, valid, trust = (torch.cat(parts) for parts in zip(*views, strict=True))
        terms["calibrated"] = dice_ce(self.segmenter(image), label, valid, trust)
        weights = {"calibrated": weight}
        if config.perturbed:
            features = self.segmenter.encode(u.image)
            dropped = self.segmenter.decode(tuple(self.drop(feature) for feature in features))[-1]
            terms["perturbed"] = dice_ce(self.segmenter.classify(dropped), u.pseudo, u.valid, u.weight)
            weights["perturbed"] = weight * config.perturbed
        return Update(terms, weights, groups=("segmenter",), log={"trusted": u.weight.mean()})

    def _suspect(self, p: Tensor, u: Stream) -> Tensor:
        """Where an unlabelled image may show structures of its own, or nothing at all: the ignore rule."""
        suspect = ((1 - p[:, 0]) > self.config.synthesis.suspicious) | ~u.valid
        return suspect if u.pseudo is None else suspect | (u.pseudo > 0)

    def _untold(self, u: Stream) -> Tensor:
        """The same before the network can tell: everywhere, or in a box in the middle."""
        box = self.config.synthesis.box
        return torch.ones_like(u.valid) if box is None else centred_box(u.valid, box) | ~u.valid

    def _keep(self, clock: Clock, number: int) -> None:
        """Keep the segmenter early in the warm-up and after each round."""
        if self.config.labels != "calibrated":
            return
        if number:
            if clock.stage_step + 1 == clock.stage_total:
                self.pairs.snapshots.take(len(EARLY) + number - 1, self.teacher.network)
            return
        for place, share in enumerate(EARLY):
            if clock.stage_step == round(share * (clock.stage_total - 1)):
                self.pairs.snapshots.take(place, self.teacher.network)

    # labels of all unlabelled images (2.9)

    @torch.no_grad()
    def relabel(self, cases: Iterable[Stream], clock: Clock) -> Iterator[Pseudo]:
        self.round.fill_(int(clock.stage.partition(" ")[2]))
        calibration = self._calibration().eval() if self.config.labels == "calibrated" else None
        kind = np.uint8 if self.task.classes <= 255 else np.uint16
        for stream in cases:
            maps = self._whole(stream.image, calibration)
            classes = self.task.classes
            raw, fused = maps[:, :classes].argmax(1), maps[:, classes : 2 * classes].argmax(1)
            weight, agreement = maps[:, -2], maps[:, -1]
            agreed = agreement.flatten(1).mean(1)
            arrays = (one.cpu().numpy().reshape(-1, *one.shape[-2:]) for one in (raw, fused, weight))
            raw, label, weight = arrays
            yield Pseudo(
                case=stream.case[0],
                raw=raw.astype(kind),
                label=label.astype(kind),
                weight=weight.astype(np.float16),
                info={
                    "round": float(self.round),
                    "agreement": float(agreed.mean()),
                    "least_agreement": float(agreed.min()),
                    "changed": float((raw != label).mean()),
                    "doubted": float((agreement < self.config.trust.agreement).float().mean()),
                },
            )

    def _whole(self, image: Tensor, calibration: CalibratedPredictor | None) -> Tensor:
        """Maps (B, 2 K + 2, *S) of rows (B, C, *S) of any size: probabilities, what is learnt of them, weight,
        agreement."""

        def window(rows: Tensor) -> Tensor:
            if calibration is None:  # plain self-training
                p = self._probabilities(rows)
                sure = (p.amax(1, keepdim=True) >= self.config.trust.confidence).to(p.dtype)
                return torch.cat([p, p, sure, torch.ones_like(sure)], 1)
            raw, fused = calibration.calibrated(rows)
            agreed = per_row(fused.agreement, raw).expand_as(raw[:, :1])
            return torch.cat([raw, fused.p, fused.weight.unsqueeze(1), agreed], 1)

        return whole_maps(window, image, self.task.patch_size)

    # what inference and audits need

    def predictor(self) -> Predictor:
        if self.config.infer == "calibrated":
            return self._calibration()
        return SegmenterPredictor(self.teacher.network)

    def members(self) -> dict[str, Predictor]:
        calibrated = {} if self.config.labels in ("none", "raw") else {"calibrated": self._calibration()}
        return super().members() | calibrated

    def audit(self) -> dict[str, Predictor]:
        raw = {"raw": SegmenterPredictor(self.teacher.network)}
        if self.config.labels == "none":
            return {}
        if self.config.labels == "raw" or not self.calibrating:
            return raw
        calibrator = self.config.calibrator
        controls: tuple[Control, ...] = ("autoencoder", "no_features", "no_label")
        if calibrator.variant != "one_step" and calibrator.samples > 1:
            controls += ("one_call",)
        if calibrator.variant == "ddim":
            controls += ("random_start",)
        return {
            **raw,
            "rectified": self._calibration(),
            "largest_component": LargestComponentPredictor(self.teacher.network),
            **{control: self._calibration(control) for control in controls},
        }

    def _calibration(self, control: Control = "none") -> CalibratedPredictor:
        """With the share and the weight of the current round, those of the first one before there is one."""
        config, number = self.config, max(1, int(self.round))
        place = (number - 1) / max(1, config.budget.rounds - 1)
        share, omega = (low + place * (high - low) for low, high in (config.share, config.omega))
        return CalibratedPredictor(
            self.teacher.network,
            self.autoencoder,
            self.average.network,
            share=share,
            omega=omega,
            trust=config.trust,
            control=control,
        )

    def _probabilities(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            return self.teacher(image).float().softmax(1)

    def _wider(self) -> Synthesis:
        """Shapes for autoencoder and calibrator: what the segmenter trains on and what it does not."""
        return self.config.synthesis.model_copy(update={"elastic": self.config.calibrator.elastic})


def halvings_of(size: Sequence[int]) -> int:
    """1 to 3, from the sides to those of the latent; a thin side is not halved away."""
    wanted = 1 + sum(max(size) >= side for side in COARSER)
    return max(1, min(wanted, (min(size) // THINNEST).bit_length() - 1))


def _sample(x: Stream) -> Sample:
    """What synthesis begins with: another strong view than the one that is learnt as it is."""
    return Sample(x.strong[1], x.label, x.valid)


def _own(clock: Clock, further: bool) -> Clock:
    """The clock that counts the steps of this stage; of a further stage of the same network as if late."""
    return replace(clock, step=clock.total if further else clock.stage_step)


def _rounds(clock: Clock, number: int, rounds: int) -> Clock:
    """The clock of all rounds together."""
    length = clock.stage_total
    return replace(clock, stage_step=(number - 1) * length + clock.stage_step, stage_total=rounds * length)
