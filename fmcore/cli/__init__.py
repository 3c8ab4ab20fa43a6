"""The command line: parse, call, print; nothing is computed here. One file per command, listed in `app.py`.

Exit codes: 0 done; 1 done, but some files could not be read; 2 bad input, nothing was done; 130 interrupted.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; known errors become one sentence and exit code 2."""
    from fmcore.cli.console import notes
    from fmcore.errors import FlowMismatchingError

    try:
        # Inside the guard: importing the commands takes a second or two, in which Ctrl-C may come.
        from fmcore.cli.app import app
        from fmcore.training.team import local_rank

        notes.quiet = local_rank() > 0  # of several processes one speaks
        app()
    except FlowMismatchingError as error:
        notes.print(str(error), style="red")
        sys.exit(2)
    except KeyboardInterrupt:
        notes.print("Interrupted.")
        sys.exit(130)
