import torch
from torch import nn

from fewmask.methods.snapshots import Snapshots
from fewmask.nets.dropout import Dropout


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), Dropout(0.5))


def test_what_is_kept_stays_and_only_what_was_taken_is_drawn():
    now = network()
    kept = Snapshots(now, 3)
    generator = torch.Generator().manual_seed(0)
    assert all(kept.draw(now, generator) is now for _ in range(8))
    kept.take(1, now)
    before = now[0].weight.clone()
    with torch.no_grad():
        now[0].weight.add_(1)
    drawn = {id(kept.draw(now, generator)) for _ in range(40)}
    assert drawn == {id(now), id(kept.copies[1])}
    assert torch.equal(kept.copies[1][0].weight, before)
    assert not any(parameter.requires_grad for parameter in kept.parameters())
    kept.take(0, now)
    kept.take(2, now)
    kept.latest = 2
    assert id(kept.copies[0]) not in {id(kept.draw(now, generator)) for _ in range(40)}
    kept.taken[:] = torch.tensor([False, True, False])
    twin = Snapshots(network(), 3)
    twin.load_state_dict(kept.state_dict())
    assert twin.taken.tolist() == [False, True, False] and torch.equal(twin.copies[1][0].weight, before)
