"""An example of each command, shown below its `--help`; each fits 60 columns."""

from __future__ import annotations

import typer

EXAMPLES = {
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
    "account list": "dermsentry account list",
    "account add": "dermsentry account add anna \\\n    --full-name 'Anna Berg' --role dermatologist",
    "account password": "dermsentry account password anna",
    "account reset-second-factor": "dermsentry account reset-second-factor anna",
    "audit-log verify": "dermsentry audit-log verify",
    "audit-log export": "dermsentry audit-log export --out audit.csv",
    "adoption propose": "dermsentry adoption propose",
    "adoption accept": "dermsentry adoption accept --account NAME",
    "adoption withdraw": "dermsentry adoption withdraw --account NAME",
    "backup": "dermsentry backup clinic.tar",
    "restore": "dermsentry restore clinic.tar",
}


def show_examples(app: typer.Typer, before: str = "") -> None:
    """Have the help of each of the application's commands end with its example."""
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        example = EXAMPLES.get(before + name)
        if example is not None:
            command.epilog = f"\b\nExample:\n  {example}"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            name = group.name if isinstance(group.name, str) else ""
            show_examples(group.typer_instance, f"{before}{name} " if name else before)
