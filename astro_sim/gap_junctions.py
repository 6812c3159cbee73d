"""Astrocytes coupled to their neighbours through gap junctions: a ring, or a sheet.

    J_gap(i) = Σ_j  F/2 (1 + tanh((|ΔI| − I_Θ)/ω_I)) sgn(ΔI),      ΔI = I_j − I_i

A junction of G-ChI cells is shut until the difference of IP₃ exceeds I_Θ (Goldberg et al. 2010 PLoS Comput Biol
6:e1000909; Stimberg et al. 2019, in *Computational Glioscience*, ch. 18, Figure 5); one of
`astro_sim.diffusive_astrocyte` lets calcium and IP₃ diffuse.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from astro_sim.astrocyte import AstrocyteParameters, cell_equations, integrator
from astro_sim.brian_backend import Rows, brian_target, run
from astro_sim.diffusive_astrocyte import DIFFUSION_EQUATIONS, DIFFUSIVE_EQUATIONS, DiffusiveAstrocyteParameters
from astro_sim.errors import InputError
from astro_sim.micro_recording import CALCIUM, GATE, IP3, SI, check_times, micro_template
from astro_sim.recorder import recorder, recording_of
from astro_sim.staged_rk4 import staged_rk4

RECORDED = (CALCIUM, IP3, GATE)

JUNCTION_EQUATIONS = """
delta_I = I_pre - I_post : mmolar
J_gap_post = F/2*(1 + tanh((abs(delta_I) - I_Theta)/omega_I))*sign(delta_I) : mmolar/second (summed)
"""

# The cells that have a source are fed during `on` of every `period`: by the share of each step that is on, so that
# an edge inside a step keeps the pulse's length. `fed` is how long they have been fed until the step.
PULSES = """
source : 1 (constant)
now = t_in_timesteps*dt : second
fed = floor(now/period)*on + clip(now % period, 0*second, on) : second
fed_next = floor((now + dt)/period)*on + clip((now + dt) % period, 0*second, on) : second
share = (fed_next - fed)/dt : 1
"""

# No receptors: exogenous IP3 drives the cells that have a source.
DRIVEN_EQUATIONS = """
J_gap : mmolar/second
Gamma_A = 0 : 1
I_bias = I_source*source*share : mmolar
"""


class RingCell(NamedTuple):
    """What a kind of astrocyte brings to a ring: equations, junctions, method, and its state at time 0."""

    equations: str
    junctions: str
    method: str | Callable[..., str]
    calcium: float
    ip3: float
    h: float


def ring_cell(parameters: AstrocyteParameters | DiffusiveAstrocyteParameters) -> RingCell:
    """The cell of these parameters in a ring, µmol/l."""
    if isinstance(parameters, DiffusiveAstrocyteParameters):
        p, driven = parameters, "J_drive = J*source*share : mmolar/second\n"
        return RingCell(DIFFUSIVE_EQUATIONS + driven + PULSES, DIFFUSION_EQUATIONS, staged_rk4, p.C_0, p.I_0, p.h_0)
    equations = cell_equations(parameters) + DRIVEN_EQUATIONS + PULSES
    return RingCell(equations, JUNCTION_EQUATIONS, integrator(parameters), 0.0, 0.0, 0.9)


@dataclass(frozen=True)
class RingModel:
    """Coupled astrocytes, some of them fed with IP₃ in pulses; by default Figure 5 of Stimberg et al. (2019).

    Parameters
    ----------
    astrocyte : AstrocyteParameters or DiffusiveAstrocyteParameters
        G-ChI cells: ``F`` is the junction; ``F_ex`` the source of every cell, whose level is ``I_bias`` in the
        stimulated cells during a pulse, and 0 otherwise. Diffusive cells: ``J`` is the source.
    shape : tuple of int
        ``(n,)``, a ring, or ``(rows, columns)``, a sheet.
    periodic : bool
        Whether opposite borders touch; False opens the ring to a line, the torus to a sheet.
    stimulated : tuple of int, optional
        Flat numbers of the cells with a source; default the middle one.
    period_s, on_s : float
        The source is on for the first `on_s` of every `period_s` seconds.

    Raises
    ------
    InputError
        A value outside its bound.
    """

    astrocyte: AstrocyteParameters | DiffusiveAstrocyteParameters = field(
        default_factory=lambda: AstrocyteParameters(O_beta=0.0, O_N=0.0, F_ex=0.09, I_bias=1.0)
    )
    shape: tuple[int, ...] = (50,)
    periodic: bool = True
    stimulated: tuple[int, ...] | None = None
    period_s: float = 50.0
    on_s: float = 20.0

    def __post_init__(self) -> None:
        if len(self.shape) not in (1, 2) or min(self.shape) < 1:
            raise InputError("shape", self.shape, "a number of cells, or rows and columns, all >= 1")
        if not all(0 <= cell < self.size for cell in self.sources):
            raise InputError("stimulated", self.stimulated, f"cell numbers from 0 to {self.size - 1}")
        if not 0 <= self.on_s <= self.period_s or self.period_s == 0:
            raise InputError("on_s", self.on_s, f"0 s to the period of {self.period_s:g} s")

    def check_step(self, dt: float) -> None:
        """Refuse a step that calcium makes unstable: RK4 below 2.78 of its time constants, Milstein below 2."""
        fastest, limit = self.astrocyte.calcium_rate, 1.8 if ring_cell(self.astrocyte).method == "milstein" else 2.5
        if dt * fastest > limit:
            raise InputError("dt", dt, f"at most {limit / fastest:.2g} s: calcium runs at up to {fastest:.3g} /s")

    @property
    def size(self) -> int:
        """Number of astrocytes."""
        return int(np.prod(self.shape))

    @property
    def sources(self) -> tuple[int, ...]:
        """Flat numbers of the cells with a source."""
        return (self.size // 2,) if self.stimulated is None else self.stimulated


def neighbours(shape: Sequence[int], *, periodic: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Directed edges between the nearest neighbours of a grid.

    Parameters
    ----------
    shape : sequence of int
        ``(n,)`` for a line, or a ring where `periodic`; ``(rows, columns)`` for a sheet, or a torus.

    Returns
    -------
    source, target : ndarray of int, shape (n_edges,)
        Flat cell numbers; each junction appears once in each direction.
    """
    cells = np.arange(int(np.prod(shape))).reshape(shape)
    pairs = []
    for axis, length in enumerate(shape):
        ahead = np.roll(cells, -1, axis)
        here = cells
        if not periodic or length == 2:
            keep = [slice(None)] * len(shape)
            keep[axis] = slice(0, length - 1)
            here, ahead = here[tuple(keep)], ahead[tuple(keep)]
        if length > 1:
            pairs.append(np.stack([here.ravel(), ahead.ravel()]))
    one_way = np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0), dtype=np.int64)
    source, target = np.concatenate([one_way, one_way[::-1]], axis=1)
    return source, target


def simulate_ring(
    model: RingModel | None = None,
    *,
    duration: float = 200.0,
    dt: float = 0.05,
    record_dt: float = 0.5,
    backend: str = "brian2",
    seed: int = 0,
    out: str | Path | None = None,
) -> xr.Dataset:
    """Simulate gap-junction-coupled astrocytes.

    Parameters
    ----------
    model : RingModel, optional
        Default: Figure 5 of Stimberg et al. (2019).
    duration, dt, record_dt : float
        Seconds. The default step is the published one. The ring is chaotic after some 500 s.
    backend : str
        ``"brian2"`` or ``"brian2-standalone"``.
    seed : int
        Fixes the channel noise, where ``astrocyte.noise`` is above 0.
    out : path, optional
        Stream the rows to this NetCDF file as they come, instead of holding them in memory.

    Returns
    -------
    xarray.Dataset
        ``calcium``, ``ip3`` and ``h`` with dimensions (time, astrocyte), and the row and column of each cell; with
        `out`, opened lazily from the file.
    """
    import brian2 as b2

    model = model or RingModel()
    model.check_step(dt)
    check_times(duration, dt, record_dt)
    cell, namespace = ring_cell(model.astrocyte), model.astrocyte.namespace()
    namespace |= {"period": model.period_s * b2.second, "on": model.on_s * b2.second}
    if "I_bias" in namespace:
        namespace["I_source"] = namespace.pop("I_bias")
    row, column = np.unravel_index(np.arange(model.size), model.shape if len(model.shape) == 2 else (1, model.size))
    place = {"units": "1", "comment": "grid steps"}
    template = micro_template(
        "ring",
        RECORDED,
        "astrocyte",
        {
            "astrocyte": ("astrocyte", np.arange(model.size), {"units": "1"}),
            "row": ("astrocyte", row, place),
            "column": ("astrocyte", column, place),
        },
        model,
        {"kind": "pulses", "period_s": model.period_s, "on_s": model.on_s, "duration_s": duration},
        seed=seed,
        dt_s=dt,
        backend=backend,
    )
    structure, path = ("ring", model.size, cell.equations), Path(out) if out is not None else None
    with recorder(template, path) as rows, brian_target(backend, round(duration / dt), seed, *structure):
        clock = b2.Clock(dt * b2.second)
        cells = b2.NeuronGroup(
            model.size,
            cell.equations,
            method=cell.method,
            namespace=namespace,
            clock=clock,
            name="astrocytes",
        )
        cells.C, cells.I = (value * SI["umol/l"] * b2.mmolar for value in (cell.calcium, cell.ip3))
        cells.h = cell.h
        cells.source = np.isin(np.arange(model.size), model.sources)
        source, target = neighbours(model.shape, periodic=model.periodic)
        coupling = []
        if len(source):
            junctions = b2.Synapses(cells, cells, cell.junctions, namespace=namespace, clock=clock, name="junctions")
            junctions.connect(i=source, j=target)
            coupling.append(junctions)
        recorded = Rows([(cells, RECORDED)], record_dt, rows)
        network = b2.Network(cells, *recorded.objects, *coupling)
        rows.stopped = run(network, duration, dt, cells, "C")
        recorded.finish()
    return recording_of(rows, path)
