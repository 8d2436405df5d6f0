"""An example of each command and group of commands, shown below its `--help`; each fits 60 columns."""

from __future__ import annotations

import typer

EXAMPLES = {
    "": "dermsentry screen my-photo.jpg",
    "audit": "dermsentry audit photographs --out audit",
    "fetch": "dermsentry fetch ham10000 --out ham10000",
    "split": "dermsentry split photographs --out split.csv",
    "train": "dermsentry train photographs --split split.csv --out run",
    "study": "dermsentry study photographs --out study --fast",
    "evaluate": "dermsentry evaluate run/bundle photographs \\\n    --split split.csv --out evaluation",
    "compare": "dermsentry compare evaluation-1 evaluation-2",
    "predict": "dermsentry predict model.onnx photographs \\\n    --classes AK,BCC,DF,MEL,NV --out table.csv",
    "publish": "dermsentry publish evaluation --out paper",
    "screen": "dermsentry screen photographs --out findings",
    "adopt": "dermsentry adopt dermoscopy photographs \\\n    --labels diagnoses.csv --out site",
    "model": "dermsentry model run/bundle",
    "demo": "dermsentry demo --out demo",
    "serve": "dermsentry serve --port 8080",
    "account": "dermsentry account list",
    "account list": "dermsentry account list",
    "account add": "dermsentry account add anna \\\n    --full-name 'Anna Berg' --role dermatologist",
    "account password": "dermsentry account password anna",
    "account reset-second-factor": "dermsentry account reset-second-factor anna",
    "audit-log": "dermsentry audit-log verify",
    "audit-log verify": "dermsentry audit-log verify",
    "audit-log export": "dermsentry audit-log export --out audit.csv",
    "adoption": "dermsentry adoption propose",
    "adoption propose": "dermsentry adoption propose",
    "adoption accept": "dermsentry adoption accept --account NAME",
    "adoption withdraw": "dermsentry adoption withdraw --account NAME",
    "backup": "dermsentry backup clinic.tar",
    "restore": "dermsentry restore clinic.tar",
}


def show_examples(app: typer.Typer, name: str = "") -> None:
    """Have the help of an application, and of each of its commands, end with its example."""
    if name in EXAMPLES:
        app.info.epilog = _epilog(name)
    before = f"{name} " if name else ""
    for command in app.registered_commands:
        own = before + (command.name or (command.callback.__name__ if command.callback else ""))
        if own in EXAMPLES:
            command.epilog = _epilog(own)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            show_examples(group.typer_instance, before + group.name if isinstance(group.name, str) else name)


def _epilog(name: str) -> str:
    return f"\b\nExample:\n  {EXAMPLES[name]}"
