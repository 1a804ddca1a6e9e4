"""`python -m admin` is `parley admin`, where only the server is installed."""

from admin.commands import app

app(prog_name="parley admin")
