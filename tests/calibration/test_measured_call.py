"""One measured call: every fault becomes an outcome, and the key goes nowhere but to the service asked."""

import asyncio
import dataclasses
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from calibration import client
from calibration.client import CallSpec, Secret, ServiceError, check_base_url, connect, key_from
from calibration.emulator import Limits, ModelTruth, Truth
from calibration.emulator.server import running
from calibration.observe import pace_s
from profiles.errors import InputError
from profiles.latency import LatencyLaw

CANARY = "AIzaCANARY0123456789abcdefghijklmnopqrstu"


def measure(
    url, model, *, prompt="hi about 400 tokens", level=None, shown=False, timeout_s=20.0, key=None, cap=9000
):
    async def once():
        async with connect(url, key) as api:
            return await api.measure(CallSpec(model, prompt, cap, level, shown, timeout_s))

    return asyncio.run(once())


def test_a_good_call_has_all_marks_in_order(base_url):
    m = measure(base_url, "thinker", level="low", shown=True)
    assert m.outcome == "ok"
    assert 0 < m.wire_s < m.first_chunk_s < m.first_answer_s < m.last_chunk_s <= m.end_s
    assert m.at_first_chunk.answer == 0 < m.at_first_chunk.thoughts < m.at_first_answer.thoughts
    assert m.at_first_answer.answer == 24
    assert m.total.answer > 100
    assert m.server_s == pytest.approx(m.first_chunk_s - m.wire_s, abs=0.1)
    assert m.input_tokens == 5


def test_pace_comes_from_running_totals(base_url, truth):
    m = measure(base_url, "plain", prompt="hi about 2000 tokens")
    assert pace_s(m) * truth.time_scale == pytest.approx(0.004, rel=0.5)


@pytest.mark.parametrize(
    ("model", "outcome", "code", "billed"),
    [
        ("unavailable", "failed", 503, False),
        ("deadline", "failed", 504, False),
        ("stream_error", "cut", 503, True),
        ("cut", "cut", None, True),
        ("nobody", "failed", 404, False),
    ],
)
def test_faults_become_outcomes(base_url, model, outcome, code, billed):
    m = measure(base_url, model)
    assert (m.outcome, m.code, m.billed) == (outcome, code, billed)
    if outcome == "cut":
        assert m.total.answer > 0, "what came before the fault is kept"


def test_a_stall_times_out_and_keeps_what_came(base_url):
    m = measure(base_url, "stall", timeout_s=1.0)
    assert m.outcome == "timed_out"
    assert m.total.answer > 0
    assert m.last_chunk_s < 0.9 < m.end_s


def test_a_slow_start_times_out():
    law = LatencyLaw(30.0, 0, 0, 1e-4)
    with running(Truth({"slow": ModelTruth(law)})) as url:
        m = measure(url, "slow", timeout_s=0.4)
    assert m.outcome == "timed_out"
    assert m.first_chunk_s is None
    assert 0.3 < m.end_s < 5
    assert m.billed


def test_a_429_keeps_quota_and_delay():
    law = ModelTruth(LatencyLaw(0.01, 0, 0, 1e-4), limits=Limits(rpm=1))
    with running(Truth({"m": law})) as url:
        measure(url, "m")
        m = measure(url, "m")
    assert m.outcome == "throttled"
    assert 0 < m.retry_s <= 60
    assert m.quota == "GenerateContentPaidTierRequestsPerModelPerMinute"
    assert not m.billed


def test_nobody_listening_is_a_failure_not_a_crash():
    m = measure("http://127.0.0.1:9", "m")
    assert (m.outcome, m.status, m.billed) == ("failed", "ClientConnectorError", False)


class _Rude(BaseHTTPRequestHandler):
    """Answers as its server's ``reply`` says, echoing the key it was given in every field it can."""

    def do_POST(self):
        self.server.keys.append(self.headers.get("x-goog-api-key"))
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, headers, body = self.server.reply
        self.send_response(status, f"reason {CANARY}")
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def rude():
    servers = []

    def start(status, headers, body):
        server = HTTPServer(("127.0.0.1", 0), _Rude)
        server.reply, server.keys = (status, headers, body), []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server, f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def evil_error(code):
    text = f"bad {CANARY}"
    details = [{"reason": text, "retryDelay": text, "violations": [{"quotaId": text}, 3]}, "x", None]
    return json.dumps({"error": {"code": code, "message": text, "status": text, "details": details}}).encode()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"garbage " + CANARY.encode()),
        (200, b'data: {"error": {"code": 500, "message": "' + CANARY.encode() + b'"}}\r\n\r\n'),
        (200, b"data: [DONE]\n\n"),
        (200, b""),
        *[(code, evil_error(code)) for code in (400, 401, 403, 404, 409, 429, 500, 503)],
        (500, b"<html>" + CANARY.encode()),
    ],
)
def test_nothing_a_server_says_is_stored_as_text(rude, status, body, caplog):
    _, url = rude(status, {"Retry-After": CANARY, "server-timing": CANARY}, body)
    with caplog.at_level("DEBUG"):
        m = measure(url, "m", key=Secret(CANARY))
    assert m.outcome != "ok"
    assert CANARY not in json.dumps(dataclasses.asdict(m))
    assert CANARY not in caplog.text.replace(f"reason {CANARY}", "")


def test_a_redirect_takes_no_key_along(rude):
    thief, thief_url = rude(200, {}, b"")
    _, url = rude(302, {"Location": thief_url + "/v1/models"}, b"")
    m = measure(url, "m", key=Secret(CANARY))
    assert m.outcome == "failed"
    assert thief.keys == []


def test_a_refused_key_stops_before_measuring(rude):
    async def count(url):
        async with connect(url, Secret(CANARY)) as api:
            return await api.count_tokens("m", "hi")

    _, url = rude(403, {}, evil_error(403))
    with pytest.raises(ServiceError) as caught:
        asyncio.run(count(url))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "ftp://127.0.0.1", "example.com", "https://user@example.com", "https://h/?a=1"],
)
def test_a_key_goes_over_https_or_stays_here(url):
    with pytest.raises(InputError):
        check_base_url(url)


def test_the_key_comes_from_the_environment_only():
    assert key_from({"GEMINI_API_KEY": "a", "GOOGLE_API_KEY": "b"}, client.GOOGLE).reveal() == "b"
    assert key_from({}, "http://127.0.0.1:1").reveal() == "loopback"
    with pytest.raises(InputError, match="GEMINI_API_KEY"):
        key_from({}, client.GOOGLE)
    assert CANARY not in repr(Secret(CANARY)) + str(Secret(CANARY))
