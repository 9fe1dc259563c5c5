"""How cells stand, from their folders."""

from __future__ import annotations

import io
import json

from rich.console import Console

from fewmask.comparison.board import Board, standing
from fewmask.comparison.grid import make_grid


def test_a_cell_from_waiting_to_done(tmp_path, make_cells) -> None:
    cell = make_grid(["supervised"], ["3"], [], [9], tmp_path / "other").cells[0]
    assert standing(cell) == "waiting"
    cell.folder.mkdir(parents=True)
    assert standing(cell) == "preparing"
    cell.run.log.write_text(json.dumps({"step": 1200}) + "\n" + '{"step": 13')
    assert standing(cell) == "step 1,200"
    cell.run.log.write_text("x" * 20_000 + "\n" + json.dumps({"step": 1300, "val": {"dice": 0.71}}) + "\n")
    assert standing(cell) == "step 1,300, val 0.710"
    done = make_cells({"supervised": 0.0}).cells[0]
    assert 0.5 < float(standing(done)) < 0.7


def test_the_table_has_a_row_a_method_and_budget_and_names_what_failed(make_cells, capsys) -> None:
    grid = make_cells({"supervised": 0.0, "bcp+box=0.5": 0.1}, {"1": -0.1, "3": 0.0}, seeds=(0, 4))
    (grid.cells[5].folder / "cell.json").unlink()
    board = Board(grid, {}, None, quiet=False)
    board.ended(grid.cells[5], "ended by SIGKILL")
    said = capsys.readouterr().err
    assert said.startswith("compare: 7 of 8  bcp+box=0.5, 1 labelled, seed 4: failed: ended by SIGKILL")
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(board.table())
    text = console.export_text()
    assert "7 of 8 cells" in text and "seed 4" in text and text.count("failed") == 1
    assert len([line for line in text.splitlines() if "supervised" in line or "bcp" in line]) == 4
