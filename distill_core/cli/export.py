"""The command that exports a run to files."""

from typing import Annotated

import typer

from distill_core.cli.output import Json, busy, error_console, print_json
from distill_core.cli.runs import RunId, reconciled_store
from distill_core.export.run_export import EXPORT_KINDS, export_run

BEST_OPTION = typer.Option("--best", help="With --as model: export the best checkpoint, not the last.")
KIND_OPTION = typer.Option("--as", help=f"One of: {', '.join(EXPORT_KINDS)}.")
PLACE_OPTION = typer.Option(
    "--to", help="The file to write; for tensorboard and model a folder, or for model a file that ends in .zip."
)


def export(
    run: RunId,
    kind: Annotated[str, KIND_OPTION],
    place: Annotated[str, PLACE_OPTION],
    best: Annotated[bool, BEST_OPTION] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export at that path.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run's numbers (csv, parquet, tensorboard), its settings (json) or its student with a model card."""
    store = reconciled_store()
    exported = store.get(run)
    with busy(f"Exporting {run}"):
        path = export_run(store, exported, kind, place, best=best, force=force)
    if as_json:
        print_json({"run": run, "as": kind, "path": str(path)})
    else:
        error_console.print(f"{run}: {kind} written to {path}", soft_wrap=True)
