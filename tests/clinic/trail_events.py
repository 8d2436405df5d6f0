"""Events of the tests' own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dermsentry.clinic.store.events import TrailEvent


@dataclass(frozen=True)
class Made(TrailEvent):
    """Whatever a test wants to have happened."""

    action: str = "read"
    subject: str = "case 1"
    told: Mapping[str, Any] = field(default_factory=dict)

    def detail(self) -> dict[str, Any]:
        return dict(self.told)
