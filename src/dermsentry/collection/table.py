"""A labelled collection: one row per photograph, read from folders or tables as they are published."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dermsentry.diagnoses import agree, find_label, name_of, narrow
from dermsentry.errors import InputError
from dermsentry.files import fingerprint
from dermsentry.images import SUFFIXES

COLUMNS = (
    "path",
    "image_id",
    "diagnosis",
    "split",
    "lesion_id",
    "patient_id",
    "source",
    "age",
    "sex",
    "site",
    "skin_type",
)
"""One row per photograph. All text, `""` where unknown; `diagnosis` is a label of `diagnoses.py`,
`split` is `train`, `validation`, `test` or `""`, `path` is relative to the collection's root, `age` in
years."""

SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}

# The names other tables give to the columns above.
_COLUMN_ALIASES = {
    "image": "image_id",
    "image_name": "image_id",
    "isic_id": "image_id",
    "dx": "diagnosis",
    "label": "diagnosis",
    "age_approx": "age",
    "localization": "site",
    "anatom_site_general": "site",
    "anatom_site_general_challenge": "site",
    "fitzpatrick_skin_type": "skin_type",
    "file": "path",
    "filepath": "path",
}
_ONE_HOT = {"MEL", "NV", "BCC"}  # columns every ISIC ground truth has
_SUFFIX = re.compile(
    "(?:" + "|".join(re.escape(suffix) for suffix in sorted(SUFFIXES)) + r")\Z", re.IGNORECASE
)
_JUNK_FILES = {".ds_store", "thumbs.db", "desktop.ini"}
_JUNK_FOLDERS = {"__macosx"}


@dataclass(frozen=True)
class Collection:
    """Photographs and what is known of them.

    `table` has the columns `COLUMNS`, one row per photograph, ordered by path. `left_alone` says, a line
    each, what was found beside them and not read.
    """

    root: Path
    table: pd.DataFrame
    left_alone: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def paths(self) -> list[Path]:
        """The photographs' files, in the table's order."""
        return [self.root / path for path in self.table["path"]]

    def fingerprint(self) -> str:
        """SHA-256 over paths, labels, splits and file sizes: another collection gives another one."""
        parts = []
        rows = zip(self.table["path"], self.table["diagnosis"], self.table["split"], self.paths, strict=True)
        for path, label, split, file in rows:
            size = file.stat().st_size if file.is_file() else -1
            parts.append(f"{path}\t{label}\t{split}\t{size}")
        return fingerprint(parts)


def read_collection(data: str | Path, *, metadata: str | Path | None = None) -> Collection:
    """Read a labelled collection.

    Parameters
    ----------
    data
        A folder of class folders (with or without Train/Test above them, at any depth), HAM10000's folder
        (`metadata.csv`, `images/`), ISIC 2017's (`labels.csv`, `train/`, `val/`, `test/`), a folder with
        `labels.csv` and `images/`, a folder with an ISIC one-hot ground truth, or a CSV file with
        `path,diagnosis` and any of the other `COLUMNS`.
    metadata
        A CSV by `image_id` (or `image`) that adds lesion, patient, age, sex, site or skin type.

    Raises
    ------
    InputError
        The folder is missing, holds no photographs, or names diagnoses that are unknown (all are listed).
    """
    path = Path(data)
    try:
        if not path.exists():
            raise InputError(f"{path} does not exist; expected a folder of photographs or a CSV file.")
        collection = _read_csv(path) if path.is_file() else _read_folder(path)
    except OSError as error:
        raise InputError(f"Cannot read {error.filename or path}: {error.strerror or error}.") from error
    if metadata is not None:
        collection = _add_metadata(collection, Path(metadata))
    if not len(collection):
        kinds = " ".join(sorted(SUFFIXES))
        raise InputError(f"{path} holds no photographs; expected files ending in {kinds} in class folders.")
    return collection


def join_collections(collections: Sequence[Collection]) -> Collection:
    """Join collections into one; its root is their common folder, `source` tells them apart.

    Raises InputError if a file is in two of them.
    """
    if not collections:
        raise InputError("Received no collection to join; expected at least one.")
    root = Path(os.path.commonpath([c.root.resolve() for c in collections]))
    names = [c.root.resolve().name for c in collections]
    tables, left_alone = [], []
    for collection in collections:
        below = collection.root.resolve().relative_to(root).as_posix()
        table = collection.table.copy()
        if below != ".":
            table["path"] = [f"{below}/{path}" for path in table["path"]]
        # Two folders of one name are two sources: their lesion ids have nothing to do with each other.
        name = collection.root.resolve().name
        alone = name if names.count(name) == 1 else below
        table["source"] = table["source"].where(~table["source"].isin(["", name]), alone)
        tables.append(table)
        left_alone += [f"{below}: {line}" for line in collection.left_alone]
    table = pd.concat(tables, ignore_index=True)
    twice = table.loc[table["path"].duplicated(), "path"]
    if len(twice):
        raise InputError(
            f"{len(twice)} photographs are in two of the collections, such as {twice.iloc[0]}; "
            "give each once."
        )
    return Collection(root, _ordered(table), tuple(left_alone))


def read_labels(path: str | Path) -> dict[str, str]:
    """Read a reference label table: image id to label.

    Accepts ISIC's one-hot ground truth (`image,MEL,NV,…`) or `image_id,diagnosis`. Rows of an unknown
    diagnosis are left out. Raises InputError if the table is neither.
    """
    table = _read_table(Path(path))
    table = _from_one_hot(table) if set(table.columns) >= _ONE_HOT else table
    if not {"image_id", "diagnosis"} <= set(table.columns):
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}; "
            "expected image_id and diagnosis, or ISIC's one-hot ground truth."
        )
    labels = {
        image: find_label(text) for image, text in zip(table["image_id"], table["diagnosis"], strict=True)
    }
    return {image: label for image, label in labels.items() if label}


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    for column in COLUMNS:
        if column not in table.columns:
            table[column] = ""
    table = table[list(COLUMNS)].fillna("").astype(str)
    return table.sort_values("path", kind="stable", ignore_index=True)


def _read_table(path: Path) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                skipinitialspace=True,
                index_col=False,
            ).fillna("")
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning) as error:
        raise InputError(f"{path} is not a CSV table: {str(error).splitlines()[0]}.") from error
    names: dict[str, str] = {}
    for column in table.columns:
        lower = column.strip().lower()
        known = _COLUMN_ALIASES.get(lower, lower)
        names[column] = known if known in COLUMNS and known not in names.values() else column
    table = table.rename(columns=names)
    if "image_id" in table.columns:  # some tables give the file's name
        table["image_id"] = table["image_id"].str.replace(_SUFFIX, "", regex=True)
    return table


def _from_one_hot(table: pd.DataFrame) -> pd.DataFrame:
    classes = [c for c in table.columns if c != "UNK" and find_label(c) is not None]
    values = table[classes].apply(pd.to_numeric, errors="coerce").fillna(0.0).to_numpy()
    labels = np.array([*(find_label(c) for c in classes), ""], dtype=object)
    known = values.max(axis=1) > 0.5
    chosen = np.where(known, values.argmax(axis=1), len(classes))
    return table.assign(diagnosis=labels[chosen])


def _add_metadata(collection: Collection, path: Path) -> Collection:
    extra = _read_table(path)
    if "image_id" not in extra.columns:
        raise InputError(
            f"{path} has the columns {', '.join(extra.columns)}; expected image_id (or image) among them."
        )
    extra = extra.drop_duplicates("image_id").set_index("image_id")
    table = collection.table.copy()
    for column in ("lesion_id", "patient_id", "age", "sex", "site", "skin_type"):
        if column in extra.columns:
            found = table["image_id"].map(extra[column]).fillna("")
            table[column] = table[column].where(table[column] != "", found)
    return replace(collection, table=table)


def _labels_or_error(texts: pd.Series[str], where: Path) -> list[str]:
    """Each text's label; `""` stays unknown. Raises InputError listing every one that is none of the nine."""
    labels = {text: "" if not text.strip() else find_label(text) for text in texts.unique()}
    unknown = sorted(text for text, label in labels.items() if label is None)
    if unknown:
        counts = texts.value_counts()
        listed = "; ".join(f"{text!r} ({counts[text]})" for text in unknown)
        raise InputError(
            f"{where} has diagnoses that are none of the nine: {listed}. "
            "Rename them, or leave the field empty for unknown."
        )
    return [labels[text] or "" for text in texts]


def _read_csv(path: Path) -> Collection:
    """A plain table with paths, or a one-hot ground truth whose photographs lie beside or below it."""
    table = _read_table(path)
    if set(table.columns) >= _ONE_HOT and "path" not in table.columns:
        return _read_one_hot(path.parent, path)
    if not {"path", "diagnosis"} <= set(table.columns):
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}; expected at least path and diagnosis."
        )
    table["diagnosis"] = _labels_or_error(table["diagnosis"], path)
    if "split" in table.columns:
        unknown = sorted(set(table["split"].str.lower()) - set(SPLITS) - {""})
        if unknown:
            raise InputError(
                f"{path} has splits {', '.join(unknown)}; expected train, validation, test or nothing."
            )
        table["split"] = table["split"].str.lower().map(SPLITS).fillna("")
    nameless = int((table["path"].str.strip() == "").sum())
    if nameless:
        raise InputError(f"{path} has {nameless} rows without a path; give each photograph its path.")
    root = base = path.parent
    # resolve() would follow links, which are checked when a photograph is opened.
    top = Path(os.path.normpath(root.absolute()))
    absolute = [Path(os.path.normpath(top / p)) for p in table["path"]]
    if not all(p.is_relative_to(top) for p in absolute):
        base = top = Path(os.path.commonpath([top, *(p.parent for p in absolute)]))
    table["path"] = [p.relative_to(top).as_posix() for p in absolute]
    twice = table.loc[table["path"].duplicated(), "path"]
    if len(twice):
        raise InputError(
            f"{path} lists {len(twice)} photographs twice, such as {twice.iloc[0]}; list each once."
        )
    if "image_id" not in table.columns:
        table["image_id"] = [Path(p).stem for p in table["path"]]
    return Collection(base, _ordered(table))


def _read_folder(root: Path) -> Collection:
    if (root / "images").is_dir():
        for name in ("metadata.csv", "labels.csv"):
            if (root / name).is_file():
                return _read_by_id(root, root / name, "images")
    if (root / "labels.csv").is_file() and any((root / split).is_dir() for split in ("train", "val", "test")):
        return _read_isic2017(root)
    for path in sorted(root.glob("*.csv")):
        if _header(path) >= _ONE_HOT:
            return _read_one_hot(root, path)
    return _read_class_folders(root)


def _header(path: Path) -> set[str]:
    """The column names of a file that may be a table; any other file has none."""
    with path.open(encoding="utf-8-sig", errors="replace") as handle:
        return {name.strip().strip('"') for name in handle.readline(65536).split(",")}


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Folders below `root` in order, with their photographs and other files; links to folders are left."""

    def refuse(error: OSError) -> None:
        raise InputError(f"Cannot read {error.filename}: {error.strerror}.")

    for name, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f.lower() not in _JUNK_FOLDERS)
        kept = sorted(f for f in files if not f.startswith(".") and f.lower() not in _JUNK_FILES)
        photographs = [f for f in kept if _SUFFIX.search(f)]
        yield Path(name), photographs, [f for f in kept if not _SUFFIX.search(f)]


def _linked_folders(root: Path) -> list[str]:
    found = []
    for name, folders, _ in os.walk(root):
        found += [
            (Path(name) / f).relative_to(root).as_posix() for f in folders if (Path(name) / f).is_symlink()
        ]
    return [f"{folder}: a link to a folder is not followed" for folder in sorted(found)]


def _counted(files: Sequence[str]) -> list[str]:
    kinds = pd.Series([Path(f).suffix.lower() or "no suffix" for f in files], dtype=object).value_counts()
    return [f"{count} other files ({kind})" for kind, count in kinds.items()]


def _read_class_folders(root: Path) -> Collection:
    rows: list[dict[str, str]] = []
    unknown: dict[str, int] = {}
    unclear: list[str] = []
    classes: Counter[str] = Counter()
    others: list[str] = []
    for folder, photographs, other in _walk(root):
        others += other
        inside = folder.relative_to(root).parts
        naming = [i for i, part in enumerate(inside) if find_label(part)]
        if not naming:
            if photographs:
                unknown["/".join(inside) or "."] = len(photographs)
            continue
        # Folders inside a class are the user's own order, unless they name another diagnosis.
        label = ""
        for part in (inside[i] for i in naming):
            if not agree(label, find_label(part) or ""):
                unclear.append("/".join(inside))
                break
            label = narrow(label, find_label(part) or "")
        split = next((SPLITS[p.lower()] for p in reversed(inside[: naming[0]]) if p.lower() in SPLITS), "")
        classes["/".join(inside[: naming[0] + 1])] += len(photographs)
        rows += [
            {
                "path": "/".join((*inside, name)),
                "image_id": Path(name).stem,
                "diagnosis": label,
                "split": split,
            }
            for name in photographs
        ]
    if unknown:
        listed = "; ".join(f"{name!r} ({count} photographs)" for name, count in sorted(unknown.items()))
        expected = ", ".join(name_of(code) for code in ("MEL", "NV", "BCC"))
        raise InputError(
            f"{root} has folders that name no known diagnosis: {listed}. "
            f"Expected folders such as {expected}; rename or move these."
        )
    if unclear:
        raise InputError(
            f"{root} has folders that name two diagnoses: {'; '.join(map(repr, unclear))}. "
            "Expected one diagnosis on the way to a photograph; rename or move these."
        )
    table = _ordered(pd.DataFrame(rows, columns=["path", "image_id", "diagnosis", "split"]))
    beside = root / "metadata.csv"
    empty = [
        f"{name}: a class folder without photographs" for name, count in sorted(classes.items()) if not count
    ]
    read = {beside.name, "SYNTHETIC.txt"}  # the mark of a collection of phantoms
    left_alone = (*empty, *_linked_folders(root), *_counted([f for f in others if f not in read]))
    collection = Collection(root, table, left_alone)
    return _add_metadata(collection, beside) if beside.is_file() else collection


def _find_by_id(root: Path, folder: str, image_ids: pd.Series[str]) -> tuple[list[str], list[str]]:
    """Relative path of each image id below `root/folder`, `""` where missing; and what is left alone."""
    files: dict[str, list[str]] = {}
    for place, photographs, _ in _walk(root / folder):
        below = place.relative_to(root)
        for name in photographs:
            files.setdefault(Path(name).stem, []).append((below / name).as_posix())
    paths = [files.get(image_id, [""])[0] for image_id in image_ids]
    wanted = set(image_ids)
    unnamed = sorted(path for stem, found in files.items() if stem not in wanted for path in found)
    again = sorted(path for stem, found in files.items() if stem in wanted for path in found[1:])
    left_alone = []
    if missing := paths.count(""):
        left_alone.append(f"{missing} rows of the label table have no photograph in {folder}/")
    if unnamed:
        left_alone.append(
            f"{len(unnamed)} photographs that the label table does not name, such as {unnamed[0]}"
        )
    if again:
        left_alone.append(f"{len(again)} further files of an image id, such as {again[0]}")
    return paths, left_alone


def _read_by_id(root: Path, labels: Path, folder: str) -> Collection:
    """HAM10000 and `isic-archive`: a table by image id, and one folder of photographs."""
    table = _read_table(labels)
    if not {"image_id", "diagnosis"} <= set(table.columns):
        raise InputError(
            f"{labels} has the columns {', '.join(table.columns)}; expected image_id and dx or diagnosis."
        )
    beside = sorted(
        p.name for p in root.iterdir() if p.is_dir() and p.name != folder and not p.name.startswith(".")
    )
    left_alone = [f"{name}/: a folder beside {folder}/, not read" for name in beside]
    found = table["diagnosis"].map({text: find_label(text) for text in table["diagnosis"].unique()})
    outside = table.loc[found.isna() & (table["diagnosis"] != ""), "diagnosis"].value_counts()
    left_alone += [
        f"{labels.name}: {n} photographs of {text!r}, none of the nine, kept as unknown"
        for text, n in outside.items()
    ]
    table["diagnosis"] = found.fillna("")
    return _with_files(root, table, folder, left_alone)


def _with_files(root: Path, table: pd.DataFrame, folder: str, left_alone: list[str]) -> Collection:
    table = table.assign(source=table["source"] if "source" in table.columns else root.resolve().name)
    disputed = table.drop_duplicates(["image_id", "diagnosis"])["image_id"].duplicated()
    if disputed.any():
        named = table["image_id"][disputed.index[disputed]].iloc[0]
        raise InputError(
            f"The label table of {root} gives {int(disputed.sum())} image ids two diagnoses, "
            f"such as {named}; keep one row of each."
        )
    table["path"], beside = _find_by_id(root, folder, table["image_id"])
    kept = table[table["path"] != ""].drop_duplicates("path")
    return Collection(root, _ordered(kept.reset_index(drop=True)), (*left_alone, *beside))


def _read_isic2017(root: Path) -> Collection:
    table = _read_table(root / "labels.csv")
    wanted = {"image_id", "split", "melanoma", "seborrheic_keratosis"}
    if not wanted <= set(table.columns):
        raise InputError(
            f"{root / 'labels.csv'} has the columns {', '.join(table.columns)}; "
            f"expected {', '.join(sorted(wanted))}."
        )
    melanoma, keratosis = table["melanoma"], table["seborrheic_keratosis"]
    known = (melanoma != "") & (keratosis != "")
    table["diagnosis"] = np.select(
        [melanoma.isin(["1", "1.0"]), keratosis.isin(["1", "1.0"]), known], ["MEL", "SK", "NV"], default=""
    )
    table["split"] = table["split"].str.lower().map(SPLITS).fillna("")
    return _with_files(root, table, ".", [])


def _read_one_hot(root: Path, path: Path) -> Collection:
    return _with_files(root, _from_one_hot(_read_table(path)), ".", [])
