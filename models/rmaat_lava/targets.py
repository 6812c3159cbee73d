"""Where a deployment can run: ``loihi2``, ``lava`` (CPU simulator), ``numpy``, and ``auto``, the first that works."""

from __future__ import annotations

import importlib.util
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from astro_sim.errors import InputError
from rmaat_lava import reference, shim
from rmaat_lava.arithmetic import Integers
from rmaat_lava.child import run_in_child
from rmaat_lava.deployment import Deployment
from rmaat_lava.inputs import prepare
from rmaat_lava.program import flatten, time_steps
from rmaat_lava.trace import trace

SECONDS_PER_STEP = 0.1
"""For the default time limit of Lava's simulator: a hundred times what a step takes on a machine that is not busy."""
START_SECONDS = 120.0
NEURO_CORE_MODELS = "rmaat_lava_nc"
"""Module that a member of Intel's community adds to run on a chip."""


@dataclass(frozen=True)
class Outputs:
    """What a target computed.

    Parameters
    ----------
    logits : int64 array of shape (sequences, labels), or (pairs, labels)
    saturated : int
        Values that had to be cut to 24 bits.
    target : str
        Where it ran.
    seconds : float
        Wall time, start of the target included.
    seconds_per_step : float
        Wall time of one time step of Lava's simulator, start excluded; 0 elsewhere.
    probes : dict of str to int64 array
        State at every time step, (steps, ...); only if asked for.
    """

    logits: Integers
    saturated: int
    target: str
    seconds: float
    seconds_per_step: float
    probes: dict[str, Integers]

    @property
    def predictions(self) -> Integers:
        """Most likely label of each sequence or pair, (sequences,)."""
        return self.logits.argmax(axis=1)


@dataclass(frozen=True)
class Target:
    """One place where a deployment can run.

    Parameters
    ----------
    name : str
    missing : callable
        What has to be installed before it works; None if it works.
    """

    name: str
    missing: Callable[[], str | None]


def _missing_loihi2() -> str | None:
    if (needed := _missing_lava()) is not None:
        return needed
    if not _found("lava.magma.compiler.subcompilers.nc"):
        return "Intel's Loihi compiler (lava-loihi), given to members of the Intel Neuromorphic Research Community"
    if not ("NXSDKHOST" in os.environ or os.environ.get("SLURM") == "1"):
        return "a Loihi 2 board: set NXSDKHOST to its host, or SLURM=1 where SLURM lends boards"
    if not _found(NEURO_CORE_MODELS):
        return (
            f"process models for the neuro-cores: a module {NEURO_CORE_MODELS} with MODELS, one for each of Embedding, "
            "Stem, MemoryRetention, WriteMode, ReadMode and ReadOut; they need Intel's compiler and are not public"
        )
    return None


def _found(module: str) -> bool:
    """Whether a module is installed, its parents not being imported for more than that."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _missing_lava() -> str | None:
    found = shim.lava_version()
    return None if found == shim.LAVA_VERSION else f"lava-nc {shim.LAVA_VERSION} ({shim.INSTALL}), found {found}"


TARGETS = (Target("loihi2", _missing_loihi2), Target("lava", _missing_lava), Target("numpy", lambda: None))


def choose_target(name: str) -> str:
    """The target that `name` stands for.

    Raises
    ------
    InputError
        If the name is unknown, or the target is not installed; the message says what to install.
    """
    by_name = {target.name: target for target in TARGETS}
    if name == "auto":
        return next(target.name for target in TARGETS if target.missing() is None)
    if name not in by_name:
        raise InputError("target", name, f"one of {', '.join(by_name)}, auto")
    if (needed := by_name[name].missing()) is not None:
        raise InputError("target", name, f"an installed target; this one needs {needed}")
    return name


def run(
    deployment: Deployment,
    inputs: np.ndarray | Sequence[np.ndarray] | Sequence[Sequence[np.ndarray]],
    target: str = "auto",
    *,
    lengths: np.ndarray | None = None,
    probe: bool = False,
    time_limit: float | None = None,
) -> Outputs:
    """Classify sequences in integers; the result does not depend on the target.

    Parameters
    ----------
    deployment : Deployment
    inputs : array or sequence of arrays
        Token ids (sequences, length) or real features (sequences, length, features); or one array a sequence. Of a
        model of pairs (pairs, 2, length) or (pairs, 2, length, features); or two arrays a pair.
    target : str
        ``"loihi2"``, ``"lava"``, ``"numpy"`` or ``"auto"``.
    lengths : int array of shape (sequences,) or (pairs, 2), optional
        Tokens that exist, where `inputs` is one padded array.
    probe : bool
        Record every state at every time step; NumPy works out what Lava's would be.
    time_limit : float, optional
        Seconds after which Lava is ended; the default grows with the number of time steps.

    Raises
    ------
    InputError
        If the inputs do not fit the deployment, or the target is unknown or not installed.
    rmaat_lava.child.LavaError, TimeoutError
        If Lava fails or takes too long.
    """
    name = choose_target(target)
    padded, lengths = prepare(deployment, inputs, lengths)
    start = time.perf_counter()
    if name == "numpy":
        counts: Counter = Counter()
        logits = reference.classify(deployment.program, padded, lengths, counts)
        probes = trace(deployment.program, padded, lengths) if probe else {}
        return Outputs(logits, counts.total(), name, time.perf_counter() - start, 0.0, probes)
    arrays = {f"program.{key}": array for key, array in flatten(deployment.program).items()}
    steps = time_steps(deployment.program, lengths)
    found = run_in_child(
        "rmaat_lava.network:classify",
        arrays | {"inputs": padded, "lengths": lengths},
        {"probe": probe, "neuro_core_models": NEURO_CORE_MODELS if name == "loihi2" else None},
        START_SECONDS + SECONDS_PER_STEP * float(steps) if time_limit is None else time_limit,
    )
    probes = {key.removeprefix("probe."): array for key, array in found.items() if key.startswith("probe.")}
    return Outputs(
        found["logits"],
        int(found["saturated"]),
        name,
        time.perf_counter() - start,
        float(found["seconds_per_step"]),
        probes,
    )
