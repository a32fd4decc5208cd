"""Malformed scenarios: each ends in one InputError naming file, path, what was given, what is right."""

import copy
import json

import pytest

from profiles.errors import InputError
from sim.scenario.file import load_scenario, parse_scenario

GOOD = {
    "schema": "proflash/scenario/v1",
    "name": "good",
    "prices_on": "2026-11-23",
    "start": "2026-11-23T07:00:00",
    "duration_s": 1000.0,
    "classes": {
        "chat": {
            "arrivals": {"kind": "poisson", "rate_per_s": 2.0},
            "input_tokens": {"kind": "constant", "value": 100},
            "output_tokens": {"kind": "exponential", "mean": 50},
        }
    },
    "endpoints": {
        "flash": {"buy": "payg", "model": "flash"},
        "pro": {"buy": "instances", "model": "pro", "count": 2},
    },
    "routing": {"policy": "static", "endpoint": "flash"},
}
GONE = object()
HOURLY = {"kind": "hourly", "mean_rate_per_s": 1.0}
CHAT = "classes.chat"

# (what is changed, to what, the path the message names, what it says was given, what it says is right)
FAULTS = {
    "negative rate": (
        f"{CHAT}.arrivals.rate_per_s",
        -1,
        f"{CHAT}.arrivals.rate_per_s",
        "-1",
        "a number above 0",
    ),
    "zero rate": (f"{CHAT}.arrivals.rate_per_s", 0, f"{CHAT}.arrivals.rate_per_s", "0", "a number above 0"),
    "nan": ("duration_s", float("nan"), "duration_s", "nan", "a finite number"),
    "infinity": (f"{CHAT}.arrivals.rate_per_s", float("inf"), f"{CHAT}.arrivals.rate_per_s", "inf", "finite"),
    "text for a number": ("duration_s", "a day", "duration_s", "'a day'", "a number"),
    "quoted 1e5": ("duration_s", "1e5", "duration_s", "'1e5'", "write 100000 without quotes"),
    "true for a number": ("duration_s", True, "duration_s", "true", "a number"),
    "no number": ("duration_s", None, "duration_s", "nothing", "a number"),
    "ten years and more": ("duration_s", 1e12, "duration_s", "1000000000000.0", "316,224,000 or less"),
    "float for a count": ("seed", 1.5, "seed", "1.5", "a whole number"),
    "whole float for a count": (
        f"{CHAT}.max_output_tokens",
        1e3,
        f"{CHAT}.max_output_tokens",
        "1000.0",
        "write 1000",
    ),
    "negative seed": ("seed", -3, "seed", "-3", "0 or more"),
    "no replications": ("replications", 0, "replications", "0", "1 or more"),
    "misspelt key at the top": ("clases", {}, "clases", "{}", "did you mean 'classes'?"),
    "misspelt key below": (
        f"{CHAT}.arrivals.rate_per_sec",
        1,
        f"{CHAT}.arrivals.rate_per_sec",
        "1",
        "'rate_per_s'?",
    ),
    "misspelt in a list": (
        "plan.mixd",
        [],
        "plan.mixd",
        "[]",
        "did you mean 'mixed'?",
    ),
    "missing schema": ("schema", GONE, "schema", "nothing", "proflash/scenario/v1"),
    "another schema": (
        "schema",
        "proflash/scenario/v2",
        "schema",
        "'proflash/scenario/v2'",
        "proflash/scenario/v1",
    ),
    "missing routing": ("routing", GONE, "routing", "nothing", "a mapping of keys"),
    "missing rate": (
        f"{CHAT}.arrivals.rate_per_s",
        GONE,
        f"{CHAT}.arrivals.rate_per_s",
        "nothing",
        "a number",
    ),
    "no classes": ("classes", {}, "classes", "{}", "at least 1 entry, not 0"),
    "classes as a list": ("classes", [], "classes", "[]", "a mapping of keys"),
    "class of nothing": (CHAT, None, CHAT, "nothing", "a mapping of keys"),
    "class name": ("classes.1 chat", {}, "classes", "'1 chat'", "a name: a letter"),
    "unknown arrivals": (
        f"{CHAT}.arrivals.kind",
        "poison",
        f"{CHAT}.arrivals",
        "'poison'",
        "did you mean 'poisson'?",
    ),
    "arrivals without kind": (
        f"{CHAT}.arrivals.kind",
        GONE,
        f"{CHAT}.arrivals",
        "rate_per_s",
        "needs the key kind",
    ),
    "unknown distribution": (
        f"{CHAT}.input_tokens",
        {"kind": "log-normal", "mean": 3},
        f"{CHAT}.input_tokens",
        "'log-normal'",
        "did you mean 'lognormal'?",
    ),
    "a number for a distribution": (
        f"{CHAT}.input_tokens",
        500,
        f"{CHAT}.input_tokens",
        "500",
        "{kind: constant, value: 500}",
    ),
    "half a lognormal": (
        f"{CHAT}.input_tokens",
        {"kind": "lognormal", "median": 3},
        f"{CHAT}.input_tokens",
        "'median': 3",
        "give median and sigma, or mean and cv",
    ),
    "min above max": (
        f"{CHAT}.input_tokens",
        {"kind": "exponential", "mean": 3, "min": 9, "max": 2},
        f"{CHAT}.input_tokens",
        "'min': 9",
        "min 9.0 must be below max 2.0",
    ),
    "23 hours": (
        f"{CHAT}.arrivals",
        HOURLY | {"shape": [1] * 23},
        f"{CHAT}.arrivals.shape",
        "[1, 1",
        "at least 24",
    ),
    "25 hours": (
        f"{CHAT}.arrivals",
        HOURLY | {"shape": [1] * 25},
        f"{CHAT}.arrivals.shape",
        "[1, 1",
        "at most 24",
    ),
    "one bad hour": (
        f"{CHAT}.arrivals",
        HOURLY | {"shape": [*[1] * 23, -1]},
        f"{CHAT}.arrivals.shape.23",
        "-1",
        "0 or more",
    ),
    "no hour with traffic": (
        f"{CHAT}.arrivals",
        HOURLY | {"shape": [0] * 24},
        f"{CHAT}.arrivals.shape",
        "[0, 0",
        "at least one hour must have a positive rate",
    ),
    "bad mixture part": (
        f"{CHAT}.input_tokens",
        {
            "kind": "mixture",
            "parts": [
                {"weight": 0, "of": {"kind": "constant", "value": 1}},
                {"weight": 1, "of": {"kind": "constant", "value": 1}},
            ],
        },
        f"{CHAT}.input_tokens.parts.0.weight",
        "0",
        "a number above 0",
    ),
    "neither arrivals nor trace": (f"{CHAT}.arrivals", GONE, CHAT, "'input_tokens'", "give arrivals"),
    "arrivals without lengths": (
        f"{CHAT}.output_tokens",
        GONE,
        CHAT,
        "'arrivals'",
        "arrivals need input_tokens",
    ),
    "share above 1": (f"{CHAT}.slo", {"share": 95}, f"{CHAT}.slo.share", "95", "1 or less"),
    "unknown modality": (
        f"{CHAT}.needs",
        {"modalities": ["vidoe"]},
        f"{CHAT}.needs.modalities.0",
        "'vidoe'",
        "'video'?",
    ),
    "priority of ten": (f"{CHAT}.priority", 10, f"{CHAT}.priority", "10", "9 or less"),
    "too many requests": (
        f"{CHAT}.arrivals.rate_per_s",
        1e9,
        f"{CHAT}.arrivals",
        "1e+12 arrivals",
        "at most 100,000,000",
    ),
    "unknown purchase": (
        "endpoints.flash.buy",
        "paygo",
        "endpoints.flash",
        "'paygo'",
        "did you mean 'payg'?",
    ),
    "an endpoint of no law": (
        "endpoints.flash.model",
        GONE,
        "endpoints.flash",
        "'buy': 'payg'",
        "name a model",
    ),
    "tier and limits": (
        "endpoints.flash",
        {"buy": "payg", "model": "flash", "tier": "tier1", "limits": {"rpm": 5}},
        "endpoints.flash",
        "'tier': 'tier1'",
        "give tier or limits, not both",
    ),
    "no requests a minute": (
        "endpoints.flash.limits",
        {"rpm": 0},
        "endpoints.flash.limits.rpm",
        "0",
        "1 or more",
    ),
    "unknown limiter": (
        "endpoints.flash.limits",
        {"rpm": 5, "algorithm": "token bucket"},
        "endpoints.flash.limits.algorithm",
        "'token bucket'",
        "did you mean 'token_bucket'?",
    ),
    "chain to nowhere": (
        "endpoints.flash.then",
        "por",
        "endpoints.flash.then",
        "'por'",
        "did you mean 'pro'?",
    ),
    "endless chain": ("endpoints.flash.then", "flash", "endpoints.flash.then", "flash > flash", "never ends"),
    "unknown time zone": ("timezone", "Berlin", "timezone", "'Berlin'", "did you mean 'Europe/Berlin'?"),
    "start with an offset": (
        "start",
        "2026-11-23T07:00:00+01:00",
        "start",
        "+01:00",
        "local time without an offset",
    ),
    "no such day": ("prices_on", "2026-02-30", "prices_on", "'2026-02-30'", "a date such as 2026-11-23"),
    "date as a number": ("prices_on", 20261123, "prices_on", "20261123", "not a number"),
    "date of another age": (
        "prices_on",
        "1926-11-23",
        "prices_on",
        "'1926-11-23'",
        "a year from 2000 to 2200",
    ),
    "warm-up of a day": (
        "study",
        {"kind": "terminating", "warmup_s": 5},
        "study",
        "'warmup_s': 5",
        "has no warm-up",
    ),
    "warm-up too long": (
        "study",
        {"kind": "steady_state", "warmup_s": 1e3},
        "study.warmup_s",
        "1000.0",
        "below duration_s",
    ),
    "multiplier below 1": (
        "client",
        {"backoff": {"multiplier": 0.5}},
        "client.backoff.multiplier",
        "0.5",
        "1 or more",
    ),
    "maybe": ("historical", "maybe", "historical", "'maybe'", "true or false"),
    "policy of that name": ("routing.policy", "ruls", "routing.policy", "'ruls'", "did you mean 'rules'"),
    "policy for no endpoint": (
        "routing.endpoint",
        "flsh",
        "routing.endpoint",
        "'flsh'",
        "did you mean 'flash'",
    ),
    "policy parameter": (
        "routing.endpont",
        "flash",
        "routing.endpont",
        "'endpont'",
        "did you mean 'endpoint'",
    ),
}


def broken(path, value):
    data = copy.deepcopy(GOOD)
    *folders, last = path.split(".")
    holder = data
    for key in folders:
        holder = holder.setdefault(key, {})
    if value is GONE:
        del holder[last]
    else:
        holder[last] = value
    return data


def as_yaml(data):
    """JSON is YAML, but for NaN and infinity."""
    return json.dumps(data).replace("NaN", ".nan").replace("Infinity", ".inf")


def refusal(tmp_path, text, name="broken.yaml"):
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        load_scenario(file)
    message = str(caught.value)
    assert str(file) in message
    assert len(message.encode()) < 2_048
    assert "pydantic" not in message
    assert "Traceback" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


def test_the_good_scenario_is_good(tmp_path):
    (tmp_path / "good.yaml").write_text(as_yaml(GOOD))
    assert load_scenario(tmp_path / "good.yaml").name == "good"


@pytest.mark.parametrize(("path", "value", "named", "given", "right"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named(tmp_path, path, value, named, given, right):
    message = refusal(tmp_path, as_yaml(broken(path, value)))
    assert named in message
    assert given in message
    assert right in message


TEXTS = {
    "unclosed": ("name: [", "not valid YAML"),
    "a list": ("- a\n- b\n", "a list"),
    "empty": ("", "mapping"),
    "twice": ("name: a\nname: b\n", "line 2"),
    "alias": ("a: &x 1\nb: *x\n", "anchors"),
    "tag": ("a: !!python/object:os.system {}\n", "tags"),
    "deep": ("a: " + "[" * 60 + "]" * 60, "deep"),
    "binary": (b"name: \xff\xfe", "UTF-8"),
    "large": ("why: " + "x" * 5_100_000, "bytes"),
}


@pytest.mark.parametrize(("text", "words"), TEXTS.values(), ids=TEXTS.keys())
def test_a_file_that_is_no_scenario(tmp_path, text, words):
    assert words in refusal(tmp_path, text)


def test_toml_faults(tmp_path):
    assert "not valid TOML" in refusal(tmp_path, "name = [", "broken.toml")
    assert "UTF-8" in refusal(tmp_path, b"name = '\xff'", "latin.toml")
    assert "did you mean 'name'" in refusal(tmp_path, "nam = 'x'", "keys.toml")
    assert "4300 digits" in refusal(tmp_path, "seed = " + "9" * 5_000, "long.toml")
    assert "bytes" in refusal(tmp_path, "why = '" + "x" * 5_100_000 + "'", "large.toml")
    assert "nested too deep" in refusal(tmp_path, "a = " + "[" * 100_000, "deep.toml")


def test_all_faults_of_a_file_come_at_once(tmp_path):
    data = broken("classes.chat.arrivals.rate_per_s", -1)
    data["seed"] = "one"
    data["endpoints"]["flash"]["bye"] = 1
    message = refusal(tmp_path, as_yaml(data))
    assert "3 faults" in message
    for path in ("classes.chat.arrivals.rate_per_s", "seed", "endpoints.flash.bye"):
        assert path in message


def test_a_hundred_faults_are_counted_not_listed(tmp_path):
    data = copy.deepcopy(GOOD) | {f"wrong_key_{k}_{'x' * 300}": "y" * 300 for k in range(100)}
    message = refusal(tmp_path, as_yaml(data))
    assert "100 faults" in message
    assert "and 92 more" in message


def test_a_long_path_does_not_crowd_out_the_fault():
    with pytest.raises(InputError) as caught:
        parse_scenario({"name": 1}, "/very/long" * 400)
    assert len(str(caught.value)) < 2_048


def test_a_mapping_without_a_file_names_its_place():
    with pytest.raises(InputError, match=r"^session: seed: given 'x'; right: a whole number$"):
        parse_scenario(GOOD | {"seed": "x"}, "session")
    with pytest.raises(InputError, match=r"^scenario: given 3; right: a mapping of keys"):
        parse_scenario(3)


RICH = GOOD | {
    "classes": {
        "chat": GOOD["classes"]["chat"]
        | {
            "slo": {"ttft_s": 1.0},
            "needs": {"modalities": ["text"]},
            "difficulty": {"kind": "normal", "mean": 0, "sd": 1},
        },
        "jobs": {
            "arrivals": {
                "kind": "fan_out",
                "jobs_per_s": 0.1,
                "queries": {"kind": "uniform", "low": 1, "high": 9},
            },
            "input_tokens": {
                "kind": "mixture",
                "parts": [
                    {"weight": 1, "of": {"kind": "pareto", "minimum": 1, "shape": 2}},
                    {"weight": 1, "of": {"kind": "empirical", "values": [1, 2], "probabilities": [0, 1]}},
                ],
            },
            "output_tokens": {"kind": "weibull", "mean": 5, "shape": 1},
        },
        "log": {"trace": {"format": "csv", "path": "t.csv"}},
    },
    "endpoints": GOOD["endpoints"]
    | {"gsu": {"buy": "provisioned", "model": "flash", "gsus": 3, "spill_limits": {"rpm": 9}}},
    "client": {"backoff": {"base_s": 1}, "timeout_s": 9},
    "study": {"kind": "steady_state", "warmup_s": 10},
    "plan": {"mixed": [{"policy": "rules"}]},
}
ODD = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    -(10**400),
    1e308,
    float("nan"),
    float("-inf"),
    "",
    "x",
    "poisson",
    "payg",
]
ODD += [
    [],
    {},
    [1],
    [[]],
    {"kind": "gamma"},
    {"kind": []},
    {"buy": {}},
    {"kind": "poisson", "kin": 1},
    "é" * 400,
    {"": 1},
]


def spots(node, path=()):
    """Every place of the data."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield from spots(child, (*path, key))


def mutated(path, value, rename):
    data = copy.deepcopy(RICH)
    holder = data
    for key in path[:-1]:
        holder = holder[key]
    if rename and isinstance(holder, dict):
        holder[f"{path[-1]}s"] = holder.pop(path[-1])
    else:
        holder[path[-1]] = value
    return data


@pytest.mark.parametrize(
    "path", [path for path in spots(RICH) if path], ids=lambda path: ".".join(map(str, path))
)
def test_whatever_stands_at_a_place_the_answer_is_a_scenario_or_one_plain_error(path):
    """Every place of a rich scenario, with two dozen odd values and a misspelt key."""
    parse_scenario(RICH)
    for value in [*ODD, "rename"]:
        try:
            parse_scenario(mutated(path, value, value == "rename"), "fuzz.yaml")
        except InputError as error:
            message = str(error)
            assert message.startswith("fuzz.yaml: ")
            assert len(message.encode()) < 2_048
            assert "right: " in message or "must" in message
            assert "pydantic" not in message.lower()
