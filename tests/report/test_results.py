"""Numbers as a reader sees them."""

import re

from fewmask.report.page import join
from fewmask.report.record import Evaluation, Row
from fewmask.report.results import MOST_CASES, case_table, class_table, column_title, interval, result_notes


def text(content) -> str:
    return " ".join(re.sub("<[^>]+>", " ", join(content)).split())


def evaluation(cases: int = 6, **summary) -> Evaluation:
    rows = tuple(
        Row(case=f"c{case}", patient=f"p{case}", name=name, note=note, values=values)
        for case in range(cases)
        for name, note, values in (
            ("liver", "", {"dice": 0.5 + 0.4 * case / cases, "hd95_voxel": 2.0}),
            ("spleen", "missed" if case == 1 else "both_empty", {"dice": 0.0, "hd95_voxel": 30.0} if case == 1 else {}),
        )
    )
    found = {"dice": {"mean": 0.61234, "low": 0.5, "high": 0.7}, "hd95_voxel": {"mean": 3.14159}, "protocol": "voxel"}
    found["per_class"] = {"liver": {"dice": {"mean": 0.7, "low": None, "high": None}}}
    return Evaluation(split="test", weights="", summary=found | summary, rows=rows)


def test_intervals():
    assert text(interval({"mean": 0.61234, "low": 0.5, "high": 0.7})) == "0.612 0.500–0.700"
    assert text(interval({"mean": 3.14159, "low": None, "high": None}, 2)) == "3.14"
    assert text(interval(0.25)) == "0.250"
    assert text(interval({"mean": None})) == text(interval(None)) == text(interval(float("nan"))) == "–"


def test_columns_name_their_unit():
    assert column_title("hd95_mm") == "HD95, mm" and column_title("assd_voxel") == "ASSD, voxels"
    assert column_title("surface_dice_1mm") == "surface Dice, 1 mm"


def test_class_table_counts_what_the_rules_touched():
    drawn = text(class_table(evaluation(), ("background", "liver", "spleen"), boxes=False))
    assert "all classes 0.612 0.500–0.700 3.14 6 1 5" in drawn  # scored, missed, both empty
    assert "liver 0.700 – 6" in drawn and "spleen – – 1 1 5" in drawn


def test_case_table_starts_with_the_worst():
    drawn = text(case_table(evaluation(), ("background", "liver", "spleen")))
    assert re.search(r"c1 p1 0\.283 0\.567 0\.000 16\.00 missed: spleen c0 p0 0\.500 0\.500 – 2\.00", drawn)


def test_long_tables_are_cut_and_say_so():
    drawn = text(case_table(evaluation(MOST_CASES + 3), ("background", "liver")))
    assert drawn.endswith("The other 3 cases are in metrics.csv.")


def test_notes_say_what_the_numbers_are():
    known = " ".join(result_notes(evaluation()))
    assert "95 % bootstrap intervals over patients" in known and "Distances are in voxels" in known
    few = " ".join(result_notes(evaluation(cases=2, dice={"mean": 0.6, "low": None, "high": None}, protocol="mm")))
    assert "No intervals: 2 groups are too few" in few and "voxels" not in few
    assert "the mean Dice is 0.550" in " ".join(result_notes(evaluation(per_frame={"dice": 0.55})))
