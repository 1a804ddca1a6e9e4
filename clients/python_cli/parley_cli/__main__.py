"""`python -m parley_cli`: the same as the `parley` command."""

from parley_cli.app import main

if __name__ == "__main__":
    main()
