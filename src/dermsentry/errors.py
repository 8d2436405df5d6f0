"""The errors a user can meet, each with the exit code that the command line ends with.

Every message is one line: what came, what was expected, what to do.
"""

from __future__ import annotations

from importlib.util import find_spec


class DermsentryError(Exception):
    """Base of every error that is the input's or the machine's, not a bug."""

    exit_code = 2


class InputError(DermsentryError):
    """What was given cannot be used: a missing folder, an unknown class, an unusable split."""

    exit_code = 2


class OutputError(DermsentryError):
    """The result cannot be written: no space left, a read-only folder."""

    exit_code = 4


class TrainingError(DermsentryError):
    """Training cannot continue: the loss is not a number, a class is missing."""

    exit_code = 5


class BundleError(DermsentryError):
    """A model bundle is incomplete, changed since it was written, or from a later version."""

    exit_code = 6


class ArchiveError(DermsentryError):
    """The ISIC Archive cannot be asked, or its answers are not understood."""

    exit_code = 9


class DataWarning(UserWarning):
    """What was given can be used, but was read in a way that its owner should know of."""


def require_type(name: str, given: object, kind: type, source: str) -> None:
    """Raise InputError where an argument is of another type; `source` names what gives one of this `kind`."""
    if not isinstance(given, kind):
        shown = f"{name}={given!r}" if isinstance(given, str) else f"a {type(given).__name__} as {name}"
        raise InputError(f"Received {shown}; expected a {kind.__name__}, as {source} gives it.")


def require_extra(extra: str, *modules: str) -> None:
    """Raise InputError that names the extra to install, if one of `modules`, which it brings, is missing."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{missing[0]} is not installed; expected the extra {extra!r}: "
            f"pip install '.[{extra}]' in the checkout."
        )


EXIT_CODES: dict[int, str] = {
    0: "done, and nothing found that corrupts a result",
    1: "audit: findings that corrupt a result; audit-log verify, restore: the audit trail was changed",
    2: "usage error: the input or an option cannot be used",
    3: "audit, evaluate, fetch, screen: some images could not be read, found or fetched; everything else was "
    "done, and each has its line",
    4: "the output cannot be written, or would replace something else",
    5: "training failed",
    6: "the model bundle was refused",
    7: "the clinic's database cannot be reached, or refuses the connection",
    8: "adopt, adoption: too few melanomas, or images too unlike, to promise anything; nothing is adopted",
    9: "the ISIC Archive cannot be reached; what was fetched is kept, run it again to resume",
    130: "interrupted by Ctrl-C: no file is half written; run it again, and training and fetching resume",
    143: "interrupted by SIGTERM, as by Ctrl-C",
}
