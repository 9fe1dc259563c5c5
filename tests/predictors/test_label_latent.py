"""Posterior maps of prototypes; the predictor itself is tested with its method, in tests/methods/test_proto_diff.py."""

import torch

from fewmask.nets.prototypes import Prototypes
from fewmask.predictors.label_latent import posterior


def test_a_map_is_the_posterior_of_each_voxel():
    prototypes = Prototypes(3, 8, 1, 0.9, 0.1)
    prototypes.place(torch.eye(3, 8))
    q = torch.nn.functional.normalize(torch.randn(2, 8, 4, 5), dim=1)
    found = posterior(prototypes, q)
    assert found.shape == (2, 3, 4, 5)
    torch.testing.assert_close(found, (q[:, :3] / 0.1).softmax(1))
