"""`loraloom projects`: what belongs together of datasets, runs, adapters and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.output import messages, print_json, printable

if TYPE_CHECKING:
    from loraloom.studio.projects import Projects

MOST = 2**31 - 1
Number = Annotated[
    int, typer.Argument(metavar="PROJECT", min=1, max=MOST, help="its number in `projects list`")
]
AsJson = Annotated[bool, typer.Option("--json", help="one line of JSON")]

app = typer.Typer(
    no_args_is_help=True,
    help="Keep together what belongs together; make training sets of it.",
)


@app.command()
def add(name: str, json: AsJson = False) -> None:
    """Make a project.

    \b
    loraloom projects add "The comic about Mira"
    """
    from loraloom.config_tree import as_model
    from loraloom.studio.projects import New

    made = _projects().create(as_model(New, {"name": name}, "The project cannot be made"))
    if json:
        print_json({"id": made.id, "name": made.name})
    else:
        messages.print(f"Project {made.id}: {made.name}", markup=False)


@app.command("list")
def list_projects(json: AsJson = False) -> None:
    """Show every project.

    \b
    loraloom projects list
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    found = _projects().all()
    if json:
        print_json([{"id": p.id, "name": p.name, "description": p.description} for p in found])
        return
    table = Table("", "name", "description", box=None, header_style="bold")
    for one in found:
        table.add_row(str(one.id), Text(one.name), Text(one.description))
    Console().print(table)


@app.command()
def show(project: Number, json: AsJson = False) -> None:
    """Tell what is in a project, of each the newest, and what to do next.

    \b
    loraloom projects show 1
    """
    projects = _projects()
    inside, name = projects.inside(project), projects.get(project).name
    step = projects.next(project, inside)
    told = {
        "datasets": inside.datasets,
        "jobs": [f"{one.id} {one.name} ({one.state})" for one in inside.runs],
        "adapters": [f"{one.id} {one.name}" for one in inside.adapters],
        "pictures": [str(one.id) for one in inside.pictures],
        "prompts": [one.prompt for one in inside.prompts],
    }
    if json:
        print_json({"id": project, "name": name, **told, "next": step.next, "with": step.what})
        return
    told["next"] = [f"{step.next} {step.what}".rstrip()]
    lines = [f"  {title}: {', '.join(things)}" for title, things in told.items() if things]
    print(printable("\n".join([name, *lines])))


@app.command()
def put(
    project: Annotated[
        int,
        typer.Argument(metavar="PROJECT", min=0, max=MOST, help="its number; 0: into no project"),
    ],
    dataset: Annotated[list[str] | None, typer.Option(metavar="NAME")] = None,
    adapter: Annotated[list[int] | None, typer.Option(metavar="NUMBER", min=1, max=MOST)] = None,
    picture: Annotated[list[int] | None, typer.Option(metavar="NUMBER", min=1, max=MOST)] = None,
    job: Annotated[list[int] | None, typer.Option(metavar="NUMBER", min=1, max=MOST)] = None,
) -> None:
    """Put things into a project, out of the one where they were.

    \b
    loraloom projects put 1 --dataset mira --adapter 3
    """
    from loraloom.studio.projects import Things

    things = Things(
        datasets=dataset or [], adapters=adapter or [], pictures=picture or [], jobs=job or []
    )
    _projects().put(project or None, things)


@app.command()
def pack(
    project: Number,
    name: Annotated[str, typer.Argument(metavar="DATASET", help="of the new dataset")],
    every: Annotated[bool, typer.Option("--all", help="not only the starred pictures")] = False,
    drawn_only: Annotated[
        bool, typer.Option("--drawn-only", help="without the pictures of its datasets")
    ] = False,
) -> None:
    """Make a dataset of the project's pictures with their prompts, and of its datasets.

    \b
    loraloom projects pack 1 mira-2
    loraloom train mira-2
    """
    made = _projects().pack(project, name, starred=not every, sets=not drawn_only)
    messages.print(f"The dataset {made} is there.", markup=False)


def _projects() -> Projects:
    from loraloom.studio.studio import open_studio

    return open_studio().projects
