"""Where the cells of a network lie, and who is connected to whom."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astro_sim.network_model import NetworkModel

Indices = NDArray[np.int64]
Edges = tuple[Indices, Indices]


def sheet(size: int) -> NDArray[np.float64]:
    """Centres of `size` cells on a grid that fills the unit square row by row, shape (size, 2)."""
    rows = max(1, round(np.sqrt(size)))
    columns = -(-size // rows)
    row, column = np.divmod(np.arange(size), columns)
    return np.column_stack([(column + 0.5) / columns, (row + 0.5) / rows])


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
        from scipy.spatial import cKDTree

        cells = sheet(model.n_astrocytes)
        tree = cKDTree(cells)
        astrocyte = tree.query(np.vstack([sheet(model.n_excitatory), sheet(model.n_inhibitory)]))[1]
        counts = np.bincount(astrocyte[excitatory[1]], minlength=model.n_astrocytes)
        one_way = tree.query_pairs(1.2 / np.sqrt(model.n_astrocytes), output_type="ndarray").T
        source, target = np.concatenate([one_way, one_way[::-1]], axis=1)
        return cls(excitatory, inhibitory, astrocyte, np.maximum(counts, 1), (source, target))
