"""`rmaat deploy`: a trained model in integers, on Lava's simulator, NumPy or a Loihi 2 board."""

from pathlib import Path
from typing import Annotated

import typer

from astro_sim.provenance import refuse_to_replace
from rmaat.cli.options import ConfigOption, SeedOption, out_folder, refuse_foreign


def deploy(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a run of `rmaat train`, or its checkpoint folder.")],
    target: Annotated[str, typer.Option(help="loihi2, lava, numpy, or auto: the first that works.")] = "auto",
    data: Annotated[
        Path | None, typer.Option("--data", help="Official layout or cache; else the data of its training run.")
    ] = None,
    out: Annotated[Path, out_folder("Folder for the deployment and its trial.")] = Path("runs/deploy"),
    sequences: Annotated[int, typer.Option(min=1, help="Unseen sequences or pairs to run on the target.")] = 8,
    held_out: Annotated[
        int, typer.Option(min=1, help="Unseen sequences or pairs to compare with the float model.")
    ] = 500,
    per_channel: Annotated[
        bool, typer.Option("--per-channel/--per-tensor", help="One weight scale a channel, or one a tensor.")
    ] = True,
    weight_bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a weight, sign included.")] = 8,
    report: Annotated[bool, typer.Option("--report", help="Print what each process needs on the chip.")] = False,
    seed: SeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Quantise a trained classifier and show that its integers are the same on every target."""
    from rich.console import Console

    from rmaat.training.models import checkpoint_folder
    from rmaat_lava import Deployment, WeightFormat
    from rmaat_lava.report import resource_tables
    from rmaat_lava.trial import deploy_run

    refuse_to_replace([checkpoint_folder(checkpoint), config], out)
    refuse_foreign(
        out,
        ("agreement.json", "deployment", "outputs.npz", "report.html"),
        "agreement.json",
        ("target", "equal_to_numpy"),
    )
    console = Console(soft_wrap=True, highlight=False)
    with console.status("quantising and running unseen sequences"):
        found = deploy_run(
            checkpoint,
            out,
            data=data,
            target=target,
            sequences=sequences,
            held_out=held_out,
            weights=WeightFormat(weight_bits, per_channel),
            seed=seed,
        )
    equal = "equal to" if found["equal_to_numpy"] else "[red]different from[/]"
    examples = "pairs" if found["documents"] == 2 else "sequences"
    console.print(
        f"target {found['target']}: integers of {found['sequences_on_target']} unseen {examples} "
        f"({found['tokens_on_target']} tokens, {found['seconds_on_target']:.1f} s) {equal} those of NumPy"
    )
    console.print(
        f"float and integer predictions agree on {found['predictions_agree']:.1%} of {found['held_out']} unseen "
        f"{examples}; accuracy {found['accuracy_float']:.1%} float, {found['accuracy_integer']:.1%} integer; "
        f"{found['saturated']} values saturated"
    )
    total = found["resources"]["total"]
    console.print(
        f"{found['resources']['processes']} processes, {total['cores']} neuro-cores, {total['neurons']:,} neurons, "
        f"{total['synapses']:,} synapses of {weight_bits} bits, "
        f"{total['synaptic_operations']:,} synaptic operations a token"
    )
    if report:
        console.print(resource_tables(Deployment.load(out / "deployment").description["resources"]))
    console.print(f"deployment, outputs.npz, agreement.json and report.html are in {out}")
    if not found["equal_to_numpy"]:
        raise typer.Exit(1)
