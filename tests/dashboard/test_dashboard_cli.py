"""Starting and ending the server."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dashboard import cli
from profiles.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as probe:
        probe.bind((cli.HOST, 0))
        return probe.getsockname()[1]


def test_every_setting_is_a_flag_and_nothing_listens_beyond_this_machine():
    flags = cli.command(8600)
    assert flags[:4] == [sys.executable, "-m", "streamlit", "run"]
    assert Path(flags[4]).is_file()
    assert "--server.port=8600" in flags
    assert "--server.address=127.0.0.1" in flags
    assert "--browser.gatherUsageStats=false" in flags
    assert "--client.showErrorDetails=none" in flags
    assert "--theme.dark.backgroundColor=#0f1720" in flags


def test_without_streamlit_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"streamlit and plotly.*pip install 'proflash\[dashboard\]'"):
        cli.require_installed()


def test_a_port_in_use_is_refused_in_one_sentence():
    with socket.socket() as taken:
        taken.bind((cli.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(cli.app, ["--port", str(port), "--no-browser"])
    assert isinstance(result.exception, InputError)
    assert f"--port {port}: cannot be used" in str(result.exception)


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT as Ctrl-C does")
def test_it_serves_until_it_is_interrupted():
    port = free_port()
    command = [sys.executable, "-m", "proflash", "dashboard", "--no-browser", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == f"http://127.0.0.1:{port}\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=10) as answer:
            assert answer.read() == b"ok"
        server.send_signal(signal.SIGINT)
        try:
            assert server.wait(20) == 0
            assert server.stdout.read() == ""
        finally:
            server.kill()  # a server that ignores Ctrl-C must not hold the tests up
    with socket.socket() as probe:
        assert probe.connect_ex((cli.HOST, port)) != 0
