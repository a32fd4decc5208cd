"""The founding decision framework, criterion by criterion."""

import itertools
from dataclasses import dataclass

import pytest

from sim.experiments.study import study
from sim.policies.rules import Rules
from sim.policies.view import EndpointFacts
from sim.scenario.file import load_scenario, parse_scenario
from sim.scenario.spec import Needs

TEXT = frozenset({"text"})
ALL = frozenset({"text", "image", "video", "audio", "pdf"})


def facts(name, **changes):
    given = {
        "channel": "vertex",
        "family": name,
        "context_tokens": 1_000_000,
        "max_output_tokens": 8_192,
        "modalities": ALL,
        "generally_available": True,
        "has_sla": True,
        "ability": None,
    }
    return EndpointFacts(name=name, **(given | changes))


@dataclass
class View:
    facts: EndpointFacts
    counts_media = False

    def prompt_tokens(self, request):
        return request.input_tokens


@dataclass
class Spec:
    needs: Needs


@dataclass
class Asked:
    spec: Spec
    input_tokens: int = 1_000
    max_output_tokens: int = 0
    class_name: str = "a"
    governance: str | None = None


def decide(needs=None, pro=None, flash=None, **asked):
    system = {"pro": View(facts("pro", **(pro or {}))), "flash": View(facts("flash", **(flash or {})))}
    found = Rules().decide(Asked(Spec(Needs(**(needs or {}))), **asked), system)
    return found.endpoint, found.criterion


SMALL = {"context_tokens": 100_000}
PREVIEW = {"generally_available": False}
NO_SLA = {"has_sla": False}
AT_HOME = {"governance": frozenset({"public", "internal"})}
VERTEX = {"deployment": "vertex"}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        # weighed: reasoning against latency
        ({"needs": {"reasoning": "high"}}, ("pro", "reasoning")),
        ({"needs": {"reasoning": "high", "latency": "interactive"}}, ("pro", "reasoning")),
        ({"needs": {"reasoning": "medium", "latency": "relaxed"}}, ("pro", "reasoning")),
        ({"needs": {"reasoning": "medium"}}, ("flash", "reasoning")),
        ({"needs": {"reasoning": "medium", "latency": "interactive"}}, ("flash", "latency")),
        ({"needs": {"reasoning": "low", "latency": "relaxed"}}, ("flash", "reasoning")),
        ({"needs": {"latency": "interactive"}}, ("flash", "latency")),
        # ruled out: one is left
        ({"flash": SMALL, "input_tokens": 100_001}, ("pro", "context")),
        ({"flash": SMALL, "input_tokens": 99_000, "max_output_tokens": 1_001}, ("pro", "context")),
        ({"flash": SMALL, "input_tokens": 99_000, "max_output_tokens": 1_000}, ("flash", "reasoning")),
        ({"flash": SMALL, "needs": {"context_tokens": 100_001}}, ("pro", "context")),
        ({"flash": {"context_tokens": None}, "input_tokens": 10**7, "pro": SMALL}, ("flash", "context")),
        ({"flash": {"modalities": TEXT}, "needs": {"modalities": ("text", "pdf")}}, ("pro", "modality")),
        ({"pro": {"channel": "gemini_api"}, "needs": {"deployment": "gemini_api"}}, ("pro", "deployment")),
        ({"pro": PREVIEW, "needs": {"reasoning": "high", "production": True}}, ("flash", "production")),
        ({"flash": NO_SLA, "needs": {"production": True}}, ("pro", "production")),
        ({"pro": PREVIEW, "needs": {"reasoning": "high"}}, ("pro", "reasoning")),
        ({"flash": AT_HOME, "governance": "regulated"}, ("pro", "governance")),
        ({"flash": AT_HOME, "governance": "internal"}, ("flash", "reasoning")),
        ({"flash": AT_HOME}, ("flash", "reasoning")),  # nothing is stated about its data
        # ruled out: nobody is left
        ({"input_tokens": 1_000_001}, (None, "context")),
        ({"pro": PREVIEW, "flash": NO_SLA, "needs": {"production": True}}, (None, "production")),
        ({"needs": {"deployment": "gemini_api"}}, (None, "deployment")),
        ({"pro": AT_HOME, "flash": AT_HOME, "governance": "regulated"}, (None, "governance")),
        (
            {"pro": {"modalities": TEXT}, "flash": {"modalities": TEXT}, "needs": {"modalities": ("audio",)}},
            (None, "modality"),
        ),
        # what one criterion leaves, the next may still rule out
        (
            {"flash": SMALL, "pro": PREVIEW, "input_tokens": 500_000, "needs": {"production": True}},
            (None, "production"),
        ),
        (
            {"flash": SMALL, "pro": {"channel": "gemini_api"}, "input_tokens": 500_000, "needs": VERTEX},
            (None, "deployment"),
        ),
    ],
)
def test_which_criterion_decides(case, expected):
    assert decide(**case) == expected


def test_the_prepared_rules_decide_as_the_rules_do():
    shapes = [
        {"context_tokens": 100_000},
        {"context_tokens": None},
        {"generally_available": False},
        {"modalities": TEXT},
    ]
    wants = [{"reasoning": level, "production": p} for level in ("low", "medium", "high") for p in (0, 1)]
    wants += [{"modalities": ("text", "pdf")}, {"context_tokens": 200_000}]
    for pro, flash, needs in itertools.product(shapes, shapes, wants):
        needs = {key: bool(value) if key == "production" else value for key, value in needs.items()}
        system = {"pro": View(facts("pro", **pro)), "flash": View(facts("flash", **flash))}
        spec = Spec(Needs(**needs))
        prepared = Rules().prepare({"a": spec}, system)
        for prompt in (1, 100_000, 100_001, 2_000_000):
            asked = Asked(spec, prompt)
            assert prepared.choose(asked, system) == Rules().choose(asked, system)


def test_rules_keep_data_where_it_may_be():
    """Half of the class is regulated, and regulated data may only go to the regional endpoint."""
    spec = load_scenario("support_chat", ["duration_s=900.0", "replications=1"])
    document = spec.model_dump(mode="json", by_alias=True)
    document["classes"]["support_chat"]["governance"] = {"internal": 0.5, "regulated": 0.5}
    document["endpoints"]["pro"]["region"] = "regional"
    document["governance"] = {"regulated": {"regions": ["regional"]}}
    document["routing"] = {"policy": "rules"}
    total = study(parse_scenario(document)).summary.total
    assert total.governed_share.value == 1.0
    document["routing"] = {"policy": "static", "endpoint": "flash"}
    assert study(parse_scenario(document)).summary.total.governed_share.value < 0.7
