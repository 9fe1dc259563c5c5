"""DiffRect (Liu, Li & Yuan, MICCAI 2024, arXiv:2407.09918): diffusion rectifies pseudo-labels in a latent space.

A segmenter labels; a rectifier encodes a label with its image, denoises its latent towards that of a better label and
decodes it; the segmenter learns from the rectified label.  docs/methods/diffrect.md tells paper, code and this apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fewmask.diffusion.rectification import Bottleneck, LabelRectification
from fewmask.errors import SettingsError
from fewmask.losses import dice_ce
from fewmask.methods.base import SemiSupervised
from fewmask.methods.complementary import complementary
from fewmask.methods.diffrect_settings import DiffRectConfig
from fewmask.methods.ema import copy_but_statistics, teacher_of, update_teacher
from fewmask.methods.mixing import boxes, paste
from fewmask.methods.pseudo import clear_of_the_least, label_distance, likeliest
from fewmask.nets import build_segmenter
from fewmask.predictors import Predictor, RectifiedPredictor, SegmenterPredictor
from fewmask.types import Batch, Clock, Task, Update

GUIDANCE = 999.0
"""A label distance of 1, as the number that modulates the rectifier (released code)."""
FOLLOWED = 0.02
"""Share of a step in the running mean of guidance."""
LEAST_SIDE = 9
"""The rectifier halves every side four times, rounding up; a shorter side would be a single voxel before that."""


class DiffRect(SemiSupervised):
    """Two networks, `segmenter` and `rectifier`; labels pass between them as hard maps, so gradients never cross."""

    Config = DiffRectConfig
    config: DiffRectConfig

    def __init__(self, config: DiffRectConfig, task: Task) -> None:
        super().__init__()
        if min(task.patch_size) < LEAST_SIDE:
            raise SettingsError(
                f"plan.size={list(task.patch_size)}: diffrect's rectifier halves every side four times; "
                f"choose sides of {LEAST_SIDE} or more"
            )
        self.config, self.task = config, task
        self.segmenter = build_segmenter(config.segmenter, task)
        self.rectifier = LabelRectification(
            channels=task.channels,
            classes=task.classes,
            dims=task.dims,
            width=config.width or max(1, config.segmenter.width // (1 if config.base == "released" else 2)),
            times=config.times,
            samples=config.samples,
            start=config.start,
            diffuse=config.diffuse,
            clamp=config.clamp,
            skips=config.skips,
            entrance=config.entrance,
            standardise=config.standardise,
            colours=config.colours,
            normalisation=config.segmenter.normalisation,
            dropout=config.segmenter.dropout,
        )
        self.teacher = teacher_of(self.segmenter)
        self.average = teacher_of(self.rectifier)
        self.register_buffer("presumed", torch.zeros(()))  # guidance of labels without a truth: also what audits tell

    def groups(self) -> dict[str, nn.Module]:
        return {"segmenter": self.segmenter, "rectifier": self.rectifier}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        yield from (self._released if self.config.base == "released" else self._averaged)(batch, clock)
        if self.config.base == "averaged":
            update_teacher(self.teacher, self.segmenter, self.config.ema, clock)
        if self.config.sampling == "eval":
            update_teacher(self.average, self.rectifier, self.config.ema, clock)
        elif batch.unlabelled is None or not self._heeded(clock):
            update_teacher(self.average, self.rectifier, 0.0, clock)

    def _averaged(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """An averaged teacher and the rectifier label together, and the student learns it in one update."""
        x, u, config = batch.labelled, batch.unlabelled, self.config
        logits = self.segmenter(x.strong[0])
        terms, weights, log = {"supervised": dice_ce(logits, x.label, x.valid)}, {}, {}
        # weak -> truth is learnt where errors still occur: from what the student says of the strong view
        said = likeliest(logits)
        truth = torch.where(x.valid, x.label, said)  # of ignored voxels nothing is known, so nothing is to be changed
        guidance = self._guidance(said, truth, x.valid)
        carries = [("fine", x.strong[0], said, truth, x.valid, guidance)]
        if u is None:
            self._presumed(guidance, guidance)
        else:
            raw = _probabilities(self.teacher(u.image)).detach()
            weak, keep = self._believed(raw)
            box = boxes(tuple(weak.shape), config.cutmix, config.cutmix_area, clock.generator)

            def mix(rows: Tensor) -> Tensor:
                return paste(box, rows, rows.roll(-1, dims=0))

            image, label = mix(u.strong[0]), mix(weak)
            logits = self.segmenter(image)
            strong = likeliest(logits)
            # of all voxels, doubted ones too: these are the ones to be changed
            inside = mix(u.valid)
            kept = mix(keep) & inside
            presumed = self._presumed(guidance, self._guidance(strong, weak, u.valid & ~box))
            better, sure = label, kept
            share, weight = config.rectified_share.weight(clock), config.rectified_loss.weight(clock)
            if self._heeded(clock):
                rectified = self._rectified(u.image, weak, presumed, clock)
                log["changed"] = ((rectified.argmax(1) != weak) & u.valid).float().mean()
                if weight or config.coarse_target == "rectified":
                    better, certain = self._believed(rectified)
                    better, sure = mix(better), mix(certain) & inside
                if weight:
                    terms["rectified"], weights["rectified"] = dice_ce(logits, better, sure), weight
                weak, keep = self._believed(raw.lerp(rectified, share))
            pseudo, keep = mix(weak), mix(keep) & inside
            terms["pseudo"] = dice_ce(logits, pseudo, keep)
            weights["pseudo"] = config.strong_loss.weight(clock)
            if config.coarse_loss.peak:
                aim = (label, kept) if config.coarse_target == "raw" else (better, sure)
                of_batch = config.guidance == "batch"
                told = guidance[:1].expand(len(label)) if of_batch else self._guidance(strong, label, inside)
                carries.append(("coarse", image, strong, *aim, told))
            foreground = (keep & (pseudo > 0)).float().mean()
            log |= {"kept": keep.float().mean(), "foreground": foreground, "guidance": presumed.mean()}
        # last, so that chance falls as it does in `fixmatch` until rectified labels count
        carried = {name: loss for carry in carries for name, loss in self._carry(*carry, clock).items()}
        yield Update(terms, weights, groups=("segmenter",), log=log)
        yield self._rectifier_update(carried, clock)

    def _released(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Section 1.9 in its order: the segmenter, the rectifier, and the segmenter again on rectified labels."""
        x, u, config = batch.labelled, batch.unlabelled, self.config
        n, rows = len(x.label), len(x.label) + len(u.image)
        weak_view, strong_view = torch.cat([x.image, u.image]), torch.cat([x.strong[0], u.strong[0]])
        valid = torch.cat([x.valid, u.valid])

        on_weak, on_strong = self.segmenter(weak_view), self.segmenter(strong_view)
        (weak, keep), (strong, _) = (self._believed(_probabilities(view.detach())) for view in (on_weak, on_strong))
        keep = keep & valid
        terms = {
            "supervised": _summed(on_weak[:n], x.label, x.valid),
            "raw": _summed(on_strong[n:], weak[n:], keep[n:]),
        }
        if config.complementary:
            terms["complementary"] = complementary(_probabilities(on_strong), _probabilities(on_weak))
        ramp = config.strong_loss.weight(clock)
        yield Update(terms, {name: ramp for name in terms if name != "supervised"}, groups=("segmenter",))

        guidance = self._guidance(weak[:n], x.label, x.valid)
        presumed = self._presumed(guidance, self._guidance(weak[n:], strong[n:], u.valid))
        guidance = torch.cat([guidance, presumed])
        truth = torch.cat([torch.where(x.valid, x.label, weak[:n]), weak[n:]])
        own = config.latent_rows == "own"
        logits, error = self.rectifier.transport(weak_view, weak, truth, guidance, clock.generator)
        carried = {
            "fine": _summed(logits[:n], x.label, x.valid),
            "fine_latent": error[:n].mean() if own else error.mean(),
        }
        if config.coarse_loss.peak:
            on_fine = _probabilities(logits)
            better, sure = self._believed(on_fine.detach())
            if config.coarse_target == "raw":
                better, sure = weak, keep
            sure = sure & valid
            aim = better if config.coarse_target == "rectified" else weak
            distance = self._guidance(strong[n:], better[n:], sure[n:])
            guidance_coarse = distance[:1].expand(rows)
            if config.guidance != "batch":
                guidance_coarse = torch.cat([self._guidance(strong[:n], weak[:n], x.valid), distance])
            logits, error = self.rectifier.transport(strong_view, strong, aim, guidance_coarse, clock.generator)
            carried["coarse"] = _summed(logits[n:], better[n:], sure[n:])
            carried["coarse_latent"] = error[n:].mean() if own else error.mean()
            if config.complementary:
                carried["coarse_complementary"] = complementary(_probabilities(logits), on_fine)
        yield self._rectifier_update(carried, clock)

        if weight := config.rectified_loss.weight(clock):
            rectified, certain = self._believed(self._rectified(weak_view, weak, guidance, clock))
            loss = _summed(self.segmenter(weak_view)[n:], rectified[n:], (certain & valid)[n:])
            changed = ((rectified != weak) & valid)[n:].float().mean()
            yield Update({"rectified": loss}, {"rectified": weight}, ("segmenter",), {"changed": changed})

    def _heeded(self, clock: Clock) -> bool:
        """Whether rectified labels count by now."""
        return bool(self.config.rectified_share.weight(clock) or self.config.rectified_loss.weight(clock))

    def _believed(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """The label (B, *S) of probabilities (B, K, *S) and where it may be learnt."""
        if self.config.confidence == "ratio":
            label, sure = clear_of_the_least(p, self.config.threshold)
        else:
            highest, label = p.max(1)
            sure = highest >= self.config.threshold
        if self.config.uncertain == "background":
            return torch.where(sure, label, 0), torch.ones_like(sure)
        return label, sure

    def _guidance(self, label: Tensor, better: Tensor, valid: Tensor) -> Tensor:
        """How far each label is from the better one, 0 .. 999 (B,); with guidance=batch all rows together."""
        per_sample = self.config.guidance != "batch"
        classes = self.task.classes
        distance = label_distance(label * valid, better * valid, classes, per_sample=per_sample)
        return GUIDANCE * distance.expand(len(label))

    def _presumed(self, known: Tensor, own: Tensor) -> Tensor:
        """The guidance (B,) of labels whose distance from the truth nobody knows, and its running mean for audits.

        known: guidance of the labelled rows; own (B,): how far the other view's labels are.
        """
        told = own if self.config.guidance == "sample" else known.mean().expand_as(own)
        self.presumed.lerp_(told.mean(), torch.where(self.presumed == 0, 1.0, FOLLOWED))
        return self.presumed.expand_as(own) if self.config.guidance == "usual" else told

    def _carry(
        self, name: str, image: Tensor, label: Tensor, better: Tensor, sure: Tensor, guidance: Tensor, clock: Clock
    ) -> dict[str, Tensor]:
        """The losses of one transport, label -> better: at the voxels and in the latent."""
        logits, error = self.rectifier.transport(image, label, better, guidance, clock.generator)
        return {name: dice_ce(logits, better, sure), f"{name}_latent": error.mean()}

    def _rectifier_update(self, carried: dict[str, Tensor], clock: Clock) -> Update:
        weight = self.config.coarse_loss.weight(clock)
        return Update(carried, {name: weight for name in carried if name.startswith("coarse")}, groups=("rectifier",))

    @torch.no_grad()
    def _rectified(self, image: Tensor, label: Tensor, guidance: Tensor, clock: Clock) -> Tensor:
        """Sampled weak -> truth: probabilities (B, K, *S) of the rectified label."""
        rectifier = self.average.network
        noise = torch.randn(rectifier.latent_shape(label.shape), device=image.device, generator=clock.generator)
        if self.config.sampling == "train":
            # its running statistics are those of sampling alone: in the rectifier's own the kinds of labels that it
            # carries are mixed, and an audit in evaluation mode would not be of the labels that are learnt (B10)
            copy_but_statistics(rectifier, self.rectifier)
            rectifier.train()
        found = _probabilities(rectifier.sample(image, label, guidance, noise))
        rectifier.eval()
        return found

    def predictor(self) -> Predictor:
        return self._rectifying() if self.config.infer == "rectified" else SegmenterPredictor(self._labeller())

    def members(self) -> dict[str, Predictor]:
        return super().members() | {"rectified": self._rectifying()}

    def audit(self) -> dict[str, Predictor]:
        return {
            "raw": SegmenterPredictor(self._labeller()),
            "rectified": self._rectifying(),
            "latent_zero": self._rectifying("zero"),
            "latent_noise": self._rectifying("noise"),
            "condition_copy": self._rectifying("condition"),
        }

    def _rectifying(self, bottleneck: Bottleneck = "denoised") -> Predictor:
        share = self.config.rectified_share.peak or 1.0
        return RectifiedPredictor(self._labeller(), self.average.network, self.presumed, share, bottleneck)

    def _labeller(self) -> nn.Module:
        """Who makes the labels, and predicts in the end: the average, or in the released code the student."""
        return self.segmenter if self.config.base == "released" else self.teacher.network


def _summed(logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:
    """Cross entropy plus Dice over all classes, absent ones too, as the released code has it."""
    return 2 * dice_ce(logits, label, valid, absent=True)


def _probabilities(logits: Tensor) -> Tensor:
    return logits.float().softmax(1)
