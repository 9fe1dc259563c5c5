"""The block's size, what a step sees, and the orders in which voxels are read."""

import pytest
import torch

from fewmask.nets.mamba import FASTEST, SLOWEST, Mamba, VoxelMamba


@pytest.mark.parametrize(("channels", "parameters"), [(64, 32_640), (128, 116_480), (256, 437_760)])
def test_the_published_size(channels, parameters):
    block = Mamba(channels)
    assert sum(p.numel() for p in block.parameters()) == parameters
    assert [name for name, p in block.named_parameters() if getattr(p, "no_weight_decay", False)] == [
        "log_decay",
        "skip",
    ]
    dt = torch.nn.functional.softplus(block.rate.bias)
    assert dt.min() >= SLOWEST * 0.999 and dt.max() <= FASTEST * 1.001


def test_a_step_sees_those_before_it():
    torch.manual_seed(0)
    block, x = Mamba(4), torch.randn(1, 12, 4)
    changed = x.clone()
    changed[:, 7] += 1
    difference = (block(changed) - block(x)).abs().amax((0, 2))
    assert (difference[:7] == 0).all() and (difference[7:] > 0).all()


@pytest.mark.parametrize("size", [(3, 5), (7, 7, 5), (2, 1, 3)])
@pytest.mark.parametrize(("scan", "blocks"), [("forward", 1), ("both", 2), ("slices", 3)])
def test_who_sees_the_last_voxel(scan, blocks, size):
    """With a backward scan the first voxel depends on the last one; shapes stay, odd ones too."""
    torch.manual_seed(0)
    mamba, x = VoxelMamba(4, scan), torch.randn(2, 4, *size)
    assert len(mamba.blocks) == blocks
    changed = x.clone()
    changed[(..., *[-1] * len(size))] = torch.randn(2, 4)
    before, after = mamba(x), mamba(changed)
    assert before.shape == x.shape
    sees = bool((before - after)[(..., *[0] * len(size))].abs().max() > 0)
    assert sees == (scan != "forward")


def test_the_third_order_reads_a_place_through_all_slices():
    """A change reaches, by the third block alone, the same place of the next slice, but no earlier place of its own."""
    torch.manual_seed(0)
    mamba, x = VoxelMamba(4, "slices"), torch.randn(1, 4, 3, 4, 5)
    for block in mamba.blocks[:2]:
        torch.nn.init.zeros_(block.leave.weight)
    changed = x.clone()
    changed[0, :, 1, 2, 3] += torch.randn(4)
    reached = (mamba(changed) - mamba(x)).abs().amax((0, 1)) > 0
    assert reached[2, 2, 3] and reached[0, 2, 4] and not reached[0, 2, 3] and not reached[2, 1, 4]
