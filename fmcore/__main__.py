"""``python -m fmcore``: the command line."""

from fmcore.cli import main

if __name__ == "__main__":
    main()
