"""The one door to Lava: makes lava-nc 0.10.0 importable on Python 3.11 and later and NumPy 2.4.

Lava is archived at 0.10.0. Three of its assumptions no longer hold, and each is put right here without a change to
any file on disk: a dataclass field whose default is an unhashable dataclass (refused since Python 3.11), a call of
`multiprocessing.set_start_method` at import, and `functools.partial(np.reshape, newshape=...)`.
"""

import dataclasses
import functools
import importlib
import multiprocessing
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from astro_sim.errors import InputError

LAVA_VERSION = "0.10.0"
INSTALL = f"pip install --no-deps --ignore-requires-python lava-nc=={LAVA_VERSION}"
VAR_MODEL = "lava.magma.compiler.var_model"
MESSAGING = "lava.magma.runtime.message_infrastructure.multiprocessing"


def lava_version() -> str | None:
    """Version of the installed lava-nc, None where there is none."""
    try:
        return version("lava-nc")
    except PackageNotFoundError:
        return None


def install() -> None:
    """Prepare this interpreter for `import lava`; to be called before the first such import.

    Raises
    ------
    InputError
        If lava-nc is absent, or is not the one version that the processes are written for.
    RuntimeError
        If this interpreter already uses a start method other than ``fork``: Lava must run in a process of its own.
    """
    if (found := lava_version()) != LAVA_VERSION:
        raise InputError("lava", found or "not installed", f"lava-nc {LAVA_VERSION}; install it with: {INSTALL}")
    _import_replacing(VAR_MODEL, dataclasses, "dataclass", _hashable_encoder(dataclasses.dataclass))
    _import_replacing(MESSAGING, multiprocessing, "set_start_method", _keep_fork(multiprocessing.set_start_method))
    ports = importlib.import_module("lava.magma.core.process.ports.ports")
    ports.ReshapePort.get_transform_func_fwd = lambda port: functools.partial(_reshape, port.shape)
    ports.ReshapePort.get_transform_func_bwd = lambda port: functools.partial(_reshape, port.old_shape)


def _import_replacing(module: str, owner: Any, name: str, replacement: Callable) -> None:
    """Import `module` while `owner.name` is `replacement`."""
    if module in sys.modules:
        return
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        importlib.import_module(module)
    finally:
        setattr(owner, name, original)


def _hashable_encoder(dataclass: Callable) -> Callable:
    def patched(cls: type | None = None, /, **options: Any) -> Any:
        if cls is not None and (cls.__module__, cls.__name__) == (VAR_MODEL, "ByteEncoder"):
            options["unsafe_hash"] = True
        return dataclass(cls, **options)

    return patched


def _keep_fork(set_start_method: Callable) -> Callable:
    def tolerant(method: str, force: bool = False) -> None:
        current = multiprocessing.get_start_method(allow_none=True)
        if current not in (None, method):
            raise RuntimeError(f"Lava needs the start method {method!r}, this interpreter already uses {current!r}")
        if current is None:
            set_start_method(method, force=force)

    return tolerant


def _reshape(shape: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    return np.reshape(x, shape)
