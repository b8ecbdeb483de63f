"""The command `qflock`. Exit codes: 0 done, 1 the run failed, 2 the input was wrong."""

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipes.load import about, load, shipped, sweep_of
from recipes.schema import Recipe
from recipes.section import InputError

if TYPE_CHECKING:
    from server.page import Sheet

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="a shipped recipe's name, or a YAML file")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one key; repeatable")]
ClientsOption = Annotated[int | None, typer.Option(help="how many clients, instead of the recipe's")]
SeedOption = Annotated[int | None, typer.Option(help="the seed, instead of the recipe's")]
OnOption = Annotated[
    str,
    typer.Option(
        metavar="sim|processes|compose|NAME",
        help="a Ray simulation, a SuperLink and SuperNodes on this machine, the same in containers, or a SuperLink of "
        "Flower's configuration",
    ),
]
SecureOption = Annotated[bool, typer.Option("--secure", help="TLS, and a key for every node (with --on processes)")]
RunsDirOption = Annotated[Path, typer.Option(help="where run folders go")]
SpendOption = Annotated[
    int, typer.Option(min=0, metavar="SECONDS", help="QPU seconds that the whole run may use; for executor ibm:…")
]
FolderArgument = Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder")]

command = typer.Typer(
    name="qflock",
    help="Federated learning with a LoRA-tuned LLM and a small quantum model in every client.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Entry point: what is wrong with the input is one line and exit code 2."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that what we started is ended
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    from strategies.failure import RunFailedError

    try:
        command()
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except RunFailedError as error:
        typer.echo(f"failed: {error}", err=True)
        sys.exit(1)


@command.command()
def recipes() -> None:
    """List the shipped recipes."""
    for name, path in shipped().items():
        said = about(path)
        typer.echo(
            f"{name}\n    {said.summary}\n    run: {said.run} · takes: {said.takes}\n    reproduces: {said.reproduces}"
        )


@command.command()
def plan(
    recipe: RecipeArgument, set_: SetOption = None, clients: ClientsOption = None, seed: SeedOption = None
) -> None:
    """Resolve, validate and price a recipe; spends nothing."""
    from quantum.threads import limit_threads
    from server.console import plain_console
    from server.plan import priced

    chosen = resolved(recipe, set_, clients, seed)
    limit_threads(chosen.threads)
    plain_console().print(priced(chosen))


@command.command()
def data(
    recipe: RecipeArgument, set_: SetOption = None, clients: ClientsOption = None, seed: SeedOption = None
) -> None:
    """Show who holds what, with the baselines of every client."""
    from quantum.threads import limit_threads
    from server.console import plain_console
    from server.shares import shares

    chosen = resolved(recipe, set_, clients, seed)
    limit_threads(chosen.threads)
    plain_console().print(shares(chosen))


@command.command()
def draw(
    name: Annotated[str, typer.Argument(metavar="CIRCUIT", help="a circuit or a feature map by name")],
    qubits: Annotated[int | None, typer.Option(help="how many qubits")] = None,
    reps: Annotated[int | None, typer.Option(help="how many layers")] = None,
    classes: Annotated[int | None, typer.Option(help="how many classes a qcnn reads")] = None,
) -> None:
    """Draw a circuit, with its inputs, weights and read-outs."""
    from server.draw import drawn

    typer.echo(drawn(name, qubits=qubits, reps=reps, classes=classes))


@command.command()
def run(
    recipe: RecipeArgument,
    set_: SetOption = None,
    clients: ClientsOption = None,
    seed: SeedOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    on: OnOption = "sim",
    secure: SecureOption = False,
    spend: SpendOption = 0,
) -> None:
    """Run a recipe; ends with a table, and a report in the run's folder."""
    from server.folder import new_folder
    from server.launch import launch

    chosen = resolved(recipe, set_, clients, seed)
    launch(chosen, lambda: new_folder(chosen, runs_dir), on=on, secure=secure, spend=spend)


@command.command()
def up(
    recipe: Annotated[str | None, typer.Argument(metavar="[RECIPE]", help="what to run; none: stay up")] = None,
    set_: SetOption = None,
    clients: Annotated[int | None, typer.Option(min=1, help="how many, instead of the recipe's, or 3")] = None,
    seed: SeedOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    spend: SpendOption = 0,
) -> None:
    """Run a recipe in containers and take them down; without a recipe, start as many nodes as --clients says."""
    if recipe is not None:
        run(recipe, set_, clients, seed, runs_dir, "compose", False, spend)
        return
    from server.console import plain_console
    from server.containers import stand

    stand(clients, plain_console())


@command.command()
def down() -> None:
    """End the containers that `qflock up` started; runs that are only there are lost."""
    from server.containers import Compose

    Compose().down()


@command.command()
def distill(
    recipe: RecipeArgument, set_: SetOption = None, seed: SeedOption = None, runs_dir: RunsDirOption = Path("runs")
) -> None:
    """Run a recipe in one place: a single client holds all rows, and takes about as many steps as each did of many."""
    from server.central import central
    from server.console import plain_console

    changes = central(resolved(recipe, set_, None, seed))
    plain_console().print(f"in one place: {' '.join(changes)}")
    run(recipe, [*(set_ or []), *changes], None, seed, runs_dir)


@command.command()
def predict(
    run: FolderArgument,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT…", help="what to classify")],
    executor: Annotated[str, typer.Option(help="what runs the circuits: any executor of a recipe")] = "exact",
    shots: Annotated[int, typer.Option(min=1, help="a text; exact takes none")] = 10240,
    mitigate: Annotated[bool, typer.Option("--mitigate", help="undo read-out errors")] = False,
) -> None:
    """Classify texts with what a run has trained."""
    from server.console import plain_console
    from server.trained import predicted, trained

    plain_console().print(predicted(trained(run), texts, executor, shots, mitigate=mitigate))


@command.command()
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder")],
    on: OnOption = "sim",
    secure: SecureOption = False,
    spend: SpendOption = 0,
) -> None:
    """Go on with a run that did not end, from its last checkpoint."""
    from server.launch import launch
    from server.price import spent_in
    from server.resume import unfinished

    kept = on == "processes" and (run / "secure").is_dir()  # what was secure is not opened by a flag that is forgotten
    launch(unfinished(run), run.resolve, on=on, secure=secure or kept, spend=spend, spent=spent_in(run))


@command.command()
def export(
    run: FolderArgument,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT…", help="with --qasm: one circuit a text")] = None,
    qasm: Annotated[Path | None, typer.Option(help="the folder for OpenQASM 3 files")] = None,
    device: Annotated[str, typer.Option(help="with --qasm: a fake device of IBM's that must hold the circuit")] = "",
) -> None:
    """Write the network that a generator was trained to write, and prove it; or the trained circuit of given texts."""
    if qasm is not None:
        from server.trained import exported, trained

        for path in exported(trained(run), texts or [], qasm, device):
            typer.echo(path)
        return
    if texts or device:
        raise InputError("a text or --device is for circuits: say --qasm FOLDER too")
    from server.export import export as written

    networks = written(run)
    for one in networks:
        typer.echo(
            f"{', '.join(str(run / 'export' / file) for file in one.files)}: {one.target}, {one.parameters:,} weights, "
            f"{one.accuracy:.2%} of {one.rows:,} rows right{', as in the ledger' * (len(networks) == 1)}; "
            f"ran without anything quantum"
        )
    if len(networks) > 1:
        mean = sum(one.accuracy for one in networks) / len(networks)
        typer.echo(f"{mean:.2%}: mean of {len(networks)} networks, as in the ledger")


@command.command()
def noise(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a finished run of a generator")],
    level: Annotated[
        list[str] | None,
        typer.Option(help="an executor, such as shots or noisy:guadalupe; else shots and depolarizing"),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="of every run of the circuit; else 10,000, and 10,000,000 for depolarizing and noisy: a density "
            "matrix costs the same for any number, and few would themselves be most of the noise",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=0, help="of fine-tuning under the noise")] = 0,
    go_on: Annotated[bool, typer.Option("--go-on", help="also do what is expected to take hours")] = False,
) -> None:
    """Run a trained generator under noise: the accuracy lost at each level, and after fine-tuning there.

    What is done is kept in the run's noise.json, and not done again.
    """
    from server.console import plain_console
    from server.noise import noise as measured
    from server.noise import table

    plain_console().print(table(measured(run, level or [], shots=shots, steps=steps, go_on=go_on, say=typer.echo)))


def resolved(recipe: str, set_: list[str] | None, clients: int | None, seed: int | None) -> Recipe:
    """The recipe with the command line's changes."""
    overrides: list[Any] = list(set_ or [])
    overrides += [f"{key}={value}" for key, value in (("clients", clients), ("seed", seed)) if value is not None]
    return load(recipe, overrides)


SeedsOption = Annotated[int, typer.Option(min=1, help="how many seeds")]
FirstSeedOption = Annotated[int, typer.Option("--seed", help="the first seed")]
JobsOption = Annotated[int | None, typer.Option(min=1, help="runs side by side, instead of one a core")]


@command.command()
def sweep(
    recipe: RecipeArgument,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=A,B,…", help="values of one key; repeatable, all combined; or the recipe's own"
        ),
    ] = None,
    seeds: SeedsOption = 5,
    seed: FirstSeedOption = 0,
    clients: ClientsOption = None,
    jobs: JobsOption = None,
    runs_dir: RunsDirOption = Path("runs"),
) -> None:
    """Run every combination of values at every seed, side by side, then compare; goes on where it was interrupted."""
    from server.jobs import finish
    from server.sweep import grid, planned

    combined = set_ or sweep_of(recipe)
    fixed = [f"clients={clients}"] if clients is not None else []
    finish(planned(recipe, [[*chosen, *fixed] for chosen in grid(combined)], range(seed, seed + seeds), runs_dir), jobs)


@command.command()
def ablate(
    recipe: RecipeArgument,
    set_: SetOption = None,
    seeds: SeedsOption = 5,
    seed: FirstSeedOption = 0,
    jobs: JobsOption = None,
    runs_dir: RunsDirOption = Path("runs"),
) -> None:
    """Take regulation, selection and distillation out of a recipe; goes on where it was interrupted.

    One table says what each part does to accuracy and cost, beside the plain recipe at the same seeds.
    """
    from server.ablation import ablation
    from server.effects import show
    from server.jobs import finish

    finish(ablation(recipe, set_ or [], range(seed, seed + seeds), runs_dir), jobs, show)


@command.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="run folders, or a sweep's folder for all in it")],
    csv: Annotated[Path | None, typer.Option(help="write all numbers here")] = None,
    markdown: Annotated[Path | None, typer.Option(help="write the tables here")] = None,
    png: Annotated[Path | None, typer.Option(help="draw the curves here")] = None,
    html: Annotated[Path | None, typer.Option(help="write a page with all of it here")] = None,
) -> None:
    """Compare finished runs: means over seeds, paired differences, and what they allow to be said."""
    from server.compare import compare as compared
    from server.outcome import outcome
    from server.sweep import runs_in
    from server.tables import show

    asked = {"csv": csv, "md": markdown, "png": png, "html": html}
    files = {kind: path for kind, path in asked.items() if path}
    can_be_written(files.values())
    show(compared([outcome(folder) for folder in runs_in(runs)]), files)


def can_be_written(files: Iterable[Path]) -> None:
    """Refuse, before the work, a file that could not be written after it."""
    for file in files:
        if file.is_dir():
            raise InputError(f"{file} is a folder: name a file in it")
        if not file.parent.is_dir():
            raise InputError(f"{file} cannot be written: {file.parent} is no folder. Make it, or name another file")
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            raise InputError(f"{file} may not be written by this user: name another file")


@command.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder, in whatever state it is")],
) -> None:
    """Write what a run shows: one page, and its figures and tables as files."""
    from server.report import FILES
    from server.report import report as write

    try:
        page = write(run, apart=True)
    except OSError as error:
        place = f"{error.filename2 or error.filename or run} cannot be written ({error.strerror})"
        raise InputError(f"{place}: move what is in its way, or give the folder to this user") from None
    typer.echo(f"report: {page}")
    typer.echo(f"figures and tables: {run / FILES}")


@command.command()
def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run's folder")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="on loopback; 0: any that is free")] = 0,
) -> None:
    """Follow a run on a page of this machine, until Ctrl-C."""
    from server.serve import server

    with server(run, port) as serving:
        typer.echo(f"http://127.0.0.1:{serving.server_port}/ follows {run}; Ctrl-C ends it")
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            typer.echo("ended")


@command.command()
def verify(
    runs_dir: Annotated[Path, typer.Option(help="where finished runs are looked for")] = Path("runs"),
    csv: Annotated[Path | None, typer.Option(help="write all numbers here")] = None,
    markdown: Annotated[Path | None, typer.Option(help="write the table here")] = None,
) -> None:
    """Hold counts and accuracies of the three papers against ours: counts now, accuracies from finished runs."""
    from server.verify import verify as verified

    can_be_written(filter(None, (csv, markdown)))
    found = verified(runs_dir)
    tell(found)
    for path, text in ((csv, found.csv()), (markdown, found.markdown())):
        if path:
            path.write_text(text, encoding="utf-8")
            typer.echo(f"wrote {path}")


@command.command()
def doctor() -> None:
    """Say what works on this machine, what is missing, and the command that fixes it."""
    from server.doctor import examined

    tell(examined())


def tell(sheet: "Sheet") -> None:
    """Print a sheet; the terminal breaks long lines, which are whole when copied."""
    from server.console import plain_console

    plain_console().print(sheet.terminal(), soft_wrap=True)
