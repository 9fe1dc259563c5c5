import numpy as np
import torch

from fewmask.methods import build_method
from fewmask.predictors import load_model, save_model
from fewmask.training.checkpoint import Progress
from fewmask.training.export import export
from fewmask.types import Task


def test_a_model_does_not_know_how_long_it_took(catalogue, cache, settings, tmp_path):
    config = settings("supervised")
    task = Task(channels=1, classes=3, names=catalogue.labels.names, patch_size=config.plan.size)
    torch.manual_seed(0)
    method = build_method(config.method, task)
    for number, seconds in enumerate((1.0, 2.0)):
        progress = Progress(step=5, seconds=seconds, best_dice=0.5, best_step=4)
        save_model(export(method, progress, catalogue, cache, config, {}), tmp_path / str(number))
    files = [(tmp_path / str(number) / "model.safetensors").read_bytes() for number in range(2)]
    assert files[0] == files[1]
    model = load_model(tmp_path / "0")
    assert (model.labels, model.patch_size, model.flip) == (catalogue.labels, (17, 20), (0, 1))
    assert model.extra["method"] == "supervised" and model.extra["best_step"] == 4
    assert np.isfinite(model.extra["best_dice"])
