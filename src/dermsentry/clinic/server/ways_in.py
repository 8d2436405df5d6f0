"""Intake besides pages and API, each in a process of its own: DICOM and a watched folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dermsentry.clinic.clinic import open_clinic
from dermsentry.clinic.settings import Settings
from dermsentry.clinic.waiting import wait_for


def run_receiver(url: str, folder: Path, settings: Settings, stopped: Callable[[], bool]) -> None:
    """Receive photographs by DICOM until told to stop. Raises InputError where it cannot listen."""
    from dermsentry.clinic.intake.dicom_receiver import start_receiver

    receiver = start_receiver(open_clinic(url, folder, settings))
    try:
        wait_for(float("inf"), stopped)
    finally:
        receiver.close()


def run_watched_folder(
    url: str, folder: Path, settings: Settings, watched: Path, umask: int, stopped: Callable[[], bool]
) -> None:
    """Take photographs from a folder until told to stop. Raises InputError where it cannot be watched.

    `umask`: of whoever began the server. Others put files into this folder, and look for what became of them.
    """
    from dermsentry.clinic.intake.watched_folder import open_folder, watch

    os.umask(umask)
    watch(open_clinic(url, folder, settings), open_folder(watched), stopped)
