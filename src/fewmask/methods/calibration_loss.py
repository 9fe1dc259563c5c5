"""What guide and denoiser are taught on pairs of a wrong and a right label of the same image (Caudo-Diff, 2.7)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fewmask.diffusion.calibration import LatentCalibrator, leak
from fewmask.losses import dice_ce
from fewmask.methods.calibration_pairs import Pairs
from fewmask.methods.pseudo import likeliest
from fewmask.nets.guide import pooled
from fewmask.nets.label_autoencoder import LabelAutoencoder
from fewmask.rows import per_row


def calibrator_terms(
    calibrator: LatentCalibrator,
    autoencoder: LabelAutoencoder,
    pairs: Pairs,
    *,
    hide: float,
    path_errors: Tensor,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses, and what is logged: find the right label's latent, and where the other one is wrong.

    hide: probability that the guide is hidden, and that the label's latent is, lest one of them do for both;
    path_errors (2,): running errors that the alarm of `leak` keeps.
    """
    p, features, label, valid = pairs
    said = likeliest(p)
    halvings = calibrator.halvings
    guides = calibrator.guides(p, features, autoencoder)
    with torch.no_grad():
        # of unknown voxels nothing is known, so nothing is to be changed
        right = F.one_hot(torch.where(valid, label, said), p.shape[1]).movedim(-1, 1)
        z0 = autoencoder.latent(right.float())
    hidden = torch.rand(2, len(p), device=p.device, generator=generator) < hide
    guides = guides._replace(
        g=guides.g.masked_fill(per_row(hidden[0], guides.g), 0),
        z=guides.z.masked_fill(per_row(hidden[1], guides.z), 0),
    )
    states = calibrator.draw(z0, guides, generator)
    found = calibrator.predict(states.x, states.t, guides).float()
    known = (pooled(valid.unsqueeze(1).float(), halvings) > 0.5).float()
    cells = known.flatten(1).sum(1).clamp_min(1) * z0.shape[1]
    errors = ((found - z0).square() * known).flatten(1).sum(1) / cells
    wrong = pooled(((said != label) & valid).unsqueeze(1).float(), halvings) > 0
    pool = F.max_pool2d if label.ndim == 3 else F.max_pool3d
    wrong = pool(wrong.float(), 3, 1, 1)
    # nor is a structure that nobody has labelled a place without errors
    unsure = F.binary_cross_entropy_with_logits(guides.error.float(), wrong, reduction="none")
    terms = {
        "latent": errors.mean(),
        "decoded": 2 * dice_ce(autoencoder.logits(found, label.shape[1:]), label, valid),
        "error": (known * unsure).sum() / known.sum().clamp_min(1),
    }
    seen = states._replace(start=states.start & ~hidden[1], middle=states.middle & ~hidden[1])
    alarm = leak(path_errors, errors.detach(), seen)
    log = {"pairs_wrong": wrong.mean()}
    return terms, log if calibrator.variant == "one_step" else log | {"leak": alarm}
