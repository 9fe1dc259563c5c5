import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

from fewmask import memory
from fewmask.errors import OutOfMemory
from fewmask.memory import available_bytes, check_memory, estimate


def need(**changes):
    values = {
        "native": (40, 512, 512),
        "prepared": (40, 96, 96),
        "channels": 1,
        "classes": 4,
        "patch_size": (96, 96),
        "batch": 16,
        "width": 16,
    }
    return estimate(**{**values, **changes})


def test_native_depth_does_not_multiply_with_classes():
    few, many = need(native=(800, 512, 512), classes=2), need(native=(800, 512, 512), classes=100)
    assert many.peak - few.peak < 98 * 800 * 512 * 512 * 4 / 100


def test_large_volumes_are_accumulated_in_blocks():
    assert need(patch_size=(32, 48, 32), prepared=(36, 50, 35)).whole
    assert not need(patch_size=(64, 96, 96), prepared=(700, 340, 340)).whole


def test_samples_that_are_kept_count_with_their_masks():
    one, several = need(), need(apart=10)
    assert several.restoring > one.restoring + 9 * 2 * 40 * 512 * 512
    assert several.accumulating > 5 * one.accumulating


def test_machine_is_asked():
    assert available_bytes() > 2**20


def test_too_little_memory_names_what_to_lower(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**6)
    with pytest.raises(OutOfMemory, match=r"case1: needs about .* GB .* lower predict\.batch \(64\)"):
        check_memory("case1", need(batch=64, native=(4, 96, 96)), 64)
    with pytest.raises(OutOfMemory, match="crop the image"):
        check_memory("case1", need(batch=1), 1)


def test_enough_or_unknown_memory_passes(monkeypatch):
    check_memory("case1", need(native=(1, 8, 8), prepared=(1, 8, 8), patch_size=(8, 8)), 16)
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    check_memory("case1", need(native=(10**4, 10**4, 10**4)), 16)


def test_a_container_limit_counts(tmp_path, monkeypatch):
    texts = {"memory.max": "1000", "memory.current": "900", "memory.stat": "inactive_file 50\nactive_file 5\nanon 1"}

    def path(*parts):
        name = str(parts[-1]).rsplit("/", 1)[-1]
        return _File(texts.get(name)) if name in texts else _Folder(texts)

    monkeypatch.setattr(memory, "Path", path)
    assert memory._of_container() == 155


class _File(SimpleNamespace):
    def __init__(self, text):
        super().__init__(read_text=lambda: text)


class _Folder:
    def __init__(self, texts):
        self.texts = texts

    def __truediv__(self, name):
        return _File(self.texts[name])


TALL = """
    import resource, sys
    import nibabel as nib, numpy as np, torch
    from pathlib import Path
    from fewmask.config import Predict
    from fewmask.data.cache import Preparation
    from fewmask.prediction import estimate_case, predict_case
    from fewmask.predictors import Model, SegmenterPredictor
    from fewmask.types import Case, LabelSet

    torch.set_num_threads(1)
    K = 100

    class Hundred(torch.nn.Module):
        encoder_channels = (8,)
        def forward(self, image):
            return image * torch.linspace(-1, 1, K).reshape(1, K, *[1] * (image.ndim - 2))

    def model(patch_size, **preparation):
        labels = LabelSet(names=tuple(map(str, range(K))), values=tuple(range(K)))
        return Model(predictor=SegmenterPredictor(Hundred()), labels=labels, preparation=preparation,
                     intensity="zscore", patch_size=patch_size, channels=("CT",))

    def volume(name, shape):
        path = Path(sys.argv[1]) / name
        values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        nib.save(nib.Nifti1Image(values.T, np.eye(4)), path)
        return Case(id=name, patient="", images=(path,))

    def run(model, case):
        return predict_case(model, case, settings=Predict(batch=2, overlap=0))

    chosen = {"2": model((64, 64), dims=2, size=(64, 64)), "3": model((8, 48, 48), dims=3)}[sys.argv[2]]
    run(chosen, volume("small.nii", (9, 49, 49)))  # libraries are loaded, buffers made
    case = volume("tall.nii", (160, 96, 98))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = run(chosen, case)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    need = estimate_case(chosen, case, Preparation(**chosen.preparation), Predict(batch=2))
    print(1024 * (after - before), need.peak, found.mask.max())
"""


@pytest.mark.slow
@pytest.mark.parametrize("dims", ["2", "3"])
def test_a_tall_volume_of_100_classes_stays_under_the_estimate(tmp_path, dims):
    command = [sys.executable, "-c", textwrap.dedent(TALL), str(tmp_path), dims]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured, estimated, largest = map(int, output.split())
    full = 100 * 160 * 96 * 98 * 4
    assert largest == 99
    assert measured < estimated < full
    assert estimated < full / 2
