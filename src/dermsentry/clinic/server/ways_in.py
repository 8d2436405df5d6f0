"""Intake besides pages and API, each in a process of its own: DICOM and a watched folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from dermsentry.clinic.clinic import open_clinic
from dermsentry.clinic.settings import Settings
from dermsentry.errors import OutputError

DEAF_S = 60.0
"""How long a listener may take no connection before its process ends, to be begun again."""


def run_receiver(url: str, folder: Path, settings: Settings, stopped: Callable[[], bool]) -> None:
    """Receive photographs by DICOM until told to stop.

    The process is heard of only while its listener takes connections: one that does not ends it.

    Raises
    ------
    InputError
        It cannot listen.
    OutputError
        It has not been able to take a connection for a minute.
    """
    from dermsentry.clinic.intake.dicom_receiver import start_receiver

    receiver = start_receiver(open_clinic(url, folder, settings))
    try:
        while not stopped():
            silent = time.monotonic() - receiver.heard_at()
            if silent >= DEAF_S:
                raise OutputError(
                    f"The DICOM receiver could take no connection for {silent:.0f} s; it ends, to restart."
                )
            time.sleep(0.1)
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
