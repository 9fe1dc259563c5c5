"""Errors that are the user's to mend: one line with the thing, the value and the remedy; each has its exit status."""


class FewmaskError(ValueError):
    """Base of all errors shown without a traceback."""

    exit_status = 1


class SettingsError(FewmaskError):
    """A command, name, key or value that cannot be meant (exit 2)."""

    exit_status = 2


class DataError(FewmaskError):
    """A file or folder that is missing, broken or contradictory (exit 3)."""

    exit_status = 3


class OutOfMemory(FewmaskError):
    """Memory or disk is too small for the request; the message says what to lower (exit 4)."""

    exit_status = 4


class Interrupted(FewmaskError):
    """Stopped by a signal; the same command continues (exit 5)."""

    exit_status = 5
