"""Which simulated constant decides what the network sees? Total Sobol indices, as a table and a figure.

python figures/sensitivity.py docs/images/sensitivity.png
"""

import sys

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from rmaat_bridge import sobol_indices


def draw(n_samples: int = 1024) -> Figure:
    """Total indices of every output with respect to every constant; rows are constants with their ranges."""
    found = sobol_indices(n_samples)
    constants = [
        f"{name} {low:.3g}–{high:.3g}"
        for name, low, high in zip(found["constant"].values, found["low"].values, found["high"].values, strict=True)
    ]
    names = [str(name).replace("_", " ") for name in found["output"].values]
    table = Table("constant", *names, title="Sobol indices: first order / total (± 95 %)")
    for row, label in enumerate(constants):
        cells = found.isel(constant=row)
        table.add_row(
            label,
            *(
                f"{s1:.2f} / {st:.2f} ± {conf:.2f}"
                for s1, st, conf in zip(cells["S1"].values, cells["ST"].values, cells["ST_conf"].values, strict=True)
            ),
        )
    table.add_row("spread of the output", *(f"{100 * value:.0f} %" for value in found["spread"].values))
    Console(width=160).print(table)

    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    total = found["ST"].values.T
    image = axes.imshow(total, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    figure.colorbar(image, ax=axes, label="total Sobol index")
    axes.set_yticks(range(len(constants)), constants)
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    for (row, column), value in [((r, c), total[r, c]) for r in range(len(constants)) for c in range(len(names))]:
        axes.text(
            column, row, f"{value:.2f}", ha="center", va="center", color="w" if value > 0.5 else "0.2", fontsize=8
        )
    return figure


if __name__ == "__main__":
    draw().savefig(sys.argv[1], dpi=110)
