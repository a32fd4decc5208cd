"""Any routing over given endpoints: every shipped policy, and wrappers around them."""

from __future__ import annotations

from hypothesis import strategies as st
from small import exponential


def holds(reserved):
    """What is waited for: the second minute's hours, or a reservation if there is one."""
    hours = {"opens": st.just("00:01"), "closes": st.just("00:02"), "spread_s": st.sampled_from([0.0, 30.0])}
    more = {"margin_s": st.sampled_from([0.0, 3.0]), "at_most_s": st.sampled_from([9.0, 86_400.0])}
    if not reserved:
        return st.fixed_dictionaries(hours, optional=more)
    into = {"into": st.sampled_from(reserved), "fill_to": st.sampled_from([0.3, 1.0])}
    return st.one_of(
        st.fixed_dictionaries(hours, optional=more),
        st.fixed_dictionaries(into, optional=more | {"at_share": st.sampled_from([0.1, 0.5])}),
        st.fixed_dictionaries(hours | into, optional=more),
    )


@st.composite
def wrapped(draw, routing, shops, judge=None, inside=""):
    """A routing, or the same hedged, held, or in a cascade, which needs endpoints of known ability.

    ``inside`` is a wrapper that the routing has already, and that cannot come twice.
    """
    able = all(shop.get("model") for shop in shops.values())
    kinds = {"plain", "hedged", "hold", "cascade"} - {inside} - ({"cascade"} if not able else set())
    kind = draw(st.sampled_from(sorted(kinds, reverse=True)))
    timed = not any(
        shop.keys() & {"batching", "preemptive"} or shop["buy"] == "batch" for shop in shops.values()
    )
    if kind == "plain":
        return routing
    if kind == "hold":
        return {
            "policy": "hold",
            "of": routing,
            **draw(holds([name for name, shop in shops.items() if shop["buy"] == "provisioned"])),
        }
    more = {"to": draw(st.sampled_from(list(shops)))}
    if kind == "cascade":
        more |= {"precision": 0.9, "recall": draw(st.sampled_from([0.0, 0.5, 1.0]))}
        verifier = {"verifier": draw(st.sampled_from([None, exponential(0.5)]))}
        more |= {"keep": draw(st.booleans())} | (verifier if judge is None else {"judge": judge})
    else:
        more |= {"budget_share": draw(st.sampled_from([0.1, 1.0])), "cancel": draw(st.booleans())}
        more |= {"wins": draw(st.sampled_from(["whole_answer", "first_token"]))} if timed else {}
        more |= draw(st.sampled_from([{"after_s": 0.4}, {"after_percentile": 0.5, "window": 20}]))
    return {"policy": kind, "of": routing, **more}


@st.composite
def routings(draw, names):
    """Any policy over the given endpoints."""
    one, other = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    among = draw(st.one_of(st.none(), st.just([one])))
    chain = draw(st.permutations(names))
    return draw(
        st.sampled_from(
            [
                {"policy": "static", "endpoint": one},
                {"policy": "static", "by_class": {"c0": one}},
                {"policy": "split", "weights": dict.fromkeys(names, 1.0)},
                {
                    "policy": "spill_over",
                    "primary": one,
                    "overflow": other,
                    "max_queue": 1,
                    "max_in_flight": 3,
                },
                {"policy": "rules", "pro": one, "flash": other},
                {"policy": "context_fit", "among": among},
                {"policy": "cheapest", "among": among},
                {"policy": "fastest", "among": among},
                {"policy": "least_utilised", "among": among, "slots": {one: 2}, "reserve_share": 0.5},
                {"policy": "complexity", "threshold": -2.0, "error_sd": 0.5, "pro": one, "flash": other},
                {
                    "policy": "complexity",
                    "threshold": 0.7,
                    "roc": [[0.1, 0.5], [0.4, 0.9]],
                    "hard_above": -2.0,
                    "pro": one,
                    "flash": other,
                },
                {"policy": "quota_aware", "among": among, "reserve_share": 0.5, "reserve_up_to": 4},
                {"policy": "fallback", "chain": list(chain), "on": ["throttled", "timed_out"]},
                {
                    "policy": "budget_pacing",
                    "budget_usd_per_month": 900.0,
                    "preferred": one,
                    "economy": other,
                },
            ]
        )
    )


@st.composite
def filtered(draw, routing, names):
    """A routing, or the same behind a filter."""
    otherwise = draw(st.one_of(st.none(), st.sampled_from(names)))
    return draw(
        st.sampled_from(
            [
                routing,
                routing,
                {"policy": "avoid_preview", "of": routing, "otherwise": otherwise},
                {"policy": "residency", "of": routing, "classes": ["c0"], "region": "global"},
                {"policy": "residency", "of": routing, "otherwise": otherwise},
                {"policy": "shed", "of": routing, "max_in_flight": [None, 2, 0]},
                {"policy": "defer", "of": routing, "to": names[0]},
            ]
        )
    )
