"""A deployed classifier as a folder: `program.npz` (integer arrays) and `deployment.json` (what they mean)."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_sim.errors import InputError
from astro_sim.provenance import file_sha256, replacing, timestamp, versions
from rmaat_lava.arithmetic import Integers
from rmaat_lava.description import MOST_SEGMENTS, check_description
from rmaat_lava.inputs import prepare
from rmaat_lava.program import Program, flatten, rebuild
from rmaat_lava.reference import Segment, classify
from rmaat_lava.resources import Resources, count

if TYPE_CHECKING:
    from rmaat_lava.calibration import Calibration, Classifier
    from rmaat_lava.scales import WeightFormat

FORMAT = "rmaat-lava-5"
PROGRAM, DESCRIPTION = "program.npz", "deployment.json"
DEFAULT_MAX_SEGMENTS = 16


@dataclass(frozen=True)
class Deployment:
    """A classifier in integers.

    Parameters
    ----------
    program : Program
    description : dict
        JSON: ``input_kind``, ``documents`` (2 of pairs), ``vocab_size``, ``ngrams``, ``max_segments``, ``resources``,
        ``exponents`` (real value = integer · 2**-exponent), ``source`` and provenance.
    """

    program: Program
    description: dict[str, Any]

    @property
    def logit_exponent(self) -> int:
        """Real logits are the integers times 2**-logit_exponent."""
        return int(self.description["exponents"]["classifier"])

    @property
    def max_length(self) -> int:
        """Longest sequence, in tokens, for which retention factors and the read-out's sum are laid out."""
        return int(self.description["max_segments"]) * self.program.segment_length

    def save(self, folder: str | Path) -> Path:
        """Write the folder; whole or not at all."""
        with replacing(folder) as room:
            room.mkdir()
            np.savez_compressed(room / PROGRAM, **dict[str, Any](flatten(self.program)))
            described = self.description | {"format": FORMAT, "program_sha256": file_sha256(room / PROGRAM)}
            (room / DESCRIPTION).write_text(json.dumps(described, indent=2), encoding="utf-8")
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Deployment:
        """Read and check a folder that `save` wrote.

        Raises
        ------
        InputError
            If a file is missing, damaged, or of another format.
        """
        folder = Path(folder)
        try:
            description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            if not isinstance(description, dict) or description.get("format") != FORMAT:
                raise InputError("deployment", str(folder / DESCRIPTION), f"format {FORMAT!r}")
            if file_sha256(folder / PROGRAM) != description.get("program_sha256"):
                raise InputError(
                    "deployment", str(folder / PROGRAM), "the file that deployment.json names by its SHA-256"
                )
            with np.load(folder / PROGRAM, allow_pickle=False) as arrays:
                deployment = cls(rebuild(dict(arrays)), description)
            check_description(description, deployment.program)
            return deployment
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile) as error:
            raise InputError("deployment", str(folder), f"a folder of {PROGRAM} and {DESCRIPTION} ({error})") from None


def needed_of_a_chip(
    model: Classifier, weights: WeightFormat | None = None, max_segments: int = DEFAULT_MAX_SEGMENTS
) -> Resources:
    """What the integers of a classifier take of a Loihi 2 chip, trained or not: counted from the shapes alone.

    Raises
    ------
    InputError
        If the model has a part without an integer form, or does not fit one chip.
    """
    from rmaat_lava.calibration import check_supported
    from rmaat_lava.quantization import build
    from rmaat_lava.scales import WeightFormat
    from rmaat_lava.twin import Unmeasured

    check_supported(model)
    weights = weights or WeightFormat()
    resources = count(build(model, Unmeasured(), weights, max_segments)[0], weight_bits=weights.bits)
    resources.check()
    return resources


def quantize(
    model: Classifier,
    calibration: Calibration,
    *,
    weights: WeightFormat | None = None,
    max_segments: int = DEFAULT_MAX_SEGMENTS,
    source: Mapping[str, Any] | None = None,
) -> Deployment:
    """Turn a trained classifier into integers.

    Parameters
    ----------
    model : RMAATForSequenceClassification or RMAATForSequencePairClassification
        In any mode, on any device; its weights are read.
    calibration : Calibration
        Sequences like those of the task; the ranges of all values are taken from them.
    weights : WeightFormat, optional
        Bits and scales of the weights; default 8 bits, one scale an output channel.
    max_segments : int
        Longest sequence that is to be run, in segments; at least that of the calibration data.
    source : mapping, optional
        What the model came from, kept in the description.

    Raises
    ------
    InputError
        If the model has a part without an integer form, weights or values that are not finite or far too large for
        24 bits, or does not fit one Loihi 2 chip; or if the calibration data do not fit the model.
    """
    from rmaat_lava.calibration import check_supported, find_ranges, float_traces, reads_pairs
    from rmaat_lava.quantization import build
    from rmaat_lava.scales import WeightFormat

    if not 1 <= max_segments <= MOST_SEGMENTS:
        raise InputError("max_segments", max_segments, f"from 1 to {MOST_SEGMENTS}")
    check_supported(model)
    weights, config = weights or WeightFormat(), model.config
    calibration.check(config, reads_pairs(model))
    calibration = replace(calibration, inputs=calibration.inputs.cpu(), lengths=calibration.lengths.cpu())
    if calibration.inputs.is_floating_point():
        calibration = replace(calibration, inputs=calibration.inputs.to(model.model.position.dtype))
    model = deepcopy(model).cpu().eval()
    longest = max(max_segments, -(-int(calibration.lengths.max()) // config.segment_length))
    resources = needed_of_a_chip(model, weights, longest)
    ranges, traces = find_ranges(model, calibration), float_traces(model, calibration)
    program, exponents = build(model, ranges, weights, longest)
    deployment = Deployment(
        program,
        {
            "format": FORMAT,
            "input_kind": config.input_kind,
            "documents": program.documents,
            "vocab_size": config.vocab_size,
            "input_dim": config.input_dim,
            "ngrams": config.stem_ngrams,
            "buckets": config.stem_buckets,
            "max_segments": longest,
            "weights": asdict(weights) | {"exponent": weights.exponent},
            "exponents": exponents,
            "resources": resources.as_dict(),
            "calibration_sequences": len(calibration.lengths),
            "source": dict(source or {}),
            "versions": versions(),
            "created": timestamp(),
        },
    )
    return replace(deployment, program=_unbiased(deployment, calibration, traces))


def _unbiased(deployment: Deployment, calibration: Calibration, real: np.ndarray) -> Program:
    """The program with its centre moved by what rounding shifts the trace on average of the calibration data.

    A trace is a mean over many places, so that rounding weights shifts it far more than it scatters it. One network
    reads both documents of a pair, so that the mean is over both. Source: the bias correction of Nagel et al., arXiv
    1906.04721. `real` are the float model's traces, (sequences, 2 dim).
    """
    program = deployment.program
    traces: dict[int, Integers] = {}

    def keep(name: str, here: Segment, values: Integers) -> None:
        if name == "pool":
            traces.update(zip(here.rows.tolist(), values, strict=True))

    inputs, lengths = calibration.inputs.numpy(), calibration.lengths.numpy()
    classify(program, *prepare(deployment, inputs, lengths), Counter(), keep)
    integers = np.stack([traces[row] for row in range(len(real))])
    shift = integers.mean(0) - real.mean(0)[: integers.shape[1]] * 2.0 ** deployment.description["exponents"]["trace"]
    readout = replace(program.readout, centre=program.readout.centre + np.rint(shift).astype(np.int64))
    return replace(program, readout=readout)
