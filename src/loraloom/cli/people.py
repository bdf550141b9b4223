"""`loraloom people`: accounts, made and changed on the studio's own machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.output import messages, print_json

if TYPE_CHECKING:
    from loraloom.studio.studio import Studio

Name = Annotated[str, typer.Argument(metavar="NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="one line of JSON")]
FromInput = Annotated[
    bool, typer.Option("--stdin", help="read the password from the first line of the input")
]

app = typer.Typer(
    no_args_is_help=True,
    help="Accounts of a team. With the first one, everybody who opens the studio signs in.",
)


@app.command()
def add(
    name: Name,
    owner: Annotated[bool, typer.Option("--owner", help="may do everything")] = False,
    viewer: Annotated[bool, typer.Option("--viewer", help="may only look and download")] = False,
    stdin: FromInput = False,
    json: AsJson = False,
) -> None:
    """Make an account and ask for its password: a member's, if nothing else is said.

    \b
    loraloom people add maria --owner
    loraloom people add tom
    """
    from loraloom.studio.rights import ALONE, Role

    if owner and viewer:
        raise typer.BadParameter("Somebody is either an owner or a viewer.")
    role = Role.OWNER if owner else Role.VIEWER if viewer else Role.MEMBER
    account = _studio().people.add(ALONE, name, role, _password(stdin=stdin))
    if json:
        print_json({"id": account.id, "name": account.name, "role": account.role})
    else:
        messages.print(f"{account.name} can sign in, as {role}.", markup=False)


@app.command("list")
def list_people(json: AsJson = False) -> None:
    """Show every account.

    \b
    loraloom people list
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from loraloom.studio.described import iso

    found = [
        {"id": a.id, "name": a.name, "role": a.role, "has_password": a.has_password,
         "seen": iso(a.seen_at)}
        for a in _studio().people.all()
    ]  # fmt: skip
    if json:
        print_json(found)
    elif not found:
        messages.print("No accounts: whoever uses this machine may do everything.")
    else:
        table = Table("name", "role", "last seen", box=None)
        for one in found:
            seen = str(one["seen"] or "never")
            state = seen if one["has_password"] else "has not chosen a password"
            table.add_row(Text(str(one["name"])), str(one["role"]), state)
        Console().print(table)


@app.command()
def remove(
    name: Name,
    last: Annotated[
        bool, typer.Option("--last", help="even if nobody has to sign in any more then")
    ] = False,
) -> None:
    """End an account; what it owned goes to the owners of the studio.

    \b
    loraloom people remove tom
    """
    from loraloom.studio.rights import ALONE

    people = _studio().people
    account = people.named(name)
    people.remove(ALONE, account.id, last=last)
    messages.print(f"{account.name} is no longer known.", markup=False)


@app.command()
def password(name: Name, stdin: FromInput = False) -> None:
    """Give somebody another password and sign all their browsers out.

    \b
    loraloom people password tom
    """
    from loraloom.studio.rights import ALONE

    people = _studio().people
    account = people.named(name)
    people.set_password(ALONE, account.id, _password(stdin=stdin))
    messages.print(f"{account.name} has another password, and signs in anew.", markup=False)


@app.command()
def role(name: Name, role: Annotated[str, typer.Argument(metavar="owner|member|viewer")]) -> None:
    """Change what somebody may do.

    \b
    loraloom people role tom viewer
    """
    from loraloom.studio.rights import ALONE, Role

    if role not in list(Role):
        raise typer.BadParameter(f"{role!r} is no role: owner, member and viewer are.")
    people = _studio().people
    account = people.set_role(ALONE, people.named(name).id, Role(role))
    messages.print(f"{account.name} is {role} now.", markup=False)


@app.command()
def token(
    name: Name,
    title: Annotated[str, typer.Option("--for", help="which program it is for")] = "command line",
    days: Annotated[
        int, typer.Option(min=0, max=3650, help="how long it lasts; 0: until it is revoked")
    ] = 90,
) -> None:
    """Make an API token for somebody's program; it is printed this once.

    \b
    loraloom people token tom --for "nightly script"
    """
    studio = _studio()
    account = studio.people.named(name)
    _, secret = studio.tokens.make(account.person, title, days or None)
    print(secret)


def _password(*, stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    given: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return given


def _studio() -> Studio:
    from loraloom.studio.studio import open_studio

    return open_studio()
