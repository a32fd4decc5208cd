"""Every command and snippet of the README and the docs runs, in order, file by file."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_HERE = {"scripts/plan", "scripts/test", "scripts/verify"}  # what runs this test, or installs for it
SERVES, SPENDS = "proflash emulate", " --yes"


def snippets(page: Path) -> list[tuple[str, str]]:
    return FENCE.findall(page.read_text(encoding="utf-8"))


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "NO_COLOR": "1"}


@contextmanager
def serving(text: str) -> Iterator[None]:
    """A service goes on in its own terminal until the page ends."""
    command = [sys.executable, "-u", "-m", "proflash", *shlex.split(text)[1:]]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            assert service.stdout.readline().startswith("http://"), "the service does not say where it is"
            yield
        finally:
            service.send_signal(signal.SIGINT)
            service.wait(30)


def run(kind: str, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    if kind == "sh":
        lines = [line for line in text.splitlines() if line.strip() not in NOT_HERE]
        command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
    else:
        command = [sys.executable, "-W", "error", "-c", text]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=lambda page: page.stem)
def test_every_snippet_of_a_page_runs(page, tmp_path):
    with ExitStack() as services:
        for kind, text in snippets(page):
            if text.startswith(SERVES):
                services.enter_context(serving(text))
                continue
            done = run(kind, text.replace(SPENDS, ""), tmp_path)
            shown = f"{page.name}:\n{text}\n{done.stdout}\n{done.stderr}"
            if SPENDS in text:  # unless told so it asks first, which is as far as a test may go
                assert (done.returncode, "this would spend money" in done.stderr) == (2, True), shown
            else:
                assert done.returncode == 0, shown
            assert "Traceback" not in done.stderr


def test_the_pages_linked_from_the_readme_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
