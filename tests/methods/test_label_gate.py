import pytest
import torch

from fewmask.methods.label_gate import LabelGate, autoencoder_terms
from fewmask.nets.label_autoencoder import LabelAutoencoder


class Copy(LabelAutoencoder):
    """Latent and label are the same; class 2 is taken for class 1 in the first column."""

    def __init__(self) -> None:
        super().__init__(classes=3, dims=2, width=4, halvings=2, channels=3)

    def encode(self, p):
        return p, p * 0

    def decode(self, latent, size):
        label = latent.argmax(1)
        label[..., 0] = label[..., 0].clamp(max=1)
        return torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()


def test_dice_is_pooled_over_known_voxels_and_latents_are_standardised():
    label = torch.tensor([[[0, 1, 2, 2], [2, 1, 2, 0]], [[2, 1, 2, 2], [0, 1, 2, 0]]])
    valid = torch.ones_like(label, dtype=torch.bool)
    valid[1, 0, 0] = False
    gate, net = LabelGate(3, 3), Copy()
    for row in range(2):
        gate.measure(net, label[row : row + 1], valid[row : row + 1])
    # class 1: four right, one too many; class 2: six of seven
    assert gate.dice() == pytest.approx([8 / 9, 12 / 13])
    net.standardise(*gate.moments, gate.cells)
    shares = torch.nn.functional.one_hot(label, 3).float().mean((0, 1, 2))
    torch.testing.assert_close(net.mean, shares)
    torch.testing.assert_close(net.deviation, (shares * (1 - shares)).sqrt())
    assert gate.complaint(("a", "b"), 0.85, net, 8) is None
    said = gate.complaint(("a", "b"), 0.9, net, 8)
    assert "a 0.889, b 0.923; its gate is 0.9" in said
    assert "budget.autoencoder=16" in said and "halvings=1" in said


def test_a_class_that_nobody_has_is_no_complaint():
    gate = LabelGate(3, 3)
    gate.measure(Copy(), torch.zeros(1, 4, 4, dtype=torch.int64), torch.ones(1, 4, 4, dtype=torch.bool))
    assert gate.dice() == [1, 1]


def test_a_few_steps_learn_a_label():
    torch.manual_seed(0)
    net = LabelAutoencoder(classes=3, dims=2, width=8, halvings=1, channels=3)
    label = torch.zeros(4, 12, 14, dtype=torch.int64)
    label[:, 3:9, 3:9], label[:, 5:7, 5:7] = 1, 2
    valid = torch.ones_like(label, dtype=torch.bool)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    generator, losses = torch.Generator().manual_seed(0), []
    for _ in range(30):
        terms = autoencoder_terms(net, label, valid, 0.1, generator)
        optimiser.zero_grad()
        (terms["labels"] + 1e-6 * terms["divergence"]).backward()
        optimiser.step()
        losses.append(float(terms["labels"].detach()))
    assert losses[-1] < 0.3 * losses[0]
