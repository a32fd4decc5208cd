"""A client that keeps account of what is under way for each request, because it may change its mind.

It hedges and escalates as the routing says, lets go of users who lose patience and of calls that are late,
and holds calls back in a queue of its own. Each part is there only where the scenario asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sim.engine.client import is_done
from sim.engine.clock import Clock, Timer, Watch
from sim.engine.conduct import Conduct
from sim.engine.gates import Gate
from sim.engine.guarded import GuardedClient
from sim.engine.holder import Holder
from sim.policies import predict
from sim.policies.base import RoutingPolicy
from sim.policies.view import Requests, System
from sim.records import Kind, Outcome, Reason
from sim.scenario.spec import Client as ClientSpec
from sim.stations.base import Call, Station
from sim.stations.provisioned import ProvisionedStation
from sim.stations.traits import give_announcing
from sim.workload.columns import Workload


class TrackedClient(GuardedClient):
    """The guarded client with a list of the calls under way for every request that is not decided."""

    def __init__(
        self,
        spec: ClientSpec,
        clock: Clock,
        requests: Requests,
        jitter_key: int,
        load: Workload,
        conduct: Conduct,
    ) -> None:
        super().__init__(spec, clock, requests, jitter_key, load)
        self._conduct, self._hedger, self._verifier = conduct, conduct.hedger, conduct.verifier
        self._gates = conduct.gates or {}
        self._first_token_s = spec.first_token_timeout_s
        self._cancels_abandoned = spec.cancel_on_abandon
        holds = conduct.holds
        self._holder = None if holds is None else Holder(holds.spec, holds.goes_s, clock)
        self._into: str | None = None  # where a call that was held goes
        self._under_way: dict[int, list[Call]] = {}
        self._drafts: dict[int, int] = {}  # log row of an answer that was flagged, or is with the judge
        self._before_judge: dict[int, Call] = {}  # the calls behind the latter
        verifier = conduct.verifier
        self._judge_at = None if verifier is None else verifier.judge
        self._judges: frozenset[str] = frozenset() if verifier is None else verifier.judges

    def meet(self, stations: dict[str, Station], system: System, policy: RoutingPolicy) -> None:
        """As the guarded client's; who holds work back learns whose room it waits for.

        Where first tokens decide races, the stations tell of them.
        """
        super().meet(stations, system, policy)
        if self._hedger is not None and self._hedger.first_token_wins:
            for each in stations.values():
                give_announcing(each, self.begins_to_answer)
        if self._holder is not None:
            station = stations.get(self._holder.into or "")
            assert station is None or isinstance(station, ProvisionedStation)  # `hold_of` sees to it
            self._holder.meet(self._set_out, station)

    # --- a request comes, and its calls go out ------------------------------------------------------

    def arrive(self, request: int, now: float) -> None:
        """Route a request when it comes in."""
        self._under_way[request] = []
        patience_s = self._conduct.patience_s
        if patience_s is not None and patience_s[request] < math.inf:
            self._clock.at(now + patience_s[request], Watch(self._lose_patience, request, self._decided))
        if self._holder is None or not self._holder.keeps(request, now):
            self._set_out(request, now)

    def _set_out(self, request: int, now: float, into: str | None = None) -> None:
        """Make the first call of a request, held or not; ``into``: where, if its policy is not asked."""
        if self._hedger is not None:
            self._hedger.deposit()
        self._into = into
        super().arrive(request, now)

    def _route(self, request: int) -> str | None:
        return self._into or super()._route(request)

    def _decided(self, request: int) -> bool:
        return request not in self._under_way

    def _submit(self, call: Call, now: float) -> None:
        """Send a call, or have it wait for its turn."""
        gate = self._gates.get(call.station.name)
        if gate is None or gate.is_open(now, gate.tokens[call.request]):
            self._send(call, gate, now)
        elif gate.full:
            self._turn_away(call.request, now)
        else:
            call.send_s = math.nan
            self._under_way[call.request].append(call)
            gate.join(call)
            self._pump(gate, now)

    def _pump(self, gate: Gate, now: float) -> None:
        """Let through whoever may go; in a loop, because a call may come back at once."""
        if gate.pumping:
            return
        gate.pumping = True
        while (head := gate.head()) is not None:
            wait_s = gate.wait_s(now, gate.tokens[head.request])
            if wait_s:
                self._wake(gate, now, wait_s)
                break
            gate.call_head()
            self._under_way[head.request].remove(head)
            self._send(head, gate, now)
        gate.pumping = False

    def _wake(self, gate: Gate, now: float, wait_s: float) -> None:
        """Look again when the pace allows, unless that is arranged already."""
        if wait_s < math.inf and gate.wakes_s <= now:
            gate.wakes_s = now + wait_s
            self._clock.at(gate.wakes_s, Watch(self._look, gate, lambda gate: not gate.waiting))

    def _look(self, timer: Timer) -> None:
        gate: Gate = timer.value  # type: ignore[assignment]
        self._pump(gate, self._clock.now)

    def _send(self, call: Call, gate: Gate | None, now: float) -> None:
        """Hand a call to its station, with the timers that watch over it."""
        if self._is_late(call, now):
            self._turn_away(call.request, now)
            return
        call.send_s, call.sent = now, True
        self._under_way[call.request].append(call)
        if gate is not None:
            gate.let_go(now, gate.tokens[call.request])
            call.gate = gate
        self._watch_over(call, now)
        call.station.submit(call, now)

    def _watch_over(self, call: Call, now: float) -> None:
        if self._first_token_s is not None:
            self._watch(call, now + self._first_token_s, self._miss_first_token)
        if self._conduct.keeps_deadlines:
            self._watch(call, self._give_up_s[call.request], self._pass_deadline)
        if self._hedger is not None and call.kind != Kind.HEDGE and call.station.name not in self._judges:
            self._watch(call, now + self._hedger.delay_s(call.station.name), self._hedge)

    def _watch(self, call: Call, time_s: float, act: Callable[[Any], None]) -> None:
        if time_s < math.inf:
            self._clock.at(time_s, Watch(act, call, is_done))

    def _is_late(self, call: Call, now: float) -> bool:
        """Whether a usual call sent now would end after the deadline, its queue counted in."""
        give_up_s = self._give_up_s[call.request]
        if not self._conduct.keeps_deadlines or give_up_s == math.inf or call.station.name in self._judges:
            return False
        self._view.index = call.request
        return bool(now + predict.e2e_s(self._view, self._system[call.station.name]) > give_up_s)

    # --- second calls -------------------------------------------------------------------------------

    def _hedge(self, timer: Timer) -> None:
        """No first token yet: send a second call beside the first, if one may be sent at once."""
        call: Call = timer.value  # type: ignore[assignment]
        now = self._clock.now
        if call.done or call.station.has_answered(call, now):
            return
        name = self._ask(call, Kind.HEDGE)
        if name is None or not self._may_hedge(call, name, now):
            return
        station = self._stations[name]
        if station is call.station:
            station.meets_again(call)
        twin = self._call(station, call.request, now)
        twin.number, twin.stage, twin.kind, twin.odd = call.number, call.stage, Kind.HEDGE, True
        self._send(twin, self._gates.get(name), now)

    def _may_hedge(self, call: Call, name: str, now: float) -> bool:
        gate = self._gates.get(name)
        if call.request in self._stations[name].too_long:
            return False
        if gate is not None and not gate.is_open(now, gate.tokens[call.request]):
            return False
        assert self._hedger is not None
        return self._lets_through(name, call.request, -call.number, now) and self._hedger.withdraw()

    def begins_to_answer(self, call: Call, first_s: float) -> None:
        """The first token of a call will come at ``first_s``, and decides its race."""
        self._watch(call, first_s, self._take_lead)

    def _take_lead(self, timer: Timer) -> None:
        call: Call = timer.value  # type: ignore[assignment]
        if not call.done:
            self._drop_others(call, self._clock.now)

    def _drop_others(self, winner: Call, now: float) -> None:
        """All other calls of the request have lost."""
        for other in list(self._under_way.get(winner.request, ())):  # none: answered from memory
            if other is not winner:
                self._drop(other, now, Outcome.CANCELLED, Reason.HEDGED)
                self._let_next(other, now)

    def _ask(self, call: Call, kind: Kind) -> str | None:
        """Where the policy wants a call of ``kind`` after, or beside, ``call``."""
        view = self._view
        view.index, view.attempt, view.kind, view.last_endpoint = (
            call.request,
            call.number,
            kind,
            call.station.name,
        )
        name = self._choose(view, self._system)
        view.forget()
        return name

    # --- answers ------------------------------------------------------------------------------------

    def served(self, call: Call, now: float) -> None:
        """The last token has come: the others have lost; a verifier may have a word."""
        self._come_back(call)
        self._drop_others(call, now)
        is_verdict = call.station.name in self._judges
        if self._hedger is not None and not is_verdict:
            self._hedger.observe(call.station.name, call.station.first_token_s(call) - call.send_s)
        if is_verdict or self._is_judged(call):
            self._settle(call, Outcome.SERVED, now)
            call.done = True
            self.log.add(call, now, Outcome.SERVED, Reason.NONE)
            if is_verdict:
                self._judge((self._before_judge[call.request], self._drafts[call.request]), now)
            else:
                self._await_verdict(call, now)
        else:
            if call.station.then is None:
                self._forget(call.request)
            else:  # a hedge or an escalation of a later stage may come back to where the chain began
                call.station.meets_again(call)
            super().served(call, now)
        self._let_next(call, now)

    def _is_judged(self, call: Call) -> bool:
        """Whether a verifier reads the answer: one a request."""
        judge = self._verifier
        if judge is None or call.station.then is not None or call.request in self._drafts:
            return False
        return call.station.name in judge.flagged

    def _await_verdict(self, call: Call, now: float) -> None:
        assert self._verifier is not None
        seconds = self._verifier.seconds
        judged = (call, self.log.last_row)
        if self._judge_at is not None:
            self._drafts[call.request], self._before_judge[call.request] = judged[1], call
            judge = self._stations[self._judge_at]
            self._send_on(judge, call.request, 1, call.stage + 1, now, Kind.VERIFICATION)
        elif seconds is None:
            self._judge(judged, now)
        else:
            over = lambda judged: self._decided(judged[0].request)  # noqa: E731
            self._clock.at(now + seconds[call.request], Watch(self._hear_verdict, judged, over))

    def _hear_verdict(self, timer: Timer) -> None:
        self._judge(timer.value, self._clock.now)  # type: ignore[arg-type]

    def _judge(self, judged: tuple[Call, int], now: float) -> None:
        """Show the answer, or ask for a better one."""
        call, row = judged
        request = call.request
        assert self._verifier is not None
        if self._decided(request):  # the user has left
            return
        if not self._verifier.flagged[call.station.name](request, call.begin_s):
            self._show(request, row, now)
            return
        self._drafts[request] = row
        call.station.meets_again(call)
        name = self._ask(call, Kind.ESCALATION)
        if name is None:
            self._turn_away(request, now)
        else:
            stage = call.stage + (1 if self._judge_at is None else 2)  # the verdict was a stage of its own
            self._send_on(self._stations[name], request, 1, stage, now, Kind.ESCALATION)

    def _show(self, request: int, row: int, now: float) -> None:
        """The user sees the answer of the attempt in ``row`` now."""
        self._forget(request)
        self.answers[request] = (row, now)
        if request in self._turns:
            self._next_turns(request, now)

    def _forget(self, request: int) -> None:
        """The request is decided."""
        self._under_way.pop(request, None)
        self._drafts.pop(request, None)
        self._before_judge.pop(request, None)

    # --- failures -----------------------------------------------------------------------------------

    def _turn_away(self, request: int, now: float) -> None:
        if not self._under_way.get(request) and not self._show_draft(request, now):
            self._forget(request)
            super()._turn_away(request, now)

    def _show_draft(self, request: int, now: float) -> bool:
        """There is no better answer: whether the first one is shown after all."""
        row = self._drafts.get(request)
        if row is None or self._verifier is None or not self._verifier.keeps:
            return False
        self._show(request, row, now)
        return True

    def _retry(self, call: Call, now: float, wait_s: float) -> None:
        self._come_back(call)
        if self._under_way.get(call.request):  # a second call may still answer
            assert call.outcome is not None
            self._settle(call, call.outcome, now)
        else:
            super()._retry(call, now, wait_s)
        self._let_next(call, now)

    def _schedule(self, call: Call, time_s: float) -> None:
        if self._budget is None or self._budget.withdraw():
            over = lambda call: self._decided(call.request)  # noqa: E731
            self._clock.at(time_s, Watch(self._again, call, over))
        else:
            self._fail(call, self._clock.now)

    def _again(self, timer: Timer) -> None:
        call: Call = timer.value  # type: ignore[assignment]
        if not self._decided(call.request):
            super()._again(timer)

    def _fail(self, call: Call, now: float) -> None:
        self._come_back(call)
        if not self._under_way.get(call.request) and not self._show_draft(call.request, now):
            self._forget(call.request)
            super()._fail(call, now)
        self._let_next(call, now)

    def _miss_first_token(self, timer: Timer) -> None:
        call: Call = timer.value  # type: ignore[assignment]
        now = self._clock.now
        if not call.done and not call.station.has_answered(call, now):
            self._drop(call, now, Outcome.TIMED_OUT, Reason.FIRST_TOKEN)
            self._retry(call, now, 0.0)

    def _pass_deadline(self, timer: Timer) -> None:
        call: Call = timer.value  # type: ignore[assignment]
        now = self._clock.now
        if not call.done:
            self._drop(call, now, Outcome.TIMED_OUT, Reason.DEADLINE)
            self._settle(call, Outcome.TIMED_OUT, now)
            self._fail(call, now)

    def _lose_patience(self, timer: Timer) -> None:
        """No first token in time: the user leaves, whatever is under way."""
        request: int = timer.value  # type: ignore[assignment]
        now = self._clock.now
        if self._decided(request) or any(self._reads(call, now) for call in self._under_way[request]):
            return
        for call in list(self._under_way[request]):
            self._drop(call, now, Outcome.ABANDONED, Reason.PATIENCE)
            self._let_next(call, now)
        self._forget(request)
        self.left[request] = now
        self._ask_on(request, now)

    def _reads(self, call: Call, now: float) -> bool:
        """Whether the user sees the answer grow."""
        shown = call.station.then is None and not self._is_judged(call)
        shown = shown and call.station.name not in self._judges
        return shown and call.station.has_answered(call, now)

    def _drop(self, call: Call, now: float, outcome: Outcome, reason: Reason) -> None:
        """Let go of a call that is under way, or waits in the client."""
        call.done, call.outcome, call.odd = True, outcome, True
        if not call.sent:
            self._under_way[call.request].remove(call)
            self._gates[call.station.name].leave()
            return
        self._come_back(call)
        if math.isnan(call.begin_s):
            call.station.give_up(call, now)
        else:
            call.station.meets_again(call)
            if self._stops_server(reason):
                call.station.cancel(call, now)
        self.log.add(call, now, outcome, reason)
        if outcome != Outcome.TIMED_OUT and call.station.name in self._breakers:
            self._breakers[call.station.name].forget(call.generation)

    def _stops_server(self, reason: Reason) -> bool:
        if reason == Reason.HEDGED:
            assert self._hedger is not None
            return self._hedger.cancels
        if reason == Reason.PATIENCE:
            return self._cancels_abandoned
        return reason == Reason.DEADLINE or self.cancels

    def _come_back(self, call: Call) -> None:
        """A call is no longer under way."""
        if call.sent:
            call.sent = False
            self._under_way[call.request].remove(call)
            if call.gate is not None:
                call.gate.in_flight -= 1

    def _let_next(self, call: Call, now: float) -> None:
        if call.gate is not None:
            self._pump(call.gate, now)

    def undecided(self, pending: list[Any]) -> list[int]:
        """Requests that have more to come when the run is cut."""
        return list(self._under_way)
