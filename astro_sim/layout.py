"""Where the cells of a network lie, and who is connected to whom."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astro_sim.network_model import NetworkModel

Indices = NDArray[np.int64]
Edges = tuple[Indices, Indices]


def grid(size: int) -> tuple[int, int]:
    """Rows and columns of the grid that `size` cells fill row by row; the last row may be short."""
    rows = max(1, round(np.sqrt(size)))
    return rows, -(-size // rows)


def sheet(size: int) -> NDArray[np.float64]:
    """Centres of `size` cells on a grid that fills the unit square row by row, shape (size, 2)."""
    rows, columns = grid(size)
    row, column = np.divmod(np.arange(size), columns)
    return np.column_stack([(column + 0.5) / columns, (row + 0.5) / rows])


def nearest(points: NDArray[np.float64], size: int) -> Indices:
    """The cell of ``sheet(size)`` nearest to each point of the unit square, (points,)."""
    rows, columns = grid(size)
    column, row = np.minimum((points * (columns, rows)).astype(np.int64), (columns - 1, rows - 1)).T
    cell = row * columns + column
    cells, above = sheet(size), cell - columns  # where the last row is short, above or its last cell
    to_above, to_last = (np.square(points - cells[there]).sum(1) for there in (above, np.full_like(cell, size - 1)))
    return np.where(cell < size, cell, np.where(to_above <= to_last, above, size - 1))


def cells_within(size: int, distance: float) -> Edges:
    """Pairs of cells of ``sheet(size)`` that lie at most `distance` apart, each in both directions."""
    rows, columns = grid(size)
    row, column = np.divmod(np.arange(size), columns)
    pairs = []
    for down in range(int(distance * rows) + 1):
        for right in range(-int(distance * columns), int(distance * columns) + 1):
            if (down, right) > (0, 0) and np.hypot(down / rows, right / columns) <= distance:
                inside = (column + right >= 0) & (column + right < columns)
                there = (row + down) * columns + column + right
                pairs.append(np.stack([np.arange(size), there])[:, inside & (there < size)])
    one_way = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), np.int64)
    source, target = np.concatenate([one_way, one_way[::-1]], axis=1)
    return source, target


def random_edges(sources: int, targets: int, probability: float, rng: np.random.Generator) -> Edges:
    """Each of the ``sources × targets`` edges with the same probability."""
    total = sources * targets
    if probability in (0, 1):
        flat = np.arange(total if probability else 0)
    else:
        flat = rng.choice(total, size=rng.binomial(total, probability), replace=False, shuffle=False)
        flat.sort()
    source, target = np.divmod(flat, targets)
    return source, target


@dataclass(frozen=True)
class Layout:
    """Connections of a network, all as index arrays.

    Attributes
    ----------
    excitatory, inhibitory : pair of ndarray of int
        Source and target neuron of each synapse; the excitatory neurons come first.
    astrocyte : ndarray of int, shape (n_neurons,)
        The astrocyte nearest to each neuron.
    n_synapses : ndarray of int, shape (n_astrocytes,)
        Excitatory synapses of each astrocyte; 1 where there are none.
    junctions : pair of ndarray of int
        Directed edges between neighbouring astrocytes.
    """

    excitatory: Edges
    inhibitory: Edges
    astrocyte: Indices
    n_synapses: Indices
    junctions: Edges

    @classmethod
    def draw(cls, model: "NetworkModel", rng: np.random.Generator) -> "Layout":
        """Draw the connections of a network and lay its three populations over one sheet."""
        excitatory = random_edges(model.n_excitatory, model.n_neurons, model.p_excitatory, rng)
        source, target = random_edges(model.n_inhibitory, model.n_neurons, model.p_inhibitory, rng)
        inhibitory = (source + model.n_excitatory, target)
        cells = np.vstack([sheet(model.n_excitatory), sheet(model.n_inhibitory)])
        astrocyte = nearest(cells, model.n_astrocytes)
        counts = np.bincount(astrocyte[excitatory[1]], minlength=model.n_astrocytes)
        junctions = cells_within(model.n_astrocytes, 1.2 / np.sqrt(model.n_astrocytes))
        return cls(excitatory, inhibitory, astrocyte, np.maximum(counts, 1), junctions)
