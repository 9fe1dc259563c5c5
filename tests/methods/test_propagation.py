"""Contrastive propagation: what enters the memory, who is claimed, and where the gradient goes."""

import pytest
import torch

from fewmask.methods.propagation import FEWEST, FILLED, LabelPropagation


def build(classes: int = 2, dims: int = 2) -> LabelPropagation:
    torch.manual_seed(0)
    return LabelPropagation(dims, 4, classes, memory=16, temperature=0.1)


def filled(directions: torch.Tensor, frequency: list[float]) -> LabelPropagation:
    bank = build(len(directions))
    bank.memory[:, :FILLED] = directions.unsqueeze(1)
    bank.pushed.fill_(FILLED)
    bank.frequency.copy_(torch.tensor(frequency))
    return bank


def test_only_pure_regions_that_were_predicted_rightly_are_remembered():
    bank = build()
    regions = torch.nn.functional.normalize(torch.randn(1, 4, 4), dim=-1)
    truth = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.5, 0.5]]])
    found = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]])
    bank.remember(regions, truth, found)
    assert bank.pushed.tolist() == [1, 1]
    torch.testing.assert_close(bank.memory[0, 0], regions[0, 0])
    torch.testing.assert_close(bank.memory[1, 0], regions[0, 1])  # not the one taken for background, not the mixed one
    torch.testing.assert_close(bank.frequency, torch.tensor([1.5, 2.5]) / 4)


def test_a_class_that_is_not_there_leaves_its_memory_alone():
    bank = build()
    regions = torch.nn.functional.normalize(torch.randn(3, 4, 4), dim=-1)
    background = torch.tensor([1.0, 0.0]).expand(3, 4, 2)
    bank.remember(regions, background, background)
    assert bank.pushed.tolist() == [3, 0] and not bank.memory[1].any()
    loss = bank.loss(regions, torch.ones(3, 4, dtype=torch.bool))
    assert float(loss) == 0.0  # three entries of one class, none of the other: nothing is known yet


def test_the_oldest_entry_makes_room():
    bank = build()
    label = torch.tensor([[[0.0, 1.0]]])
    for step in range(17):
        region = torch.nn.functional.normalize(torch.tensor([[[1.0, step, 0, 0]]]), dim=-1)
        bank.remember(region, label, label)
    torch.testing.assert_close(bank.memory[1, 0], torch.nn.functional.normalize(torch.tensor([1.0, 16, 0, 0]), dim=0))
    torch.testing.assert_close(bank.memory[1, 1], torch.nn.functional.normalize(torch.tensor([1.0, 1, 0, 0]), dim=0))


def test_the_loss_is_the_definition():
    """One class, frequency 1: InfoNCE written out for each claimed region, as many as half of them."""
    torch.manual_seed(1)
    semantics = torch.nn.functional.normalize(torch.randn(1, 4), dim=-1)
    bank = filled(semantics, [1.0])
    regions = torch.nn.functional.normalize(torch.randn(2, 40, 4), dim=-1)
    z = (regions.flatten(0, 1) @ semantics[0]).sort(descending=True).values / 0.1
    near, far = z[:40], z[40:]
    wanted = torch.stack([torch.logsumexp(torch.cat([one[None], far]), 0) - one for one in near]).mean()
    torch.testing.assert_close(bank.loss(regions, torch.ones(2, 40, dtype=torch.bool)), wanted)


def test_a_rare_class_claims_few_and_outside_nothing():
    """The prior's cap: at frequency 0 the fewest, whatever the similarity; regions outside the image take no part."""
    bank = filled(torch.eye(4)[:2], [1.0, 0.0])
    regions = torch.eye(4)[1].expand(1, 200, 4).clone().requires_grad_()  # all look like the rare class
    valid = torch.zeros(1, 200, dtype=torch.bool)
    valid[:, :90] = True
    # unequal gradients tell who was claimed: pull along axis 1 by the rare class alone
    bank.memory[0] = 0
    bank.pushed[0] = 0
    bank.loss(regions, valid).backward()
    pulled = regions.grad[0, :, 1] < 0
    assert int(pulled.sum()) == FEWEST
    assert not regions.grad[0, 90:].any()


@pytest.mark.parametrize("dims", [2, 3])
def test_gradient_reaches_the_projection_and_not_the_memory(dims):
    bank = build(dims=dims)
    bank.memory.copy_(torch.randn(bank.memory.shape))
    bank.pushed.fill_(FILLED)
    bank.frequency.fill_(0.5)
    feature = torch.randn(2, 4, *[6] * dims, requires_grad=True)
    regions = bank.regions(feature)
    torch.testing.assert_close(regions.norm(dim=-1), torch.ones(2, 6**dims))
    bank.loss(regions, torch.ones(regions.shape[:2], dtype=torch.bool)).backward()
    assert feature.grad.abs().sum() > 0 and bank.project[0].weight.grad.abs().sum() > 0
    assert not bank.memory.requires_grad


def test_shares_are_of_the_voxels_that_count():
    bank, like = build(), torch.zeros(1, 4, 2, 2)
    label = torch.zeros(1, 4, 4, dtype=torch.int64)
    label[0, :2, :2] = 1
    valid = torch.ones_like(label, dtype=torch.bool)
    valid[0, 2:] = False
    assert bank.shares(label, valid, like).tolist() == [[[0, 1], [1, 0], [0, 0], [0, 0]]]


def test_regions_lie_where_the_network_halves():
    """A side of 9 halves to 5 and 3: the regions are 4, 4 and 1 wide, and not 3 each."""
    bank, like = build(), torch.zeros(1, 4, 3, 1)
    label = torch.zeros(1, 9, 4, dtype=torch.int64)
    label[0, 4:] = 1
    shares = bank.shares(label, torch.ones_like(label, dtype=torch.bool), like)
    assert shares.tolist() == [[[1, 0], [0, 1], [0, 0.25]]]
