"""The whole page: safe, self-contained, and with everything that a reader looks for."""

import base64
import html
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from fewmask.errors import DataError, SettingsError
from fewmask.report import gallery, report

HARMLESS = """html head meta title style body main header nav section div p span i b strong small code pre a h1 h2 h3 h4
ul li table caption thead tbody tr th td img figure figcaption details summary footer"""


class Outline(HTMLParser):
    """Tags, attributes and visible text of a page; fails where tags do not close in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.text += data


def assert_safe(page: str) -> Outline:
    outline = Outline(page)
    assert outline.tags <= set(HARMLESS.split())
    assert not [name for _, name, _ in outline.attributes if name.startswith("on")]
    sources = [value for _, name, value in outline.attributes if name == "src"]
    assert all(source.startswith("data:image/") for source in sources)
    assert all(value.startswith("#") for _, name, value in outline.attributes if name == "href")
    assert "url(" not in page and "@import" not in page
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert ("meta", "content", policy) in outline.attributes
    assert page.index("Content-Security-Policy") < page.index("<style>")
    return outline


def pictures(page: str, media: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(f'data:{re.escape(media)};base64,([^"]+)', page)]


@pytest.fixture(autouse=True, scope="module")
def fewer_slices():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "SLICES", 2)
        yield


@pytest.fixture(scope="module")
def page(run, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("out") / "page.html"
    assert report([run], out) == out
    return out.read_text(encoding="utf-8")


def test_every_name_of_the_user_is_escaped(page, catalogue, split):
    outline = assert_safe(page)
    assert "<script" not in page.lower()
    shown = [catalogue.name, *catalogue.labels.names[1:], *catalogue.findings, *split.labelled, *split.unlabelled]
    shown += [catalogue.by_id[split.test[0]].patient, "<i>data</i>", "r<u>n & one", "</pre><script>alert(3)</script>"]
    for name in shown:
        assert name in outline.text
        assert html.escape(name, quote=False) in page


def test_charts_hold_no_word_of_the_user(page, catalogue):
    charts = [chart.decode() for chart in pictures(page, "image/svg+xml")]
    assert len(charts) == 4 + 2 * len(catalogue.labels)  # curves, and a row per class and for their mean in two tables
    for chart in charts:
        assert "script" not in chart and "心" not in chart and "RV" not in chart


def test_it_says_what_was_learned_from_what(page):
    text = " ".join(Outline(page).text.split())
    assert "FixMatch learned how to find" in text
    assert "from 1 labelled slice and 1 labelled case of 1 patient and 3 cases without a mask in 200 steps" in text
    assert "the checkpoint with the best Dice on val (0.800 at step 200)" in text
    assert "On test: 5 cases of 5 patients" in text and "On val: 2 cases of 2 patients" in text
    assert "on test with the last checkpoint (step 200)" in text
    assert "fewmask predict" in text and "--method supervised --steps 200" in text


def test_pictures_are_few_and_small(page):
    shown = [Image.open(io.BytesIO(data)) for data in pictures(page, "image/png")]
    assert len(shown) == 2 * (3 + 2 + 3 + 1) + 1  # test, val, unlabelled and labelled cases, and the one labelled slice
    assert max(max(picture.size) for picture in shown) <= 256
    assert len(page) < 5_000_000


def test_masks_of_unlabelled_cases_are_not_opened(page, run, tmp_path):
    assert "No picture" not in page  # they are poisoned in the fixture
    assert (run / "poison").is_dir()


def test_the_same_run_gives_the_same_file(light, tmp_path):
    first, again = (report([light], tmp_path / name).read_bytes() for name in ("first.html", "again.html"))
    assert first == again


@pytest.fixture(scope="module")
def light(make_run, tmp_path_factory):
    """An unfinished run without masks to score and without a catalogue."""
    folder = tmp_path_factory.mktemp("light") / "half"
    return make_run(folder, steps=70, complete=False, evaluated=(), with_catalogue=False)


def test_an_unfinished_run_without_masks_to_score(light, tmp_path):
    outline = assert_safe(report([light], tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "Training stands at step 70 of 200" in outline.text
    assert "No pictures: the run folder holds no catalogue," in outline.text
    assert "Continue this run" in outline.text


def test_a_catalogue_serves_runs_that_hold_none(light, catalogue, tmp_path):
    page = report([light], tmp_path / "page.html", catalogue).read_text(encoding="utf-8")
    assert len(pictures(page, "image/png")) == 2 * (3 + 1) + 1  # unlabelled and labelled cases


def test_images_that_went_away_leave_a_line(light, catalogue, tmp_path):
    gone = replace(catalogue, cases=tuple(replace(case, images=(tmp_path / "no.nii.gz",)) for case in catalogue.cases))
    outline = assert_safe(report([light], tmp_path / "page.html", gone).read_text(encoding="utf-8"))
    assert "No picture: " in outline.text and "no.nii.gz" in outline.text


@pytest.mark.slow
def test_several_runs_side_by_side(make_run, run, tmp_path):
    other = make_run(tmp_path / "superv<b>ised", method="supervised", shift=3)
    page = report([run, other], tmp_path / "page.html").read_text(encoding="utf-8")
    outline = assert_safe(page)
    assert "2 runs: FixMatch, Supervised." in " ".join(outline.text.split())
    assert "superv<b>ised" in outline.text and "different splits" not in outline.text
    assert len(pictures(page, "image/png")) == 2 * 2 * (3 + 2)
    assert len(page) < 5_000_000


def test_wrong_input_names_the_remedy(tmp_path, light):
    with pytest.raises(SettingsError, match="no run folder given"):
        report([], tmp_path / "page.html")
    with pytest.raises(DataError, match=r"no config\.yaml, so no run folder; give the --out of"):
        report([tmp_path], tmp_path / "page.html")
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be written"):
        report([light], tmp_path / "file" / "page.html")
