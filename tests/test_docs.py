"""The documentation names what there is: commands, options, settings, links."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from fewmask import config
from fewmask.cli import app
from fewmask.methods import METHODS, fixmatch
from fewmask.methods.base import SemiSupervisedConfig
from fewmask.resolution import flat
from fewmask.types import Batch, Clock, Stream, Task

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_how_many_pages() -> None:
    assert len(PAGES) >= 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_command_and_option_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    seen = 0
    for name, command in get_command(app).commands.items():
        assert f"`fewmask {name}" in page
        for parameter in command.params:
            for option in (text for text in parameter.opts if text.startswith("--")):
                assert option in page, f"{name} {option}"
                seen += 1
    assert seen > 60


def test_the_reference_names_no_option_that_is_not_there() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    commands = get_command(app).commands.values()
    known = {text for command in commands for parameter in command.params for text in parameter.opts}
    known |= {"--help", "--debug", "--version", "--nproc-per-node"}
    assert set(re.findall(r"--[a-z][a-z-]*", page)) <= known


def test_every_setting_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "config.md").read_text(encoding="utf-8")
    values = config.Config(method=SemiSupervisedConfig().model_dump()).model_dump(exclude={"recipes"})
    keys = set(flat(values))
    assert keys == set(re.findall(r"^\| `([a-z_.]+)`", page, flags=re.M))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_has_a_card_that_names_its_settings(method: str) -> None:
    page = (ROOT / "docs" / "methods" / f"{method}.md").read_text(encoding="utf-8")
    own = set(METHODS[method].Config.model_fields) - set(SemiSupervisedConfig.model_fields)
    for key in own:
        assert f"`method.{key}" in page, key
    assert f"--method {method}" in page


def test_the_readme_lists_every_method() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    for method in METHODS:
        assert f"docs/methods/{method}.md" in page
    for command in ("make demo", "make test"):
        assert command in page


def test_the_step_that_explains_a_method_is_fixmatch() -> None:
    """The page's lines, run: the terms of FixMatch without its options."""
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^    def step\(.*?(?=^\S)", page, flags=re.M | re.S)
    names = dict(vars(fixmatch))
    exec(textwrap.dedent(lines), names)

    task = Task(channels=1, classes=2, names=("background", "one"), patch_size=(8, 8))
    network = {"width": 2, "dropout": 0.0, "normalisation": "group"}
    method = fixmatch.FixMatch(fixmatch.FixMatch.Config(segmenter=network, threshold=0, cutmix=0, dice=False), task)
    image = torch.randn(2, 1, 8, 8)
    valid = torch.ones(2, 8, 8, dtype=torch.bool)
    unlabelled = Stream(image=image, strong=image[None], valid=valid)
    batch = Batch(labelled=replace(unlabelled, label=valid.long()), unlabelled=unlabelled)
    clock = Clock(step=0, total=2, stage="train", stage_step=1, stage_total=2, generator=torch.Generator())
    (told,), (real,) = (list(step(method, batch, clock)) for step in (names["step"], fixmatch.FixMatch.step))
    torch.testing.assert_close(dict(told.terms), dict(real.terms))
    assert told.weights == real.weights
