"""Charts: which lines of a log they hold, and that their only text is numbers."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from fewmask.figures import box_plot, class_colour, comparison_curves, run_colour, series, training_curves

NAMES = ("background", "<script>", "$\\frac{1}{", "心")


def make_log(steps: int = 40) -> list[dict]:
    log = []
    for step in range(1, steps + 1):
        line = {
            "step": step,
            "terms": {"supervised": 2.0 / step, "strong": 0.1},
            "log": {"kept": step / steps, "scale": 7.0},
        }
        if step % 10 == 0:
            line["val"] = {
                "dice": step / 100,
                "per_class": dict.fromkeys(NAMES[1:], step / 100),
                "pseudo": {"raw": 0.3},
            }
        log.append(line)
    return log


def words(svg: bytes) -> str:
    tree = ElementTree.fromstring(svg)
    return " ".join("".join(node.itertext()) for node in tree.iter() if node.tag.endswith("text"))


def test_series_are_keyed_by_name_and_skip_what_is_no_number():
    log = [{"step": 1, "terms": {"a": 1.0, "b": None}}, {"step": 3, "terms": {"a": float("nan"), "b": 2}}, {"step": 4}]
    found = series(log, "terms")
    assert set(found) == {"a", "b"}
    assert [points.tolist() for points in found["a"]] == [[1.0], [1.0]]
    assert [points.tolist() for points in found["b"]] == [[3.0], [2.0]]
    assert series([{"step": 5, "val": {"dice": 0.5}}], "val", "dice")["dice"][1].tolist() == [0.5]
    assert series(log, "val", "dice") == {} and series([], "terms") == {}


def test_four_charts_of_a_full_log():
    charts = training_curves(make_log(), NAMES)
    assert [chart.title for chart in charts] == [
        "Loss terms",
        "Dice on val",
        "Dice of pseudo-labels on val",
        "Signals of the method",
    ]
    assert [name for name, _ in charts[0].legend] == ["supervised", "strong"]
    assert charts[1].legend[1:] == tuple((name, class_colour(index)) for index, name in enumerate(NAMES) if index)
    assert charts[1].note == "ring: best, 0.400 at step 40"
    assert [name for name, _ in charts[2].legend] == ["model", "pseudo-labels, raw"]
    assert [name for name, _ in charts[3].legend] == ["kept"]  # `scale` is no share


def test_charts_hold_no_text_but_numbers_and_axes():
    for chart in training_curves(make_log(), NAMES):
        assert re.fullmatch(r"[\d.,−\s]*(step|Dice|raw term|share|[\d.,−\s])*", words(chart.svg))
        assert b"http" not in re.sub(rb'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>', b"", chart.svg)


def test_absent_parts_are_left_out():
    assert training_curves([], NAMES) == ()
    only_terms = [{"step": 1, "terms": {"supervised": 1.0}}]
    assert [chart.title for chart in training_curves(only_terms, NAMES)] == ["Loss terms"]
    supervised = [{"step": 1, "val": {"dice": 0.5}}]
    assert [chart.title for chart in training_curves(supervised, NAMES)] == ["Dice on val"]


def test_the_same_log_gives_the_same_chart():
    assert training_curves(make_log(), NAMES) == training_curves(make_log(), NAMES)


def test_runs_share_axes_and_one_without_validation_is_left_out():
    charts = comparison_curves({"a<b>": make_log(), "none": [], "$x$": make_log(20)})
    assert [chart.title for chart in charts] == ["Dice on val", "Dice of pseudo-labels on val"]
    assert charts[0].legend == (("a<b>", run_colour(0)), ("$x$", run_colour(2)))
    assert comparison_curves({"none": []}) == ()


@pytest.mark.parametrize("values", [[], [0.5], [0.0, 1.0, float("nan")], list(np.linspace(0, 1, 50))])
def test_a_box_has_a_dot_per_finite_value(values):
    svg = box_plot(values, "#112233")
    assert words(svg).strip() == ""
    boxes = int(len(values) > 3)
    assert svg.count(b"<use") == np.isfinite(values).sum() + boxes


def test_colours_of_classes_and_runs_do_not_repeat():
    assert len({class_colour(index) for index in range(1, 33)}) == 32
    assert len({run_colour(index) for index in range(12)}) == 12
    assert re.fullmatch("#[0-9A-F]{6}", class_colour(30))
