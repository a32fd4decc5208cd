"""Options that are declared once and shared by commands."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from profiles.option_groups import grouped

Name = Annotated[str, typer.Argument(help="Whom to greet.")]


@dataclass(frozen=True)
class Manner:
    """How to greet."""

    times: Annotated[int, typer.Option(min=1, help="How often.")] = 1
    loud: Annotated[bool, typer.Option("--loud")] = False
    into: Annotated[Path | None, typer.Option("--into")] = None


@grouped
def greet(name: Name, manner: Manner, mark: str = "!") -> None:
    """Greets."""
    word = "HELLO" if manner.loud else "hello"
    print(f"{word} {name}{mark} " * manner.times + str(manner.into))


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(greet)
    return lambda *args: CliRunner().invoke(app, args)


def test_fields_are_options_with_their_defaults_and_checks(run):
    assert run("Ada").output == "hello Ada! None\n"
    assert (
        run("Ada", "--times", "2", "--loud", "--into", "x", "--mark", "?").output == "HELLO Ada? " * 2 + "x\n"
    )
    assert run("Ada", "--times", "0").exit_code == 2
    assert run().exit_code == 2


def test_help_names_them_and_the_command_keeps_its_own(run):
    shown = run("--help").output
    assert all(word in shown for word in ("--times", "How often.", "--loud", "Greets.", "Whom to greet."))
    assert greet(name="Ada", times=1, loud=True, into=None, mark=".") is None
