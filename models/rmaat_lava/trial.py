"""Deploying a trained run and trying it on unseen sequences: target against NumPy, integers against floats."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from astro_sim.errors import InputError
from astro_sim.provenance import file_sha256, refuse_other_entries, replacing, timestamp, versions, write_json
from rmaat_lava.calibration import Calibration
from rmaat_lava.child import LavaError
from rmaat_lava.deployment import DEFAULT_MAX_SEGMENTS, DESCRIPTION, PROGRAM, quantize
from rmaat_lava.report import write_report
from rmaat_lava.scales import WeightFormat
from rmaat_lava.targets import choose_target, run

if TYPE_CHECKING:
    from rmaat.config import RMAATConfig
    from rmaat.training.recipe import Recipe

CALIBRATION_SEQUENCES = 64
BATCH = 32


def deploy_run(
    folder: str | Path,
    out: str | Path,
    *,
    data: str | Path | None = None,
    target: str = "auto",
    sequences: int = 8,
    held_out: int = 500,
    weights: WeightFormat | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Quantise the model of a training run and try it on sequences that it has not seen.

    Parameters
    ----------
    folder : path
        A folder that ``rmaat train`` wrote, or its ``checkpoint`` folder.
    out : path
        Folder that gets ``deployment/``, ``outputs.npz`` (float and integer logits), ``agreement.json`` and
        ``report.html``.
    data : path, optional
        The task's official layout or a cache of it; else the data of the training run.
    target : str
        Where the integers run; they are compared with those of ``numpy``.
    sequences : int
        Unseen sequences or pairs that run on `target`.
    held_out : int
        Unseen sequences or pairs on which predictions of float model and integers (NumPy) are compared.
    weights : WeightFormat, optional
        As for `quantize`.
    seed : int
        Decides which of the test and validation sequences are taken.

    Returns
    -------
    dict
        What ``agreement.json`` holds.

    Raises
    ------
    InputError
        If the folder holds no usable checkpoint, the target is not installed or fails, the data are none that the
        model can read, or ``out/deployment`` holds other things.
    """
    target, out = choose_target(target), Path(out)
    refuse_other_entries(out / "deployment", (PROGRAM, DESCRIPTION))
    checkpoint, model, recipe = load_run(Path(folder))
    calibration, inputs, lengths, labels = _data(model.config, recipe, data, held_out, seed)
    weights_sha256 = file_sha256(checkpoint / "model.safetensors")
    source = {"checkpoint_sha256": weights_sha256, "recipe": recipe.model_dump(mode="json")}
    segments = -(-int(lengths.max()) // model.config.segment_length)
    most = max(DEFAULT_MAX_SEGMENTS, segments)
    deployment = quantize(model, calibration, weights=weights, max_segments=most, source=source)

    start = time.perf_counter()
    real = float_logits(model, inputs, lengths)
    float_seconds = time.perf_counter() - start
    integers = run(deployment, inputs, "numpy", lengths=lengths)
    few = slice(0, min(sequences, len(lengths)))
    try:
        there = run(deployment, inputs[few], target, lengths=lengths[few])
    except (LavaError, TimeoutError) as error:
        last = str(error).strip().rpartition("\n")[2]
        raise InputError("target", target, f"one that works here, numpy perhaps; Lava ended with: {last}") from error
    again = run(deployment, inputs[few], "numpy", lengths=lengths[few])
    scaled = integers.logits * 2.0**-deployment.logit_exponent
    result = {
        "target": target,
        "documents": deployment.program.documents,
        "sequences_on_target": int(few.stop),
        "tokens_on_target": int(lengths[few].sum()),
        "equal_to_numpy": bool((there.logits == again.logits).all() and there.saturated == again.saturated),
        "seconds_on_target": there.seconds,
        "held_out": len(lengths),
        "predictions_agree": float((real.argmax(1) == integers.predictions).mean()),
        "accuracy_float": float((real.argmax(1) == labels).mean()),
        "accuracy_integer": float((integers.predictions == labels).mean()),
        "logit_rms_error": float(np.sqrt(((real - scaled) ** 2).mean())),
        "logit_rms": float(np.sqrt((real**2).mean())),
        "saturated": integers.saturated,
        "seconds_float": float_seconds,
        "seconds_numpy": integers.seconds,
        "resources": {name: deployment.description["resources"][name] for name in ("processes", "total")},
        "per_channel": deployment.description["weights"]["per_channel"],
        "weight_bits": deployment.description["weights"]["bits"],
        "seed": seed,
        "versions": versions(),
        "created": timestamp(),
    }
    deployment.save(out / "deployment")
    with replacing(out / "outputs.npz") as room:
        np.savez(room, float_logits=real, integer_logits=integers.logits, scaled_logits=scaled, labels=labels)
    write_json(out / "agreement.json", result)
    write_report(out / "report.html", deployment.description, result)
    return result


def load_run(folder: Path) -> tuple[Path, Any, Recipe]:
    """Checkpoint folder, model in evaluation mode and recipe of a training run, or of its checkpoint folder alone."""
    from rmaat.training.models import checkpoint_folder, load_checkpoint

    checkpoint = checkpoint_folder(folder)
    model, recipe = load_checkpoint(checkpoint)
    return checkpoint, model.eval(), recipe


@torch.no_grad()
def float_logits(model: torch.nn.Module, inputs: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Logits of the float model, (sequences, labels); `inputs` and `lengths` as for `rmaat_lava.run`."""
    order = np.argsort(lengths.reshape(len(lengths), -1).max(1), kind="stable")
    found: dict[int, np.ndarray] = {}
    for rows in np.array_split(order, -(-len(order) // BATCH)):
        longest = int(lengths[rows].max())
        batch = torch.from_numpy(inputs[rows]).narrow(lengths.ndim, 0, longest)
        logits = model(batch, torch.from_numpy(lengths[rows])).logits.double().numpy()
        found |= dict(zip(rows.tolist(), logits, strict=True))
    return np.stack([found[row] for row in range(len(order))])


def _data(
    config: RMAATConfig, recipe: Recipe, folder: str | Path | None, held_out: int, seed: int
) -> tuple[Calibration, np.ndarray, np.ndarray, np.ndarray]:
    """Calibration sequences of the validation split; inputs, lengths and labels of the test split."""
    from rmaat.data.splits import load_splits
    from rmaat.training.evaluation import to_tensors
    from rmaat.training.models import refuse_other_data

    changes = {"train": 1, "curriculum": ()} | ({} if folder is None else {"folder": str(folder), "source": None})
    data = recipe.data.model_copy(update=changes)
    splits = load_splits(recipe.task, data, recipe.seed)
    refuse_other_data(config, recipe.task, splits.test)
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(splits.validation))[:CALIBRATION_SEQUENCES]
    calibration = Calibration(*to_tensors(splits.validation, some, data.max_length, torch.device("cpu"))[:2])
    some = rng.permutation(len(splits.test))[:held_out]
    inputs, lengths, labels = to_tensors(splits.test, some, data.max_length, torch.device("cpu"))
    return calibration, inputs.numpy(), lengths.numpy(), labels.numpy()
