"""Write notebooks/melanoma_detection.ipynb by `study --notebook`, of drawn photographs: `make notebook`.

No photograph of a patient may be committed, nor a picture made from one, and a notebook of a real run shows
both. So this one is of phantoms, and says so. Few photographs and few epochs: it shows what a hand-in looks
like, not what a network can do. Everything else is written into `runs/notebook/`; run it again to resume.
"""

from __future__ import annotations

from pathlib import Path

import dermsentry

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "melanoma_detection.ipynb"
RUN = ROOT / "runs" / "notebook"
# As unequal as the nine-class set.
DRAWN = {"AK": 11, "BCC": 18, "DF": 10, "MEL": 20, "NV": 20, "PBK": 20, "SCC": 13, "SK": 9, "VASC": 12}


def main() -> None:
    """Draw the photographs if they are not there, run the study, and write the notebook."""
    photographs = RUN / "photographs"
    if not photographs.is_dir():
        dermsentry.draw_phantoms(photographs, per_class=DRAWN, test_per_class=6)
    NOTEBOOK.unlink(missing_ok=True)
    dermsentry.study(
        dermsentry.read_collection(photographs),
        RUN / "study",
        epochs=(5, 5, 5),
        per_class=24,
        notebook=NOTEBOOK,
        quiet=False,
    )


if __name__ == "__main__":
    main()
