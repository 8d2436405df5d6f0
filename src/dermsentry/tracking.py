"""Trainings, evaluations and cross-validations in MLflow, beside the files that they write.

Where MLflow keeps them, and in which experiment, its own settings say: `MLFLOW_TRACKING_URI` and
`MLFLOW_EXPERIMENT_NAME`. A folder remembers its MLflow run in `mlflow.json`, so that a resumed training goes
into the same one, and so does the evaluation of its bundle.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dermsentry.errors import DataWarning, InputError, require_extra
from dermsentry.files import plain, read_json, write_json
from dermsentry.run_record import describe_run

RUN_FILE = "mlflow.json"
_RETRIES = "3"  # of a request; MLflow's own 7 are silent for four minutes where no server answers
_PARAMETER = 6000  # characters that MLflow takes of a parameter's value


class TrackedRun:
    """An active MLflow run. What MLflow does not take from now on is a warning, not the end of a training."""

    def __init__(self, run_id: str, logged: Iterable[int]) -> None:
        self.run_id, self._logged = run_id, set(logged)

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Log what a result is made of; a value that is a mapping is logged by its own names."""
        import mlflow

        named = {name: str(value)[:_PARAMETER] for name, value in _flat(plain(values))}
        self._try("parameters", lambda: mlflow.log_params(named))

    def epoch(self, row: Mapping[str, float]) -> None:
        """Log an epoch's figures by their names, unless they were logged before the run was resumed."""
        import mlflow

        step = int(row["epoch"])
        if step in self._logged:
            return
        self._logged.add(step)
        figures = {name: float(value) for name, value in row.items() if name != "epoch"}
        self._try(f"epoch {step}", lambda: mlflow.log_metrics(figures, step=step))

    def figures(self, values: Mapping[str, Any], below: str = "") -> None:
        """Log numbers by their path, such as `validation/accuracy`, and of an interval `.low` and `.high`.

        Lists, texts and what could not be measured are left to the files.
        """
        import mlflow

        numbers = {
            below + name: float(value)
            for name, value in _flat(plain(values))
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self._try("figures", lambda: mlflow.log_metrics(numbers))

    def artifacts(self, files: Path | Sequence[Path], below: str) -> None:
        """Log a folder with all that it holds, or some files."""
        import mlflow

        if isinstance(files, Path):
            self._try(below, lambda: mlflow.log_artifacts(str(files), below))
            return
        for file in files:
            self._try(file.name, lambda file=file: mlflow.log_artifact(str(file), below or None))  # type: ignore[misc]

    def end(self, status: str) -> None:
        """End the run, as MLflow calls how it ended."""
        import mlflow

        self._try(f"the end of the run ({status})", lambda: mlflow.end_run(status))

    def _try(self, what: str, log: Callable[[], Any]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            log()
        except (MlflowException, OSError) as error:
            warnings.warn(f"MLflow did not take {what}: {_words(error)}.", DataWarning, stacklevel=3)


@contextmanager
def tracked_run(folder: Path | None, name: str, *, resume: bool = True) -> Iterator[TrackedRun]:
    """An MLflow run while the block lasts, the one that `folder` remembers where there is one.

    Inside of another active run it is nested in that one.

    Parameters
    ----------
    folder
        Where the run is remembered; None: nowhere.
    name
        Of a new run.
    resume
        Whether the run that the folder remembers is continued; otherwise a new one takes its place.

    Raises
    ------
    InputError
        MLflow is not installed, cannot be reached or refuses to begin a run.
    OutputError
        The folder cannot be written.
    """
    require_mlflow()
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _RETRIES)
    import mlflow
    from mlflow.exceptions import MlflowException

    place, outer = mlflow.get_tracking_uri(), mlflow.active_run()
    try:
        known = remembered(folder) if folder is not None and resume else None
        run = mlflow.start_run(run_id=known, run_name=None if known else name, nested=True)
        steps = _steps(run.info.run_id) if known else []
        mlflow.set_tags(_tags())
    except (MlflowException, OSError) as error:
        if mlflow.active_run() is not outer:
            with suppress(MlflowException, OSError):  # told below
                mlflow.end_run("FAILED")
        raise InputError(
            f"MLflow at {place} cannot be used: {_words(error)}; set MLFLOW_TRACKING_URI, or do without it."
        ) from error
    if folder is not None:
        write_json(folder / RUN_FILE, {"run_id": run.info.run_id, "tracking_uri": place})
    tracked, status = TrackedRun(run.info.run_id, steps), "FAILED"
    try:
        yield tracked
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracked.end(status)


def require_mlflow() -> None:
    """Raise MissingExtraError where the extra `mlflow` is not installed."""
    require_extra("mlflow")


def remembered(folder: Path) -> str | None:
    """The id of the MLflow run of a folder, where it is of the present tracking server."""
    import mlflow

    try:
        kept = read_json(folder / RUN_FILE)
    except InputError:
        return None
    return str(kept["run_id"]) if kept.get("tracking_uri") == mlflow.get_tracking_uri() else None


def _steps(run_id: str) -> list[int]:
    """The epochs of a run that MLflow has already."""
    import mlflow

    return [metric.step for metric in mlflow.MlflowClient().get_metric_history(run_id, "accuracy")]


def _tags() -> dict[str, str]:
    run = describe_run()
    commit = {"mlflow.source.git.commit": run["commit"].rstrip("+")} if run["commit"] else {}
    return {"dermsentry": run["dermsentry"], "command": run["command"][:5000], **commit}


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each value and the path to it; an interval's value has the path of the interval."""
    for name, value in values.items():
        path = f"{above}{name}"
        if not isinstance(value, Mapping):
            yield path, value
        elif {"value", "low", "high"} <= value.keys():
            yield from ((path if part == "value" else f"{path}.{part}", own) for part, own in value.items())
        else:
            yield from _flat(value, f"{path}/")


def _words(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
