import pytest
import torch

from fewmask.config import Network
from fewmask.nets import build_segmenter
from fewmask.nets.guide import Guide, feature_channels, features_of, pooled
from fewmask.nets.label_autoencoder import latent_size
from fewmask.types import Task


@pytest.mark.parametrize("name", ["unet", "vnet"])
@pytest.mark.parametrize("size", [(17, 23), (9, 11, 13)])
@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_features_have_the_latents_size_and_come_from_the_same_pass(name, size, halvings):
    task = Task(channels=1, classes=3, names=("b", "x", "y"), patch_size=size)
    segmenter = build_segmenter(Network(name=name, width=2), task).eval()
    image = torch.randn(2, 1, *size)
    logits, features = features_of(segmenter, image, halvings)
    torch.testing.assert_close(logits, segmenter(image))
    wanted = latent_size(size, halvings)
    assert features[0].shape[2:] == features[2].shape[2:] == wanted
    assert tuple(one.shape[1] for one in features) == feature_channels(segmenter, halvings)
    p = pooled(logits.softmax(1), halvings)
    assert p.shape[2:] == wanted
    guide = Guide(features=feature_channels(segmenter, halvings), classes=3, dims=task.dims, width=4)
    g, error = guide(features, p, p[:, :1])
    assert g.shape == (2, 8, *wanted) and error.shape == (2, 1, *wanted)


def test_a_border_cell_is_the_mean_of_what_it_holds():
    x = torch.arange(10.0).view(1, 1, 2, 5)
    assert pooled(x, 1).flatten().tolist() == [3.0, 5.0, 6.5]
