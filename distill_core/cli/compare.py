"""The command that compares methods."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from distill_core.cli.options import take_options
from distill_core.cli.output import Json, bar, error_console, print_json, print_rows
from distill_core.cli.runs import config_of, event_printer, settled_store
from distill_core.config import FIELDS
from distill_core.errors import ConfigError

WEIGHTS_OPTION = typer.Option(help="Comma-separated METHOD=W, the method weight of some in place of --method-weight.")
METHODS_OPTION = typer.Option(help="Comma-separated; plain KD, kd, is what the others are compared with.")


def compare(
    methods: Annotated[str, METHODS_OPTION] = "kd,ad_kd,gkd",
    weights: Annotated[str, WEIGHTS_OPTION] = "",
    seeds: Annotated[int, typer.Option(help="How many seeds, from --seed on.")] = 3,
    examples: Annotated[int, typer.Option(min=1, help="Validation examples that agreement is measured on.")] = 100,
    as_json: Json = False,
    **values: Any,
) -> None:
    """Compare methods: same data order, beginning and steps, several seeds. Ctrl-C stops; again, it goes on there."""
    from distill_core.bundle import open_model
    from distill_core.catalogue import find_model, find_teacher
    from distill_core.comparison import Outcome, finished, measure, plan, summarise
    from distill_core.objectives import make_method
    from distill_core.runner import pump, submit
    from distill_core.worker import run_in_foreground

    base = config_of({name: value for name, value in values.items() if value is not None}, None)
    configs = plan(base, [name.strip() for name in methods.split(",") if name.strip()], seeds, _weights(weights))
    for config in configs:
        teacher = find_teacher(config)
        student = teacher if config.made_from_teacher else find_model(config.student)
        make_method(config, config.student_layers if config.made_from_teacher else student.layers, teacher.layers)
    models = {"teacher": base.teacher} | ({} if base.made_from_teacher else {"student": base.student})
    prints = {name: open_model(model, task=base.task).fingerprint for name, model in models.items()}
    store = settled_store()
    runs = []
    for at, config in enumerate(configs, start=1):
        run = finished(store, config, prints)
        if run is None:
            with bar(f"Run {at} of {len(configs)}: {config.method}, seed {config.seed}") as progress:
                run_id = submit(store, config)
                pump(store)  # in a process of its own, so that its memory is its own
                run = run_in_foreground(store, run_id, event_printer(progress, config.steps))
            if run.state != "finished":
                error_console.print(f"{run.id} {run.state}: {run.reason} Start again to go on from here.")
                raise typer.Exit(1)
        runs.append(run)
    source, outcomes = _source(base.teacher, base.task), list[Outcome]()
    for run in runs:
        with bar(f"Agreement of {run.config.method}, seed {run.config.seed}") as progress:
            outcomes.append(measure(store, run, source, _source(f"run/{run.id}", base.task), examples, progress))
    rows = summarise(outcomes)
    if as_json:
        settings = {name: value for name, value in asdict(base).items() if name not in ("method", "name")}
        document: dict[str, Any] = {"config": settings, "seeds": seeds, "examples": examples}
        document |= {"runs": list(map(asdict, outcomes)), "rows": list(map(asdict, rows))}
        print_json(document)
        return
    for name in rows[0].numbers:
        error_console.print(f"{name}: mean ± standard deviation over seeds, and the paired difference to kd with 95 %")
        print_rows([_row(row.method, row.numbers[name], row.differences.get(name)) for row in rows])


def _weights(text: str) -> dict[str, float]:
    """Return the weights by method; ConfigError for what is no METHOD=W."""
    found = {}
    for part in filter(None, map(str.strip, text.split(","))):
        method, _, weight = part.partition("=")
        try:
            found[method.strip()] = float(weight)
        except ValueError as error:
            raise ConfigError(f"{part[:60]!r} is no weight of a method; wanted METHOD=W, such as gkd=0.1.") from error
    return found


def _row(method: str, spread: Any, difference: Any) -> dict[str, Any]:
    shown = "" if difference is None else f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    return {"method": method, "mean": f"{spread.mean:.4f} ± {spread.deviation:.4f}", "minus kd": shown}


def _source(model_id: str, task: str) -> Any:
    from distill_core.bundle import open_model
    from distill_core.model_source import source_of

    return source_of(open_model(model_id, task=task))


take_options(compare, (spec for spec in FIELDS.values() if spec.name not in ("method", "name")))
