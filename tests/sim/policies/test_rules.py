"""The founding decision framework, criterion by criterion."""

import itertools
from dataclasses import dataclass

import pytest

from sim.policies.rules import Rules
from sim.policies.view import EndpointFacts
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


def decide(needs=None, pro=None, flash=None, **asked):
    system = {"pro": View(facts("pro", **(pro or {}))), "flash": View(facts("flash", **(flash or {})))}
    found = Rules().decide(Asked(Spec(Needs(**(needs or {}))), **asked), system)
    return found.endpoint, found.criterion


SMALL = {"context_tokens": 100_000}
PREVIEW = {"generally_available": False}
NO_SLA = {"has_sla": False}
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
        # ruled out: nobody is left
        ({"input_tokens": 1_000_001}, (None, "context")),
        ({"pro": PREVIEW, "flash": NO_SLA, "needs": {"production": True}}, (None, "production")),
        ({"needs": {"deployment": "gemini_api"}}, (None, "deployment")),
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
