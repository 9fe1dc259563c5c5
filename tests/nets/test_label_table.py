"""The label table: bounds, the unknown token, the mean latent, and how much of a label noise leaves to be read."""

import pytest
import torch

from fewmask.diffusion.continuous import add_noise, log_snr
from fewmask.nets.label_table import LabelTable


def table(classes: int = 7, channels: int = 256, scale: float = 0.01) -> LabelTable:
    torch.manual_seed(0)
    return LabelTable(classes, channels, scale)


def test_every_class_has_its_own_latent_within_the_scale():
    found = table(5, 8, 0.1)(torch.arange(5).view(1, 5, 1)).detach()
    assert found.shape == (1, 8, 5, 1) and float(found.abs().max()) < 0.1
    assert len(found[0, :, :, 0].T.unique(dim=0)) == 5


def test_what_is_not_valid_tells_nothing_of_its_label():
    one, valid = table(5, 8), torch.zeros(2, 3, 3, dtype=torch.bool)
    first, second = (one(torch.randint(0, 5, (2, 3, 3)), valid) for _ in range(2))
    assert torch.equal(first, second)
    unknown = one._bounded(one.rows.weight[-1])
    assert torch.equal(first[0, :, 0, 0], unknown)


def test_the_mean_latent_of_a_sure_network_is_the_labels():
    one, label = table(4, 8, 0.5), torch.randint(0, 4, (2, 3, 5))
    p = torch.nn.functional.one_hot(label, 4).movedim(-1, 1).float()
    torch.testing.assert_close(one.expected(p), one(label))
    assert float(one.distance(p, label).detach().abs().max()) == 0
    assert float(one.distance(p.roll(1, dims=1), label).detach().min()) > 0


def test_the_table_is_a_constant_in_the_distance():
    one, logits = table(4, 8), torch.randn(1, 4, 3, 3, requires_grad=True)
    one.distance(logits.softmax(1), torch.zeros(1, 3, 3, dtype=torch.int64)).mean().backward()
    assert one.rows.weight.grad is None and logits.grad.abs().sum() > 0


TIMES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.10, 0.20, 0.30, 0.50, 0.70)
READ = {
    0.01: (1.00, 0.99, 0.75, 0.55, 0.37, 0.23, 0.19, 0.17, 0.16, 0.15),
    0.1: (1.00, 1.00, 1.00, 1.00, 1.00, 0.99, 0.74, 0.52, 0.31, 0.22),
    1.0: (1.00, 1.00, 1.00, 1.00, 1.00, 1.00, 1.00, 1.00, 1.00, 0.96),
}
"""Scale -> share of classes that can be read at each of TIMES: specification 2.12, d = 256, 7 classes."""


@pytest.mark.parametrize("scale", READ)
def test_how_often_a_voxels_class_can_be_read_from_its_noised_latent(scale):
    """Specification 9.5: the best decoder knows the table and the noise, and picks the nearest."""
    one, generator = table(scale=scale), torch.Generator().manual_seed(1)
    label = torch.randint(0, 7, (1, 2000), generator=generator)
    shares = []
    with torch.no_grad():
        z0, rows = one(label), one._bounded(one.rows.weight[:-1])
        for t in TIMES:
            snr = log_snr(torch.tensor([t]))
            z = add_noise(z0, snr, torch.randn(z0.shape, generator=generator))[0].T
            found = torch.cdist(z, rows * snr.sigmoid().sqrt()).argmin(1)
            shares.append(float((found == label[0]).float().mean()))
    assert shares == pytest.approx(READ[scale], abs=0.05)
