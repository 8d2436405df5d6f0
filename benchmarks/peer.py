"""Which finds melanoma better, how large is it, how long does it take: Dermsentry or `sklesion` from PyPI?

    pip download --no-deps sklesion
    python benchmarks/peer.py --sklesion sklesion-0.2.2-py3-none-any.whl [--data ISIC2017] [--part validation]
        [--model BUNDLE] [--metadata CSV] [--out peer.json]

Both are evaluated on the same photographs in one run. Prints, and writes as JSON, melanoma's AUROC with a
bootstrap interval for each and for their difference, size and parameters, and milliseconds per photograph,
one at a time: end to end from the file, and of the network alone.

sklesion is an Xception with three dense layers, for HAM10000's seven diagnoses. It is run as its own source
has it: 254×254 pixels by TensorFlow's bilinear resize, values from 0 to 255 (its first layer normalises
them), and beside them sex, place and age, each with a value for unknown. `--metadata`, a CSV by image id with
`age`, `sex` and `site`, gives it what its authors would; without one all are unknown, which it was trained
for too. Its package is neither installed nor imported and none of its pickles is opened: only `model.keras`
is read, in Keras's safe mode. What it was trained on beside HAM10000 is not stated: where it has seen these
photographs, its figure flatters it.

--data is a collection with `labels.csv` and `train/`, `val/`, `test/`, by default isic2017 in the folder that
DERMSENTRY_DATA names. Timings want a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnx
import pandas as pd
import tensorflow as tf

from dermsentry.collection import read_collection
from dermsentry.diagnoses import is_melanoma
from dermsentry.errors import InputError
from dermsentry.files import plain, versions, write_json
from dermsentry.images import read_fitted
from dermsentry.model import BUNDLED, CARD_FILE, MODEL_FILE, Bundle, open_bundle
from dermsentry.screening import screen
from dermsentry.stats.metrics import rank
from dermsentry.stats.resampling import Resampler, paired_difference

# From the source of sklesion 0.2.2, read as text.
SIDE = 254
DIAGNOSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
SEXES = ("female", "male", "unknown")
PLACES = ("arm", "head-or-neck", "leg-or-genital", "trunk", "unknown")
MEAN_AGE, MAX_AGE = 51.90180, 90.0
PLACE_OF = {
    "upper extremity": "arm",
    "lower extremity": "leg-or-genital",
    "oral/genital": "leg-or-genital",
    "genital": "leg-or-genital",
    "head/neck": "head-or-neck",
    "face": "head-or-neck",
    "scalp": "head-or-neck",
    "ear": "head-or-neck",
    "neck": "head-or-neck",
    "torso": "trunk",
    "trunk": "trunk",
    "anterior torso": "trunk",
    "posterior torso": "trunk",
    "lateral torso": "trunk",
    "back": "trunk",
    "chest": "trunk",
    "abdomen": "trunk",
}

RESAMPLES = 2000
TIMED = 40  # photographs
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = os.environ.get("DERMSENTRY_DATA")
    parser.add_argument("--data", type=Path, default=Path(root) / "isic2017" if root else None)
    parser.add_argument("--part", default="validation", help="train, validation or test of the collection")
    parser.add_argument("--model", default=BUNDLED, help="a bundle's folder")
    parser.add_argument("--metadata", type=Path, help="a CSV by image id with age, sex and site")
    parser.add_argument("--sklesion", type=Path, required=True, help="the wheel, or its unpacked folder")
    parser.add_argument("--out", type=Path, default=Path("peer.json"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data, or DERMSENTRY_DATA, the folder with isic2017")
    try:
        run(options)
    except InputError as error:
        parser.error(str(error))


def run(options: argparse.Namespace) -> None:
    bundle = open_bundle(options.model, threads=1)
    table, paths = photographs(options.data, options.part, options.metadata)
    truth = table["melanoma"].to_numpy(dtype=bool)
    groups = [lesion or image for lesion, image in zip(table["lesion_id"], table["image_id"], strict=True)]
    with network_of(options.sklesion) as (network, file):
        described = [about_the_patient(row) for row in table.to_dict("records")]
        told = sum(row != UNKNOWN for row in described)
        scores = {
            "dermsentry": np.array([finding.melanoma for finding in screen(paths, bundle)], np.float64),
            "sklesion": peer_scores(network, paths, described),
        }
        if told:
            scores["sklesion, patient unknown"] = peer_scores(network, paths, [UNKNOWN] * len(paths))
        record: dict[str, Any] = {
            "data": {
                "part": options.part,
                "photographs": len(paths),
                "melanomas": int(truth.sum()),
                "lesions": len(set(groups)),
                "with_metadata": told,
            },
            "models": {"dermsentry": bundle.name, "sklesion": version_of(options.sklesion)},
            "melanoma_roc_auc": areas(truth, scores, groups),
            "size": {"dermsentry": own_size(bundle), "sklesion": peer_size(network, file)},
            "milliseconds": timings(bundle, network, paths[:TIMED], described[:TIMED]),
            "bootstrap": {"resamples": RESAMPLES, "seed": 0},
            "versions": versions(),
        }
    for what in ("megabytes", "parameters"):
        record["size"][f"ratio of {what}"] = (
            record["size"]["sklesion"][what] / record["size"]["dermsentry"][what]
        )
    report(record)
    write_json(options.out, record)


def photographs(data: Path, part: str, metadata: Path | None) -> tuple[pd.DataFrame, list[Path]]:
    """The rows of a part that are known to be a melanoma or not, with a column `melanoma`, and their files.

    `labels.csv` knows of more photographs that they are no melanoma than what else they are.
    """
    collection = read_collection(data, metadata=metadata)
    table = collection.table[collection.table["split"] == part]
    answers = {label: is_melanoma(label) for label in table["diagnosis"]}
    melanoma = table["diagnosis"].map(
        {label: answer for label, answer in answers.items() if answer is not None}
    )
    if (data / "labels.csv").is_file():
        labels = pd.read_csv(data / "labels.csv", dtype=str)
        if {"image_id", "melanoma"} <= set(labels.columns):
            stated = labels.set_index("image_id")["melanoma"].map(
                {"1": True, "1.0": True, "0": False, "0.0": False}
            )
            melanoma = melanoma.where(melanoma.notna(), table["image_id"].map(stated))
    table = table.assign(melanoma=melanoma)[melanoma.notna()].reset_index(drop=True)
    melanomas = int(table["melanoma"].sum())
    if not 0 < melanomas < len(table):
        parts = ", ".join(sorted(set(collection.table["split"]) - {""})) or "none"
        raise InputError(
            f"The part {part!r} of {data} has {len(table)} photographs of known diagnosis, {melanomas} of "
            f"them melanomas; expected some of each. Its parts: {parts}."
        )
    return table, [collection.root / path for path in table["path"]]


@contextmanager
def network_of(wheel: Path) -> Iterator[tuple[keras.Model, Path]]:
    """The Keras model of a wheel, packed or unpacked, and its file."""
    name = "sklesion/model.keras"
    with tempfile.TemporaryDirectory() as place:
        file = wheel / name
        if wheel.is_file() and zipfile.is_zipfile(wheel):
            with zipfile.ZipFile(wheel) as packed:
                if name not in packed.namelist():
                    raise InputError(f"{wheel} has no {name}; expected the wheel of sklesion.")
                file = Path(packed.extract(name, place))
        if not file.is_file():
            raise InputError(f"{wheel} has no {name}; expected the wheel of sklesion, or its folder.")
        network = keras.saving.load_model(file, safe_mode=True, compile=False)
        shapes = [tuple(given.shape[1:]) for given in network.inputs]
        if shapes != [(SIDE, SIDE, 3), (len(UNKNOWN),)] or network.outputs[0].shape[1] != len(DIAGNOSES):
            raise InputError(f"{wheel} takes {shapes}; expected version 0.2.2 of sklesion.")
        yield network, file


def version_of(wheel: Path) -> str:
    if wheel.is_file():
        return "-".join(wheel.name.split("-")[:2])
    return next((folder.stem for folder in wheel.glob("sklesion-*.dist-info")), "sklesion")


def about_the_patient(row: dict[str, str]) -> tuple[float, ...]:
    """Sex, place, age and whether it is missing, as sklesion takes them: ten numbers."""
    sex = row["sex"].strip().lower()
    place = PLACE_OF.get(row["site"].strip().lower(), "unknown")
    try:
        age, missing = float(row["age"]), 0.0
    except ValueError:
        age, missing = MEAN_AGE, 1.0
    return (
        *(float(name == (sex if sex in SEXES else "unknown")) for name in SEXES),
        *(float(name == place) for name in PLACES),
        age / MAX_AGE,
        missing,
    )


UNKNOWN = about_the_patient({"sex": "", "site": "", "age": ""})


def peer_picture(path: Path) -> tf.Tensor:
    """A photograph as sklesion takes it, (254, 254, 3) float32."""
    image = tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False)
    return tf.image.resize(image, (SIDE, SIDE))


def peer_scores(
    network: keras.Model, paths: Sequence[Path], described: Sequence[tuple[float, ...]]
) -> np.ndarray:
    found = []
    for start in range(0, len(paths), 16):
        pictures = tf.stack([peer_picture(path) for path in paths[start : start + 16]])
        patients = tf.constant(described[start : start + 16], tf.float32)
        found.append(np.asarray(network([pictures, patients], training=False)))
    return np.concatenate(found)[:, DIAGNOSES.index("mel")].astype(np.float64)


def areas(truth: np.ndarray, scores: dict[str, np.ndarray], groups: Sequence[str]) -> dict[str, Any]:
    """The AUROC of each, and by how much Dermsentry's is larger, on the same resamples of lesions."""

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {name: rank(truth, score, sample_weight=weights).roc_auc() for name, score in scores.items()}

    resampler = Resampler(groups, RESAMPLES)
    rarer = resampler.rarer(truth)
    found = {name: (own, own.bounded(rarer)) for name, own in resampler.measure(measure).items()}
    apart = paired_difference(found["dermsentry"], found["sklesion"])
    return {name: plain(own) for name, (_, own) in found.items()} | {"difference": plain(apart)}


def own_size(bundle: Bundle) -> dict[str, float]:
    network = onnx.load(bundle.folder / MODEL_FILE)
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    tensors = [tensor for tensor in network.graph.initializer if tensor.data_type in floats]
    size = sum((bundle.folder / name).stat().st_size for name in (MODEL_FILE, CARD_FILE))
    return {
        "megabytes": size / 1e6,
        "parameters": sum(int(np.prod(tensor.dims, dtype=np.int64)) for tensor in tensors),
    }


def peer_size(network: keras.Model, file: Path) -> dict[str, float]:
    return {"megabytes": file.stat().st_size / 1e6, "parameters": network.count_params()}


def timings(
    bundle: Bundle,
    network: keras.Model,
    paths: Sequence[Path],
    described: Sequence[tuple[float, ...]],
) -> dict[str, dict[str, float]]:
    """Median milliseconds of one photograph at a time, in turns; `ratio` is sklesion's over Dermsentry's.

    Dermsentry works on one thread, sklesion on as many as TensorFlow takes. End to end, sklesion goes the way
    of its package (a tf.data set and `predict` for each photograph) and, as `compiled`, the shortest way.
    """
    card = bundle.card
    ours = [read_fitted(path, card.size, card.aspect)[None] for path in paths]
    patients = [tf.constant([row], tf.float32) for row in described]
    theirs = [peer_picture(path)[None] for path in paths]
    compiled = tf.function(lambda picture, patient: network([picture, patient], training=False))

    def as_packaged(i: int) -> None:
        sets = (tf.data.Dataset.from_tensor_slices([peer_picture(paths[i])]),
                tf.data.Dataset.from_tensor_slices(patients[i]))  # fmt: skip
        network.predict(tf.data.Dataset.zip((sets,)).batch(1), verbose=0)

    ways: dict[str, dict[str, Callable[[int], Any]]] = {
        "end to end": {
            "dermsentry": lambda i: screen(paths[i], bundle),
            "sklesion": as_packaged,
            "sklesion, compiled": lambda i: compiled(peer_picture(paths[i])[None], patients[i]).numpy(),
        },
        "network": {
            "dermsentry": lambda i: bundle.session.run(None, {"image": ours[i]}),
            "sklesion": lambda i: compiled(theirs[i], patients[i]).numpy(),
        },
    }
    found: dict[str, dict[str, float]] = {}
    for what, each in ways.items():
        seconds: dict[str, list[float]] = {name: [] for name in each}
        for way in each.values():
            way(0)  # the first is slower: it compiles
        for _ in range(ROUNDS):
            for name, way in each.items():
                for i in range(len(paths)):
                    start = time.perf_counter()
                    way(i)
                    seconds[name].append(time.perf_counter() - start)
        found[what] = {name: 1000 * statistics.median(own) for name, own in seconds.items()}
        found[what]["ratio"] = found[what]["sklesion"] / found[what]["dermsentry"]
    return found


def report(record: dict[str, Any]) -> None:
    data = record["data"]
    print(f"{data['photographs']} photographs, {data['melanomas']} melanomas, part {data['part']}")
    print(f"{record['models']['dermsentry']} against {record['models']['sklesion']}")
    for name, figure in record["melanoma_roc_auc"].items():
        print(f"melanoma AUROC, {name}: {figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})")
    for name in ("dermsentry", "sklesion"):
        size = record["size"][name]
        print(f"{name}: {size['megabytes']:.1f} MB, {size['parameters'] / 1e6:.1f} million parameters")
    for what in ("megabytes", "parameters"):
        print(f"ratio of {what}: {record['size'][f'ratio of {what}']:.1f}")
    for what, found in record["milliseconds"].items():
        for name, own in found.items():
            print(f"{what}, {name}: {own:.1f}{'' if name == 'ratio' else ' ms a photograph'}")


if __name__ == "__main__":
    main()
