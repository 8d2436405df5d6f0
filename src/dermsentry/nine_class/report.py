"""The study's figures and its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dermsentry.diagnoses import CODES, DIAGNOSES, codes_of, name_of
from dermsentry.files import write_bytes
from dermsentry.images import Pixels
from dermsentry.nine_class.conclusions import GAP, LEARNED
from dermsentry.nine_class.experiments import Material, Result
from dermsentry.nine_class.results import Study
from dermsentry.phantoms import is_synthetic
from dermsentry.reporting import figures, write_report
from dermsentry.training.augmentation import augment

_TITLES = {"collection": "The images", "best": "The best network"}


def _draw_figures(study: Study, material: Material) -> dict[str, bytes]:
    """Draw every figure of the report, write each to `figures/NAME.png`, and give them by name."""
    trained = [r for r in study.results if not r.experiment.linear]
    pictures = {"classes": _classes(study), "augmentation": _augmentation(material, study)}
    balanced = [r for r in trained if r.experiment.copies and r.protocol == "honest"]
    if balanced:
        pictures["balancing"] = _balancing(balanced[0])
    for result in trained:
        if result.protocol == "honest":
            pair = [r for r in trained if r.experiment is result.experiment]
            pictures[f"curves-{result.experiment.name}"] = _curves(pair)
    for result in study.results:
        if result.protocol == "honest" and "test" in result.evaluations:
            pictures[f"confusion-{result.experiment.name}"] = _confusion(result)
    for name, png in pictures.items():
        write_bytes(study.folder / "figures" / f"{name}.png", png)
    return pictures


def write_study_report(study: Study, material: Material) -> None:
    """Write study.html, which stands alone, and each of its figures into `figures/`."""
    write_report(
        study.folder / "study.html",
        "study.html",
        study=study,
        pictures=_draw_figures(study, material),
        gallery=_gallery(material),
        limits=limits_of_test(study.results),
        synthetic=is_synthetic(study.collection.root),
        titles=_TITLES | {r.experiment.name: r.experiment.title for r in study.results},
        diagnoses=DIAGNOSES,
        gap=GAP,
        learned=LEARNED,
    )


def limits_of_test(results: Sequence[Result]) -> list[tuple[str, tuple[str, ...], str]]:
    """What each Test cannot show: its part, the networks of which that is said, and the sentence.

    No network is named where it is said of all, as what is wrong with the images is.
    """
    said: dict[tuple[str, str], list[str]] = {}
    evaluated: Counter[str] = Counter()
    for result in results:
        for part, evaluation in result.evaluations.items():
            evaluated[part] += 1
            for text in evaluation.warnings:
                name = f"{result.experiment.title} ({result.protocol.replace('-', ' ')})"
                said.setdefault((part, text), []).append(name)
    found = [
        (part, () if len(names) == evaluated[part] else tuple(names), text)
        for (part, text), names in said.items()
    ]
    return sorted(found, key=lambda one: (one[0] != "test-as-given", bool(one[1])))


def _gallery(material: Material) -> list[tuple[str, Pixels]]:
    """One readable photograph of each label: (name, pixels)."""
    labels = material.collection.table["diagnosis"].to_numpy(dtype=object)
    found = []
    for label in sorted(set(labels) - {""}, key=lambda label: CODES.index(codes_of(label)[0])):
        rows = [row for row in np.flatnonzero(labels == label) if row not in material.decoded.unreadable]
        if rows:
            found.append((name_of(label), np.asarray(material.decoded.pixels[rows[len(rows) // 2]])))
    return found


def _classes(study: Study) -> bytes:
    counts = study.collection.table["diagnosis"].value_counts()
    with figures.new_figure(height=0.7 + 0.32 * len(counts)) as (figure, axes):
        names = {name_of(str(label)): float(count) for label, count in counts.items()}
        colours = [figures.RED if label == "MEL" else figures.BLUE for label in counts.index]
        figures.bars(axes, names, colours)
        axes.set_xlabel("photographs")
        axes.set_title("Photographs of each class")
        return figures.as_png(figure)


def _balancing(result: Result) -> bytes:
    labels = sorted(result.before, key=lambda label: -result.before[label])
    with figures.new_figure(1, 2, height=0.9 + 0.32 * len(labels)) as (figure, (left, right)):
        most = max(result.after.values()) * 1.18
        for axes, counts, title in (
            (left, result.before, "Training part before"),
            (right, result.after, "and after Augmentor"),
        ):
            figures.bars(axes, {name_of(label): counts[label] for label in labels})
            axes.set_title(title)
            axes.set_xlim(0, most)
            axes.set_xlabel("photographs")
        right.set_yticklabels([])
        return figures.as_png(figure)


def _augmentation(material: Material, study: Study) -> bytes:
    labels = study.collection.table["diagnosis"].to_numpy()
    rows = [
        row
        for code in ("MEL", "NV", "BCC")
        for row in np.flatnonzero(labels == code)[:1]
        if row not in material.decoded.unreadable
    ]
    rows = rows or [next(r for r in range(len(labels)) if r not in material.decoded.unreadable)]
    with figures.new_figure(len(rows), 7, height=1.2 * len(rows)) as (figure, panels):
        grid = np.atleast_2d(panels)
        for line, row in zip(grid, rows, strict=True):
            pixels = np.asarray(material.decoded.pixels[row])
            rng = np.random.default_rng(study.configuration["seed"])
            for place, axes in enumerate(line):
                axes.imshow(pixels if place == 0 else augment(pixels, rng))
                axes.set_axis_off()
        grid[0][0].set_title("original")
        grid[0][1].set_title("augmented")
        return figures.as_png(figure)


def _curves(pair: Sequence[Result]) -> bytes:
    with figures.new_figure(1, 2, height=3.2) as (figure, panels):
        for axes, measure in zip(panels, ("accuracy", "loss"), strict=True):
            for result in pair:
                colour = figures.BLUE if result.protocol == "honest" else figures.AMBER
                epochs, curves = result.history["epoch"], result.history
                training, validation = (
                    f"{result.protocol.replace('-', ' ')}, {part}" for part in ("training", "validation")
                )
                dot = "o" if len(curves) < 3 else ""  # a line needs two points
                look = {"color": colour, "marker": dot}
                axes.plot(epochs, curves[measure], "--", linewidth=1.3, label=training, **look)
                axes.plot(epochs, curves[f"val_{measure}"], linewidth=1.9, label=validation, **look)
            axes.set_title(measure)
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
        panels[0].set_ylim(-0.02, 1.02)
        losses = np.concatenate([r.history[["loss", "val_loss"]].to_numpy().ravel() for r in pair])
        if losses.max() > 8 * max(float(np.median(losses)), 1e-6):
            panels[1].set_yscale("log")  # one wild epoch would flatten all the others
            panels[1].set_title("loss, logarithmic")
        else:
            panels[1].set_ylim(0, 1.05 * losses.max())
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8)
        return figures.as_png(figure)


def _confusion(result: Result) -> bytes:
    evaluation = result.evaluations["test"]
    names = [c.label.replace("|", "/") for c in evaluation.classes]
    with figures.new_figure(width=4.3, height=4.0) as (figure, axes):
        figures.confusion(
            axes,
            evaluation.confusion_matrix.counts,
            names,
            f"{result.experiment.title}, honest,\non Test without known leaks",
        )
        return figures.as_png(figure)
