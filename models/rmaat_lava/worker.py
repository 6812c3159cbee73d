"""The child's side of `rmaat_lava.child`: ``python -m rmaat_lava.worker folder``."""

import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rmaat_lava import shim

POLL = 0.2
"""Seconds between two looks at the process models and at the parent."""


def simulate(
    process: Any, steps: int, tag: str, models: Mapping[type, type] | None = None, on_chip: bool = False
) -> float:
    """Compile the network that `process` belongs to and run it; the caller stops it.

    Parameters
    ----------
    process : lava AbstractProcess
    steps : int
        Time steps.
    tag : str
        ``"fixed_pt"`` or ``"floating_pt"``.
    models : dict of Process class to ProcessModel class, optional
        Models to take instead of the tagged ones.
    on_chip : bool
        On a Loihi 2 board, through Intel's compiler, else on Lava's CPU simulator.

    Returns
    -------
    float
        Seconds that the steps took, compilation and start apart.
    """
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2HwCfg, Loihi2SimCfg

    chosen = Loihi2HwCfg if on_chip else Loihi2SimCfg
    process.create_runtime(run_cfg=chosen(select_tag=tag, exception_proc_model_map=dict(models or {})))
    actors = process.runtime._messaging_infrastructure.actors
    ended = threading.Event()
    watch = threading.Thread(target=_watch_models, args=(actors, ended), daemon=True)
    watch.start()
    start = time.perf_counter()
    try:
        process.run(condition=RunSteps(num_steps=steps))
    except RuntimeError:
        _report(actors)
        raise
    seconds = time.perf_counter() - start
    ended.set()
    watch.join()  # Lava's own stop reads the same pipes
    return seconds


def record(
    process: Any,
    steps: int,
    tag: str,
    probes: Mapping[str, Any],
    models: Mapping[type, type] | None = None,
    on_chip: bool = False,
) -> tuple[dict[str, np.ndarray], float]:
    """`simulate`, with Vars and OutPorts watched by Monitors; the caller stops the network.

    Returns
    -------
    dict of str to array of shape (steps, ...)
        By the names of `probes`.
    float
        Seconds that the steps took.
    """
    from lava.proc.monitor.process import Monitor

    monitors = {}
    for name, target in probes.items():
        monitors[name] = Monitor()
        monitors[name].probe(target, steps)
    seconds = simulate(process, steps, tag, models, on_chip)
    recorded = {}
    for name, monitor in monitors.items():
        (recorded[name],) = next(iter(monitor.get_data().values())).values()
    return recorded, seconds


def _watch_models(actors: list, ended: threading.Event) -> None:
    """Look for exceptions until the steps have ended: Lava itself would wait for ever."""
    while not ended.wait(POLL):
        _report(actors)


def _report(actors: list) -> None:
    """End this interpreter with the traceback of the first process model that raised, if any has."""
    for actor in actors:
        try:
            failure = actor.exception
        except (OSError, EOFError, ValueError):  # its pipe was closed between two looks
            continue
        if failure:
            _fail(failure[1])


def _watch_parent(parent: int) -> None:
    """End the session when the parent is gone."""
    while os.getppid() == parent:
        time.sleep(POLL)
    os.killpg(0, signal.SIGTERM)


def _fail(text: str) -> None:
    """Leave the traceback and end at once; the parent ends the rest of the session."""
    (_folder() / "error.txt").write_text(text, encoding="utf-8")
    os._exit(1)


def _folder() -> Path:
    return Path(sys.argv[1])


def main() -> None:
    """Run the job in the folder."""
    folder = _folder()
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    threading.Thread(target=_watch_parent, args=(job["parent"],), daemon=True).start()
    module, name = job["function"].split(":")
    try:
        shim.install()
        with np.load(folder / "inputs.npz", allow_pickle=False) as arrays:
            outputs = getattr(importlib.import_module(module), name)(dict(arrays), job["settings"])
    except BaseException:
        _fail(traceback.format_exc())
    np.savez(folder / "partial.npz", **outputs)
    os.replace(folder / "partial.npz", folder / "outputs.npz")


if __name__ == "__main__":
    main()
