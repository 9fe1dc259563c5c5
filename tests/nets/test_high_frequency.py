"""The module that starts as the identity, and networks that carry it."""

import json

import pytest
import torch

from fewmask.config import Network
from fewmask.nets import build_from_spec, build_segmenter
from fewmask.nets.high_frequency import HighFrequencyAttention, HighFrequencySegmenter
from fewmask.types import Task

SIZES = [(9, 12), (7, 7, 5), (8, 6, 1)]
OPTIONS = {"high_pass": "fft", "scan": "both", "attend": "detail"}


@pytest.mark.parametrize("attend", ["detail", "features"])
@pytest.mark.parametrize("size", SIZES)
def test_the_module_is_the_identity_at_first_and_not_for_long(size, attend):
    torch.manual_seed(0)
    module = HighFrequencyAttention(len(size), 4, **{**OPTIONS, "attend": attend})
    x = torch.randn(2, 4, *size)
    assert torch.equal(module(x), x)
    module(x).square().sum().backward()
    assert module.gain.grad.abs().min() > 0
    torch.nn.init.ones_(module.gain)
    assert not torch.equal(module(x), x)
    for parameter in module.parameters():
        parameter.grad = None
    module(x).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


@pytest.mark.parametrize(("network", "size"), [("unet", (24, 19)), ("vnet", (16, 17, 20))])
def test_a_network_starts_as_it_was_without(network, size):
    torch.manual_seed(0)
    task = Task(channels=1, classes=3, names=("a", "b", "c"), patch_size=size)
    base = build_segmenter(Network(name=network, width=2), task).eval()
    sharp = HighFrequencySegmenter(base, levels=(2, 4), **OPTIONS).eval()
    image = torch.randn(2, 1, *size)
    with torch.no_grad():
        assert torch.equal(sharp(image), base(image))
        torch.nn.init.ones_(sharp.modules_by_level["4"].gain)
        assert not torch.equal(sharp(image), base(image))
        twin = build_from_spec(json.loads(json.dumps(sharp.spec))).eval()
        twin.load_state_dict(sharp.state_dict())
        assert torch.equal(twin(image), sharp(image))
    assert sharp.encoder_channels == base.encoder_channels and sharp.decoder_channels == base.decoder_channels


def test_in_half_precision_the_module_computes_in_full():
    module, x = HighFrequencyAttention(2, 4, **OPTIONS), torch.randn(1, 4, 8, 8, dtype=torch.bfloat16)
    torch.nn.init.ones_(module.gain)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, module(x.float()).bfloat16())
