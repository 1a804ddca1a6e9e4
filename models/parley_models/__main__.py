"""`python -m parley_models`: the same as `parley models`."""

from parley_models.commands import app

if __name__ == "__main__":
    app(prog_name="python -m parley_models")
