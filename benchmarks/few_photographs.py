"""How good is a linear probe trained on few images of one's own, from ImageNet's network or the bundled one?

    PYTHONPATH=. python benchmarks/few_photographs.py DATA --run RUN [--rounds 5]

DATA is the folder of the bundled model's sets and RUN the run that made it, whose split.csv names the part
`test`: held-out images with no shared lesion or duplicate. They stand for the user's own collection: of a
random three fifths of the lesions, n images train a linear head on the frozen network, as `train --network
linear` does; it is evaluated on the other two fifths. Prints, for each n, the mean and the range over the
rounds of balanced accuracy and melanoma's AUROC from either start, and the seconds to fit the head.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from dermsentry.evaluation import evaluate_predictions
from dermsentry.files import to_json
from dermsentry.split import read_split
from dermsentry.stats.calibration import apply_temperature
from dermsentry.training.batches import Examples
from dermsentry.training.configuration import Configuration
from dermsentry.training.linear_probe import embed, fit_head
from dermsentry.training.options import WEIGHTS
from dermsentry.training.pixels import decode
from dermsentry.training.pretrained import backbone
from recipes.dermoscopy.data import read_dermoscopy

COUNTS = (50, 100, 200, 400)
SIZE = 192


def main() -> None:
    parser = argparse.ArgumentParser(description="Few photographs, from ImageNet's network and from ours.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    whole = read_dermoscopy(options.data)
    table = read_split(options.run / "split.csv").table
    held = table[table["part"] == "test"].drop_duplicates("image_id").reset_index(drop=True)
    own = whole.table.set_index("path", drop=False).loc[held["path"]].reset_index(drop=True)
    collection = replace(whole, table=own.assign(diagnosis=held["diagnosis"]))
    labels, groups = tuple(held["diagnosis"]), list(held["group"])
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as place:
        decoded = decode(collection, Path(place), size=SIZE, quiet=False)
        for weights in WEIGHTS:
            configuration = Configuration(network=backbone(weights), size=SIZE, weights=weights)
            embeddings = embed(configuration, decoded, Path(place), quiet=False)
            for count in COUNTS:
                found = [
                    one_round(configuration, embeddings, decoded.pixels, labels, groups, count, seed)
                    for seed in range(options.rounds)
                ]
                accuracy, area, seconds = (np.array(column) for column in zip(*found, strict=True))
                rows.append(
                    {
                        "photographs": count,
                        "weights": weights,
                        "balanced_accuracy": [accuracy.mean(), accuracy.min(), accuracy.max()],
                        "melanoma_roc_auc": [area.mean(), area.min(), area.max()],
                        "seconds": float(np.median(seconds)),
                    }
                )
    for row in rows:
        told = "  ".join(
            f"{name} {values[0]:.3f} ({values[1]:.3f}-{values[2]:.3f})"
            for name, values in row.items()
            if isinstance(values, list)
        )
        print(f"{row['photographs']:>4} from {row['weights']:<11} {told}  {row['seconds']:.1f} s")
    print(to_json(rows))


def one_round(
    configuration: Configuration,
    embeddings: np.ndarray,
    pixels: np.ndarray,
    labels: tuple[str, ...],
    groups: list[str],
    count: int,
    seed: int,
) -> tuple[float, float, float]:
    """Balanced accuracy, melanoma's AUROC and the seconds to fit, of one draw."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(sorted(set(groups)))
    learning = set(names[: 3 * len(names) // 5])
    mine = rng.permutation([i for i, group in enumerate(groups) if group in learning])[:count]
    others = np.array([i for i, group in enumerate(groups) if group not in learning])
    # A fifth of one's own photographs chooses the penalty.
    parts = [
        Examples(pixels, rows, tuple(labels[i] for i in rows))
        for rows in (mine[count // 5 :], mine[: count // 5], others)
    ]
    fitted = fit_head(configuration, embeddings, parts[0], parts[1])
    probability = apply_temperature(fitted.logits(parts[2]), 1.0)
    judged = evaluate_predictions(parts[2].labels, probability, [groups[i] for i in others], resamples=2)
    assert judged.balanced_accuracy is not None
    assert judged.melanoma.roc_auc is not None
    return judged.balanced_accuracy.value, judged.melanoma.roc_auc.value, fitted.seconds


if __name__ == "__main__":
    main()
