"""Bends inputs at random, by a seed: `DERMSENTRY_MUTATIONS` of them, a few hundred otherwise."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import Any

MUTATIONS = int(os.environ.get("DERMSENTRY_MUTATIONS", "300"))
SEED = int(os.environ.get("DERMSENTRY_SEED", "1"))
TEXTS = (
    "", " ", "\0", "\x1b[2J", "é" * 40, "\U0001f9ec", "\ud800", "'; DROP TABLE cases; --", "<script>",
    "{{7*7}}", "../../etc/passwd", "=1+1", "-1", "0", "1e309", "NaN", "null", "true", "9" * 40, "2147483648",
    "A" * 5000, "2026-02-30", "2026-01-01", "\u202e", "%00", "%ff", "a\nb", "MEL", "biopsy", "P-1",
)  # fmt: skip


@dataclass(frozen=True)
class Bend:
    """Bends what it is given, by a seed of its own."""

    chance: random.Random

    def data(self, data: bytes) -> bytes:
        """Bytes with some changed, repeated, left out, or cut off."""
        bent = bytearray(data)
        for _ in range(self.chance.choice((1, 1, 2, 5, 20))):
            place = self.chance.randrange(len(bent)) if bent else 0
            kind = self.chance.randrange(6)
            if kind == 0 and bent:
                bent[place] ^= 1 << self.chance.randrange(8)
            elif kind == 1:
                bent[place : place + self.chance.randrange(40)] = b""
            elif kind == 2:
                bent[place:place] = self.chance.randbytes(self.chance.randrange(1, 40))
            elif kind == 3:
                bent[place : place + 4] = self.chance.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
            elif kind == 4:
                bent[place:place] = bent[: self.chance.randrange(200)]
            else:
                del bent[max(1, place) :]
        return bytes(bent)

    def text(self) -> str:
        """A text of the kind that programs trip over."""
        return self.chance.choice(TEXTS)

    def value(self, deep: int = 0) -> Any:
        """A JSON value."""
        kind = self.chance.randrange(8 if deep < 3 else 6)
        if kind < 3:
            return self.text().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if kind < 6:
            return self.chance.choice((None, True, False, 0, -1, 2**63, 1.5, 1e308))
        if kind == 6:
            return [self.value(deep + 1) for _ in range(self.chance.randrange(4))]
        size = self.chance.randrange(4)
        return {self.chance.choice(TEXTS[:6]): self.value(deep + 1) for _ in range(size)}

    def fields(self, names: tuple[str, ...]) -> dict[str, str]:
        """A form's fields, some missing, some unknown."""
        made = {name: self.text() for name in names if self.chance.random() < 0.8}
        if self.chance.random() < 0.2:
            made[self.text()[:50] or "x"] = self.text()
        return {sendable(name): sendable(text) for name, text in made.items()}


def sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
