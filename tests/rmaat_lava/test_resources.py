"""Counts against sums over the layers written out by hand, and the refusal of what does not fit."""

from dataclasses import replace

import pytest
import torch
from lava_models import frequent_token, in_pairs, random_model, small_config
from rich.console import Console

from astro_sim.errors import InputError
from rmaat.heads import RMAATForSequenceClassification
from rmaat_lava import Calibration, WeightFormat, quantize, twin
from rmaat_lava.program import time_steps
from rmaat_lava.report import resource_tables, write_report
from rmaat_lava.resources import ENERGY, Part, count


def test_synapses_are_the_weights_of_the_model(deployment, trained):
    """Every weight matrix of the float model is one of 8-bit synapses; nothing else is."""
    names = ("embedding.weight", "qkv.weight", "ffn_in.weight", "ffn_out.weight", "classifier.weight")
    expected = sum(p.numel() for name, p in trained.named_parameters() if name.endswith(names))
    found = count(deployment.program)
    assert found.total("synapses") == found.total("weight_bytes") == expected


def test_stem_and_ngrams_are_counted():
    """dim 32: 12 tokens and two tables of 50 buckets; two tokens a place; two layers of three-place convolutions."""
    torch.manual_seed(0)
    changes = {"stem_ngrams": 3, "stem_buckets": 50, "stem_stride": 2, "stem_layers": 2}
    inputs, lengths, _ = frequent_token(4, seed=0)
    program = quantize(RMAATForSequenceClassification(small_config(**changes)), Calibration(inputs, lengths)).program
    found = count(program)
    embedding, stem = found.parts[:2]
    assert embedding.synapses == (12 + 2 * 50) * 32 + 2 * 32 * 32 and stem.synapses == 2 * 3 * 32 * 32
    # a token: three rows of the embedding and its half of the merging, half a place's convolutions
    assert embedding.synaptic_operations == 3 * 32 + 32 * 32 and stem.synaptic_operations == 2 * 3 * 32 * 32 / 2
    assert len(found.parts) == 4 + 2 * 2 and found.places_per_token == (4 + 16) / 32
    assert time_steps(program, [32, 33]) == (2 * 3 + 2) * 20  # two layers, three segments, one phase to fill the stem


def test_a_pairs_read_out_is_counted():
    """dim 32, 4 labels: four messages of 64 channels to 32 hidden neurons; three states a channel."""
    inputs, lengths, _ = frequent_token(4, seed=0)
    one, two = (
        quantize(random_model(0, pairs), Calibration(*(in_pairs(inputs, lengths) if pairs else (inputs, lengths))))
        for pairs in (False, True)
    )
    single, pair = (count(deployment.program).parts[-1] for deployment in (one, two))
    assert single.synapses == 64 * 4 and pair.synapses == 4 * 64 * 32 + 32 * 4
    assert single.neurons == 64 + 4 and pair.neurons == 3 * 64 + 32 + 4
    assert pair.widest_state == 9 and two.description["resources"]["processes"] == 7
    assert two.description["documents"] == 2 and one.description["documents"] == 1


def test_norm_of_the_memory_is_counted():
    inputs, lengths, _ = frequent_token(4, seed=0)
    before, after = (
        count(quantize(random_model(0, memory_norm=order), Calibration(inputs, lengths)).program).parts[1]
        for order in ("before", "after")
    )
    assert before.name == after.name == "retention" and after.neurons == before.neurons + 32 + 2
    assert after.neuron_updates - before.neuron_updates == 32 * 4 // 32  # four memory tokens every 32


def test_synaptic_operations_of_a_layer(deployment):
    """dim 32, 4 heads of 8, hidden 64; 36 places for 32 tokens."""
    write, read = (p for p in count(deployment.program).parts if p.name.startswith("layers.0"))
    matrix = 4 * 8 * 8
    assert write.synaptic_operations == (2 * 32 * 32 + 2 * matrix + 32) * 36 // 32
    assert read.synaptic_operations == (32 * 32 + matrix + 32 + 2 * 32 * 64) * 36 // 32


def test_energy_is_counts_times_sourced_constants(deployment):
    resources = deployment.description["resources"]
    energy = resources["estimated_joules_per_token"]
    for name, constant in ENERGY.items():
        assert energy[name] == resources["total"][name] * constant.value
        assert "Davies" in constant.source and "simulation" in constant.source
    assert energy["total"] == pytest.approx(sum(energy[name] for name in ENERGY))


def test_latency_is_the_slowest_process_and_the_barrier(deployment):
    """dim 32, 4 heads of 8, hidden 64, 36 places for 32 tokens, one core a process: the read mode is the slowest."""
    matrix = 4 * 8 * 8
    operations, updates = 32 * 32 + matrix + 32 + 2 * 32 * 64, 32 + matrix + 32 + 4 + 3 * 32 + 64
    step = operations * 3.5e-9 + updates * 8.4e-9 + 465e-9
    found = deployment.description["resources"]
    # counts a token are whole numbers, so that a part in a thousand may be lost
    assert found["estimated_seconds_per_token"] == pytest.approx(2 * 36 / 32 * step, rel=1e-3)
    assert all("Davies" in constant["source"] for constant in found["latency_constants"].values())


def test_fewer_bits_need_less_weight_memory(trained, calibration):
    found = quantize(trained, calibration, weights=WeightFormat(bits=4)).description
    total = found["resources"]["total"]
    assert total["synapses"] / 2 <= total["weight_bytes"] <= total["synapses"] / 2 + found["resources"]["processes"]
    assert found["weights"] == {"bits": 4, "per_channel": True, "exponent": -5}


@pytest.mark.parametrize("bits", [1, 9])
def test_weights_that_the_chip_has_not_are_refused(bits):
    with pytest.raises(InputError, match="weight_bits"):
        WeightFormat(bits=bits)


def test_processes_are_counted_as_built(deployment):
    """Embedding, retention, read-out, and two a layer."""
    assert deployment.description["resources"]["processes"] == 3 + 2 * len(deployment.program.layers)


def test_every_constant_is_shown_with_its_source(deployment, tmp_path, capsys):
    """In the table of the terminal and in the page: limits of the chip, energies and latencies."""
    resources = deployment.description["resources"]
    groups = [resources[kind] for kind in ("chip", "energy_constants", "latency_constants")]
    assert [len(group) for group in groups] == [4, 3, 3]
    console = Console(width=500)
    console.print(resource_tables(resources))
    printed = capsys.readouterr().out
    page = write_report(tmp_path / "report.html", deployment.description, {"target": "numpy"}).read_text(
        encoding="utf-8"
    )
    for name, constant in (item for group in groups for item in group.items()):
        shown = [line for line in printed.splitlines() if name.replace("_", " ") in line and constant["source"] in line]
        assert len(shown) == 1, name
        assert constant["source"] in page and any(who in constant["source"] for who in ("Intel Labs", "Davies"))


def test_cores_are_the_limits_of_neurons_and_memory():
    part = Part("p", 8193, 0, 0, 0, 0, 0, 0, 0, 0)
    assert part.cores == 2
    assert replace(part, neurons=8192).cores == 1
    assert replace(part, neurons=1, weight_bytes=192 * 1024, state_bytes=1).cores == 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"segment_length": 800}, "state"), ({"dim": 128, "layers": 40, "ffn_dim": 2048}, "neuro-cores")],
)
def test_what_does_not_fit_is_refused_with_the_reason_before_the_model_runs(changes, named, monkeypatch):
    torch.manual_seed(0)
    model = RMAATForSequenceClassification(small_config(**changes))
    inputs, lengths, _ = frequent_token(2, seed=0)
    monkeypatch.setattr(model.model, "embed", lambda *_: pytest.fail("the model was run"))
    monkeypatch.setattr(twin, "logits", lambda *_, **__: pytest.fail("the twin was run"))
    with pytest.raises(InputError, match=named):
        quantize(model, Calibration(inputs, lengths))


def test_report_names_sources_and_opens_offline(deployment, tmp_path):
    path = write_report(tmp_path / "report.html", deployment.description, {"target": "lava"})
    html = " ".join(path.read_text(encoding="utf-8").split())
    assert "not from a measurement on a chip" in html and "IEEE Micro" in html
    assert "were taken on Lava&#39;s CPU simulator" in html
    assert f"{deployment.description['resources']['total']['synapses']:,}" in html
    assert "Estimated latency" in html and "shared synaptic exponent -1" in html
    assert "http" not in html
