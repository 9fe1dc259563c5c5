"""BraTS 2019 and 2020 (Menze et al., IEEE TMI 34(10), 2015): four MR sequences a case, labels 1, 2 and 4.

The split of 2019 is that of SSL4MIS: 250 to learn from, 25 val, 60 test.  Published splits of 2020 differ, so it has
none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fewmask.data.datasets.official import counted, lists_of, matching, required
from fewmask.data.layouts.found import Found, in_order
from fewmask.errors import DataError
from fewmask.types import Case

CHANNELS = ("flair", "t1", "t1ce", "t2")
NAMES = {"background": 0, "necrosis": 1, "oedema": 2, "enhancing tumour": 4}
# fmt: off
VAL = (
    "CBICA_AAP", "TCIA10_282", "TCIA01_147", "TCIA13_615", "CBICA_AQA", "TCIA08_205", "TCIA09_177", "TCIA02_208",
    "CBICA_AQN", "2013_16", "CBICA_BHQ", "TCIA02_135", "CBICA_AVB", "TCIA10_644", "CBICA_BKV", "TMC_15477", "2013_1",
    "CBICA_ARW", "TMC_11964", "TCIA09_312", "TCIA06_184", "TMC_30014", "TCIA10_103", "CBICA_AOC", "CBICA_ABO",
)
TEST = (
    "TCIA02_309", "CBICA_AYA", "CBICA_AYG", "CBICA_ANV", "CBICA_BAN", "TCIA10_408", "TCIA01_448", "TCIA10_261",
    "CBICA_ALU", "CBICA_AWH", "TCIA10_420", "2013_11", "TCIA01_460", "TCIA10_639", "TCIA10_130", "TCIA09_254",
    "CBICA_BLJ", "TCIA01_390", "2013_19", "CBICA_BDK", "TCIA13_630", "TCIA02_430", "TCIA06_165", "CBICA_AOS",
    "CBICA_AZH", "CBICA_BGX", "TCIA02_455", "TCIA10_330", "TMC_12866", "TCIA02_321", "TCIA03_257", "CBICA_AWI",
    "CBICA_AQZ", "TCIA10_152", "TMC_27374", "TCIA01_378", "TCIA08_218", "CBICA_ASY", "TCIA02_168", "CBICA_BJY",
    "2013_18", "TCIA03_121", "CBICA_BIC", "TCIA03_133", "TCIA02_171", "TMC_06290", "TCIA10_175", "CBICA_BGR",
    "TCIA10_276", "TCIA09_402", "TCIA10_442", "CBICA_AUN", "2013_20", "TCIA10_490", "TCIA06_409", "TMC_21360",
    "CBICA_AQQ", "TCIA10_307", "TCIA04_437", "CBICA_AQR",
)
# fmt: on
"""Without `BraTS19_` before and `_1` behind."""


def read_2019(folder: Path) -> Found:
    """The 335 training cases; HGG and LGG are the site."""
    found = _read(folder, "BraTS19", "BraTS 2019")
    held_out = {role: [f"BraTS19_{name}_1" for name in names] for role, names in (("val", VAL), ("test", TEST))}
    found = replace(found, lists=lists_of(found.cases, held_out))
    return replace(found, findings=counted(found, cases=335, masks=335, train=250, val=25, test=60))


def read_2020(folder: Path) -> Found:
    """The 369 training cases."""
    found = _read(folder, "BraTS20_Training", "BraTS 2020")
    return replace(found, findings=counted(found, cases=369, masks=369))


def _read(folder: Path, prefix: str, name: str) -> Found:
    sequences: dict[Path, dict[str, Path]] = {}
    kinds = "|".join((*CHANNELS, "seg"))
    for path, match in matching(folder, rf"({prefix}\w*?)_(?P<kind>{kinds})\.nii(\.gz)?"):
        sequences.setdefault(path.parent, {})[match["kind"].lower()] = path
    for path, _ in matching(folder, r"\S+_Segm\.nii(\.gz)?"):  # case 355 of 2020 has its mask under another name
        sequences.get(path.parent, {}).setdefault("seg", path)
    cases = in_order(
        required((_case(home, files) for home, files in sequences.items()), folder, f"{prefix}_.../..._flair.nii.gz")
    )
    return Found(cases=cases, name=name, names=NAMES, channels=CHANNELS)


def _case(home: Path, files: Mapping[str, Path]) -> Case:
    missing = [channel for channel in CHANNELS if channel not in files]
    if missing:
        raise DataError(f"{home}: no {missing[0]} sequence; unpack the download again")
    site = home.parent.name if home.parent.name in ("HGG", "LGG") else ""
    images = tuple(files[channel] for channel in CHANNELS)
    return Case(id=home.name, patient=home.name, images=images, label=files.get("seg"), site=site)
