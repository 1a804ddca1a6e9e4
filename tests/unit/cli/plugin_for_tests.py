"""A plug-in as another distribution would bring it."""

import typer

app = typer.Typer(help="A plug-in for tests.")


@app.command()
def greet(verbose: bool = False) -> None:
    typer.echo("hello, verbosely" if verbose else "hello")


@app.command()
def other() -> None:
    """A second command keeps the first one named."""
