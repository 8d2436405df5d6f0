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


class MissingExtraError(InputError, ImportError):
    """A part of the package that is not installed; the message says which extra brings it, and how."""


_EXTRAS = {
    "audit": ("pandas", "scipy", "matplotlib", "openpyxl", "cv2", "faiss", "httpx", "sklearn", "tenacity"),
    "train": ("keras", "tf2onnx", "Augmentor"),
    "train-cpu": ("tensorflow",),
    "clinic": (
        "sqlalchemy", "alembic", "uvicorn", "fastapi", "pydantic_settings", "pydicom", "pynetdicom", "argon2",
    ),
    "hdf5": ("h5py",),
    "notebook": ("nbformat", "nbclient", "ipykernel"),
    "dicom": ("pydicom",),
    "parquet": ("pyarrow",),
    "remote": ("fsspec",),
    "cluster": ("ray", "pyarrow"),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}  # fmt: skip
"""The modules that each extra brings, and that tell whether it is installed."""


def require_extra(*extras: str) -> None:
    """Raise MissingExtraError if a module of one of these extras, the largest first, is missing."""
    for extra in extras:
        for module in _EXTRAS[extra]:
            if find_spec(module) is None:
                raise MissingExtraError(how_to_install(module, extra))


def missing_extra(error: ModuleNotFoundError) -> ImportError:
    """The error that says which extra brings a missing module; the error itself where none does."""
    module = (error.name or "").partition(".")[0]
    extra = next((extra for extra, modules in _EXTRAS.items() if module in modules), None)
    return error if extra is None else MissingExtraError(how_to_install(module, extra))


def how_to_install(module: str, extra: str) -> str:
    """One line; from where the package itself was installed, which need not be an index."""
    import json
    from contextlib import suppress
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    place = "dermsentry"
    with suppress(PackageNotFoundError, ValueError, KeyError):
        told = json.loads(distribution("dermsentry").read_text("direct_url.json") or "{}")
        path = Path(url2pathname(urlsplit(told["url"]).path))
        if path.exists():
            place = "." if path == Path.cwd() else str(path)
    other = ", or train-gpu on an NVIDIA card" if extra == "train-cpu" else ""
    return (
        f"{module} is not installed; it comes with the extra {extra}{other}: pip install '{place}[{extra}]'."
    )


EXIT_CODES: dict[int, str] = {
    0: "done, and nothing found that corrupts a result",
    1: "audit: findings that corrupt a result; audit-log verify, restore: the audit trail was changed",
    2: "usage error: the input or an option cannot be used",
    3: "adopt, audit, evaluate, fetch, predict, screen: some images could not be read, found or fetched; "
    "everything else was done, and each has its line",
    4: "the output cannot be written, or would replace something else",
    5: "training failed",
    6: "the model bundle was refused",
    7: "the clinic's database cannot be reached, or refuses the connection",
    8: "adopt, adoption: too few melanomas, or images too unlike, to promise anything; nothing is adopted",
    9: "the ISIC Archive cannot be reached; what was fetched is kept, run it again to resume",
    130: "interrupted by Ctrl-C: no file is half written; run it again, and training and fetching resume, "
    "audits and screening where they write to a folder or file",
    143: "interrupted by SIGTERM, as by Ctrl-C",
}
