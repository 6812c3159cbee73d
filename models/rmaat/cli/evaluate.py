"""`rmaat evaluate`: a checkpoint's score on any data of its task."""

from pathlib import Path
from typing import Annotated

import typer

from astro_sim.provenance import refuse_to_replace
from rmaat.cli.options import out_file


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Folder that `rmaat train` wrote: RUN or RUN/checkpoint.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Official layout or cache; else the data of its training run.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="Another layout: 20news (retrieval).")] = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "test",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Sequences at a time.")] = 32,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of generated data.")] = None,
    out: Annotated[Path | None, out_file("JSON file for the result.")] = None,
) -> None:
    """Loss and accuracy of a checkpoint, beside what trivial models reach on the same examples."""
    from rmaat.training.folder import REPLACED
    from rmaat.training.models import checkpoint_folder
    from rmaat.training.run import score_checkpoint

    if out is not None:
        inside = checkpoint_folder(checkpoint)
        of_the_run = (inside.parent / name for name in (*REPLACED, "run.json"))
        refuse_to_replace((inside, *of_the_run), out)
    score_checkpoint(checkpoint, data, source, split, batch_size, seed, out)
