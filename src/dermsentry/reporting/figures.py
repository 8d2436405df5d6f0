"""One figure style for every report. Matplotlib is imported only when a figure is drawn."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, AMBER, GREY, INK = "#2f6f9f", "#b3261e", "#b7791f", "#8a93a0", "#1d2733"

_STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.edgecolor": "#c4cad2",
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e8ebef",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
}


@contextmanager
def new_figure(
    rows: int = 1, columns: int = 1, width: float = 7.2, height: float = 3.2
) -> Iterator[tuple[Figure, Any]]:
    """Yield (figure, axes) in the house style; sizes in inches. No display is needed."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns)


def as_png(figure: Figure) -> bytes:
    """The figure as PNG bytes; call it inside `new_figure`'s block."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def as_svg(figure: Figure) -> bytes:
    """The figure as SVG, its text as text; the same figure gives the same bytes."""
    return _as_vectors(figure, "svg", {"Date": None})


def as_pdf(figure: Figure) -> bytes:
    """The figure as PDF, its fonts inside; the same figure gives the same bytes."""
    return _as_vectors(figure, "pdf", {"CreationDate": None})


def _as_vectors(figure: Figure, form: str, metadata: dict[str, None]) -> bytes:
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dermsentry", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=form, metadata=metadata)
    return buffer.getvalue()


def curves(axes: Axes, history: Mapping[str, Sequence[float]], measure: str) -> None:
    """A measure over the epochs, on the training and on the validation images."""
    for name, colour, label in ((measure, BLUE, "training"), (f"val_{measure}", RED, "validation")):
        if name in history:
            axes.plot(history["epoch"], history[name], color=colour, linewidth=1.8, label=label)
    axes.set(xlabel="epoch", ylabel=measure)
    axes.legend(fontsize=8.5)


def bars(
    axes: Axes,
    values: Mapping[str, float],
    colour: str | Sequence[str] = BLUE,
    form: Callable[[float], str] = "{:,.0f}".format,
) -> None:
    """Horizontal bars, the first on top, each with its value at its end as `form` writes it."""
    names = list(values)
    drawn = axes.barh(range(len(names)), list(values.values()), color=colour, height=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.bar_label(drawn, labels=[form(value) for value in values.values()], padding=3, fontsize=8.5)
    axes.margins(x=0.12)


def confusion(axes: Axes, matrix: Sequence[Sequence[int]], names: Sequence[str], title: str) -> None:
    """A confusion matrix, true classes as rows, shaded by the row's share, with counts."""
    import numpy as np

    counts = np.asarray(matrix, dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        shade = "white" if shares[row, column] > 0.55 else INK
        if counts[row, column]:
            axes.text(
                column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=shade, fontsize=8.5
            )
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title)
    axes.grid(False)
