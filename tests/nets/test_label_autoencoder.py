import pytest
import torch

from fewmask.nets.label_autoencoder import LabelAutoencoder, group_norm, latent_size


def build(dims: int, halvings: int) -> LabelAutoencoder:
    torch.manual_seed(0)
    return LabelAutoencoder(classes=3, dims=dims, width=4, halvings=halvings, channels=2)


@pytest.mark.parametrize("size", [(17, 23), (16, 8), (9, 11, 13)])
@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_any_size_and_nothing_bypasses_the_latent(size, halvings):
    net = build(len(size), halvings)
    p = torch.rand(2, 3, *size).softmax(1)
    latent = net.latent(p)
    assert latent.shape == (2, 2, *latent_size(size, halvings))
    assert net.logits(latent, size).shape == p.shape
    torch.testing.assert_close(net.logits(latent * 0, size)[:1], net.logits(net.latent(p / 2) * 0, size)[1:])


def test_standardised_latents_have_mean_zero_and_deviation_one():
    net, p = build(2, 2), torch.rand(8, 3, 16, 20).softmax(1)
    raw = net.encode(p)[0].double().movedim(1, 0).flatten(1)
    net.standardise(raw.sum(1), raw.square().sum(1), torch.tensor(raw.shape[1]))
    cells = net.latent(p).movedim(1, 0).flatten(1)
    torch.testing.assert_close(cells.mean(1), torch.zeros(2), rtol=0, atol=1e-3)
    torch.testing.assert_close(cells.std(1), torch.ones(2), rtol=1e-2, atol=0)
    # and the decoder is told what the encoder said
    torch.testing.assert_close(net.logits(net.latent(p), (16, 20)), net.decode(net.encode(p)[0], (16, 20)))


def test_parameters_at_the_reconstructions_scale():
    net = LabelAutoencoder(classes=4, dims=2, width=32, halvings=3, channels=4)
    assert sum(one.numel() for one in net.parameters()) == 988_108


def test_groups_are_never_single_channels():
    counts = {channels: group_norm(channels).num_groups for channels in (2, 4, 6, 8, 12, 16, 32, 96, 100)}
    assert counts == {2: 1, 4: 1, 6: 1, 8: 2, 12: 3, 16: 4, 32: 8, 96: 8, 100: 5}
