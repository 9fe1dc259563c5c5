"""Prototype-anchored label diffusion (Xi et al., DGM4MICCAI 2025, arXiv:2507.16429), reconstructed from its abstract.

A network finds a label map's latent in noise, given the image; class prototypes of the denoised latent, which labelled
voxels alone move, anchor it and vet pseudo-labels.  docs/methods/proto_diff.md tells what is known and what inferred.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fewmask.diffusion.continuous import LATEST, log_snr
from fewmask.errors import SettingsError
from fewmask.losses import cross_entropy, dice, masked_mean
from fewmask.methods.base import SemiSupervised
from fewmask.methods.contrast import balanced, consistency, contrast
from fewmask.methods.ema import teacher_of, update_teacher
from fewmask.methods.mixing import boxes, paste
from fewmask.methods.proto_diff_settings import ProtoDiffConfig
from fewmask.nets.encoders import build_encoder
from fewmask.nets.feature_pyramid import resized
from fewmask.nets.label_encoder import LabelEncoderNetwork
from fewmask.nets.label_latent import LabelLatentNetwork, Said, TableNetwork, nearest
from fewmask.nets.prototypes import Prototypes
from fewmask.predictors import LabelLatentPredictor, Predictor
from fewmask.predictors.label_latent import Source, posterior
from fewmask.types import Batch, Clock, Stream, Task, Update

FAINT = 0.1
"""Weight of a confident unlabelled voxel beside a labelled one, where such voxels move prototypes."""


class Told(NamedTuple):
    """What the teacher says of unlabelled images, mixed by CutMix like the strong view."""

    image: Tensor
    label: Tensor
    keep: Tensor
    valid: Tensor
    q: Tensor
    """(B, d, *S') on the latent's grid."""
    confidence: Tensor
    """(B, *S)"""
    log: dict[str, Tensor]


class ProtoDiff(SemiSupervised):
    """One group, `network`; the teacher is its moving average, prototypes are buffers."""

    Config = ProtoDiffConfig
    config: ProtoDiffConfig
    least_shown = 1

    def __init__(self, config: ProtoDiffConfig, task: Task) -> None:
        super().__init__()
        self.config, self.task = config, task
        self.network = _network(config, task)
        self.teacher = teacher_of(self.network)
        proto = config.proto
        self.prototypes = Prototypes(
            task.classes, self.network.latent_channels, proto.per_class, proto.momentum, proto.temperature
        )

    def groups(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        x, u, config, network = batch.labelled, batch.unlabelled, self.config, self.network
        n = len(x.label)
        image, label, sure, told = x.strong[0], x.label, x.valid, None
        if u is not None:
            told = self._told(u, clock)
            image, label = torch.cat([image, told.image]), torch.cat([label, told.label])
            sure = torch.cat([sure, told.keep])  # what was rejected enters the latent as `unknown`

        features = network.features(image)
        entering = self._own_answer(features, label, n, clock) if self._self_aligned(clock) else label
        z0 = network.latent(entering, sure, features)
        snr = log_snr(self._times(len(label), n, clock), network.schedule)
        noise = torch.randn(z0.shape, device=z0.device, generator=clock.generator)
        said = network.denoise(features, network.noised(z0, snr, noise), snr)
        logits = resized(said.logits.float(), label.shape[1:])
        if config.auxiliary:
            helped = resized(network.auxiliary(features).float(), label.shape[1:])
        self._follow(said, label, sure, n)

        terms = {"supervised": self._judged(logits[:n], label[:n], sure[:n])}
        weights, log = {}, {}
        if config.auxiliary:
            terms["auxiliary"] = cross_entropy(helped[:n], label[:n], sure[:n])
            weights["auxiliary"] = config.auxiliary
        if config.label_latent == "encoder" and config.diffuse:
            # of labelled rows, whatever label entered: the latents of pseudo-labels are those of `unknown` in part
            target = network.latent(label, sure, features) if self._self_aligned(clock) else z0
            terms["latent"] = (said.clean[:n] - target[:n].detach()).square().mean()
        anchored = bool(self.prototypes.known.sum() > 1)  # a single class has nothing to stand apart from
        if anchored and config.proto.weight:
            terms["contrast"] = self._contrast(said.q[:n], label[:n], sure[:n], clock)
            weights["contrast"] = config.proto.weight
            log["closest"] = self._closest()
        if told is not None:
            ramp = config.pseudo_loss.weight(clock)
            kept = told.keep.sum() / told.valid.sum().clamp(min=1)  # a small gate, a small loss
            terms["pseudo"] = kept * self._judged(logits[n:], told.label, told.keep)
            weights["pseudo"] = ramp
            if config.auxiliary:
                terms["auxiliary_pseudo"] = kept * cross_entropy(helped[n:], told.label, told.keep)
                weights["auxiliary_pseudo"] = ramp * config.auxiliary
            if anchored and config.proto.weight:
                terms["contrast_pseudo"] = self._contrast(said.q[n:], told.label, told.keep, clock)
                weights["contrast_pseudo"] = ramp * config.proto.weight
            if anchored and config.proto.weight and config.proto.consistency:
                # of all voxels: a flat posterior is a weak gradient, a wrong hard label a strong one
                size = told.q.shape[2:]
                weight = nearest(told.confidence, size) * nearest(told.valid, size)
                terms["consistency"] = consistency(self.prototypes, _rows(said.q[n:]), _rows(told.q), weight.flatten())
                weights["consistency"] = ramp * config.proto.weight * config.proto.consistency
            log |= told.log
        yield Update(terms, weights, log=log)
        update_teacher(self.teacher, network, config.ema, clock)

    @torch.no_grad()
    def _told(self, u: Stream, clock: Clock) -> Told:
        """Sample the teacher's label of the weak view, vet it, and mix it with its neighbour's as the strong view."""
        config, teacher = self.config, self.teacher.network
        noise = _noise(teacher, u.valid, clock)
        said = teacher.sample(teacher.features(u.image), noise, config.pseudo.steps)
        confidence, label = winner(said.logits, u.image.shape[2:])
        keep = (confidence >= config.gate.threshold) & u.valid
        log = {"confident": keep.float().mean()}
        if config.gate.agreement:
            agree = posterior(self.prototypes, said.q).argmax(1) == nearest(label, said.q.shape[2:])
            agree &= self.prototypes.known.sum() > 1
            keep &= nearest(agree, label.shape[1:])
        log |= {"kept": keep.float().mean(), "foreground": (keep & (label > 0)).float().mean()}
        box = boxes(tuple(label.shape), config.cutmix, config.cutmix_area, clock.generator)

        def mix(rows: Tensor, inside: Tensor = box) -> Tensor:
            return paste(inside, rows, rows.roll(-1, dims=0))

        q = mix(said.q, nearest(box, said.q.shape[2:]))
        return Told(mix(u.strong[0]), mix(label), mix(keep), mix(u.valid), q, mix(confidence), log)

    def _times(self, rows: int, labelled: int, clock: Clock) -> Tensor:
        """t (B,): uniform in [0, LATEST) for labelled rows, from t_min on for the others."""
        least = torch.zeros(rows, device=clock.generator.device)
        least[labelled:] = self.config.pseudo.t_min
        draw = torch.rand(rows, device=clock.generator.device, generator=clock.generator)
        return least + draw * (LATEST - least)

    def _judged(self, logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        """The weighted mean of Dice and cross entropy, or of Dice and the latent's error."""
        fit = cross_entropy(logits, label, valid)
        if self.config.diffusion.target == "latent" and self.config.label_latent == "table":
            fit = masked_mean(self.network.table.distance(logits.softmax(1), label), valid)
        weight = self.config.dice_weight
        return (fit + weight * dice(logits, label, valid)) / (1 + weight) if weight else fit

    def _self_aligned(self, clock: Clock) -> bool:
        return clock.fraction >= 1 - self.config.diffusion.self_aligned

    @torch.no_grad()
    def _own_answer(self, features: object, label: Tensor, labelled: int, clock: Clock) -> Tensor:
        """The labels, labelled rows replaced by the network's answer to noise alone."""
        noise = _noise(self.network, label, clock)
        own = resized(self.network.sample(features, noise, 1).logits.float(), label.shape[1:]).argmax(1)
        return torch.cat([own[:labelled], label[labelled:]])

    @torch.no_grad()
    def _follow(self, said: Said, label: Tensor, sure: Tensor, labelled: int) -> None:
        """Move the prototypes to labelled voxels that were classified rightly."""
        if self.config.proto.space == "embedding":
            self.prototypes.place(self.network.table.directions())
            return
        size = said.q.shape[2:]
        truth, counted = nearest(label, size), nearest(sure, size)
        found = nearest(said.logits.argmax(1), size)
        weight = (counted & (found == truth)).float()
        if self.config.proto.source == "labelled":
            weight[labelled:] = 0
        else:
            weight[labelled:] *= FAINT
        self.prototypes.follow(_rows(said.q), truth.flatten(), weight.flatten())

    def _contrast(self, q: Tensor, label: Tensor, sure: Tensor, clock: Clock) -> Tensor:
        """Of a balanced choice of the voxels that are sure."""
        size, proto = q.shape[2:], self.config.proto
        label, sure = nearest(label, size), nearest(sure, size)
        chosen = balanced(label, sure, self.task.classes, proto.share, clock.generator)
        return contrast(self.prototypes, _rows(q), label.flatten(), chosen.flatten(), proto.compactness)

    def _closest(self) -> Tensor:
        """The largest cosine of prototypes of two classes: 1 is collapse."""
        vectors, seen = self.prototypes.vectors, self.prototypes.seen
        kinds = torch.arange(len(vectors), device=vectors.device).repeat_interleave(vectors.shape[1])[seen.flatten()]
        flat = vectors.flatten(0, 1)[seen.flatten()]
        return (flat @ flat.T).masked_fill(kinds[:, None] == kinds, -1.0).max()

    def lower(self) -> str:
        return f", method.latent.dim ({self.config.latent.dim})"

    def predictor(self) -> Predictor:
        return self._predicting(self.config.sampler.steps, self.config.predict_from)

    def members(self) -> dict[str, Predictor]:
        config, steps = self.config, self.config.sampler.steps
        other: Source = "prototype" if config.predict_from == "classifier" else "classifier"
        return {
            "student": self._predicting(steps, config.predict_from, self.network),
            other: self._predicting(steps, other),
        }

    def audit(self) -> dict[str, Predictor]:
        steps = self.config.pseudo.steps
        variants: dict[str, Predictor] = {}
        if self.config.auxiliary:
            variants["auxiliary"] = self._predicting(steps, "aux")
        variants["sampled"] = self._predicting(steps, "classifier")
        if steps > 1 and self.config.diffuse:
            variants["one_step"] = self._predicting(1, "classifier")
        return {**variants, "prototypes": self._predicting(steps, "prototype")}

    def _predicting(
        self, steps: int, source: Source, network: LabelLatentNetwork | None = None
    ) -> LabelLatentPredictor:
        """network: None: the teacher's."""
        network, samples = network or self.teacher.network, self.config.sampler.samples
        return LabelLatentPredictor(network, self.prototypes, steps=steps, samples=samples, source=source)


def _network(config: ProtoDiffConfig, task: Task) -> LabelLatentNetwork:
    if config.label_latent == "encoder":
        return LabelEncoderNetwork(
            channels=task.channels,
            classes=task.classes,
            dims=task.dims,
            width=config.segmenter.width,
            schedule=config.diffusion.schedule,
            space=config.proto.space,
            diffuse=config.diffuse,
            normalisation=config.segmenter.normalisation,
            dropout=config.segmenter.dropout,
        )
    encoder = build_encoder(config.encoder, config.encoder_weights, config.segmenter, task)
    if config.latent.stride not in encoder.strides:
        raise SettingsError(
            f"method.latent.stride={config.latent.stride}: the encoder '{config.encoder}' has features at strides "
            f"{', '.join(map(str, encoder.strides))}; choose one of them"
        )
    return TableNetwork(
        encoder,
        classes=task.classes,
        dims=task.dims,
        stride=config.latent.stride,
        channels=config.latent.dim,
        layers=config.latent.layers,
        scale=config.latent.scale,
        schedule=config.diffusion.schedule,
        estimate=config.diffusion.x0,
        space=config.proto.space,
        diffuse=config.diffuse,
    )


def _noise(network: LabelLatentNetwork, label: Tensor, clock: Clock) -> Tensor:
    """Standard normal, for the latents of a map (B, *S)."""
    shape = (len(label), *network.latent_shape(label.shape[1:]))
    return torch.randn(shape, device=label.device, generator=clock.generator)


def winner(logits: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Confidence (B, *size) and label (B, *size) of logits (B, K, *S')."""
    confidence, label = resized(logits.float(), size).softmax(1).max(1)
    return confidence, label


def _rows(q: Tensor) -> Tensor:
    """(B, d, *S') -> (N, d), one row a voxel."""
    return q.movedim(1, -1).flatten(0, -2)
