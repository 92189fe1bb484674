"""The command line: one file per command, imported only when it is called."""

import sys


def main() -> None:
    """Entry point of `understudy`."""
    if sys.argv[1:2] == ["status"] and "--help" not in sys.argv:
        # `status` is what a person types in an outage and a monitor every second: it skips the imports of the rest.
        from understudy.cli import status

        sys.exit(status.quick(sys.argv[2:]))
    from understudy.cli.app import app

    app()
