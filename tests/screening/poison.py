"""Photographs that do to their decoder what a hostile file may: in processes that `poisoned` prepares.

No file here is hostile to Pillow itself, so a decoder is put in its place that does what a file's first words
say. It is loaded by Python in every process that finds the folder on its path, however it is begun.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bundles import lesion

_DECODER = """
import os, signal, sys, time
from PIL import Image

opened = Image.open

def open_poisoned(file, *rest, **named):
    words = file.getvalue()[-9:] if hasattr(file, "getvalue") else b""
    if words == b"SEGFAULT!":
        os.kill(os.getpid(), signal.SIGSEGV)
    if words == b"ABORTING!":
        os.abort()
    if words == b"ENDLESS!!":
        while True:
            pass
    if words == b"MEMORIES!":
        held = [bytes(1 << 28) for _ in range(10_000)]
    return opened(file, *rest, **named)

Image.open = open_poisoned
"""

WORDS = {"segfault": b"SEGFAULT!", "abort": b"ABORTING!", "endless": b"ENDLESS!!", "memory": b"MEMORIES!"}


def decoder(folder: Path) -> Path:
    """A folder for PYTHONPATH, with which photographs of `WORDS` do what they say."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_DECODER)
    return folder


def write_photograph(path: Path, number: int, word: str = "") -> None:
    """A photograph, unlike any of another number; with a word, one that is poisoned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(lesion(number % 200, number))).save(path, quality=90)
    if word:
        path.write_bytes(path.read_bytes() + WORDS[word])
