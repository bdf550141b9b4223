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
    behind_proxy: Annotated[
        bool,
        typer.Option("--behind-proxy", help="a proxy alone reaches it; its X-Forwarded-* hold"),
    ] = False,
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
    loraloom studio --host 0.0.0.0 --allow-host studio.example
    """
    from loraloom.studio.studio import open_studio
    from loraloom.web.guard import LOOPBACK
    from loraloom.web.server import serve

    def ready(url: str) -> None:
        messages.print(f"The studio is at [link={url}]{url}[/link]. Ctrl-C ends it.")
        if host not in LOOPBACK and not behind_proxy:
            messages.print(
                "[yellow]Others reach it unencrypted: whoever listens on the way reads passwords "
                "and pictures. Put a proxy with HTTPS in front of it (docs/team.md).[/yellow]"
            )
        if open_page:
            typer.launch(url)

    serve(
        open_studio(), host, port, names=allow_host or [], behind_proxy=behind_proxy,
        worker=worker, ready=ready,
    )  # fmt: skip
