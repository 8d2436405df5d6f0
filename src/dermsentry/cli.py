"""The commands: each a thin call of the public API. stdout is for results, stderr for people."""

from __future__ import annotations

import inspect
import io
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, TypeVar, cast, get_type_hints

import typer

from dermsentry._version import __version__
from dermsentry.clinic.cli import app as clinic
from dermsentry.command_examples import show_examples
from dermsentry.errors import DataWarning, DermsentryError, InputError, missing_extra
from dermsentry.progress import log_as_json, logged, say, terminal_width

if TYPE_CHECKING:
    from dermsentry.collection import Collection
    from dermsentry.collection.table import UnknownDiagnosis
    from dermsentry.outputs import Output
    from dermsentry.screening.guarded import GuardedScreeners
    from dermsentry.screening.triage import Tier

Number = TypeVar("Number", int, float)
# Typer gives no public name to the error that every wrong option and argument raises.
UsageError = cast(type[Exception], typer.BadParameter.__mro__[1])

app = typer.Typer(
    name="dermsentry",
    help="Melanoma alerts from skin photographs: audit a collection, split it, train, evaluate, screen.\n\n"
    "Research software, not a medical device.",
    no_args_is_help=True,
    rich_markup_mode=None,  # drawing the help with Rich would triple the time it takes to appear
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
LOG_JSON = "--log-json"
RESUMING, RESUMING_FILES = {"fetch", "study", "train"}, {"audit", "screen"}
"""The commands that resume after an interruption; the latter with `--out` or `--findings`."""

Data = Annotated[
    list[Path],
    typer.Argument(metavar="DATA...", help="Folders of images, or CSV files; several are joined."),
]
Model = Annotated[Path, typer.Option(help="Folder of a model bundle; by default the bundled model.")]
PredictionsFor = Annotated[
    Literal["isic2018", "isic2019", "isic2020"] | None,
    typer.Option(help="The challenge whose scorer is to take the predictions: its columns, not the nine."),
]
Precision = Annotated[
    Literal["auto", "float32", "mixed_bfloat16"],
    typer.Option(help="Numeric precision of training; auto is the faster one on this machine."),
]
Seed = Annotated[int, typer.Option(help="Random seed.")]
LeaveOut = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN[=VALUE]",
        help="Leave out the images of one value of a column, such as source=BCN; COLUMN: each value in turn.",
    ),
]
Folds = Annotated[int | None, typer.Option(min=2, help="Leave out each group once, in so many folds.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=HEADING",
        help="The heading in your tables of a column, such as diagnosis='Befund (Histo)'; once for each.",
    ),
]
Diagnoses = Annotated[
    Path | None,
    typer.Option(
        help="CSV given,diagnosis of names that are not understood; where it is missing, it is written to be "
        "filled in."
    ),
]
Part = Literal["test", "test-as-given", "train", "validation", "calibration", "test-leaking", "quarantined"]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace what is there and is not the same, which is refused otherwise."),
]
MLflow = Annotated[bool, typer.Option("--mlflow", help="Also log to MLflow, where MLFLOW_TRACKING_URI says.")]
SplitFile = Annotated[Path | None, typer.Option(help="The split.csv that says which image is in which part.")]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options of every command that reads a collection: its tables, and what is in them."""

    labels: Annotated[
        Path | None, typer.Option(help="Reference label table, such as ISIC's ground truth.")
    ] = None
    metadata: Annotated[
        Path | None, typer.Option(help="Table by image id with lesion, patient, age, sex, site.")
    ] = None
    column: Columns = None
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, where DATA is a table in another folder.")
    ] = None
    diagnoses: Diagnoses = None
    no_published_lesions: Annotated[
        bool,
        typer.Option(
            "--no-published-lesions", help="Ignore which ISIC ids are one lesion by published tables."
        ),
    ] = False

    def collection(self, data: list[Path]) -> Collection:
        """The one collection that folders and tables make; says which diagnoses are not understood."""
        from dermsentry.collection.labels import (
            WHAT_THEY_ARE,
            Vocabulary,
            describe_unknown,
            read_label_table,
        )
        from dermsentry.collection.layouts import read_collections, require_columns

        require_columns(self.headings, [*data, self.metadata, self.labels])
        _draft_diagnoses(
            self.diagnoses,
            lambda: read_collections(data, columns=self.headings, images=self.images).unknown_diagnoses,
            lambda: read_label_table(self.labels, Vocabulary(), self.headings)[1] if self.labels else (),
        )
        collection = read_collections(
            data, metadata=self.metadata, diagnoses=self.diagnoses, columns=self.headings, images=self.images,
            published_lesions=not self.no_published_lesions,
        )  # fmt: skip
        if collection.unknown_diagnoses:
            shown = collection.unknown_diagnoses[:12]
            more = len(collection.unknown_diagnoses) - len(shown)
            listed = "; ".join(map(describe_unknown, shown)) + (f"; and {more} more" if more else "")
            what = WHAT_THEY_ARE if self.diagnoses is None else f"add those that you know to {self.diagnoses}"
            _say(f"Note: diagnoses that are none of the nine: {listed}. To use them, {what}.")
        for note in collection.notes:
            _say(f"Note: {note}")
        return collection

    def reference(self, collection: Collection) -> dict[str, str] | None:
        """The reference labels by the collection's image ids; says what matches."""
        from dermsentry.collection import read_labels
        from dermsentry.collection.joins import join_labels

        if self.labels is None:
            return None
        given = read_labels(self.labels, diagnoses=self.diagnoses, columns=self.headings)
        known, told = join_labels(collection, given, str(self.labels))
        _say(f"Note: {told}")
        return known

    @property
    def headings(self) -> dict[str, str]:
        """Headings of the tables by our names of the columns. Raises InputError."""
        from dermsentry.collection.columns import read_headings

        return read_headings(self.column or ())


def _draft_diagnoses(path: Path | None, *sources: Callable[[], Iterable[UnknownDiagnosis]]) -> None:
    """Where `--diagnoses` names no file, write it there to be filled in, with what no source understands.

    Raises InputError, saying so.
    """
    if path is None or path.exists():
        return
    from dermsentry.collection.labels import UnknownDiagnosesError, write_draft
    from dermsentry.collection.table import joined_unknown

    found = []
    for source in sources:
        try:
            found.append(tuple(source()))
        except UnknownDiagnosesError as error:
            found.append(error.unknown)
    unknown = joined_unknown(found)
    if not unknown:
        raise InputError(f"{path} does not exist, and every diagnosis is understood without --diagnoses.")
    write_draft(path, unknown)
    count = sum(one.photographs for one in unknown)
    raise InputError(
        f"{path} did not exist: it was written with the {len(unknown):,} diagnoses that are not understood "
        f"({count:,} rows). Fill in its column diagnosis (a code such as MEL, a name, benign, malignant, or "
        "nothing for unknown), and run this again."
    )


def _reads_collection(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Reading` in the place of its parameter of this type."""
    hints = get_type_hints(Reading, include_extras=True)
    shared = [
        inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name]
        )
        for each in fields(Reading)
    ]
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for own in signature.parameters.values():
        mine = own.annotation is Reading
        parameters += shared if mine else [own.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    name = next(p.name for p in signature.parameters.values() if p.annotation is Reading)

    @wraps(command)
    def reading(**given: Any) -> None:
        options = {each.name: given.pop(each.name) for each in shared}
        command(**given, **{name: Reading(**options)})

    reading.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    reading.__annotations__ = {p.name: p.annotation for p in parameters}
    return reading


def _say(text: str) -> None:
    """A line for the person at the terminal."""
    say(text)


def _show(text: str) -> None:
    """A result on stdout; a terminal that is too narrow gets its lines broken between words."""
    width = terminal_width()
    if width is not None:
        import textwrap

        wrapper = textwrap.TextWrapper(
            width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
        text = "\n".join("\n".join(wrapper.wrap(line)) for line in text.splitlines())
    typer.echo(text)


@cache
def _say_once(text: str) -> None:
    """A line that is said once a run; Python's own "once" forgets whenever a library adds a filter."""
    _say(text)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dermsentry {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    log_json: Annotated[
        bool, typer.Option(LOG_JSON, help="Messages and progress on stderr as a JSON object per line.")
    ] = False,
) -> None:
    log_as_json(log_json)
    if context.invoked_subcommand not in (None, "serve"):  # which tells by itself, for as long as it runs
        context.with_resource(logged(context.invoked_subcommand or ""))


def _output(
    out: Path | None,
    command: str,
    names: list[str],
    made_of: dict[str, Any],
    force: bool,
    adding: tuple[str, ...] = (),
) -> Output | None:
    """What a command is to write into `out`. Raises OutputError where that would replace something else."""
    if out is None:
        return None
    from dermsentry.outputs import Output

    output = Output(out, command, tuple(names), made_of, adding)
    output.check(force=force)
    return output


@app.command(short_help="Audit a collection: what is wrong with it.")
@_reads_collection
def audit(
    data: Data,
    reading: Reading = Reading(),
    content: Annotated[
        bool,
        typer.Option(
            "--content",
            help="Also have the bundled model look: no lesion, out of focus, dark, probably wrong labels.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for audit.html, findings.html, audit.json, …; run again, it resumes."),
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(help="Folder of an earlier audit: only what is new since is read and compared."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print audit.json instead of the summary.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Photographs read at the same time; by default one per core.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Who moves the photographs; ray does on many machines, which all see --out."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster, such as auto; by default one that is begun on this machine."),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Audit a collection: conflicts, leaks, duplicates, wrong labels, balance and shortcuts.

    Exit code 1 if something was found that would corrupt a result, else 3 if photographs could not be read.
    """
    from dermsentry.audit import audit_collection, write_audit
    from dermsentry.audit.since import INDEX
    from dermsentry.audit.summary import as_text
    from dermsentry.collection.labels import UnknownDiagnosesError, write_draft
    from dermsentry.files import to_json

    if engine == "ray" and out is None:
        raise InputError("Received --engine ray without --out; expected a folder that every machine sees.")
    if engine == "local" and address is not None:
        raise InputError("Received --address without --engine ray.")
    try:
        collection = reading.collection(data)
    except UnknownDiagnosesError as error:
        if out is not None:
            write_draft(out / "diagnoses.csv", error.unknown)
            _say(f"Written: {out / 'diagnoses.csv'}, to be filled in and given to --diagnoses")
        raise
    reference = reading.reference(collection)
    made_of = {
        "DATA": data, "labels": reading.labels, "metadata": reading.metadata,
        "columns": reading.headings, "images": reading.images, "content": content,
        "published_lesions": not reading.no_published_lesions, "seed": seed,
    }  # fmt: skip
    output = _output(
        out, "audit", ["audit.json", "audit.html", "findings.html", "findings.csv"], made_of, force,
        adding=("content",),
    )  # fmt: skip
    index = None if out is None else out / INDEX
    found = audit_collection(
        collection, labels=reference, index=index, since=since, seed=seed,
        workers=threads, engine=engine, address=address, quiet=False,
    )  # fmt: skip
    if content:
        from dermsentry.evaluation.content import audit_content

        found = audit_content(
            found, collection, index=index, seed=seed,
            workers=threads, engine=engine, address=address, quiet=False,
        )  # fmt: skip
    if out is not None:
        write_audit(found, collection, out)
    if output is not None:
        output.finish()
    if json:
        typer.echo(to_json(found), nl=False)
    else:
        _show(as_text(found).removesuffix("\n"))
    if out is not None:
        _say(f"Written: {out / 'audit.html'}")
        if found.unknown_diagnoses:
            _say(f"Written: {out / 'diagnoses.csv'}, to be filled in and given to --diagnoses")
    raise typer.Exit(1 if found.corrupting else 3 if found.unreadable or found.not_read else 0)


@app.command(short_help="Rebuild a set from the ISIC Archive.")
def fetch(
    what: Annotated[
        Literal["isic9", "ham10000", "isic2019", "collection"],
        typer.Argument(
            metavar="SET", help="The set; collection takes the number of any of the archive's collections."
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new folder, or that of an earlier fetch of the same set.")],
    number: Annotated[
        int | None, typer.Argument(metavar="[NUMBER]", help="Number of a collection, such as 212.")
    ] = None,
) -> None:
    """Rebuild a set from the ISIC Archive, with licences and its present labels. Run it again to resume.

    Exit code 3 if some images could not be fetched, 9 if the archive cannot be reached.
    """
    from dermsentry.fetching import fetch as run
    from dermsentry.fetching.pipeline import summary

    if (what == "collection") != (number is not None):
        given = f"{what} {number}" if number is not None else what
        raise InputError(f"Received {given}; expected collection and its number, or another set without one.")
    fetched = run(what if number is None else number, out, say=_say, quiet=False)
    for line in summary(fetched):
        _show(line)
    metadata = out / "metadata.csv"
    _say(f"Written: {metadata}, {out / 'SHA256SUMS'}")
    if fetched.changes:
        _say(f"Written: {out / 'changes.csv'}. Compare: dermsentry audit {out} --labels {metadata}")
    if not fetched.complete:
        raise typer.Exit(3)


@app.command(short_help="Evaluate a model bundle, every figure with its interval.")
@_reads_collection
def evaluate(
    given: Annotated[
        list[Path],
        typer.Argument(
            metavar="[BUNDLE] DATA...",
            help="Folder of a model bundle (none with --predictions); folders of images, or CSV files.",
        ),
    ],
    split: SplitFile = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Evaluate this table of any model's predictions by image instead of a bundle: nine classes, "
            "seven, or melanoma alone.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="With --predictions: the melanoma probability that raises an alert."),
    ] = None,
    part: Annotated[
        Part, typer.Option(help="Part of the split to evaluate on; test-as-given is Test with its leaks.")
    ] = "test",
    out: Annotated[
        Path | None, typer.Option(help="Folder for evaluation.json, evaluation.html and predictions.csv.")
    ] = None,
    predictions_for: PredictionsFor = None,
    leave_out: Annotated[
        str | None,
        typer.Option(metavar="COLUMN=VALUE", help="Evaluate on the images of one value of a column instead."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Also figures by this column; by source in any case.")
    ] = None,
    reading: Reading = Reading(),
    prevalence: Annotated[
        float | None,
        typer.Option(help="Prevalence of melanoma where the model is to be used, such as 0.02."),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Also test corruptions and repeat captures (adds minutes)."),
    ] = False,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of lesion masks: also test saliency, and whether the lesion is needed."),
    ] = None,
    not_lesions: Annotated[
        Path | None, typer.Option(help="Folder of images without a lesion: also test how many are refused.")
    ] = None,
    keep_learned: Annotated[
        bool, typer.Option("--keep-learned", help="Also evaluate on images that the model learned from.")
    ] = False,
    mlflow: MLflow = False,
    resamples: Annotated[int, typer.Option(min=2, help="Bootstrap resamples for the intervals.")] = 1000,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Evaluate a model, or a table of predictions, on images of known diagnosis.

    Every figure has its 95 % interval. Exit code 3 if images could not be read or have no prediction.
    """
    from dermsentry.evaluation import evaluate as run
    from dermsentry.evaluation import evaluate_table
    from dermsentry.evaluation.summary import summary
    from dermsentry.files import sha256
    from dermsentry.model import open_bundle
    from dermsentry.split import make_folds, read_split

    needing = {
        "--predictions-for": predictions_for, "--robustness": robustness, "--masks": masks,
        "--not-lesions": not_lesions, "--keep-learned": keep_learned, "--mlflow": mlflow,
    }  # fmt: skip
    if predictions is None and threshold is not None:
        raise InputError("Received --threshold without --predictions; a bundle has its own.")
    if predictions is None and len(given) < 2:
        raise InputError(f"Received {given[0]} alone; expected a bundle and the images to evaluate it on.")
    if predictions is not None and any(needing.values()):
        asked = ", ".join(name for name, value in needing.items() if value)
        raise InputError(f"Received {asked} with --predictions; only a bundle can be tried further.")
    data = given if predictions is not None else given[1:]
    if leave_out is not None and (split is None or "=" not in leave_out):
        raise InputError(
            f"Received --leave-out {leave_out}{'' if split else ' without --split'}; expected COLUMN=VALUE, "
            "and the split.csv whose groups hold. --by COLUMN gives the figures of every value."
        )
    collection = reading.collection(data)
    reference = reading.reference(collection)
    known = None if split is None else read_split(split, collection)
    if known is not None and leave_out is not None:
        fold = make_folds(known, collection, leave_out=leave_out)[0]
        _say(f"{leave_out}: {fold.told}")
        known = fold.split
    bundle = None if predictions is not None else open_bundle(given[0])
    made_by = "" if bundle is None else bundle.card.digest
    if predictions is not None and predictions.is_file():
        made_by = sha256(predictions)
    made_of = {
        "model": made_by,
        "collection": collection.fingerprint(), "split": known and known.fingerprint(), "labels": reference,
        "part": part, "by": by, "threshold": threshold, "prevalence": prevalence, "masks": masks,
        "predictions_for": predictions_for, "robustness": robustness, "not_lesions": not_lesions,
        "keep_learned": keep_learned, "resamples": resamples, "seed": seed,
    }  # fmt: skip
    files = ["evaluation.json", "evaluation.html", "predictions.csv", "truth.csv"]
    output = _output(out, "evaluate", files, made_of, force)
    if predictions is not None:
        evaluation = evaluate_table(
            predictions, collection, known, part=part, labels=reference, by=by, out=out, threshold=threshold,
            prevalence=prevalence, resamples=resamples, seed=seed,
        )  # fmt: skip
    else:
        evaluation = run(
            bundle or given[0], collection, known, part=part, labels=reference, by=by, out=out,
            predictions_for=predictions_for, prevalence=prevalence, robustness=robustness, masks=masks,
            not_lesions=not_lesions, keep_learned=keep_learned, mlflow=mlflow, resamples=resamples, seed=seed,
            quiet=False,
        )  # fmt: skip
    if output is not None:
        output.finish()
    _show(summary(evaluation, by))
    for sentence in evaluation.warnings:
        _say(f"Note: {sentence}")
    if out is not None:
        _say(f"Written: {out / 'evaluation.html'}")
    about = evaluation.about
    if about["unreadable"] or about.get("without_prediction") or collection.not_read:
        raise typer.Exit(3)


@app.command(short_help="Compare models that were evaluated on the same images.")
def compare(
    evaluations: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="What evaluate --out wrote, the reference first."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.json, comparison.csv and comparison.html.")
    ] = None,
    force: Force = False,
) -> None:
    """Compare models with the first one: paired over groups, adjusted for how many there are."""
    from dermsentry.evaluation.comparison_report import as_text, write_comparison
    from dermsentry.evaluation.model_comparison import compare_models
    from dermsentry.evaluation.written import read_evaluations
    from dermsentry.files import sha256

    read = read_evaluations(evaluations)
    made_of = {"evaluations": [sha256(folder / "predictions.csv") for folder in evaluations]}
    files = ["comparison.json", "comparison.csv", "comparison.html"]
    output = _output(out, "compare", files, made_of, force)
    differences = compare_models(read)
    _show(as_text(read, differences))
    left = {name: one.about["left_out"] for name, one in read.items() if one.about["left_out"]}
    if left:
        counts = ", ".join(f"{count:,} of {name}" for name, count in left.items())
        _say(f"Note: images that not all of them have are left out: {counts}.")
    if output is not None:
        write_comparison(read, differences, output.folder)
        output.finish()
        _say(f"Written: {output.folder / 'comparison.html'}")


@app.command(short_help="Predict with anyone's ONNX or Keras model.")
@_reads_collection
def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model as ONNX, or saved by Keras as .keras.")
    ],
    data: Data,
    classes: Annotated[
        str,
        typer.Option(
            help="The diagnosis of each output, in their order, separated by commas; melanoma alone for one."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The table to write, for evaluate --predictions.")],
    scaling: Annotated[
        Literal["0-255", "0-1", "-1-1", "imagenet"],
        typer.Option(help="The colours that the model expects; imagenet: less its mean, by its deviation."),
    ] = "0-1",
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the input in pixels, where the model leaves it open.")
    ] = None,
    aspect: Annotated[
        Literal["squash", "crop", "pad"], typer.Option(help="How an image is made square.")
    ] = "squash",
    reading: Reading = Reading(),
    force: Force = False,
) -> None:
    """Predict with a model of any framework, and write the table that evaluate --predictions measures.

    Exit code 3 if some images could not be read.
    """
    from dermsentry.evaluation.any_model import predict_table, require_safe
    from dermsentry.files import sha256
    from dermsentry.outputs import single_file

    require_safe(model)
    collection, named = reading.collection(data), [name.strip() for name in classes.split(",")]
    made_of = {
        "model": sha256(model), "collection": collection.fingerprint(), "classes": named, "size": size,
        "scaling": scaling, "aspect": aspect,
    }  # fmt: skip
    output = single_file(out, "predict", made_of)
    output.check(force=force)
    made = predict_table(
        model, collection, out, classes=named, size=size, scaling=scaling, aspect=aspect, quiet=False
    )
    output.finish()
    typer.echo(f"{made.images:,} images, from {made.read_as}")
    for one in made.unreadable:
        _say(f"Note: {one.path}: {one.reason}")
    _say(f"Written: {out}")
    if made.unreadable:
        raise typer.Exit(3)


@app.command(short_help="Write what a paper needs of a result.")
def publish(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="What evaluate --out wrote, or the folder of a study.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for tables/, figures/, checklists/, datasheet.md and run.json.")
    ],
    force: Force = False,
) -> None:
    """Write tables, figures, reporting checklists and a datasheet of a result, what is known filled in."""
    from dermsentry.evaluation.publication import publish as run
    from dermsentry.evaluation.publication import published_files
    from dermsentry.files import sha256

    names = list(published_files(result))
    source = next(p for p in (result / "evaluation.json", result / "study.json") if p.is_file())
    output = _output(out, "publish", names, {"result": sha256(source)}, force)
    written = run(result, out)
    if output is not None:
        output.finish()
    for name, count in Counter(path.relative_to(out).parts[0] for path in written).items():
        typer.echo(f"{name}/: {count:,} files" if (out / name).is_dir() else name)
    _say(f"Written: {out}")


@app.command(short_help="Split a collection, related images in one part.")
@_reads_collection
def split(
    data: Data,
    out: Annotated[Path, typer.Option(help="The split.csv to write.")] = Path("split.csv"),
    decisions: Annotated[
        Path | None,
        typer.Option(help="What was decided on photographs, as the page of audit --content writes it."),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(help="Folder of an audit of the same images, which are then not read again."),
    ] = None,
    reading: Reading = Reading(),
    fractions: Annotated[
        str, typer.Option(help="Shares of train, validation, calibration and, without a Test folder, test.")
    ] = "0.7,0.15,0.15,0.15",
    leave_out: LeaveOut = None,
    folds: Folds = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Split a collection: duplicates, lesions and patients stay in one part, conflicts are quarantined.

    With --leave-out COLUMN or --folds, a numbered file for each fold: split-1.csv and so on.
    """
    from dermsentry.audit.decisions import read_decisions
    from dermsentry.collection.lesions import known_lesions
    from dermsentry.split import DOUBTFUL, make_folds, make_split, refuse_other_split, write_split

    collection = reading.collection(data)
    _say(f"Note: {known_lesions(collection.table).sentence}")
    known = reading.reference(collection)
    shares = _numbers(fractions, float, 4, "--fractions")
    decided = None if decisions is None else read_decisions(decisions, collection)
    if decided is not None:
        counts = Counter(decision.choice for decision in decided.values())
        told = ", ".join(f"{choice}: {count:,}" for choice, count in counts.most_common())
        _say(f"Note: {decisions}: {told or 'nothing is decided in it'}")
    made = make_split(
        collection,
        labels=known,
        decisions=decided,
        fractions=(shares[0], shares[1], shares[2], shares[3]),
        seed=seed,
        index=None if audit is None else _kept_by_audit(audit),
        quiet=False,
    )
    written = [(out, made, "", "")]
    if leave_out is not None or folds is not None:
        divided = make_folds(made, collection, leave_out=leave_out, folds=folds, seed=seed)
        paths = [out.with_stem(f"{out.stem}-{number}") for number in range(1, len(divided) + 1)]
        written = [
            (path, fold.split, f"left out: {fold.name}", fold.problem or fold.told)
            for path, fold in zip([out] if len(divided) == 1 else paths, divided, strict=True)
        ]
    for path, one, _, _ in () if force else written:
        refuse_other_split(one, path)
    for path, one, name, told in written:
        write_split(one, path)
        if name:
            typer.echo(name)
            _say(f"{name}; {told}")
        for part, count in one.counts().items():
            typer.echo(f"{part:<14}{count:>7}")
        _say(f"Written: {path}")
    doubtful = int(made.table["reason"].str.contains(f"{DOUBTFUL}: ", regex=False).sum())
    if doubtful:
        _say(
            f"Note: {doubtful:,} photographs agree as if they were one, too many to be believed; look at "
            "them (`dermsentry audit` shows them). They were split as different photographs."
        )


def _kept_by_audit(audit: Path) -> Path:
    """What an audit keeps. Raises InputError where it is no folder of an audit."""
    from dermsentry.audit.since import INDEX

    if not (audit / INDEX).is_dir():
        raise InputError(f"{audit} has no {INDEX}/; expected the folder that an audit wrote with --out.")
    return audit / INDEX


@app.command(short_help="Train a network and write its bundle.")
@_reads_collection
def train(
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run; its bundle is in bundle/. By default the next runs/train-1, …"),
    ] = None,
    split: SplitFile = None,
    network: Annotated[
        Literal["linear", "cnn", "lite0", "lite1", "lite2"],
        typer.Option(
            help="linear: a head on a frozen network, minutes; lite0 to lite2: all of an EfficientNet-Lite"
        ),
    ] = "linear",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs; linear has none.")] = 20,
    augmented: Annotated[
        bool, typer.Option(help="Rotate, flip, zoom and brighten images at random in each epoch.")
    ] = False,
    balance: Annotated[
        Literal["none", "augmentor", "class-weights"],
        typer.Option(help="How rare diagnoses are balanced: augmented copies, or class weights."),
    ] = "none",
    size: Annotated[int, typer.Option(min=32, help="Side of the network's input in pixels.")] = 180,
    aspect: Annotated[
        Literal["squash", "crop", "pad"], typer.Option(help="How an image is made square.")
    ] = "squash",
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a batch.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Adam learning rate.")] = 1e-3,
    schedule: Annotated[
        Literal["constant", "cosine", "plateau"],
        typer.Option(
            help="How it changes: cosine to 0 over all epochs; plateau: halved when validation loss stalls."
        ),
    ] = "constant",
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after so many epochs without a higher validation accuracy."),
    ] = None,
    weights: Annotated[
        Literal["imagenet", "dermoscopy"],
        typer.Option(help="Initial weights of all but cnn; dermoscopy is the bundled model."),
    ] = "imagenet",
    keep_learned: Annotated[
        bool,
        typer.Option(
            "--keep-learned", help="Also validate and calibrate on images that initial weights learned from."
        ),
    ] = False,
    tensorboard: Annotated[bool, typer.Option(help="Also write logs for TensorBoard.")] = False,
    mlflow: MLflow = False,
    precision: Precision = "auto",
    leave_out: LeaveOut = None,
    folds: Folds = None,
    seeds: Annotated[int, typer.Option(min=1, help="Train so many times, each with another seed.")] = 1,
    quantised: Annotated[
        bool, typer.Option(help="The bundle computes in 8-bit integers: faster and smaller.")
    ] = False,
    reading: Reading = Reading(),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Train a network on a split and write its model bundle. If interrupted, run it again to resume.

    With --leave-out, --folds or --seeds, train and evaluate a network for each fold and seed, and sum up.
    """
    from dermsentry.collection.lesions import known_lesions
    from dermsentry.split import check_split, read_split
    from dermsentry.training import require_framework

    if split is None:
        raise InputError("Received no --split; expected a split.csv, as `dermsentry split` makes it.")
    require_framework()
    collection = reading.collection(data)
    reference = reading.reference(collection)
    known = read_split(split, collection)
    check_split(known)
    from dermsentry.model import read_network
    from dermsentry.model.card import describe_thresholds
    from dermsentry.training import train as run
    from dermsentry.training.options import TrainingOptions

    options = TrainingOptions(
        network=network, epochs=epochs, augmented=augmented, balance=balance, size=size, aspect=aspect,
        batch_size=batch_size, learning_rate=learning_rate, schedule=schedule, patience=patience,
        weights=weights, precision=None if precision == "auto" else precision, keep_learned=keep_learned,
        quantised=quantised, tensorboard=tensorboard, mlflow=mlflow,
    )  # fmt: skip
    if leave_out is None and folds is None and seeds == 1:
        _say(f"Note: {known_lesions(collection.table).sentence}")
        trained = run(
            collection, known, out, labels=reference, seed=seed, force=force, quiet=False, **options
        )
        best = trained.history.iloc[trained.best_epoch - 1]
        accuracies = f"{best['val_accuracy']:.3f}, training accuracy {best['accuracy']:.3f}"
        typer.echo(f"validation accuracy {accuracies}")
        for line in describe_thresholds(read_network(trained.bundle)[0]):
            _show(line)
        typer.echo(str(trained.bundle))
        return
    from dermsentry.evaluation.cross_validation.report import as_text
    from dermsentry.training.cross_validation import cross_validate

    result = cross_validate(
        collection,
        known,
        out,
        leave_out=leave_out,
        folds=folds,
        seeds=seeds,
        labels=reference,
        seed=seed,
        force=force,
        quiet=False,
        **options,
    )
    _show(as_text(result))
    for sentence in result.warnings:
        _say(f"Note: {sentence}")


@app.command(short_help="Run the nine-class assignment under two protocols.")
@_reads_collection
def study(
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for study.html, study.json, runs and bundle. By default the next runs/study-1, …"
        ),
    ] = None,
    epochs: Annotated[
        str, typer.Option(help="Epochs of the baseline, the augmented and the balanced networks.")
    ] = "20,20,30",
    fast: Annotated[
        bool, typer.Option("--fast", help="Only a linear head on a frozen network: minutes, not an hour.")
    ] = False,
    per_class: Annotated[
        int, typer.Option(min=1, help="Images to which Augmentor's copies fill up each class.")
    ] = 500,
    precision: Precision = "auto",
    notebook: Annotated[
        Path | None, typer.Option(help="A new .ipynb file: the run as a notebook in plain Keras, to hand in.")
    ] = None,
    reading: Reading = Reading(),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Run the nine-class assignment, as given and with groups kept apart. Run it again to resume."""
    from dermsentry.training import require_framework

    require_framework()
    collection = reading.collection(data)
    known = reading.reference(collection)
    lengths = _numbers(epochs, int, 3, "--epochs")
    from dermsentry.nine_class.pipeline import study as run

    finished = run(
        collection, out, epochs=lengths, fast=fast, labels=known, per_class=per_class,
        precision=None if precision == "auto" else precision, notebook=notebook, seed=seed, force=force,
        quiet=False,
    )  # fmt: skip
    for conclusion in finished.conclusions:
        _show(f"- {conclusion.sentence}")
    _say(f"Written: {finished.folder / 'study.html'}, and a bundle to screen with: {finished.bundle.folder}")
    if notebook is not None:
        _say(f"Written: {notebook}, with empty cells for your own words")


@app.command(short_help="Screen images: an alert tier for each.")
def screen(
    photographs: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Images, folders, patterns, archives, addresses; - for an image, or a list, on stdin.",
        ),
    ],
    model: Model = Path("dermoscopy"),
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Folder for findings.jsonl, predictions.csv and, with --saliency, saliency/."
        ),
    ] = None,
    format: Annotated[
        Literal["table", "json", "csv"], typer.Option(help="Format of stdout; csv is that of --predictions.")
    ] = "table",
    predictions: Annotated[
        Path | None, typer.Option(help="File for the nine probabilities of each image, as a CSV.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="File for the findings as a table: .csv or .parquet.")
    ] = None,
    predictions_for: PredictionsFor = None,
    findings: Annotated[
        Path | None, typer.Option(help="File for the findings as JSON lines; run it again to resume.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Screen one of N parts, such as 3/40."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace findings of another model, collection or shard, and other tables."
        ),
    ] = False,
    saliency: Annotated[
        bool,
        typer.Option("--saliency", help="Also draw where the network saw melanoma; needs --out."),
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Images screened at the same time; by default one per core.")
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="Where the network computes; cuda needs onnxruntime-gpu.")
    ] = "cpu",
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Who moves the images; ray writes findings to --out as Parquet, on many machines."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster, such as auto; by default one that is begun on this machine."),
    ] = None,
) -> None:
    """Screen images: an alert tier for each, and why. Exit code 3 if some could not be read."""
    start = time.monotonic()
    if engine == "ray":
        others = {
            "--format": format != "table", "--findings": findings, "--table": table, "--shard": shard,
            "--predictions": predictions, "--predictions-for": predictions_for, "--saliency": saliency,
        }  # fmt: skip
        if unused := [name for name, given in others.items() if given]:
            raise InputError(
                f"Received --engine ray with {', '.join(unused)}; expected --out, for findings as Parquet."
            )
        if out is None:
            raise InputError("Received --engine ray without --out; expected a folder or an address.")
        given, listed = _given(photographs)
        counts = _screen_on_cluster(given, out, model, address, threads, device, force, strict=not listed)
    else:
        if address is not None:
            raise InputError("Received --address without --engine ray.")
        if saliency and out is None:
            raise InputError("Received --saliency without --out; expected a folder for the pictures.")
        if predictions_for and not (predictions or out or format == "csv"):
            raise InputError("Received --predictions-for without --predictions, --out or --format csv.")
        if force and not (findings or out or table or predictions):
            raise InputError(
                "Received --force without --out, --findings, --table or --predictions; expected one of them."
            )
        with _guarded_screeners(photographs, model, threads, device) as guarded:
            from dermsentry.model import open_bundle
            from dermsentry.screening import iter_screen
            from dermsentry.screening.console import print_findings

            given, listed = _given(photographs)
            written = _written(out, shard, findings, predictions, saliency)
            asked = format == "csv" or predictions is not None
            _require_own_names(given, written, shard, asked=asked, strict=not listed)
            bundle = guarded or open_bundle(model, threads=threads, device=device)
            if bundle.card.synthetic:
                _say("Note: this model was trained on synthetic images; it says nothing about patients.")
            screened = iter_screen(
                given, bundle, findings=written["findings"], force=force, shard=shard, table=table,
                predictions=written["predictions"], predictions_for=predictions_for,
                saliency=written["saliency"], strict=not listed, quiet=sys.stdout.isatty(),
            )  # fmt: skip
            tables = _begun_tables(
                {"--table": table, "--predictions": written["predictions"]}, given, written["findings"],
                {"model": bundle.card.digest, "shard": shard}, predictions_for, force,
            )  # fmt: skip
            counts = print_findings(screened, format, predictions_for)
            for output in tables:
                output.finish()
    from dermsentry.screening.console import summary

    _say(summary(counts, time.monotonic() - start))
    if counts["unreadable"]:
        raise typer.Exit(3)


def _given(photographs: list[str]) -> tuple[list[str | bytes], bool]:
    """What to screen, with what stdin brings for a `-`, and whether that was a list of paths."""
    from dermsentry.images import MAX_BYTES
    from dermsentry.screening.inputs import read_standard_input

    given: list[str | bytes] = [path for path in photographs if path != "-"]
    if "-" not in photographs:
        return given, False
    came = read_standard_input(sys.stdin.buffer.read(MAX_BYTES + 1))
    return given + (came if isinstance(came, list) else [came]), isinstance(came, list)


def _guarded_screeners(
    photographs: list[str], model: Path, threads: int | None, device: Literal["cpu", "cuda"]
) -> AbstractContextManager[GuardedScreeners | None]:
    """Processes that screen, begun before what takes its time to load.

    None for a single file, which has no others to lose, and where there is no such guard.
    """
    from dermsentry.parallel import cores
    from dermsentry.screening.guarded import GuardedScreeners

    if sys.platform != "linux":
        return nullcontext()
    if len(photographs) == 1 and Path(photographs[0]).is_file():
        from dermsentry.screening.archives import archive_kind

        if archive_kind(photographs[0]) is None:
            return nullcontext()
    return GuardedScreeners(model, threads=threads or cores(), device=device)


def _written(
    out: str | None, shard: str | None, findings: Path | None, predictions: Path | None, saliency: bool
) -> dict[str, Path | None]:
    """Where `iter_screen` writes: the files that are named, else those in `--out`."""
    from dermsentry.screening.inputs import read_shard
    from dermsentry.screening.remote import is_address

    if out is None:
        return {"findings": findings, "predictions": predictions, "saliency": None}
    if is_address(out):
        raise InputError(f"Received --out {out} without --engine ray; expected a folder.")
    part = None if shard is None else read_shard(shard)
    of_part = "" if part is None else f"-{part.number}-of-{part.count}"
    return {
        "findings": findings or Path(out, f"findings{of_part}.jsonl"),
        "predictions": predictions or Path(out, f"predictions{of_part}.csv"),
        "saliency": Path(out, "saliency") if saliency else None,
    }


def _begun_tables(
    paths: dict[str, Path | None],
    given: list[str | bytes],
    findings: Path | None,
    made_of: dict[str, Any],
    predictions_for: str | None,
    force: bool,
) -> list[Output]:
    """The tables that are to be written, by option. Raises OutputError where one would replace another's.

    Beside findings, these say what a table is of, and may grow; without, what is screened does.
    """
    import hashlib
    import os

    from dermsentry.outputs import single_file
    from dermsentry.screening.remote import is_address

    def place(one: str | bytes) -> str:
        if isinstance(one, bytes):
            return hashlib.sha256(one).hexdigest()
        return one if is_address(one) else str(Path(one).absolute())

    outputs = []
    for option, path in paths.items():
        if path is None:
            continue
        of = {"PATH": [place(one) for one in given]} if findings is None else {
            "findings": os.path.relpath(findings, path.parent)
        }  # fmt: skip
        columns = {"predictions_for": predictions_for} if option == "--predictions" else {}
        outputs.append(single_file(path, "screen", {**made_of, **of, **columns}, option))
    for output in outputs:
        output.check(force=force)
    for output in outputs:
        if not output.is_there():  # killed between the table and its record, the same is no stranger
            output.begin()
    return outputs


def _require_own_names(
    given: list[str | bytes], written: dict[str, Path | None], shard: str | None, *, asked: bool, strict: bool
) -> None:
    """Raise InputError where a table of predictions could not tell two photographs apart.

    Unless it was `asked` for, there is none in `written` then, and a note says so.
    """
    from dermsentry.screening.inputs import find_photographs, only_local, read_shard, require_own_names

    own = written["predictions"]
    if not (asked or own) or not only_local(given):  # elsewhere names are known only when they come
        return
    part = None if shard is None else read_shard(shard)
    sources = find_photographs(given, strict=strict, shard=part)
    try:
        require_own_names(sources, "a table of predictions")
    except InputError as twice:
        # Better without the table than not at all, never beside an older one.
        if asked or own is None or own.exists():
            raise
        _say(f"Note: no {own.name}. {twice}")
        written["predictions"] = None


def _screen_on_cluster(
    given: list[str | bytes],
    out: str,
    model: Path,
    address: str | None,
    threads: int | None,
    device: Literal["cpu", "cuda"],
    force: bool,
    *,
    strict: bool,
) -> Counter[Tier]:
    """Screen by Ray; how many findings there are of each tier."""
    from dermsentry.screening import screen_on_cluster
    from dermsentry.screening.triage import TIERS

    done = screen_on_cluster(
        cast(list[str], given), out, model, address=address, threads=threads, device=device, force=force,
        strict=strict, quiet=False,
    )  # fmt: skip
    kept, again, gone = (done.counts[name] for name in ("kept", "again", "gone"))
    if kept:
        _say(f"Note: {kept:,} findings of an earlier run were kept; their images were not screened again.")
    if again:
        _say(f"Note: {again:,} images could not be opened; run it again to try them again.")
    if gone:
        _say(f"Note: {gone:,} images of an earlier run are not among those given; their findings were kept.")
    _say(f"Written: {out.rstrip('/')}/manifest.json, and findings/ beside it")
    return Counter({tier: done.counts[tier] for tier in TIERS})


@app.command(short_help="Make a bundle a site's own, with a promise.")
def adopt(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of a model bundle.")],
    photographs: Annotated[
        Path, typer.Argument(metavar="PHOTOGRAPHS", help="Folder of the site's own images.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the site bundle, with adoption.html and adoption.json.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option(help="Diagnoses by image id, with lesion_id and patient_id where known."),
    ] = None,
    diagnoses: Diagnoses = None,
    column: Columns = None,
    sensitivity: Annotated[float, typer.Option(help="Share of melanomas that must raise an alert.")] = 0.95,
    confidence: Annotated[float, typer.Option(help="How sure that must be.")] = 0.95,
    prevalence: Annotated[
        float | None,
        typer.Option(help="Prevalence of melanoma at the site, if the images have another one."),
    ] = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Calibrate a bundle on a site's own images and set its thresholds so that a sensitivity is promised.

    Exit code 8 if there are too few melanomas for the promise: then no site bundle is written.
    """
    from dermsentry.adoption.photographs import read_photographs
    from dermsentry.adoption.pipeline import adopt as run
    from dermsentry.adoption.report import summary
    from dermsentry.collection.columns import read_headings

    headings = read_headings(column or ())
    _draft_diagnoses(
        diagnoses, lambda: read_photographs(photographs, labels, columns=headings).unknown_diagnoses
    )
    made_of = {
        "BUNDLE": bundle, "PHOTOGRAPHS": photographs, "labels": labels, "diagnoses": diagnoses,
        "columns": headings, "sensitivity": sensitivity, "confidence": confidence,
        "prevalence": prevalence, "seed": seed,
    }  # fmt: skip
    output = _output(out, "adopt", ["card.json", "adoption.json", "adoption.html"], made_of, force)
    found = run(
        bundle, photographs, labels=labels, diagnoses=diagnoses, columns=headings, out=out,
        sensitivity=sensitivity, confidence=confidence, prevalence=prevalence, seed=seed, quiet=False,
    )  # fmt: skip
    if output is not None:
        output.finish()
    _show(summary(found))
    for sentence in found.warnings:
        _say(f"Note: {sentence}")
    if found.refusal:
        _say(f"dermsentry: {found.refusal}")
        raise typer.Exit(8)
    _say(f"Written: {out}, and {out / 'adoption.html'}")
    if found.counts.unreadable:
        raise typer.Exit(3)


@app.command(short_help="Verify and describe a model bundle.")
def model(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Folder of a model bundle; by default the bundled model.")
    ] = Path("dermoscopy"),
    markdown: Annotated[bool, typer.Option("--markdown", help="The whole model card, as Markdown.")] = False,
) -> None:
    """Verify a model bundle and describe it: what it is, how well it did, what it must not be used for."""
    from dermsentry.model import open_bundle
    from dermsentry.model.card import describe
    from dermsentry.model.model_card import model_card

    opened = open_bundle(bundle)
    if markdown:
        typer.echo(model_card(opened))
    else:
        _show(describe(opened.card))


def _numbers(text: str, kind: type[Number], count: int, option: str) -> list[Number]:
    """Numbers separated by commas. Raises InputError for any other text."""
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise InputError(f"Received {option} {text}; expected {count} numbers separated by commas.")
    return values


@app.command(short_help="Run every stage on synthetic or own images.")
def demo(
    data: Annotated[
        Path | None, typer.Option(help="A labelled collection; without one, synthetic images are drawn.")
    ] = None,
    out: Annotated[Path, typer.Option(help="A new folder, or that of an earlier demo.")] = Path("demo"),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Run every stage on a collection, or on synthetic images, and show the alerts on one page."""
    from dermsentry.demo import demo as run
    from dermsentry.screening.writers import table_header, table_rows

    made = run(data, out, seed=seed, say=_say, force=force, quiet=False)
    alerts = [finding for finding in made.findings if finding.tier == "alert"]
    typer.echo(table_header())
    for finding in alerts[:10]:
        typer.echo(table_rows(finding).splitlines()[0])
    if len(alerts) > 10:
        _say(f"and {len(alerts) - 10} more alerts")
    _say(f"Everything on one page: {made.page}")


app.add_typer(clinic)
show_examples(app)


def _tell(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning of our own as a note, any other as Python does."""
    if issubclass(category, DataWarning):
        _say_once(f"Note: {message}")
    else:
        _say(warnings.formatwarning(message, category, filename, lineno, line).rstrip())


def main() -> None:
    """Run the command line: an error the user can meet is one line on stderr and its exit code."""
    warnings.simplefilter("always", DataWarning)
    warnings.showwarning = _tell
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may hold what the terminal cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
    # An option of every command, wherever it is written.
    arguments = sorted(sys.argv[1:], key=lambda argument: argument != LOG_JSON)
    log_as_json(LOG_JSON in arguments)
    with _interrupted_by_sigterm() as received:
        try:
            if "" in arguments:  # which as a path would be this folder
                raise InputError("Received an empty argument, as of a variable that is not set.")
            code = app(arguments, prog_name="dermsentry", standalone_mode=False)
        except DermsentryError as error:
            _say(f"dermsentry: {error}")
            sys.exit(error.exit_code)
        except UsageError as error:
            _say(_usage_problem(error))
            sys.exit(2)
        except ModuleNotFoundError as error:
            missing = missing_extra(error)
            if missing is error:
                raise
            _say(f"dermsentry: {missing}")
            sys.exit(2)
        except (typer.Abort, KeyboardInterrupt):  # asked for a password, or outside of a command
            code = 130
        except SystemExit as leaving:
            if isinstance(leaving.__context__, BrokenPipeError):  # such as `dermsentry … | head`
                sys.exit(0)
            raise
    if code == 130:
        again = " to resume" if _resumes(arguments) else ""
        _say(f"dermsentry: interrupted; no file is half written. Run it again{again}.")
    sys.exit(128 + received[0] if code == 130 and received else code)


def _resumes(arguments: list[str]) -> bool:
    """Whether a command that was interrupted resumes when it is run again."""
    command = set(arguments[:2])
    writes = any(own.partition("=")[0] in ("--out", "--findings") for own in arguments)
    return bool(command & RESUMING or (writes and command & RESUMING_FILES))


@contextmanager
def _interrupted_by_sigterm() -> Iterator[list[int]]:
    """Have SIGTERM, of a scheduler or a container, end the block as Ctrl-C does; yields which came."""
    received: list[int] = []

    def interrupt(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    in_charge = threading.current_thread() is threading.main_thread()
    if not in_charge or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield received
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _usage_problem(error: Any) -> str:
    """What is wrong with the command line, in one line; the help where nothing was asked for."""
    message = str(error.format_message()).replace("Value error, ", "")
    if "\n" in message:
        return message
    command = error.ctx.command_path if error.ctx else "dermsentry"
    return f"dermsentry: {message.rstrip('.')}. See {command} --help."


if __name__ == "__main__":
    main()
