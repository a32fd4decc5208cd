"""The report says what the plan says, escapes what users wrote, and is written whole or not at all."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from profiles.errors import InputError
from sim.experiments.study import study
from sim.outcome.stats import Estimate
from sim.report import words, write_report
from sim.report.content import content_of
from sim.report.extras import calls_table
from sim.report.html import csp_hash, render_html
from sim.report.markdown import escape, render_markdown
from sim.report.tables import bill_rows, unit_price
from sim.scenario.file import load_scenario


class Page(HTMLParser):
    """Elements, attributes, text and scripts of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.scripts, self.words = [], [], [], []
        self._inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self._inside != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page(small_plan, small_scenario):
    return Page(render_html(small_plan, small_scenario))


def test_the_sentence_comes_first(page, small_plan):
    assert page.text.index(small_plan.sentence) < 250


def test_it_says_cost_verdicts_and_what_it_rests_on(page, small_plan):
    for option in small_plan.options:
        assert option.label in page.text
        for requirement in option.requirements:
            assert requirement.name in page.text
    for assumption in small_plan.assumptions:
        assert assumption.what in page.text
    found = small_plan.best.summary.provenance
    for fact in (found.scenario_hash, str(found.seed), found.prices_on, found.versions["numpy"]):
        assert fact in page.text
    assert "Audit passed" in page.text


def test_one_page_no_remote_asset(page):
    assert {"iframe", "object", "embed", "base"}.isdisjoint(page.tags)
    links = [value for name, value in page.attributes if name in ("src", "href", "action", "srcset")]
    assert links == ["data:,"]


def test_policy_allows_exactly_its_own_scripts(page):
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'")
    running = [text for attrs, text in page.scripts if "type" not in attrs]
    assert len(running) == 2
    allowed = set(re.findall(r"'sha256-[^']+'", policy))
    assert allowed == {csp_hash(text) for text in running}
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_plotly_is_inlined_once(page):
    assert sum("plotly.js v" in text for _, text in page.scripts) == 1


def test_figures_travel_whole(page, small_plan):
    data = next(text for attrs, text in page.scripts if attrs.get("type") == "application/json")
    assert not re.search("[<>&\u2028\u2029]", data)
    figures = json.loads(data)
    drawn = {value for name, value in page.attributes if name == "id" and value.startswith("chart-")}
    assert set(figures) == drawn
    labels = {trace["name"] for trace in figures["chart-waiting-0"]["light"]["data"] if "name" in trace}
    assert labels == {option.label for option in small_plan.options}


def test_every_picture_has_words_and_a_table(page):
    attributes = dict(page.attributes)
    assert attributes["role"] == "img"
    alts = [value for name, value in page.attributes if name == "aria-label"]
    assert len(alts) == sum(value.startswith("chart-") for name, value in page.attributes if name == "id")
    assert all(len(alt) > 40 for alt in alts)
    assert page.text.count("The same as a table") >= len(alts) - 2  # two charts show what a table above says


def test_markup_in_names_stays_text(hostile_plan, page):
    text = render_html(hostile_plan)
    found = Page(text)
    assert "img" not in found.tags
    assert {name for name, _ in found.attributes if name.startswith("on")} == set()
    assert [attrs for attrs, _ in found.scripts] == [attrs for attrs, _ in page.scripts]
    assert "{{ 7*7 }}" in found.text
    assert "onerror=alert(1)" in found.text  # shown, not run


def test_same_input_same_bytes(small_run, small_scenario):
    assert render_html(small_run, small_scenario) == render_html(small_run, small_scenario)


def test_a_run_has_a_report_too(small_run, small_scenario):
    with_scenario = content_of(small_run, small_scenario)
    alone = content_of(small_run)
    assert len(with_scenario.verdicts.rows) > len(alone.verdicts.rows) == len(small_run.slo)
    assert with_scenario.assumptions.rows
    assert with_scenario.sentence.startswith("Routed by rules, enterprise_day costs $")
    text = Page(render_html(small_run, small_scenario)).text
    assert with_scenario.sentence in text
    assert "Where requests were served" in text


def test_unknown_figures_are_explained_below_their_table(small_run):
    costs = replace(small_run.costs, usd_per_month=Estimate.unknown("USD/month", "never priced"))
    content = content_of(replace(small_run, costs=costs))
    assert content.options.rows[0][1].text == "unknown"
    assert content.options.notes == ("rules: never priced",)
    assert "an unknown amount (never priced)" in content.sentence


def test_without_an_interval_nothing_is_close(small_run, small_scenario):
    found = replace(small_run.slo["support_chat"].share, value=0.951, low=None, high=None)
    slo = {"support_chat": replace(small_run.slo["support_chat"], share=found, met=True, sure=False)}
    content = content_of(replace(small_run, slo=slo, replications=1))
    assert content.warnings == (
        "One replication only: no figure has an interval. Run more to know how sure it is.",
    )
    near = replace(found, low=0.94, high=0.96)
    slo = {"support_chat": replace(slo["support_chat"], share=near)}
    assert "Too close to call" in content_of(replace(small_run, slo=slo)).warnings[0]


def test_unknown_money_never_reads_zero(small_run):
    lines = tuple(
        replace(line, unit_price_pusd=None, amount_pusd=None, note="never priced")
        for line in small_run.bill.mean_lines
    )
    rows = bill_rows(lines)
    assert {row.amount for row in rows} == {"unknown"}
    assert {row.price for row in rows if row.quantity} == {"unknown"}
    assert any(row.note == "never priced" for row in rows)


def test_bill_rows_add_up_and_name_their_price(small_plan):
    bill = content_of(small_plan).bills[0]
    assert bill.label == small_plan.recommended
    leaves = [row for row in bill.rows if row.quantity]
    assert len(leaves) == len(small_plan.best.summary.bill.mean_lines)
    assert all(row.source.count(",") >= 2 and "per 1M tokens" in row.price for row in leaves)


@pytest.mark.parametrize(
    ("unit", "pusd", "text"),
    [
        ("input", 75_000, "$0.075 per 1M tokens"),
        ("output", 10_000_000, "$10.00 per 1M tokens"),
        ("instance_hour", 3_673_100_000_000, "$3.6731 an hour"),
        ("search_query", 14_000_000_000, "$14.00 per 1k queries"),
        ("cache_storage_hour", 1_000_000, "$1.00 per 1M tokens an hour"),
        ("input", None, "unknown"),
    ],
)
def test_unit_prices_are_exact(small_run, unit, pusd, text):
    assert unit_price(replace(small_run.bill.mean_lines[0], unit=unit, unit_price_pusd=pusd)) == text


def test_differences_leave_the_baseline_out(small_plan):
    table = content_of(small_plan).differences
    assert [row[0].text for row in table.rows] == [o.label for o in small_plan.options[1:]]
    cost = small_plan.options[1].against_baseline["usd_per_month"]
    assert table.rows[0][1].text.startswith("-$" if cost.value < 0 else "+$")


# --- Markdown ---------------------------------------------------------------------------------


def test_markdown_holds_the_decision(small_plan, small_scenario):
    text = render_markdown(small_plan, small_scenario)
    assert escape(small_plan.sentence) in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    assert len(text) < 20_000


def test_markdown_escapes(hostile_plan):
    text = render_markdown(hostile_plan)
    assert "<img" not in text
    assert "</script" not in text
    assert not re.search(r"(?<!\\)\]\(", text)
    assert escape("a|b*c_d\n# <e>") == r"a\|b\*c\_d \# &lt;e&gt;"


# --- files ------------------------------------------------------------------------------------


def test_a_plan_folder_is_reported_as_a_plan(plan_folder, small_plan):
    written = write_report(plan_folder)
    assert written == plan_folder / "report.html"
    text = Page(written.read_text(encoding="utf-8")).text
    assert small_plan.sentence in text
    assert "The SLO asks 95% within 6 s" in written.read_text(encoding="utf-8")


def test_json_is_the_document_itself(plan_folder, run_folder, small_plan, small_run, tmp_path):
    assert write_report(plan_folder, "json", tmp_path / "a.json").read_text() == small_plan.to_json()
    assert write_report(run_folder, "json", tmp_path / "b.json").read_text() == small_run.to_json()


def test_markdown_file(run_folder):
    assert write_report(run_folder, "md").read_text().startswith("# enterprise")


@pytest.mark.parametrize(
    ("report_format", "says"), [("pdf", "choose html, md, json"), ("HTML", "choose html, md, json")]
)
def test_an_unknown_format_is_refused(run_folder, report_format, says):
    with pytest.raises(InputError, match=says):
        write_report(run_folder, report_format)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"summary\.json|scenario\.yaml"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        write_report(tmp_path / "none")


def test_a_broken_plan_is_refused_and_nothing_is_written(plan_folder):
    (plan_folder / "plan.json").write_text('{"schema": "proflash/plan/v1"}')
    before = {entry.name for entry in plan_folder.iterdir()}
    with pytest.raises(InputError, match="plan"):
        write_report(plan_folder)
    assert {entry.name for entry in plan_folder.iterdir()} == before


def test_an_old_report_survives_a_failed_one(run_folder):
    written = write_report(run_folder, "md")
    text = written.read_text()
    (run_folder / "summary.json").write_text("{")
    with pytest.raises(InputError):
        write_report(run_folder, "md")
    assert written.read_text() == text


def test_a_folder_is_no_file(run_folder, tmp_path):
    with pytest.raises(InputError, match="name a file"):
        write_report(run_folder, "md", tmp_path)


# --- who called again, and why ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def storm():
    """A pool that its own retries press, with hedges beside them."""
    hedged = {"policy": "hedged", "of": {"policy": "static", "endpoint": "pool"}, "after_s": 8.0}
    spec = load_scenario("retry_storm", ["duration_s=300.0", "client.timeout_s=5.0"])
    return study(spec.model_copy(update={"routing": hedged})).summary


def test_a_report_tells_the_amplification_by_cause(storm):
    table = content_of(storm).calls
    assert table is not None
    found = {row[1].text: row for row in table.rows}
    assert found["all"][3].text == words.count(storm.total.attempts_per_request)
    assert {"retries"} <= set(found)
    for kind, counted in (("retries", storm.total.retries), ("hedges", storm.total.hedges)):
        if kind in found:
            assert found[kind][2].text == words.count(counted)
    assert table.caption in render_html(storm)
    assert words.count(storm.total.attempts_per_request) in render_markdown(storm)


def test_where_each_request_is_one_call_there_is_no_such_table(storm):
    calm = {
        name: Estimate(0.0, 0.0, 0.0, 2, "attempts") for name in ("retries", "hedges", "throttled_attempts")
    }
    quiet = replace(storm, total=replace(storm.total, **calm, abandoned=calm["hedges"]))
    assert calls_table({"calm": quiet}) is None
