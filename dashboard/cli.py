"""``dashboard``: the pages in a browser, served by this machine to this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from profiles.errors import InputError
from sim.policies.files import ENVIRONMENT, load_policy_file

app = typer.Typer(help="The dashboard.", no_args_is_help=True)

HOST = "127.0.0.1"
DEFAULT_PORT = 8501
_HERE = Path(__file__).resolve().parent
_READY_S = 60.0
_STOP_S = 10.0


@app.command("dashboard")
def dashboard_command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = DEFAULT_PORT,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address; open nothing.")
    ] = False,
    policy_files: Annotated[
        list[str] | None,
        typer.Option(
            "--policy-file",
            metavar="FILE.py:CLASS",
            help="A policy of your own among those offered; the file is run as code. Repeatable.",
        ),
    ] = None,
) -> None:
    """Pro, Flash or both? Pages that run plans and show them. Ctrl-C ends it and the runs under way."""
    require_installed()
    _require_free(port)
    named = [_absolute(spec) for spec in policy_files or ()]
    address = f"http://{HOST}:{port}"
    with subprocess.Popen(command(port), env=_environment(named), stdout=subprocess.DEVNULL) as server:  # noqa: S603
        try:
            _await_ready(server, address)
            typer.echo(address)
            if not no_browser:
                webbrowser.open(address)
            code = server.wait()
        except KeyboardInterrupt:  # the usual way to end it
            code = 0
        finally:
            _stop(server)
    if code:
        typer.echo(f"dashboard: the server ended with exit code {code}", err=True)
        raise typer.Exit(1)


def command(port: int) -> list[str]:
    """What starts the server: Streamlit on our entry script, every setting of ``config.toml`` as a flag."""
    settings = tomllib.loads((_HERE / "config.toml").read_text(encoding="utf-8"))
    flags = [f"--{key}={value}" for key, value in _flat(settings)]
    entry = str(_HERE / "app.py")
    return [sys.executable, "-m", "streamlit", "run", entry, f"--server.port={port}", *flags]


def require_installed() -> None:
    """InputError naming the extra to install when Streamlit or Plotly is missing."""
    missing = [name for name in ("streamlit", "plotly") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"the dashboard needs {' and '.join(missing)}, not installed here; "
            "right: pip install 'proflash[dashboard]'"
        )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value).lower() if isinstance(value, bool) else str(value)


def _absolute(spec: str) -> str:
    """The same policy file, wherever the server runs; InputError where it cannot be loaded."""
    load_policy_file(spec)
    place, _, name = spec.rpartition(":")
    return f"{Path(place).resolve()}:{name}"


def _environment(policy_files: Sequence[str] = ()) -> dict[str, str]:
    """Ours, with the packages findable when they are not installed, and with the user's own policies."""
    path = os.pathsep.join(filter(None, [str(_HERE.parent), os.environ.get("PYTHONPATH", "")]))
    own = {ENVIRONMENT: "\n".join(policy_files)} if policy_files else {}
    return {**os.environ, "PYTHONPATH": path, **own}


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            why = error.strerror or str(error)
            raise InputError(f"--port {port}: cannot be used ({why}); name another with --port.") from None


def _await_ready(server: subprocess.Popen[bytes], address: str) -> None:
    """Returns once the server answers, or has ended."""
    until = time.monotonic() + _READY_S
    while server.poll() is None:
        if _healthy(address):
            return
        if time.monotonic() > until:
            typer.echo(f"dashboard: no answer from {address} within {_READY_S:g} s", err=True)
            raise typer.Exit(1)
        time.sleep(0.1)
    raise typer.Exit(1)  # it has said why on stderr


def _healthy(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{address}/_stcore/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to end (it ends its runs), and make it end if it does not."""
    if server.poll() is None:
        server.terminate()
    try:
        server.wait(_STOP_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        server.kill()
        server.wait()
