"""The study as a student's notebook in plain Keras, executed: `reporting/templates/study_notebook.md`.

Its cells take the study's trainings from the study's folder where that is there, and train anew elsewhere, so
every output is that of its cell. Code fences become code cells; a line `<!-- cell -->` ends a cell of text.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dermsentry.collection import SPLITS, Collection
from dermsentry.diagnoses import CODES
from dermsentry.errors import InputError, OutputError, require_extra
from dermsentry.files import write_bytes, write_text
from dermsentry.images import Aspect
from dermsentry.nine_class.conclusions import about_collection, about_fit, about_leakage
from dermsentry.nine_class.experiments import Protocol, Result
from dermsentry.nine_class.results import Study
from dermsentry.phantoms import is_synthetic
from dermsentry.reporting.prose import render_text
from dermsentry.stats.numbers import percent, percent_interval

if TYPE_CHECKING:
    from nbformat import NotebookNode

TEMPLATE = "study_notebook.md"
TRAININGS = "notebook"
"""The folder, in the study's, of the trainings that the notebook takes over."""
PROTOCOL: Protocol = "as-assigned"
ASSIGNMENT = ("baseline", "augmented", "balanced")
_CODE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_LOG = re.compile(r"[IW]\d{4} |WARNING: All log messages before absl::")
_BREAK = "<!-- cell -->"


@dataclass(frozen=True)
class Folders:
    """Where Keras finds the photographs: the folders of Train and Test, and the class folders in Train.

    `classes` gives the code of the diagnosis by the folder's name, in the order that Keras gives them.
    """

    train: Path
    test: Path
    classes: dict[str, str]


def find_folders(collection: Collection) -> Folders:
    """The folders of a collection that `image_dataset_from_directory` can read. Raises InputError."""
    found: dict[str, set[tuple[str, ...]]] = {}
    labels: dict[str, set[str]] = {}
    table = collection.table
    for path, split, diagnosis in zip(table["path"], table["split"], table["diagnosis"], strict=True):
        parts = Path(path).parts
        at = next((i for i in reversed(range(len(parts) - 2)) if SPLITS.get(parts[i].lower()) == split), None)
        if at is None:
            raise _unfit(collection, f"{path} is not in such a folder")
        found.setdefault(split, set()).add(parts[: at + 1])
        labels.setdefault(parts[at + 1], set()).add(diagnosis)
    if set(found) != {"train", "test"} or any(len(places) != 1 for places in found.values()):
        named = sorted("/".join(place) for places in found.values() for place in places)
        raise _unfit(collection, f"received {', '.join(named) or 'no photograph'}")
    train, test = (collection.root.joinpath(*found[split].pop()) for split in ("train", "test"))
    # Keras sorts the names as bytes do, which Python does too.
    classes = {name: "|".join(sorted(labels[name])) for name in sorted(labels)}
    if strange := [name for name, code in classes.items() if code not in CODES]:
        raise _unfit(collection, f"{strange[0]} is not one of the nine diagnoses")
    if len(set(classes.values())) < len(classes):
        raise _unfit(collection, f"two of {', '.join(classes)} are one diagnosis")
    if strange := [name for name in classes if not (train / name).is_dir()]:
        raise _unfit(collection, f"{strange[0]} is in {test.name} only")
    return Folders(train, test, classes)


def _unfit(collection: Collection, what: str) -> InputError:
    return InputError(
        f"--notebook: {collection.root} cannot be read by Keras's image_dataset_from_directory: {what}; "
        "expected Train/ and Test/, each with a folder for each diagnosis. Run the study without it."
    )


def require_notebook(collection: Collection, path: Path, *, fast: bool, aspect: Aspect, force: bool) -> None:
    """Raise InputError or OutputError where no notebook can be written, before an hour of training."""
    require_extra("notebook")
    if path.suffix != ".ipynb":
        raise InputError(f"Received --notebook {path}; expected a name that ends in .ipynb.")
    if path.exists() and not force:
        raise OutputError(
            f"{path} exists, and may hold words of your own; move it away, give --notebook another name, or "
            "replace it with --force."
        )
    if fast:
        raise InputError(
            "Received --fast with --notebook, which shows networks that --fast leaves out; drop one."
        )
    if aspect != "squash":
        raise InputError(f"Received aspect {aspect!r} with a notebook; expected 'squash', as Keras resizes.")
    find_folders(collection)


def write_notebook(study: Study, path: Path) -> None:
    """Write the study as an executed notebook.

    Raises OutputError if a cell fails, or the file cannot be written.
    """
    import nbformat

    folders = find_folders(study.collection)
    kept = study.folder / TRAININGS
    for result in study.results:
        if result.protocol == PROTOCOL and not result.experiment.linear:
            _keep(result, kept / f"{result.experiment.name}.npz", folders.classes)
    made = nbformat.v4.new_notebook(
        cells=[
            getattr(nbformat.v4, f"new_{kind}_cell")(source, id=f"cell-{number}")
            for number, (kind, source) in enumerate(cells_of(notebook_text(study, folders, path)))
        ],
        metadata={"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    )
    execute(made, path)
    write_text(path, nbformat.writes(made) + "\n")


def execute(made: NotebookNode, path: Path) -> None:
    """Run the cells where the file will be. Raises OutputError."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    here = path.absolute().parent
    here.mkdir(parents=True, exist_ok=True)
    # Nothing is trained, and the GPU is this process's; figures go into the notebook.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("MPLBACKEND", None)
    client = NotebookClient(
        made,
        timeout=None,
        startup_timeout=600,
        iopub_timeout=120,  # a busy machine sends a figure late
        kernel_name="python3",
        resources={"metadata": {"path": str(here)}},
        record_timing=False,
    )
    try:
        client.execute(env=environment, stderr=subprocess.DEVNULL)
    except AssertionError as error:
        if client.km is None:  # Ctrl-C: nbclient handles the signal itself, and ends the kernel twice
            raise KeyboardInterrupt from error
        raise
    except (CellExecutionError, DeadKernelError) as error:
        told = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error)
        raise OutputError(
            f"{path} was not written: a cell failed with {told}. The study is complete; run it again to "
            "try the notebook again."
        ) from error
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if not _is_log(each)]


def _is_log(output: Mapping[str, Any]) -> bool:
    """Whether an output is only what TensorFlow tells of itself when it is imported."""
    lines = output["text"].splitlines() if output.get("name") == "stderr" else [""]
    return all(_LOG.match(line) for line in lines)


def notebook_text(study: Study, folders: Folders, path: Path) -> str:
    """The notebook's cells as text, before they are executed."""
    by = {(result.experiment.name, result.protocol): result for result in study.results}
    return render_text(
        TEMPLATE,
        study=study,
        folders=folders,
        synthetic=is_synthetic(study.collection.root),
        data=_seen_from(path, study.collection.root),
        run=_seen_from(path, study.folder / TRAININGS),
        size=study.configuration["size"],
        epochs=study.configuration["epochs"],
        found={name: list(_findings(by, name)) for name, protocol in by if protocol == PROTOCOL},
        collection_found=list(about_collection(study.collection, study.split)),
        rows=[_row(result) for result in study.results],
    )


def cells_of(text: str) -> Iterator[tuple[str, str]]:
    """The cells of the text: (`code` or `markdown`, source)."""
    for number, part in enumerate(_CODE.split(text)):
        if number % 2:
            yield "code", part.rstrip("\n")
        elif part.strip():
            yield from (("markdown", piece.strip()) for piece in part.split(_BREAK))


def _findings(by: dict[tuple[str, Protocol], Result], name: str) -> Iterator[str]:
    assigned, honest = by[name, PROTOCOL], by[name, "honest"]
    if not assigned.experiment.linear:
        yield from about_fit(assigned, by.get((assigned.experiment.follows, PROTOCOL)))
    yield about_leakage(assigned, honest)


def _row(result: Result) -> Sequence[str]:
    """A line of the notebook's table of every training."""
    title = result.experiment.title
    tests = [result.evaluations.get(part) for part in ("test-as-given", "test")]
    clean = tests[1]
    return (
        title if result.experiment.name in ASSIGNMENT else f"{title} (beyond)",
        result.protocol,
        percent(result.val_accuracy),
        *(percent_interval(test.overall["accuracy"] if test else None) for test in tests),
        f"{clean.melanoma.decisions[0].detected} of {clean.melanoma.photographs}" if clean else "–",
    )


def _seen_from(notebook: Path, place: Path) -> str:
    """A path as the notebook's folder sees it, so that both can be moved together."""
    try:
        return Path(os.path.relpath(place.absolute(), notebook.absolute().parent)).as_posix()
    except ValueError:  # on another drive
        return place.absolute().as_posix()


def _keep(result: Result, path: Path, classes: dict[str, str]) -> None:
    """Write a training's history and kept weights, its outputs in Keras's order of the classes."""
    fitted = result.fitted or result.training.run()[0]
    *below, kernel, bias = fitted.network.get_weights()
    order = [CODES.index(code) for code in classes.values()]
    arrays: dict[str, Any] = {
        f"weights_{i}": array for i, array in enumerate((*below, kernel[:, order], bias[order]))
    }
    for name in ("accuracy", "val_accuracy", "loss", "val_loss"):
        arrays[name] = result.history[name].to_numpy(dtype=float)
    buffer = io.BytesIO()
    size = result.training.configuration.size
    np.savez(buffer, classes=np.array(list(classes)), size=np.array(size), **arrays)
    write_bytes(path, buffer.getvalue())
