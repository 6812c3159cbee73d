"""The scripts of `figures/` draw what their captions say; the README's Python runs."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from astro_sim import save_recording, simulate_macro

ROOT = Path(__file__).parents[3]


def script(name: str) -> ModuleType:
    """One file of `figures/` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "figures" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(axes: Axes) -> dict[str, np.ndarray]:
    """Heights of the labelled lines."""
    return {str(line.get_label()): np.asarray(line.get_ydata(), float) for line in axes.get_lines()}


def test_retention_shows_factors_that_sum_to_one(tmp_path):
    save_recording(simulate_macro(backend="scipy"), tmp_path / "macro.nc")
    course, factors, unknown = script("retention").draw(tmp_path / "macro.nc").axes
    assert len(course.get_lines()) == 9 + 1  # synapses and their mean
    drawn = {name: y for name, y in lines(factors).items() if name.startswith("T = ")}
    assert [len(y) for y in drawn.values()] == [2, 4, 6, 8, 16]
    for heights in drawn.values():
        assert heights.sum() == pytest.approx(1, abs=1e-6)  # float32 factors
    assert lines(unknown)["streaming(t)"][0] == pytest.approx(1)  # the first segment is all there is


def test_attention_kernel_shows_what_was_simulated():
    place, decay, *_ = script("attention_kernel").draw().axes
    image = place.images[0].get_array()
    middle = image.shape[0] // 2
    assert np.unravel_index(image.argmax(), image.shape) == (middle, middle)  # the driven process answers most
    simulated = lines(decay)["simulated"]
    assert simulated[1] == pytest.approx(1)  # relative to the first neighbour
    assert (np.diff(simulated) < 0).all()


def test_sensitivity_names_every_constant():
    axes = script("sensitivity").draw(64).axes[0]  # indices are rough at 64 samples, the picture is whole
    image = axes.images[0].get_array()
    assert image.shape == (len(axes.get_yticklabels()), len(axes.get_xticklabels()))
    assert np.isfinite(image).all()
    named = [label.get_text().split()[0] for label in axes.get_yticklabels()]
    tau = named.index("tau_p_long")
    assert image[tau, 0] == image[:, 0].max()  # what decides the first retention factor


def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    block = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(block) == 1
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    names: dict = {}
    exec(block[0], names)
    assert names["bio"].retention.parameters["tau_p_long"].value == pytest.approx(300, rel=2e-3)  # s, what it asked for
    model, generator = names["model"], torch.Generator().manual_seed(0)
    inputs = torch.randint(1, 256, (2, 1024), generator=generator)
    model(inputs, labels=torch.tensor([0, 1])).loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
