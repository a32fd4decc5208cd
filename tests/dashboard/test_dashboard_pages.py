"""The pages, driven without a browser: real scenarios, real child interpreters."""

import json
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import dashboard
from dashboard import session
from dashboard.text import plain

HERE = Path(dashboard.__file__).parent
PAGES = sorted(f"pages/{path.name}" for path in (HERE / "pages").glob("*_page.py"))
SMALL = {"preset": "support_chat", "traffic": "0.25x", "replications": "2"}
LONG = {"preset": "enterprise_day", "traffic": "8x", "replications": "30"}


@pytest.fixture(autouse=True)
def _no_children_left():
    yield
    session.jobs().close()
    session.jobs.clear()


def visit(**inputs):
    at = AppTest.from_file(str(HERE / "app.py"), default_timeout=60)
    for key, value in inputs.items():
        at.query_params[key] = value
    at.run()
    assert not at.exception
    return at


def run_until(at, condition, limit_s=90.0):
    end = time.monotonic() + limit_s
    while not condition(at):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)
        at.run()
        assert not at.exception
    return at


def press_run(at):
    at.button(key="run").click().run()
    assert not at.exception
    return at


def running(at):
    return any(button.key == "cancel" for button in at.button)


def ended(at):
    return run_until(at, lambda page: not running(page))


def knob(at, key):
    return next(slider for slider in at.select_slider if slider.key == key)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_renders(page):
    at = visit().switch_page(page).run()
    assert not at.exception
    assert at.title


def test_before_a_run_the_page_says_what_to_do_and_why_the_numbers_are_what_they_are():
    at = visit()
    assert at.selectbox(key="preset").value == "enterprise_day"
    assert "Press Run" in at.info[0].value
    assert any("seven to seven in Berlin" in text.value for text in at.markdown)
    assert not at.metric


def test_a_deep_link_restores_the_inputs():
    at = visit(
        preset="support_chat", traffic="4x", answers="0.5x", difficulty="+0.5", replications="10",
        prices_on="2026-11-25",
    )  # fmt: skip
    assert at.selectbox(key="preset").value == "support_chat"
    values = {slider.key: slider.value for slider in at.select_slider}
    assert values == {"traffic": 4.0, "answers": 0.5, "difficulty": 0.5, "replications": 10}
    assert str(at.date_input(key="prices_on").value) == "2026-11-25"


def test_a_link_with_nonsense_opens_with_the_defaults():
    at = visit(preset="no_such", traffic="1e9", difficulty="hard", prices_on="yesterday")
    values = {slider.key: slider.value for slider in at.select_slider}
    assert at.selectbox(key="preset").value == "enterprise_day"
    assert values == {"traffic": 1.0, "answers": 1.0, "difficulty": 0.0, "replications": 5}


def test_another_scenario_is_priced_on_its_own_date_again():
    at = visit(prices_on="2026-12-05")
    at.selectbox(key="preset").set_value("founding_pair_2025").run()
    assert at.date_input(key="prices_on").value is None
    assert any("2025-02-20" in text.value.replace("\\", "") for text in at.caption)


def test_a_run_ends_in_the_recommendation_and_a_reload_shows_it_at_once():
    at = ended(press_run(visit(**SMALL)))
    assert at.success[0].value.startswith("**Take Flash only")
    assert [m.value for m in at.metric if m.label == "Cost a month"].count("unknown") == 0
    assert len([m for m in at.metric if m.label == "Cost a month"]) == 4
    assert len(at.get("plotly_chart")) == 3
    assert len(at.table) >= 7
    again = visit(**SMALL)  # another session with the same link
    assert again.success[0].value == at.success[0].value
    assert not running(again)


def test_events_are_marked_on_the_run_over_time_and_listed():
    at = ended(press_run(visit(preset="switch_over", traffic="0.25x", replications="2")))
    drawn = next(one for one in at.get("plotly_chart") if "over time" in one.proto.alt)
    assert len(json.loads(drawn.proto.spec)["layout"]["shapes"]) == 2 * 2  # a line an event on each panel
    listed = next(table.value for table in at.table if "event" in table.value.columns)
    assert list(listed["what"])[1] == plain("flash serves gemini-3.5-flash-lite")


def test_other_inputs_call_for_another_run_and_the_old_ones_find_their_result():
    at = ended(press_run(visit(**SMALL)))
    knob(at, "difficulty").set_value(0.5).run()
    assert at.warning[0].value.startswith("Inputs changed: run again")
    assert "difficulty 0 " in at.warning[0].value
    assert at.success, "the old result stays on the page"
    knob(at, "difficulty").set_value(0.0).run()
    assert not at.warning


def test_an_unknown_price_says_so_and_never_reads_zero():
    at = ended(press_run(visit(preset="founding_pair_2025", traffic="0.25x", replications="2")))
    costs = [m.value for m in at.metric if m.label == "Cost a month"]
    assert costs.count("unknown") == 3
    assert not any(cost == plain("$0") for cost in costs)


def test_cancel_stops_the_run_and_says_so():
    at = press_run(visit(**LONG))
    assert running(at)
    assert at.button(key="run").disabled
    job = at.session_state["job"].job
    at.button(key="cancel").click().run()
    ended(at)
    assert job.poll().state == "cancelled"
    assert at.info[0].value.startswith("Cancelled after")
    assert not at.success
    assert not at.button(key="run").disabled


def test_two_sessions_do_not_mix():
    one, two = press_run(visit(**LONG)), visit(**SMALL)
    assert running(one)
    assert not running(two)
    ended(press_run(two))
    assert two.success
    one.run()
    assert running(one), "the other session's end is not this one's"
    assert not one.success
    assert one.selectbox(key="preset").value == "enterprise_day"


def test_what_the_child_refuses_is_told_in_its_words():
    at = ended(press_run(visit(preset="support_chat", prices_on="2024-02-01")))
    assert not at.success
    assert "2024\\-02\\-01" in at.error[0].value
    assert "Traceback" not in at.error[0].value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$1 to $2", r"\$1 to \$2"),
        (":red[x] :material/check:", r"\:red\[x\] \:material/check\:"),
        ("<b>a</b> & `c` *d* _e_", r"\<b\>a\</b\> \& \`c\` \*d\* \_e\_"),
        ("# not a heading\n\n- nor a list", r"\# not a heading \- nor a list"),
        ("![i](http://x)", r"\!\[i\]\(http\://x\)"),
    ],
)
def test_words_are_shown_as_written(text, shown):
    assert plain(text) == shown


MINE = """
from dataclasses import dataclass

from sim.policies import EndpointName


@dataclass(frozen=True)
class LongToPro:
    pro: EndpointName = "pro"
    flash: EndpointName = "flash"

    def choose(self, request, system):
        return self.pro if request.input_tokens > 1_500 else self.flash
"""


def test_any_registered_policy_can_be_compared_a_users_own_too(tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    monkeypatch.setenv("PROFLASH_POLICY_FILES", f"{path}:LongToPro")
    at = visit(**SMALL)
    (box,) = at.multiselect
    assert {"LongToPro", "cascade", "hedged", "cheapest", "rules"} <= set(box.options)
    box.set_value(["LongToPro", "cascade"]).run()
    at = ended(press_run(at))
    shown = " ".join(element.value for element in at.markdown)
    assert plain("Mixed: LongToPro") in shown
    assert plain("Mixed: cascade") in shown
