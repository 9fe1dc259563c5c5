"""Which line and which exit status an error ends a command with."""

from __future__ import annotations

import errno

from fewmask.errors import DataError, FewmaskError, Interrupted, OutOfMemory, SettingsError

INTERRUPTED = Interrupted.exit_status
TYPER_INTERRUPTED = 130
"""What typer leaves with after a KeyboardInterrupt."""


def explain(error: Exception) -> tuple[str, int]:
    """One line for people and the exit status of an error that reached the command line.

    An error of fewmask says both itself.  Those of the operating system and of torch are told by what they mean: a full
    disk, no permission, no memory.  Anything else is a fault of fewmask, status 1.
    """
    if isinstance(error, FewmaskError):
        return f"fewmask: {_line(error)}", error.exit_status
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"fewmask: {where}the disk is full; free some or choose another folder", OutOfMemory.exit_status
        if error.errno == errno.ENOMEM:
            return f"fewmask: {where}{_NO_MEMORY}", OutOfMemory.exit_status
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            reason = f"{(error.strerror or 'no permission').lower()}; change its permissions or choose another folder"
            return f"fewmask: {where}{reason}", SettingsError.exit_status
        return f"fewmask: {where}{(error.strerror or _line(error)).lower()}; check the path", DataError.exit_status
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error):
        return f"fewmask: {_NO_MEMORY}", OutOfMemory.exit_status
    if "Expected more than 1 value per channel" in str(error):
        return f"fewmask: {_LONE_VOXEL}", SettingsError.exit_status
    return (
        f"fewmask: {type(error).__name__}: {_line(error)}; this is a fault of fewmask, "
        "repeat with --debug and report what it shows",
        1,
    )


_LONE_VOXEL = (
    "batch normalisation was left with one voxel; raise method.labelled_batch or plan.size, "
    "or set method.segmenter.normalisation=group"
)
_NO_MEMORY = "memory is full; lower method.labelled_batch, predict.batch or plan.size"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
