"""The report of a demo run, read from the run's artefacts alone."""

import json
import zipfile
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from astro_sim import load_recording
from astro_sim.errors import InputError
from astro_sim.provenance import file_sha256
from rmaat.report import figures
from rmaat.report.page import Section, write_page
from rmaat.training.log import read_curves
from rmaat_bridge import AstrocyticKernel, BioParameters, RetentionSchedule
from rmaat_bridge.kernel_families import KERNEL_FAMILIES

LONGEST = 16  # segments
POSITIONS = 16  # tokens shown of the kernel


def sections(run: str | Path) -> list[Section]:
    """Figures of a folder that `rmaat demo` wrote.

    Raises
    ------
    InputError
        If an artefact is missing or damaged; it is named.
    """
    run = Path(run)
    recording = load_recording(run / "macro.nc")
    bio = BioParameters.load(run / "bio.toml")
    bio.check_source(run / "macro.nc")
    try:
        return [
            _traces(run, recording),
            _retention(run, recording, bio),
            _kernel(run, recording, bio),
            _training(run),
            _memory(run),
            _integers(run),
        ]
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # of entries by hand
        said = f"{type(error).__name__}: {error}"
        raise InputError("run", str(run), f"artefacts as `rmaat demo` writes them ({said})") from error


def write_report(run: str | Path) -> Path:
    """Write ``report.html`` into the run's folder and return its path."""
    found = sections(run)
    path = Path(run) / "report.html"
    headline = {name: value for section in found for name, value in section.headline.items()}
    write_page(path, "rmaat: from the astrocyte to the chip", headline, found)
    return path


def _traces(run: Path, recording: xr.Dataset) -> Section:
    parameters, protocol = (json.loads(recording.attrs[name]) for name in ("parameters", "protocol"))
    return Section(
        title="The astrocyte at work",
        text="Each cycle drives the neurons (shaded). The short-term process answers within a cycle; the "
        "long-term process builds up over the cycles and saturates.",
        figure=figures.macro_traces(recording, protocol),
        command=f"rmaat simulate --model macro --seed {recording.attrs['seed']}",
        made_by={
            "recording": _hashed(run / "macro.nc"),
            "solver": f"{recording.attrs['backend']}, step {recording.attrs['dt_s']} s",
            "protocol": _listed(protocol),
            "parameters": _listed(parameters),
        },
    )


def _retention(run: Path, recording: xr.Dataset, bio: BioParameters) -> Section:
    schedule = RetentionSchedule(bio.retention)
    rows = {n: schedule(n).detach().numpy() for n in range(1, LONGEST + 1)}
    protocol = json.loads(recording.attrs["protocol"])
    ends = np.arange(protocol["n_cycles"] + 1) * protocol["cycle_s"]
    build_up = recording["p_long"].mean(("post", "pre")).interp(time=ends).values
    fit = bio.retention
    return Section(
        title="Retention factors",
        text="What the long-term process adds in each cycle, as a share of the whole, scales the memory that "
        "passes from segment to segment. The factors of a sequence sum to 1; longer sequences lie lower.",
        figure=figures.retention_factors(rows, np.diff(build_up) / (build_up[-1] - build_up[0])),
        command=_fit_command(bio),
        facts={
            "family": f"{fit.family} (of {len(fit.candidates)}, by AICc), R² = {fit.r_squared:.6f}",
            **{name: str(quantity) for name, quantity in fit.parameters.items()},
            **{f"sum of the factors, T = {n}": f"{rows[n].sum():.7f}" for n in figures.SHOWN_SEGMENTS},
        },
        headline={"τ of the long-term process": str(fit.parameters["tau_p_long"])},
        made_by=_fit_made_by(run, bio),
    )


def _kernel(run: Path, recording: xr.Dataset, bio: BioParameters) -> Section:
    fit = bio.attention
    cycle = json.loads(recording.attrs["protocol"])["cycle_s"]
    last = slice(float(recording["time"][-1]) - cycle, None)
    response = recording["p_short"].sel(time=last).mean("time").values
    family = KERNEL_FAMILIES[fit.family]
    shape = {name: fit.parameters[name].value for name in family.domain}
    length = fit.parameters["length"]
    distance = np.linspace(0, 6 * length.value)
    curves = {
        name: family.curve(np, distance / value, **shape)
        for name, value in (("fit", length.value), ("lower", length.lower), ("upper", length.upper))
    }
    kernel = AstrocyticKernel(fit)(POSITIONS).detach().numpy()
    return Section(
        title="The astrocytic kernel",
        text="How the short-term process answers at a distance from what drives it becomes the positional "
        "kernel of the attention.",
        figure=figures.attention_kernel(response, distance, curves, kernel),
        command=_fit_command(bio),
        facts={
            "family": f"{fit.family}, R² = {fit.r_squared:.6f}",
            **{name: str(quantity) for name, quantity in fit.parameters.items()},
            "exponent α of the presynaptic response": str(bio.presynaptic.alpha),
        },
        headline={"length of the kernel": str(length), "exponent α": str(bio.presynaptic.alpha)},
        made_by=_fit_made_by(run, bio),
    )


def _training(run: Path) -> Section:
    result = read_json(run / "train" / "result.json")
    test, floors, recipe = result["test"], result["floors"], result["recipe"]
    config = read_json(run / "demo.json")["config"]
    accuracy = f"{test.share('accuracy')} ± {test.share('standard_error')}"
    backprop = read_json(run / "train" / "checkpoint" / "config.json")["backprop"]
    stages = ", first on easier examples" if recipe["data"]["curriculum"] else ""
    return Section(
        title="Training",
        text=f"The task {recipe['task']}, trained by {backprop.upper()}{stages}; validation is on the task's own "
        "examples from the start. Dashed: what trivial models reach.",
        figure=figures.training_curves(read_curves(run / "train" / "metrics.csv"), floors),
        facts={
            "accuracy on unseen sequences": f"{accuracy} (n = {test['n']})",
            **{f"floor: {name}": floors.share(name) for name in floors},
            "trained parameters": f"{result['parameters']:,}",
            "training time": f"{result['seconds']:.0f} s",
        },
        headline={f"{recipe['task']}, unseen": accuracy, "majority class": floors.share("majority class")},
        command=f"rmaat train --task {recipe['task']} --bio bio.toml --config {config} --seed {recipe['seed']}",
        made_by={
            "data": _listed(recipe["data"]),
            "model": _listed(recipe["model"]),
            "optimisation": _listed(recipe["optimisation"]),
        },
    )


def _memory(run: Path) -> Section:
    measured = read_json(run / "backprop_memory.json")
    segments, peak = measured["segments"], measured["peak_bytes"]
    ratios = [a / b for a, b in zip(peak["amrb"], peak["bptt"], strict=True)]
    return Section(
        title="Memory of a training step: AMRB against BPTT",
        text="Both compute the same gradient. BPTT keeps the activations of every segment; AMRB keeps one "
        "memory a segment and makes the rest again.",
        figure=figures.backprop_memory(segments, peak),
        facts={
            f"T = {n}": f"{a / 2**20:.1f} MiB / {b / 2**20:.1f} MiB = {ratio:.3f}"
            for n, a, b, ratio in zip(segments, peak["amrb"], peak["bptt"], ratios, strict=True)
        },
        headline={f"AMRB / BPTT memory, {segments[-1]} segments": f"1 / {1 / ratios[-1]:.1f}"},
        command=f"rmaat demo --seed {read_json(run / 'demo.json')['seed']}",
        made_by={"batch": str(measured["batch"]), "model": _listed(measured["model"])},
    )


def _integers(run: Path) -> Section:
    found = read_json(run / "deploy" / "agreement.json")
    equal = "equal" if found["equal_to_numpy"] else "DIFFERENT"
    agree = found.share("predictions_agree")
    return Section(
        title="The model in integers",
        text="The trained model with 8-bit weights and 24-bit states. What Lava's processes compute is compared "
        "with the NumPy reference integer by integer, and the integers with the float model.",
        figure=figures.integer_agreement(*read_agreement(run)),
        facts={
            f"target {found['target']} against NumPy": f"{equal} on {found['sequences_on_target']} unseen "
            f"sequences, {found['tokens_on_target']} tokens",
            "float and integer predictions agree": f"{agree} of {found['held_out']} unseen sequences",
            "accuracy, float": found.share("accuracy_float"),
            "accuracy, integer": found.share("accuracy_integer"),
            "root mean square error of the scores": f"{found['logit_rms_error']:.4f} of {found['logit_rms']:.3f}",
            "values cut to 24 bits": str(found["saturated"]),
        },
        headline={"float = integer prediction": agree, f"{found['target']} against NumPy": equal},
        command=f"rmaat deploy train --target {found['target']} --seed {found['seed']}",
        made_by={
            "weights": "one scale a channel" if found["per_channel"] else "one scale a tensor",
        },
    )


def read_agreement(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Class scores of the float and of the integer model, (sequences, classes) each, in the same units.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    path = run / "deploy" / "outputs.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["float_logits"], arrays["scaled_logits"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError("run", str(path), f"the outputs that `rmaat deploy` wrote ({error})") from None


def _fit_made_by(run: Path, bio: BioParameters) -> dict[str, str]:
    return {
        "bio-parameters": _hashed(run / "bio.toml"),
        "recordings": ", ".join(f"{source.section}: {source.sha256[:12]}" for source in bio.provenance.sources),
    }


def _fit_command(bio: BioParameters) -> str:
    return f"rmaat fit macro.nc --seed {bio.provenance.seed}"


def _hashed(path: Path) -> str:
    return f"{path.name}, sha256 {file_sha256(path)[:12]}"


def _listed(entries: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in entries.items() if value is not None)


class Entries(dict[str, Any]):
    """A JSON object of the file at `path`; one that it lacks is named with the file."""

    def __init__(self, path: Path, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.path = path

    def share(self, name: str) -> str:
        """An entry from 0 to 1, in percent."""
        if not 0 <= self[name] <= 1:
            raise InputError("run", str(self.path), f"a share from 0 to 1 as {name}; it is {self[name]}")
        return f"{self[name]:.1%}"

    def __missing__(self, name: str) -> Any:
        raise InputError("run", str(self.path), f"what `rmaat demo` writes there, {name} included")


def _finite(text: str) -> float:
    if not isfinite(value := float(text)):
        raise ValueError(f"{text} is no number that a run writes")
    return value


def read_json(path: Path) -> Entries:
    """A JSON artefact of the run.

    Raises
    ------
    InputError
        If the file is missing or damaged, or has numbers that are not finite.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(
            text, object_pairs_hook=partial(Entries, path), parse_float=_finite, parse_constant=_finite
        )
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("run", str(path), f"a readable JSON file of `rmaat demo` ({error})") from None
    if not isinstance(content, Entries):
        raise InputError("run", str(path), "a JSON object")
    return content
