"""`loraloom studio`."""

from __future__ import annotations

from typing import Annotated

import typer

from loraloom.cli.output import messages


def studio(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8420,
    host: Annotated[str, typer.Option(help="address to listen at")] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:PORT]", help="another name it is reached by; repeat"),
    ] = None,
    worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="also run what is queued")
    ] = True,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="open the page in a browser")
    ] = True,
) -> None:
    """Open the studio: pages and API in a browser, and a worker for what they start.

    Ctrl-C lets running jobs save; they go on with the next start.

    \b
    loraloom studio
    loraloom studio --port 9000 --no-open
    """
    from loraloom.studio.studio import open_studio
    from loraloom.web.server import serve

    def ready(url: str) -> None:
        messages.print(f"The studio is at [link={url}]{url}[/link]. Ctrl-C ends it.")
        if open_page:
            typer.launch(url)

    serve(open_studio(), host, port, names=allow_host or [], worker=worker, ready=ready)
