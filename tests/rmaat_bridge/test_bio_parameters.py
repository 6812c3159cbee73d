"""The bio-parameters file: determinism, refusals, provenance, and that the model follows it."""

import re
import tomllib
from codecs import BOM_UTF8

import pytest
import tomlkit
import torch

from astro_sim import load_recording, save_recording
from astro_sim.errors import InputError
from rmaat_bridge import (
    AstrocyticKernel,
    BioParameters,
    PresynapticResponse,
    RetentionSchedule,
    fit_attention,
)
from rmaat_bridge.reference import make_reference


def outputs(bio):
    """Everything that the network computes from a file, in one vector."""
    both = [
        PresynapticResponse(bio.presynaptic.model_copy(update={"family": family}))
        for family in ("power-law", "saturating")
    ]
    parts = [RetentionSchedule(bio.retention)(8), AstrocyticKernel(bio.attention)(6).flatten()]
    parts += [response(torch.linspace(0.1, 3, 5)) for response in both]
    return torch.cat(parts).detach()


def test_same_recording_gives_the_same_bytes_but_for_the_time(macro_file, bio, tmp_path):
    files = [bio.save(tmp_path / "a.toml"), BioParameters.from_recordings(macro_file).save(tmp_path / "b.toml")]
    first, second = (re.sub(rb'created = "[^"]*"', b"", file.read_bytes()) for file in files)
    assert first == second
    assert b"[retention.parameters.tau_p_long]" in first


def test_saving_and_loading_loses_nothing(bio, tmp_path):
    assert BioParameters.load(bio.save(tmp_path / "bio.toml")) == bio


def test_a_file_as_windows_editors_save_it_is_read(bio, tmp_path):
    path = bio.save(tmp_path / "bio.toml")
    path.write_bytes(BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    assert BioParameters.load(path) == bio


def test_editing_any_parameter_changes_the_model(bio, tmp_path):
    path = bio.save(tmp_path / "bio.toml")
    before = outputs(bio)
    for section in ("retention", "attention", "presynaptic"):
        for name in getattr(bio, section).parameters:
            document = tomlkit.parse(path.read_text())
            entry = document[section]["parameters"][name]
            entry["value"] = 0.9 * entry["value"]
            entry["lower"] = 0.5 * entry["value"]
            edited = tmp_path / "edited.toml"
            edited.write_text(tomlkit.dumps(document))
            assert (outputs(BioParameters.load(edited)) - before).abs().max() > 1e-4, f"{section}.{name}"


def test_editing_the_interval_changes_what_bounded_training_can_reach(bio):
    bounded = bio.with_mode("bounded", "retention.tau_p_long")
    schedule = RetentionSchedule(bounded.retention)
    with torch.no_grad():
        schedule.biology["tau_p_long"].z += 100
    limit = bounded.retention.parameters["tau_p_long"].upper
    assert float(schedule.values()["tau_p_long"].detach()) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [("retention", "tau_p_long", -1.0), ("retention", "second_ratio", 1.5), ("attention", "length", 0.0)],
)
def test_value_out_of_range_is_refused_by_name(bio, tmp_path, section, name, value):
    document = tomlkit.parse(bio.save(tmp_path / "bio.toml").read_text())
    document[section]["parameters"][name].update({"value": value, "lower": value, "upper": value})
    (tmp_path / "bad.toml").write_text(tomlkit.dumps(document))
    with pytest.raises(InputError, match=f"bad.toml: {section}.*{name}") as error:
        BioParameters.load(tmp_path / "bad.toml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["retention"].update(family="cubic"), "retention.*one of exponential"),
        (lambda d: d["retention"].update(familly="x"), "retention.familly"),
        (lambda d: d["retention"]["parameters"].pop("cycle_s"), "retention.*cycle_s"),
        (lambda d: d["attention"]["parameters"]["length"].update(unit=3), "attention.parameters.length.unit"),
        (lambda d: d["attention"]["parameters"]["length"].update(mode="loose"), "length.mode"),
        (lambda d: d["attention"]["parameters"]["length"].update(lower=9.0), "lower <= value"),
        (lambda d: d["attention"]["parameters"]["length"].update(value=float("nan")), "length.value"),
        (lambda d: d.pop("attention"), "attention"),
    ],
)
def test_malformed_file_is_refused_in_one_line(bio, tmp_path, edit, message):
    document = tomllib.loads(bio.save(tmp_path / "bio.toml").read_text())
    edit(document)
    (tmp_path / "bad.toml").write_text(tomlkit.dumps(document))
    with pytest.raises(InputError, match=message) as error:
        BioParameters.load(tmp_path / "bad.toml")
    assert "\n" not in str(error.value)


def test_missing_and_unreadable_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="existing TOML"):
        BioParameters.load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="a TOML file"):
        BioParameters.load(tmp_path / "binary.toml")


def test_recording_is_known_by_its_hash(bio, macro_file, tmp_path):
    assert bio.check_source(macro_file) == ["retention", "attention", "presynaptic"]
    other = load_recording(macro_file)
    other["p_long"] = other["p_long"] * 1.001
    path = save_recording(other, tmp_path / "other.nc")
    with pytest.raises(InputError, match=r"other.nc: got 'sha256 .*expected the recording .*macro.nc"):
        bio.check_source(path)


def test_file_is_whole_or_absent(bio, tmp_path, monkeypatch):
    """A failure while writing leaves the old file as it was, and nothing beside it."""
    path = bio.save(tmp_path / "bio.toml")
    old = path.read_bytes()
    monkeypatch.setattr("tomlkit.dumps", lambda _: (_ for _ in ()).throw(RuntimeError))
    with pytest.raises(RuntimeError):
        bio.save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def assert_same_numbers(packaged, made):
    """1e-4 relative: other versions of the solver and of the numerical libraries may differ by their rounding."""
    assert packaged.family == made.family
    for name, quantity in (made.parameters | made.findings).items():
        same = (packaged.parameters | packaged.findings)[name]
        assert same.value == pytest.approx(quantity.value, rel=1e-4), name
        assert same.standard_error == pytest.approx(quantity.standard_error, rel=0.05, abs=1e-9), name


def test_packaged_reference_is_what_the_macro_model_gives(bio, point):
    reference = BioParameters.reference()
    assert_same_numbers(reference.retention, bio.retention)
    assert_same_numbers(reference.attention, fit_attention(point))


@pytest.mark.slow
def test_packaged_reference_is_what_the_pipeline_makes():
    reference, made = BioParameters.reference(), make_reference()
    for section in ("retention", "attention", "presynaptic"):
        assert_same_numbers(getattr(reference, section), getattr(made, section))
