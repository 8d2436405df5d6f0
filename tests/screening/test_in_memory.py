"""Images in memory, a bundle in other processes and on other devices, and an event loop."""

from __future__ import annotations

import asyncio
import doctest
import io
import multiprocessing
import pickle
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pydicom
import pytest
from PIL import Image

import dermsentry
from bundles import lesion, tiny_bundle
from clinic.dicom_files import dicom_bytes, dicom_dataset
from dermsentry.errors import BundleError, InputError
from dermsentry.model import Bundle, open_bundle
from dermsentry.phantoms import draw_phantom
from dermsentry.screening import finding, pipeline, screen


def test_dicom_as_file_bytes_data_set_and_folder(bundle: Bundle, tmp_path: Path) -> None:
    [expected] = screen(draw_phantom("MEL", 1, (160, 120)), bundle)
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "IM0001").write_bytes(dicom_bytes())
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(40))
    (folder / "ct.dcm").write_bytes(dicom_bytes(SOPClassUID=pydicom.uid.CTImageStorage))
    found = screen(folder, bundle)
    assert [Path(one.path).name for one in found] == ["IM0001", "ct.dcm"]
    assert found[1].tier == "unreadable"
    assert "a DICOM file, but CT Image Storage" in found[1].reasons[0]
    given = [dicom_bytes(), dicom_dataset(), pydicom.dcmread(folder / "IM0001"), folder / "IM0001"]
    for one in (found[0], *screen(given, bundle), *screen(dicom_dataset(), bundle)):
        assert one.probabilities == expected.probabilities
    broken = pydicom.Dataset()
    broken.PatientID = "1"
    [only] = screen(broken, bundle)
    assert only.tier == "unreadable"
    assert "cannot be written as a file" in only.reasons[0]


def test_dicom_without_its_library_is_one_line(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dermsentry.errors.find_spec", lambda name: None)
    [only] = screen(dicom_bytes(), bundle)
    assert only.tier == "unreadable"
    assert "pydicom is not installed; it comes with the extra dicom: pip install" in only.reasons[0]


def test_an_iterator_is_taken_one_by_one(bundle: Bundle) -> None:
    taken = 0

    def pictures() -> Iterator[np.ndarray[Any, Any]]:
        nonlocal taken
        for number in range(400):
            taken += 1
            yield lesion(number % 150, number)

    found = dermsentry.iter_screen(pictures(), bundle)
    assert taken == 0
    assert next(found).image == "image"
    assert taken < 200
    assert sum(1 for _ in found) == 399
    with pytest.raises(InputError, match="Received no photographs"):
        screen(iter(()), bundle)
    with pytest.raises(InputError, match="Received int; expected a path"):
        screen(iter([lesion(), 7]), bundle)  # type: ignore[list-item]


def melanoma(bundle: Bundle, data: bytes) -> float | None:
    return screen(data, bundle)[0].melanoma


def sent_and_opened(bundle: Bundle) -> Bundle:
    again: Bundle = pickle.loads(pickle.dumps(bundle))  # noqa: S301
    return again


def test_a_bundle_goes_to_other_processes(bundle: Bundle, tmp_path: Path) -> None:
    again = sent_and_opened(bundle)
    assert (again.card, again.threads, again.name) == (bundle.card, bundle.threads, bundle.name)
    assert sent_and_opened(open_bundle(threads=1)).card == open_bundle().card
    buffer = io.BytesIO()
    Image.fromarray(lesion(90)).save(buffer, "PNG")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(melanoma, bundle, buffer.getvalue()).result() == melanoma(
            bundle, buffer.getvalue()
        )
    sent = pickle.dumps(tiny_bundle(tmp_path / "sent"))
    tiny_bundle(tmp_path / "sent", temperature=2.0)
    with pytest.raises(BundleError, match="is not the bundle that was sent here"):
        pickle.loads(sent)  # noqa: S301


def test_another_device(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: what is asked of ONNX Runtime, and what is said where it falls back."""
    assert open_bundle(bundle.folder).device == "cpu"
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(InputError, match="computes on cpu alone; install onnxruntime-gpu"):
            open_bundle(bundle.folder, device="cuda")
    with pytest.raises(InputError, match="device='tpu'; expected one of cpu, cuda"):
        open_bundle(bundle.folder, device="tpu")  # type: ignore[arg-type]
    asked = []
    real = onnxruntime.InferenceSession

    def session(onnx: bytes, options: object, providers: list[str]) -> Any:
        asked.append(providers)
        return real(onnx, options, providers=["CPUExecutionProvider"])

    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(InputError, match="ONNX Runtime cannot use one: no GPU"):
        open_bundle(bundle.folder, device="cuda")
    assert asked == [both]


def test_the_example_of_an_event_loop(bundle: Bundle, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to-screen.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(import asyncio.*?)```", page, re.DOTALL)
    assert found
    names: dict[str, Any] = {}
    exec(found[1], names)
    buffer = io.BytesIO()
    Image.fromarray(lesion(150)).save(buffer, "PNG")
    assert asyncio.run(names["answer"](buffer.getvalue())).tier


@pytest.mark.parametrize("module", [finding, pipeline, __import__("dermsentry.model.bundle").model.bundle])
def test_examples_in_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
