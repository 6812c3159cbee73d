"""What an engineer wants to know of a deployment: a table for the terminal and one HTML page that opens offline."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from rich.console import Group
from rich.table import Table

from astro_sim.provenance import replacing

MEMORY = {
    "neurons": "neurons",
    "synapses": "synapses",
    "weight_bytes": "weights [B]",
    "state_bytes": "state [B]",
    "table_bytes": "tables [B]",
    "cores": "cores",
}
EVENTS = {
    "synaptic_operations": "synaptic operations / token",
    "neuron_updates": "neuron updates / token",
    "spikes": "spikes / token",
}
WHERE = {"loihi2": "a Loihi 2 board", "lava": "Lava's CPU simulator", "numpy": "NumPy"}
"""What a target is, in words."""


def resource_tables(resources: dict[str, Any]) -> Group:
    """What the parts of a deployment and their sum hold, then what they do a token; one row a Lava process."""
    cores = f"{resources['total']['cores']} of {resources['chip']['neuro_cores']['value']} neuro-cores"
    title = f"{resources['processes']} processes, {cores} of a chip"
    energy, latency = resources["estimated_joules_per_token"]["total"], resources["estimated_seconds_per_token"]
    return Group(
        _table(title, MEMORY, resources),
        _table("events", EVENTS, resources),
        f"estimated from published constants of Loihi 1, not measured: {energy * 1e9:,.0f} nJ and "
        f"{latency * 1e6:,.0f} µs a token",
        _constants(resources),
    )


def _constants(resources: dict[str, Any]) -> Table:
    """Every limit and figure that the numbers above follow from, with whose it is."""
    table = Table(title="where the constants come from")
    table.add_column("constant", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("source")
    for kind, unit, scale in (("chip", "", 1), ("energy_constants", " pJ", 1e12), ("latency_constants", " ns", 1e9)):
        for name, constant in resources[kind].items():
            table.add_row(name.replace("_", " "), f"{constant['value'] * scale:,.6g}{unit}", constant["source"])
    return table


def _table(title: str, columns: dict[str, str], resources: dict[str, Any]) -> Table:
    table = Table(title=title)
    table.add_column("process", no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, justify="right")
    for part in (*resources["parts"], {"name": "sum"} | resources["total"]):
        table.add_row(part["name"], *(f"{part[name]:,}" for name in columns))
    return table


def write_report(path: str | Path, description: dict[str, Any], agreement: dict[str, Any]) -> Path:
    """Write the page: resources, energy with the source of each constant, agreement, provenance.

    Parameters
    ----------
    path : path
    description : dict
        Of the deployment.
    agreement : dict
        What `rmaat_lava.trial.deploy_run` found.
    """
    source = files("rmaat_lava").joinpath("report.html.j2").read_text("utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(source)
    html = template.render(
        columns=MEMORY | EVENTS,
        resources=description["resources"],
        found=agreement,
        about=description,
        where=WHERE[agreement["target"]],
    )
    with replacing(path) as room:
        room.write_text(html, encoding="utf-8")
    return Path(path)
