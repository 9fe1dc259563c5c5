import torch
from scipy import ndimage

from fewmask.config import Network
from fewmask.nets import build_segmenter
from fewmask.predictors import build_predictor
from fewmask.predictors.largest_component import LargestComponentPredictor, lesser_pieces
from fewmask.types import Task


def test_the_largest_piece_of_each_class_stays():
    label = torch.zeros(2, 7, 9, dtype=torch.int64)
    label[0, 1:4, 1:4], label[0, 5, 5:8], label[0, 0, 8], label[0, 6, 0] = 1, 1, 2, 1
    lost = lesser_pieces(label, 3)
    expected = torch.zeros_like(lost)
    expected[0, 5, 5:8] = expected[0, 6, 0] = True
    assert torch.equal(lost, expected)


class Noise(torch.nn.Module):
    """Logits of an image's own noise: labels in many pieces."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([image, -image, image.roll(1, -1)], 1)


def test_probabilities_have_one_piece_a_class():
    predictor = LargestComponentPredictor(Noise())
    image = torch.randn(3, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    raw, found = predictor.segmenter(image).softmax(1), predictor(image, torch.arange(3))
    torch.testing.assert_close(found.sum(1), torch.ones(3, 24, 24))
    kinds = [(row, kind) for row in range(3) for kind in (1, 2)]
    pieces, before = (
        [ndimage.label((p[row].argmax(0) == kind).numpy())[1] for row, kind in kinds] for p in (found, raw)
    )
    assert pieces == [1] * 6 and min(before) > 5


def test_a_twin_from_its_description():
    task = Task(channels=1, classes=3, names=("b", "x", "y"), patch_size=(24, 24))
    predictor = LargestComponentPredictor(build_segmenter(Network(width=2), task)).eval()
    twin = build_predictor(predictor.spec).eval()
    twin.load_state_dict(predictor.state_dict())
    image = torch.randn(2, 1, 24, 24)
    with torch.no_grad():
        assert torch.equal(twin(image, torch.arange(2)), predictor(image, torch.arange(2)))
