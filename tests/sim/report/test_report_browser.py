"""The page in a real browser: it draws, asks for nothing, complains of nothing, in light and in dark."""

import shutil

import pytest

from sim.report.html import render_html

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on PATH")
    with sync_api.sync_playwright() as p:
        opened = p.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Open a page and return it with what it asked for and what it complained of."""
    contexts = []

    def open_page(text, scheme):
        path = tmp_path / "report.html"
        path.write_text(text, encoding="utf-8")
        context = browser.new_context(viewport={"width": 1180, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page, asked, complaints = context.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn=yes]", timeout=60_000)
        return page, [url for url in asked if url != path.as_uri()], complaints

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_draws_and_asks_for_nothing(visit, small_plan, small_scenario, scheme):
    page, asked, complaints = visit(render_html(small_plan, small_scenario), scheme)
    assert asked == []
    assert complaints == []
    charts = page.locator(".chart")
    assert charts.count() == 10
    assert page.locator(".chart .main-svg").count() >= charts.count()
    assert page.locator(".sentence").inner_text() == small_plan.sentence
    assert page.evaluate("document.documentElement.scrollWidth") <= 1180
    ink = page.locator(".chart .xtitle").first.evaluate("e => getComputedStyle(e).fill")
    assert ink == {"light": "rgb(38, 50, 61)", "dark": "rgb(215, 223, 231)"}[scheme]


def test_charts_follow_the_theme_and_print_light(visit, small_plan, small_scenario):
    page, _, complaints = visit(render_html(small_plan, small_scenario), "dark")
    expect = pytest.importorskip("playwright.sync_api").expect
    title = page.locator(".chart .xtitle").first
    page.emulate_media(color_scheme="light")
    expect(title).to_have_css("fill", "rgb(38, 50, 61)", timeout=30_000)
    page.emulate_media(color_scheme="dark")
    expect(title).to_have_css("fill", "rgb(215, 223, 231)", timeout=30_000)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.locator(".chart .main-svg[width='660']").first.wait_for(timeout=30_000)
    expect(title).to_have_css("fill", "rgb(38, 50, 61)", timeout=30_000)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(title).to_have_css("fill", "rgb(215, 223, 231)", timeout=30_000)
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.locator(".modebar-container").first.is_hidden()
    assert complaints == []


def test_hostile_names_run_nothing(visit, hostile_plan):
    page, asked, complaints = visit(render_html(hostile_plan), "light")
    assert asked == []
    assert complaints == []
    assert page.locator("img").count() == 0
    assert page.locator("main a").count() == page.locator(".modebar a").count()
    assert page.locator("svg a").count() == 0


def test_the_policy_stops_what_it_did_not_name(visit, small_run):
    """The policy is not for show: a script it does not name is refused."""
    text = render_html(small_run).replace("</main>", "<script>document.title = 'run'</script></main>")
    page, _, complaints = visit(text, "light")
    assert page.title() != "run"
    assert any("Content Security Policy" in one for one in complaints)
