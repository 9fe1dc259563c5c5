"""Walks through a user's folders."""

from fewmask.data.folders import files_below, visible
from fewmask.data.layouts.found import within


def test_walks_leave_out_hidden_files_and_loops(files) -> None:
    for name in ("b/2", "b/1", "a", ".hidden", ".git/x", "__MACOSX/y"):
        files.text(name, "")
    (files.root / "b" / "loop").symlink_to(files.root, target_is_directory=True)
    assert [within(path, files.root) for path in files_below(files.root)] == ["a", "b/1", "b/2"]
    assert [path.name for path in visible(files.root)] == ["a", "b"]
    assert visible(files.root / "gone") == []
