"""Runs Lava in a process of its own: with a time limit, its errors brought home, its shared memory freed.

Lava's runtime forces the start method ``fork`` on its interpreter, and an exception inside a process model leaves
`run()` or `stop()` waiting for ever. So it never runs in the caller's interpreter: `python -m rmaat_lava.worker`
gets a folder with the inputs and leaves the outputs or a traceback in it.
"""

import json
import os
import signal
import site
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import astro_sim
import rmaat_lava

GRACE = 3.0
"""Seconds that the processes of a stopped run get to end by themselves."""


class LavaError(RuntimeError):
    """An exception inside Lava's runtime or a process model; the message is its traceback."""


def run_in_child(
    function: str, arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any], time_limit: float
) -> dict[str, np.ndarray]:
    """Call ``function(arrays, settings)`` in a fresh interpreter in which Lava can be imported.

    Parameters
    ----------
    function : str
        ``"package.module:name"``; it returns a mapping of arrays.
    arrays, settings : mapping
        Arguments; `settings` is written as JSON.
    time_limit : float
        Seconds after which the run and everything it started are ended.

    Raises
    ------
    LavaError
        If the function, or any process model that it runs, raised an exception.
    TimeoutError
        If the time limit was reached.
    """
    with tempfile.TemporaryDirectory(prefix="rmaat-lava-") as name:
        folder = Path(name)
        np.savez(folder / "inputs.npz", **dict[str, Any](arrays))
        job = {"function": function, "settings": dict(settings), "parent": os.getpid()}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        with open(folder / "log.txt", "wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-P", "-m", "rmaat_lava.worker", name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": _path()},
                start_new_session=True,
            )
            try:
                worker.wait(timeout=time_limit)
            except subprocess.TimeoutExpired:
                raise TimeoutError(f"Lava did not end within {time_limit:g} s") from None
            finally:
                _end_session(worker)
        if not (folder / "outputs.npz").exists():
            error = folder / "error.txt"
            told = (error if error.exists() else folder / "log.txt").read_text(encoding="utf-8").strip()
            raise LavaError(f"ended by signal {-worker.returncode}\n{told}" if worker.returncode < 0 else told)
        with np.load(folder / "outputs.npz", allow_pickle=False) as outputs:
            return dict(outputs)


def _path() -> str:
    """This package first, so that the child runs the same code, then what the environment says.

    Not the caller's whole path: a script called lava.py beside the caller's would hide Lava.
    """
    roots = [str(Path(package.__path__[0]).resolve().parent) for package in (rmaat_lava, astro_sim)]
    own = [root for root in dict.fromkeys(roots) if root not in site.getsitepackages()]
    return os.pathsep.join([*own, *filter(None, [os.environ.get("PYTHONPATH")])])


def _end_session(worker: subprocess.Popen) -> None:
    """End what is left of the worker's session.

    SIGTERM spares Python's resource tracker, which ignores it and unlinks the shared memory of the others once they
    are gone; SIGKILL is for what does not obey.
    """
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        left = [p for p in _session(worker.pid) if not _is_tracker(p)]
        for process in left:
            process.send_signal(number)
        psutil.wait_procs(left, timeout=patience)
    worker.wait()
    psutil.wait_procs(_session(worker.pid), timeout=GRACE)


def _session(leader: int) -> list[psutil.Process]:
    """Living processes of the session that `leader` opened."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (OSError, psutil.Error):
            continue
    return members


def _is_tracker(process: psutil.Process) -> bool:
    try:
        return "resource_tracker" in " ".join(process.cmdline())
    except psutil.Error:
        return False
