"""How the packaged `reference.toml` is made: ``python -m rmaat_bridge.reference [TOML]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from astro_sim import save_recording, simulate_macro
from rmaat_bridge.bio_parameters import BioParameters


def make_reference() -> BioParameters:
    """Simulate the default macro protocol with the adaptive solver and fit everything to it."""
    with tempfile.TemporaryDirectory() as folder:
        recording = save_recording(simulate_macro(backend="scipy"), Path(folder) / "macro.nc")
        return BioParameters.from_recordings(recording)


if __name__ == "__main__":
    make_reference().save(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("reference.toml"))
