"""`understudy init`: a commented example to begin with, and its schema for editors."""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.output import emit_json, guarded
from understudy.errors import OperatorError

DEFAULT_NAME = "understudy.yaml"
SCHEMA_FOLDER = ".understudy"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(init)


@guarded
def init(
    target: Annotated[Path, typer.Argument(help="A folder, or a file that ends in .yaml.")] = Path(),
    json_output: bool = typer.Option(False, "--json", help="One JSON document."),
) -> None:
    """Write a commented example of two gateways. Never overwrites a file."""
    from understudy.config.schema import FILE_NAME, schema_text

    is_file = target.suffix in (".yaml", ".yml") and not target.is_dir()
    file = target if is_file else target / DEFAULT_NAME
    schema = file.parent / SCHEMA_FOLDER / FILE_NAME
    text = files("understudy.config").joinpath("example.yaml").read_text(encoding="utf-8")
    try:
        schema.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
        # The schema belongs to the installed version, not to the operator: a newer one replaces it.
        schema.write_text(schema_text(), encoding="utf-8")
    except FileExistsError:
        raise OperatorError("E2704", f"{file} exists and is not overwritten", "name another file or folder") from None
    except OSError as error:
        raise OperatorError("E2001", f"{error.filename or file} cannot be written: {error.strerror}") from None
    if json_output:
        emit_json("understudy.init/1", {"file": str(file), "schema_file": str(schema)})
    else:
        sys.stdout.write(f"{file}: written; next: understudy check {file}\n{schema}: its schema, for editors\n")
