"""The counters of `quota_aware` against a naive model that keeps every call it ever sent."""

from functools import cache

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from small import catalog, constant, load_of, payg, request_class, scenario

from sim.policies import build_policy
from sim.policies.view import EndpointView, Idle, Request, Requests, System
from sim.world.places import facts_of, resolve

SHOPS = {
    "a": payg(scopes=["all"], limits={"rpm": 4}),
    "b": payg(scopes=["all"], limits={"input_tpm": 9_000}),
    "c": payg(limits={"rpm": 9, "input_tpm": 20_000}),
}
KINDS = {
    f"p{priority}n{tokens}": request_class(priority=priority, input_tokens=constant(tokens))
    for priority in (0, 5)
    for tokens in (1, 900, 4_000)
}


@cache
def world_and_load():
    scopes = {"all": {"rpm": 12, "input_tpm": 30_000}}
    spec = scenario(SHOPS, KINDS, limits_scopes=scopes, duration_s=20.0)
    return resolve(spec, catalog()), load_of(spec)


class QuotaWatches(RuleBasedStateMachine):
    @initialize(reserve=st.sampled_from([0.0, 0.5]))
    def start(self, reserve):
        (world, self.load), spec = world_and_load(), world_and_load()[0].scenario
        self.now, self.reserve, self.sent = 0.0, reserve, []
        views = {p.name: EndpointView(Idle(), facts_of(p, spec, world.scopes)) for p in world.places}
        self.system = System(views, lambda: self.now)
        self.requests = Requests(self.load, spec.classes)
        policy = build_policy({"policy": "quota_aware", "reserve_share": reserve})
        self.policy = policy.prepare(spec.classes, self.system)

    def shares(self, tokens):
        """By endpoint, what of its tightest limit is used when one more call goes there."""
        recent = [(name, n) for at, name, n in self.sent if at > self.now - 60.0]
        limits = {"a": [("a", 4, None)], "b": [("b", None, 9_000)], "c": [("c", 9, 20_000)]}
        limits = {
            name: [*own, *([("ab", 12, 30_000)] if name in "ab" else [])] for name, own in limits.items()
        }
        found = {}
        for name, own in limits.items():
            shares = []
            for members, rpm, tpm in own:
                calls = [n for where, n in recent if where in members]
                shares += [] if rpm is None else [(len(calls) + 1) / rpm]
                shares += [] if tpm is None else [(sum(calls) + tokens) / tpm]
            found[name] = max(shares)
        return found

    @rule(seconds=st.sampled_from([0.0, 0.25, 11.0, 60.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(data=st.data())
    def ask(self, data):
        index = data.draw(st.integers(0, len(self.load) - 1))
        request, tokens = Request(self.requests, index), int(self.load.input_tokens[index])
        shares = self.shares(tokens)
        if self.reserve and self.load.priority[index] > 0:
            shares = {name: share for name, share in shares.items() if share <= 1 - self.reserve}
        expected = min(shares, key=shares.get) if shares else None
        assert self.policy.choose(request, self.system) == expected
        if expected is not None:
            self.sent.append((self.now, expected, tokens))


TestQuotaWatches = QuotaWatches.TestCase
TestQuotaWatches.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
