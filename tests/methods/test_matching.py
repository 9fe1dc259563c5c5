import torch

from fewmask.methods.matching import PIECES, PairMatching, extra_pieces


def certain(label: torch.Tensor, sure: float = 0.99) -> torch.Tensor:
    p = torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    return p * sure + (1 - p) * (1 - sure) / 2


def test_pieces_beyond_one_a_class():
    label = torch.zeros(3, 6, 8, dtype=torch.int64)
    label[1, 1, 1] = label[1, 4, 4] = 1
    label[2, 1, 1], label[2, 1, 3], label[2, 1, 5], label[2, 4, 1] = 1, 1, 1, 2
    assert extra_pieces(label, 3).tolist() == [0, 1, 2]


def test_a_kind_is_doubt_and_pieces():
    matching = PairMatching(1)
    label = torch.zeros(2, 8, 8, dtype=torch.int64)
    label[:, 2:6, 2:6] = 1
    label[1, 0, 0] = 1
    sure, doubtful = matching.kinds(certain(label)), matching.kinds(certain(label, 0.5))
    assert (sure % PIECES).tolist() == (doubtful % PIECES).tolist() == [0, 1]
    assert bool((sure // PIECES < doubtful // PIECES).all())


def test_weights_bring_pairs_to_what_unlabelled_images_show():
    """Nine pairs in ten are whole, half of the unlabelled labels are in pieces: drawn by weight, pairs are half so."""
    matching = PairMatching(1)
    whole = torch.zeros(1, 8, 8, dtype=torch.int64)
    whole[:, 2:6, 2:6] = 1
    broken = whole.clone()
    broken[0, 0, 0] = 1
    pairs = certain(torch.cat([whole] * 9 + [broken]))
    unlabelled = certain(torch.cat([whole, broken]))
    for _ in range(600):
        weights = matching.weights(pairs, unlabelled)
    share = float(weights[-1] / weights.sum())
    assert abs(share - 0.5) < 0.03
    equal = PairMatching(1)
    for _ in range(50):
        same = equal.weights(unlabelled, unlabelled)
    torch.testing.assert_close(same, torch.ones(2))
