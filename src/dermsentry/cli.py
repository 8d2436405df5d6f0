"""The commands: each a thin call of the public API. stdout is for results, stderr for people."""

from __future__ import annotations

import io
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from dermsentry._version import __version__
from dermsentry.errors import EXIT_CODES, DermsentryError

if TYPE_CHECKING:
    from dermsentry.collection import Collection
    from dermsentry.training.fitting import Precision

Number = TypeVar("Number", int, float)
Choice = TypeVar("Choice", bound=str)

app = typer.Typer(
    name="dermsentry",
    help="Melanoma alerts from skin photographs: audit a collection, split it honestly, train, judge, "
    "screen.\n\n"
    "Research software, not a medical device.",
    no_args_is_help=True,
    rich_markup_mode=None,  # drawing the help with Rich would triple the time it takes to appear
    pretty_exceptions_enable=False,
    add_completion=False,
)

Data = Annotated[
    list[Path],
    typer.Argument(metavar="DATA...", help="Folders of photographs or CSV files; several are joined."),
]
Metadata = Annotated[Path | None, typer.Option(help="CSV by image id with lesion, patient, age, sex, site.")]
Labels = Annotated[Path | None, typer.Option(help="Reference label table, such as ISIC's ground truth.")]
PrecisionName = Annotated[
    str, typer.Option(help="auto (what this machine is faster in), float32 or mixed_bfloat16.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def _say(text: str) -> None:
    """A line for the person at the terminal."""
    typer.echo(text, err=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dermsentry {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _read_data(data: list[Path], metadata: Path | None) -> Collection:
    """The collection that the folders and tables of a command line make together."""
    from dermsentry.collection import join_collections, read_collection

    collections = [read_collection(path, metadata=metadata) for path in data]
    return collections[0] if len(collections) == 1 else join_collections(collections)


@app.command()
def audit(
    data: Data,
    labels: Labels = None,
    metadata: Metadata = None,
    out: Annotated[Path | None, typer.Option(help="Folder for audit.json and audit.html.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print audit.json instead of the summary.")] = False,
    seed: Seed = 0,
) -> None:
    """Say what is wrong with a collection: conflicts, leaks, copies, wrong labels, balance, shortcuts.

    Exit code 1 when something was found that corrupts a result.
    """
    from dermsentry.audit import audit_collection, write_audit
    from dermsentry.audit.summary import as_text
    from dermsentry.collection import read_labels
    from dermsentry.files import to_json

    reference = read_labels(labels) if labels else None
    collection = _read_data(data, metadata)
    found = audit_collection(collection, labels=reference, seed=seed, quiet=False)
    if out is not None:
        write_audit(found, collection, out)
    typer.echo(to_json(found) if json else as_text(found), nl=False)
    if out is not None:
        _say(f"Side by side, and what it means: {out / 'audit.html'}")
    raise typer.Exit(1 if found.corrupting else 0)


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of a model bundle.")],
    data: Data,
    split: Annotated[
        Path | None, typer.Option(help="The split.csv that says which photograph is in which part.")
    ] = None,
    part: Annotated[
        str, typer.Option(help="Part of the split to judge; test-as-given is Test with its leaks.")
    ] = "test",
    out: Annotated[
        Path | None, typer.Option(help="Folder for evaluation.json, evaluation.html and predictions.csv.")
    ] = None,
    metadata: Metadata = None,
    prevalence: Annotated[
        float | None,
        typer.Option(help="Share of melanomas where the model is to be used, such as 0.02."),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Also judge worse photographs and second ones: minutes more."),
    ] = False,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of lesion masks: also judge whether saliency falls on them.")
    ] = None,
    not_lesions: Annotated[
        Path | None, typer.Option(help="Folder of pictures without a lesion: also judge which are refused.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=2, help="Bootstrap resamples behind every interval.")] = 1000,
    seed: Seed = 0,
) -> None:
    """Judge a model bundle on photographs of known diagnosis: every figure with its 95 % interval."""
    from dermsentry.evaluation import evaluate as judge
    from dermsentry.evaluation.summary import summary
    from dermsentry.split import read_split

    collection = _read_data(data, metadata)
    known = None if split is None else read_split(split, collection)
    evaluation = judge(
        bundle, collection, known, part=part, out=out, prevalence=prevalence, robustness=robustness,
        masks=masks, not_lesions=not_lesions, resamples=resamples, seed=seed, quiet=False,
    )  # fmt: skip
    typer.echo(summary(evaluation))
    for sentence in evaluation.warnings:
        _say(f"Note: {sentence}")
    if out is not None:
        _say(f"Written: {out / 'evaluation.html'}")
    if evaluation.about["unreadable"]:
        raise typer.Exit(3)


@app.command()
def split(
    data: Data,
    out: Annotated[Path, typer.Option(help="The split.csv to write.")] = Path("split.csv"),
    labels: Labels = None,
    metadata: Metadata = None,
    fractions: Annotated[
        str, typer.Option(help="Shares of train, validation, calibration and, where no Test is named, test.")
    ] = "0.7,0.15,0.15,0.15",
    seed: Seed = 0,
) -> None:
    """Split a collection honestly: copies, lesions and patients stay on one side, conflicts are set apart."""
    from dermsentry.collection import read_labels
    from dermsentry.split import make_split, write_split

    collection = _read_data(data, metadata)
    known = None if labels is None else read_labels(labels)
    shares = _numbers(fractions, float, 4, "--fractions")
    made = make_split(
        collection,
        labels=known,
        fractions=(shares[0], shares[1], shares[2], shares[3]),
        seed=seed,
        quiet=False,
    )
    write_split(made, out)
    for part, count in made.counts().items():
        typer.echo(f"{part:<14}{count:>7}")
    _say(f"Written: {out}")


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the run; its bundle is in bundle/.")],
    split: Annotated[
        Path | None, typer.Option(help="The split.csv that says which photograph is in which part.")
    ] = None,
    network: Annotated[
        str,
        typer.Option(help="linear (frozen EfficientNet-Lite0, minutes), cnn, or lite0 (all of it trained)."),
    ] = "linear",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of cnn and lite0.")] = 20,
    augmented: Annotated[
        bool, typer.Option(help="Turn, mirror, zoom and light every photograph anew each epoch.")
    ] = False,
    balance: Annotated[str, typer.Option(help="none, augmentor or class-weights.")] = "none",
    size: Annotated[int, typer.Option(min=32, help="The network's side in pixels.")] = 180,
    aspect: Annotated[
        str, typer.Option(help="How a photograph is made square: squash, crop or pad.")
    ] = "squash",
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 1e-3,
    weights: Annotated[
        str,
        typer.Option(help="What linear and lite0 begin with: imagenet, or dermoscopy (the bundled model)."),
    ] = "imagenet",
    tensorboard: Annotated[bool, typer.Option(help="Also write logs for TensorBoard.")] = False,
    precision: PrecisionName = "auto",
    metadata: Metadata = None,
    seed: Seed = 0,
) -> None:
    """Train one network on an honest split and write its bundle; interrupted, the same command goes on."""
    from dermsentry.errors import InputError
    from dermsentry.split import check_split, read_split

    if split is None:
        raise InputError("Received no --split; expected a split.csv, as `dermsentry split` makes it.")
    collection = _read_data(data, metadata)
    known = read_split(split, collection)
    check_split(known)
    _load_keras()
    from dermsentry.images import ASPECTS
    from dermsentry.training.fitting import WEIGHTS
    from dermsentry.training.pipeline import BALANCES, RECIPES
    from dermsentry.training.pipeline import train as fit

    run = fit(
        collection, known, out, network=_one_of(network, RECIPES, "--network"), epochs=epochs,
        augmented=augmented, balance=_one_of(balance, BALANCES, "--balance"),
        size=size, aspect=_one_of(aspect, ASPECTS, "--aspect"),
        learning_rate=learning_rate, weights=_one_of(weights, WEIGHTS, "--weights"),
        precision=_precision(precision), seed=seed, tensorboard=tensorboard, quiet=False,
    )  # fmt: skip
    best = run.history.iloc[run.best_epoch - 1]
    typer.echo(f"validation accuracy {best['val_accuracy']:.3f}, training accuracy {best['accuracy']:.3f}")
    typer.echo(str(run.bundle))


@app.command()
def study(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for study.html, study.json, the runs and the bundle.")],
    epochs: Annotated[
        str, typer.Option(help="Of the baseline, the augmented and the balanced network.")
    ] = "20,20,30",
    fast: Annotated[
        bool, typer.Option("--fast", help="Only the frozen network with a linear head: minutes, not an hour.")
    ] = False,
    per_class: Annotated[
        int, typer.Option(min=1, help="Photographs that Augmentor's copies fill each class up to.")
    ] = 500,
    precision: PrecisionName = "auto",
    labels: Labels = None,
    metadata: Metadata = None,
    seed: Seed = 0,
) -> None:
    """Run the assignment whole, as assigned and honestly; interrupted, the same command goes on."""
    from dermsentry.collection import read_labels

    collection = _read_data(data, metadata)
    known = None if labels is None else read_labels(labels)
    lengths = _numbers(epochs, int, 3, "--epochs")
    _load_keras()
    from dermsentry.nine_class.study import study as run

    finished = run(
        collection, out, epochs=lengths, fast=fast, labels=known, per_class=per_class,
        precision=_precision(precision), seed=seed, quiet=False,
    )  # fmt: skip
    for finding in finished.findings:
        typer.echo(f"- {finding.sentence}")
    _say(f"Written: {out / 'study.html'}, and a bundle to screen with: {finished.bundle.folder}")


@app.command()
def screen(
    photographs: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Photographs, folders, patterns, or - for a list on stdin."),
    ],
    model: Annotated[
        Path, typer.Option(help="Folder of a model bundle; by default the one that Dermsentry brings.")
    ] = Path("dermoscopy"),
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for findings.jsonl, predictions.csv and, with --saliency, saliency/."),
    ] = None,
    format: Annotated[
        Literal["table", "json", "csv"], typer.Option(help="What stdout gets; csv is the ISIC challenge's.")
    ] = "table",
    predictions: Annotated[
        Path | None, typer.Option(help="File for the probabilities as the ISIC challenge's CSV.")
    ] = None,
    findings: Annotated[Path | None, typer.Option(help="File for the findings as JSON lines.")] = None,
    saliency: Annotated[
        bool, typer.Option("--saliency", help="Also draw where the network saw melanoma; needs --out.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Photographs at the same time; by default one per core.")
    ] = None,
) -> None:
    """Screen photographs: an alert tier for each, and why. Exit code 3 if some could not be read."""
    from dermsentry.errors import InputError
    from dermsentry.model import open_bundle
    from dermsentry.screening import screen as run
    from dermsentry.screening.console import print_findings, summary
    from dermsentry.screening.inputs import find_photographs, read_list, require_own_names

    start = time.monotonic()
    if saliency and out is None:
        raise InputError("Received --saliency without --out; expected a folder for the pictures.")
    listed = "-" in photographs
    if listed:
        given = read_list(os.fsdecode(sys.stdin.buffer.read()))
        photographs = [path for path in photographs if path != "-"] + given
    if format == "csv" or out:
        try:
            require_own_names(find_photographs(photographs, strict=not listed), "the challenge's CSV")
        except InputError as twice:
            # Nobody asked for the CSV by name: better without it than not at all, never beside an older one.
            if format == "csv" or predictions or not out or (out / "predictions.csv").exists():
                raise
            _say(f"Note: no predictions.csv. {twice}")
        else:
            predictions = predictions or (out / "predictions.csv" if out else None)
    bundle = open_bundle(model, threads=threads)
    if bundle.card.synthetic:
        _say("Note: this model learned from drawn pictures; nothing that it says is about patients.")
    found = run(
        photographs,
        bundle,
        findings=findings or (out / "findings.jsonl" if out else None),
        predictions=predictions,
        saliency=out / "saliency" if saliency and out else None,
        strict=not listed,
        quiet=sys.stdout.isatty() or not sys.stderr.isatty(),
    )
    counts = print_findings(found, format)
    _say(summary(counts, time.monotonic() - start))
    if counts["unreadable"]:
        raise typer.Exit(3)


@app.command()
def model(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Folder of a model bundle; by default the bundled one.")
    ] = Path("dermoscopy"),
    markdown: Annotated[bool, typer.Option("--markdown", help="The whole model card, as Markdown.")] = False,
) -> None:
    """Verify a model bundle and say what it is, what it was measured at, and what it must not be used for."""
    from dermsentry.model import open_bundle
    from dermsentry.model.card import describe
    from dermsentry.model.model_card import model_card

    opened = open_bundle(bundle)
    typer.echo(model_card(opened) if markdown else describe(opened.card))


def _load_keras() -> None:
    """Import Keras and TensorFlow without what TensorFlow says on stderr, whatever its log level."""
    import os
    import tempfile

    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as told:
        try:
            os.dup2(told.fileno(), 2)
            import dermsentry.training.networks  # noqa: F401
        except BaseException:
            told.seek(0)
            os.write(kept, told.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _precision(text: str) -> Precision | None:
    from dermsentry.training.fitting import PRECISIONS

    return None if text == "auto" else _one_of(text, PRECISIONS, "--precision")


def _one_of(text: str, choices: tuple[Choice, ...], option: str) -> Choice:
    """The choice that `text` names. Raises InputError for any other text."""
    from dermsentry.errors import InputError

    found = next((choice for choice in choices if choice == text), None)
    if found is None:
        raise InputError(f"Received {option} {text}; expected one of {', '.join(choices)}.")
    return found


def _numbers(text: str, kind: type[Number], count: int, option: str) -> list[Number]:
    """Numbers separated by commas. Raises InputError for any other text."""
    from dermsentry.errors import InputError

    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise InputError(f"Received {option} {text}; expected {count} numbers separated by commas.")
    return values


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help="A labelled collection; without one, phantoms are drawn.")
    ] = None,
    out: Annotated[Path, typer.Option(help="A new folder, or that of an earlier demo.")] = Path("demo"),
    seed: Seed = 0,
) -> None:
    """Take photographs, drawn ones if none are given, through every stage to a page and its alerts."""
    _load_keras()
    from dermsentry.demo import demo as run
    from dermsentry.screening.writers import table_header, table_rows

    made = run(data, out, seed=seed, say=_say, quiet=False)
    alerts = [finding for finding in made.findings if finding.tier == "alert"]
    typer.echo(table_header())
    for finding in alerts[:10]:
        typer.echo(table_rows(finding).splitlines()[0])
    if len(alerts) > 10:
        _say(f"and {len(alerts) - 10} more alerts")
    _say(f"All of it on one page: {made.page}")


Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="DERMSENTRY_DB",
        show_envvar=False,
        help="The clinic's database, such as postgresql+psycopg://USER@HOST/NAME; by default SQLite in the "
        "data folder. Or DERMSENTRY_DB, where others may not read the password.",
    ),
]
audit_log = typer.Typer(
    help="The clinic's audit trail: who did what, when.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(audit_log, name="audit-log")


@app.command()
def serve(
    model: Annotated[
        Path, typer.Option(help="Folder of a model bundle; by default the one that Dermsentry brings.")
    ] = Path("dermoscopy"),
    db: Database = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; by default only this machine.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the pages; 0 takes a free one.")
    ] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that screen.")] = 1,
    dicom_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Also receive DICOM (C-STORE) on this port.")
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(help="Also take photographs from this folder; or `watch` in clinic.toml.")
    ] = None,
) -> None:
    """Serve the worklist: photographs come in, the most worrying stand on top, a dermatologist decides.

    Everything is kept in the data folder: DERMSENTRY_HOME, or dermsentry where the desktop keeps such things.
    """
    folder = _clinic_folder()
    from dermsentry.clinic.server.serving import Plan
    from dermsentry.clinic.server.serving import serve as run
    from dermsentry.clinic.store.folder import database_of
    from dermsentry.clinic.web.app import create_app

    plan = Plan(
        folder, database_of(folder, db), model=model, host=host, port=port, workers=workers,
        dicom_port=dicom_port, watch=watch,
    )  # fmt: skip
    run(plan, create_app, _say)


@audit_log.command("verify")
def verify_audit_log(db: Database = None) -> None:
    """Go through the clinic's audit trail: exit code 1 where an event was changed, removed or inserted."""
    folder = _clinic_folder()
    from dermsentry.clinic.clinic import open_existing
    from dermsentry.clinic.store.audit_trail import verify
    from dermsentry.clinic.store.database import reading
    from dermsentry.clinic.store.folder import database_of

    with closing(open_existing(database_of(folder, db), folder)) as clinic, reading(clinic.engine) as session:
        verdict = verify(session, clinic.trail)
    for problem in verdict.problems:
        typer.echo(problem)
    typer.echo(
        f"{verdict.events} events, " + ("which do not hold" if verdict.problems else "all of them whole")
    )
    raise typer.Exit(1 if verdict.problems else 0)


@audit_log.command("export")
def export_audit_log(
    out: Annotated[Path | None, typer.Option(help="The CSV to write; by default stdout.")] = None,
    db: Database = None,
) -> None:
    """Write the clinic's audit trail as CSV, one event a line, with its hashes."""
    folder = _clinic_folder()
    from dermsentry.clinic.clinic import open_existing
    from dermsentry.clinic.store.audit_trail import as_csv
    from dermsentry.clinic.store.database import reading
    from dermsentry.clinic.store.folder import database_of
    from dermsentry.files import whole_file

    with closing(open_existing(database_of(folder, db), folder)) as clinic, reading(clinic.engine) as session:
        if out is None:
            for line in as_csv(session):
                typer.echo(line, nl=False)
        else:
            with (
                whole_file(out, 0o600) as temporary,
                temporary.open("w", encoding="utf-8", newline="") as file,
            ):
                file.writelines(as_csv(session))
            _say(f"Written: {out}")


@app.command()
def backup(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, such as clinic.tar.")],
    db: Database = None,
) -> None:
    """Write all that a clinic keeps into one file, while it goes on; the file is as confidential as that."""
    folder = _clinic_folder()
    from dermsentry.clinic.backup import backup as run
    from dermsentry.clinic.store.folder import database_of

    kept = run(folder, database_of(folder, db), out)
    typer.echo(f"{kept.cases} cases, {kept.photographs} photographs, {kept.events} events: {out}")
    for problem in kept.problems:
        _say(f"Note: {problem}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that backup wrote.")],
    db: Database = None,
) -> None:
    """Bring a clinic back from a backup, verified, into an empty data folder and an empty database.

    Exit code 1 where all of it came back and the audit trail or a photograph does not hold.
    """
    folder = _clinic_folder()
    from dermsentry.clinic.backup import restore as run

    kept = run(file, folder, db)
    typer.echo(f"{kept.cases} cases, {kept.photographs} photographs, {kept.events} events: {folder}")
    for problem in kept.problems:
        _say(f"Note: {problem}")
    raise typer.Exit(1 if kept.problems else 0)


def _clinic_folder() -> Path:
    """The data folder. Raises InputError where the extra `clinic` is not installed."""
    from importlib.util import find_spec

    from dermsentry.errors import InputError

    missing = [name for name in ("sqlalchemy", "alembic", "uvicorn", "fastapi") if find_spec(name) is None]
    if missing:
        raise InputError(
            f'The clinic needs {missing[0]}, which is not installed: pip install "dermsentry[clinic]".'
        )
    from dermsentry.clinic.settings import data_folder

    return data_folder()


def main() -> None:
    """Run the command line: an error the user can meet is one line on stderr and its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may hold what the terminal cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="dermsentry")
    except DermsentryError as error:
        _say(f"dermsentry: {error}")
        sys.exit(error.exit_code)
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # such as `dermsentry … | head`
            sys.exit(0)
        if leaving.code == 130:
            _say(f"dermsentry: {EXIT_CODES[130]}.")
        raise


if __name__ == "__main__":
    main()
