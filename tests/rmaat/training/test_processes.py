"""Several processes, and processes that are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ddp_worker import model_and_examples
from safetensors.torch import load_file

from rmaat.training.evaluation import to_tensors

WORKER = Path(__file__).parent / "ddp_worker.py"
QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("backprop", ["amrb", "bptt"])
def test_two_processes_have_the_gradients_of_the_joint_batch(tmp_path, backprop):
    """gloo, two processes with half of the batch each; float64, so equal to 1e-6 relative with room to spare."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29517"]
    subprocess.run([*torchrun, WORKER, tmp_path, backprop], check=True, env=QUIET, timeout=280)
    model, data = model_and_examples(backprop)
    ids, lengths, labels = to_tensors(data, torch.arange(8).numpy(), None, torch.device("cpu"))
    model(ids, lengths, labels).loss.backward()
    first, second = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(2))
    named = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert first.keys() == named.keys() and any(name.endswith("astro_weight") for name in named)
    for name, gradient in named.items():
        assert torch.equal(first[name], second[name]), name
        assert (first[name] - gradient).norm() <= 1e-6 * gradient.norm(), name


@pytest.mark.slow
def test_a_killed_run_ends_bit_for_bit_like_an_undisturbed_one(tmp_path):
    """`rmaat train` under SIGKILL at three moments, continued each time, against one that was left alone.

    The first two lie in a curriculum of three stages whose batches are mixed.
    """
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        'task = "listops"\n[data]\ntrain = 64\nvalidation = 8\ntest = 8\nrehearsal = 0.5\n'
        "[[data.curriculum]]\nsteps = 4\nbatch_size = 8\nmin_length = 20\nmax_length = 60\n"
        "[[data.curriculum]]\nsteps = 6\nbatch_size = 4\nmin_length = 40\nmax_length = 90\n"
        "[[data.curriculum]]\nsteps = 10\nbatch_size = 6\nmin_length = 60\nmax_length = 150\n"
        "[model]\ndim = 16\nlayers = 2\nheads = 2\nsegment_length = 128\nmemory_tokens = 4\ndropout = 0.1\n"
        "[optimisation]\nsteps = 40\nbatch_size = 4\naverage = 0.9\nevaluate_every = 20\nsave_every = 3\n"
    )
    command = [sys.executable, "-c", "from rmaat.cli.app import main; main()", "train", "--config", str(recipe)]
    subprocess.run([*command, "--out", tmp_path / "whole"], check=True, env=QUIET, timeout=280)
    states, killed = tmp_path / "cut" / "states", []
    for until in (3, 12, 27):
        process = subprocess.Popen([*command, "--resume", "--out", tmp_path / "cut"], env=QUIET)
        while process.poll() is None and not any(_step(path) >= until for path in states.glob("step-*")):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        killed.append(process.wait())
    assert killed == [-signal.SIGKILL] * 3
    subprocess.run([*command, "--resume", "--out", tmp_path / "cut"], check=True, env=QUIET, timeout=280)
    weights = Path("checkpoint") / "model.safetensors"
    assert (tmp_path / "whole" / weights).read_bytes() == (tmp_path / "cut" / weights).read_bytes()
    last = Path("states") / "step-00000039" / "state.safetensors"
    assert (tmp_path / "whole" / last).read_bytes() == (tmp_path / "cut" / last).read_bytes()


@pytest.mark.slow
def test_train_under_torchrun(tmp_path):
    """`torchrun ... rmaat train` in two processes: one set of results, over all test examples."""
    script = tmp_path / "go.py"
    script.write_text("from rmaat.cli.app import main\nmain()\n")
    changes = {"data.train": 16, "data.validation": 4, "data.test": 10, "data.curriculum": [], "model.dim": 8}
    changes |= {"model.heads": 2, "optimisation.batch_size": 4, "optimisation.evaluate_every": 2}
    options = [f"--set={name}={value}" for name, value in changes.items()]
    command = ["train", "--steps", "4", *options, "--out", tmp_path / "run"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29518"]
    done = subprocess.run([*torchrun, script, *command], env=QUIET, timeout=280, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["test"]["n"] == 10 and 0 <= result["test"]["accuracy"] <= 1
    assert (10 * result["test"]["accuracy"]) == pytest.approx(round(10 * result["test"]["accuracy"]), abs=1e-5)
    assert done.stdout.count("test accuracy") == 1


def _step(path):
    return int(path.name.removeprefix("step-"))
