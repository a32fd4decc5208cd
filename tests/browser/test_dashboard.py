"""The dashboard in a real browser: what only a browser can show. Screenshots go to PROFLASH_SCREENSHOTS."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 90_000


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium on the PATH")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield chromium
        chromium.close()


class Server:
    """`proflash dashboard` on a free port."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "proflash", "dashboard", "--no-browser", "--port", str(port)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def server():
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def visit(browser):
    contexts = []

    def open_page(url, scheme="light"):
        context = browser.new_context(viewport={"width": 1400, "height": 2600}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.trouble = []
        page.on("request", lambda request: _note_foreign(page, request.url))
        page.on("console", lambda said: page.trouble.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: page.trouble.append(str(error)))
        page.goto(url)
        page.get_by_role("button", name="Run", exact=True).wait_for()
        settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


def _note_foreign(page, url):
    if "127.0.0.1" not in url and not url.startswith(("data:", "blob:")):
        page.trouble.append(f"asks {url}")


def settle(page):
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def photograph(page, name, folder):
    place = Path(os.environ.get("PROFLASH_SCREENSHOTS", folder))
    place.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=place / f"{name}.png")


def luminance(page, selector):
    colour = page.locator(selector).first.evaluate("node => getComputedStyle(node).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3])


def children_of_servers():
    """Process ids of plan children, read from /proc."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
            state = (entry.parent / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if {b"proflash", b"plan", b"jsonl"} <= set(words) and state != "Z":
            found.add(int(entry.parent.name))
    return found


def test_move_a_slider_run_and_read_the_recommendation(server, visit, tmp_path):
    page = visit(f"{server.address}/?preset=support_chat&replications=2&traffic=0.5x")
    page.get_by_role("slider", name="Traffic").press("ArrowLeft")
    page.wait_for_url(re.compile("traffic=0.25x"))
    settle(page)
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("progressbar").first.wait_for()
    sentence = page.get_by_test_id("stAlert").filter(has_text="Take Flash only")
    sentence.wait_for()
    settle(page)
    page.locator(".js-plotly-plot").nth(2).wait_for()
    assert "a month (95% interval $" in sentence.inner_text()  # dollars, not LaTeX
    assert page.locator(".js-plotly-plot").count() == 3  # how long, what it costs, and over time
    photograph(page, "plan-light", tmp_path)
    page.reload()
    sentence.wait_for()  # from the address and the kept plan, without another run
    assert page.get_by_role("button", name="Cancel").count() == 0
    assert page.trouble == []


def test_dark_mode_is_dark_and_its_charts_are_drawn_for_it(server, visit, tmp_path):
    page = visit(f"{server.address}/?preset=support_chat&replications=2&traffic=0.25x", "dark")
    if page.get_by_text("Press Run").count():
        page.get_by_role("button", name="Run", exact=True).click()
    page.locator(".js-plotly-plot").nth(2).wait_for()
    settle(page)
    assert luminance(page, "[data-testid=stApp]") < 150
    ink = page.locator(".js-plotly-plot .xtitle").first.evaluate("node => getComputedStyle(node).fill")
    assert sum(int(part) for part in re.findall(r"\d+", ink)[:3]) > 450
    photograph(page, "plan-dark", tmp_path)
    assert page.trouble == []


def test_cancel_answers(server, visit):
    page = visit(f"{server.address}/?traffic=8x&replications=30")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled after").wait_for()
    assert page.get_by_role("button", name="Run", exact=True).is_enabled()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks children up in /proc")
def test_the_end_of_the_server_ends_its_runs(visit):
    own = Server()
    try:
        before = children_of_servers()
        page = visit(f"{own.address}/?traffic=8x&replications=30")
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("button", name="Cancel").wait_for()
        mine = children_of_servers() - before
        assert mine
    finally:
        assert own.stop() == 0
    end = time.monotonic() + 10
    while mine & children_of_servers():
        assert time.monotonic() < end, "a run outlived its server"
        time.sleep(0.1)
