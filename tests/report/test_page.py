"""Text is escaped wherever it stands; markup is not escaped twice."""

import base64
import re

from fewmask.figures import Chart
from fewmask.report.page import (
    POLICY,
    Markup,
    Section,
    body,
    chart,
    charts,
    element,
    folded,
    join,
    legend,
    navigation,
    notice,
    opening,
    page,
    picture,
    swatch,
    table,
)

EVIL = "\"><script>'&"
SAFE = "\"&gt;&lt;script&gt;'&amp;"
QUOTED = "&quot;&gt;&lt;script&gt;&#x27;&amp;"


def test_text_and_attributes_are_escaped_and_markup_is_not():
    assert element("p", EVIL, title=EVIL) == f'<p title="{QUOTED}">{SAFE}</p>'
    assert element("p", element("b", "x")) == "<p><b>x</b></p>"
    assert join([None, "a<", [element("i"), ["&"]]]) == "a&lt;<i></i>&amp;"


def test_text_joined_to_markup_is_text_again():
    assert element("p", element("b", "x") + EVIL) == f"<p>&lt;b&gt;x&lt;/b&gt;{SAFE}</p>"
    assert element("p", f"{element('b', 'x')}") == "<p>&lt;b&gt;x&lt;/b&gt;</p>"


def test_attribute_names_and_absent_values():
    assert element("meta", http_equiv="X", class_="y", id=None) == '<meta http-equiv="X" class="y">'


def test_every_builder_escapes():
    drawing = Chart(title=EVIL, svg=b"<svg/>", legend=((EVIL, "#fff"),), note=EVIL)
    built = [
        table([EVIL], [[EVIL, EVIL]], EVIL),
        swatch(EVIL, "#fff"),
        legend([(EVIL, "#fff")]),
        folded(EVIL, EVIL),
        notice(EVIL, [EVIL]),
        navigation([Section(EVIL, "x", EVIL)]),
        Section(EVIL, "x", EVIL).drawn(),
        chart(drawing),
        picture(b"x", EVIL),
    ]
    for markup in built:
        assert isinstance(markup, Markup)
        assert "<script" not in markup and ("&lt;script&gt;" in markup)


def test_pictures_lie_in_the_page():
    source = re.search('src="data:image/png;base64,([^"]+)"', picture(b"\x89PNG", "a case"))
    assert base64.b64decode(source.group(1)) == b"\x89PNG"


def test_a_page_states_its_policy_before_anything_else():
    whole = page(EVIL, element("p", "text"))
    assert whole.startswith('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv=')
    assert f'content="{POLICY.replace(chr(39), "&#x27;")}"' in whole
    assert f"<title>{SAFE}</title>" in whole and "<p>text</p></main></body></html>" in whole


def test_nothing_to_be_careful_about_leaves_no_box():
    assert notice("Before you rely on this", []) is None


def test_a_body_leaves_out_sections_without_content():
    full, empty = Section("Results", "results", "0.9"), Section("Masks", "masks", [])
    drawn = join(body(opening("heart", "what", []), [], [full, empty]))
    assert 'href="#results"' in drawn and "masks" not in drawn and "Before you rely" not in drawn
    assert drawn.startswith("<header>") and drawn.endswith("</footer>")
    assert "Before you rely on this" in join(body(opening("heart", "what", []), ["few cases"], [full]))


def test_no_charts_leave_no_box():
    assert charts([]) == []
