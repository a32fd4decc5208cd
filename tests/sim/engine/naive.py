"""The same model written as plainly as possible: one heap of closures, dictionaries, no shared code.

It shares with the engine only the draws (service times, jitter), since these are inputs. Rate limits are
those of ``naive_limiters``' kind: decided by recounting the log, with the delay found by trying.
"""

from __future__ import annotations

import heapq
import itertools
import math

from sim.luck import counted_uniform

WINDOW_S = 60.0


class Limit:
    """One request or token limit, decided by recounting everything admitted so far."""

    def __init__(self, algorithm, limit, burst_share):
        self.algorithm, self.limit, self.capacity = algorithm, limit, limit * burst_share
        self.log = []

    def used(self, now):
        if self.algorithm == "fixed_window":
            return sum(c for t, c in self.log if t // WINDOW_S == now // WINDOW_S)
        return sum(c for t, c in self.log if t + WINDOW_S > now)

    def drawn(self, now):
        """How far below full a bucket is: replayed from the start."""
        missing, at = 0.0, 0.0
        for t, c in self.log:
            missing, at = max(missing - (t - at) * self.limit / WINDOW_S, 0.0) + c, t
        return max(missing - (now - at) * self.limit / WINDOW_S, 0.0)

    def wait(self, now, cost):
        """0 if it passes, else the exact delay."""
        if self.algorithm == "token_bucket":
            lacking = self.drawn(now) + cost - self.capacity
            if lacking <= 1e-9:
                return 0.0
            return math.inf if cost > self.capacity else lacking / (self.limit / WINDOW_S)
        if self.used(now) + cost <= self.limit:
            return 0.0
        if cost > self.limit:
            return math.inf
        if self.algorithm == "fixed_window":
            return (now // WINDOW_S + 1) * WINDOW_S - now
        ends = [t + WINDOW_S for t, _ in self.log if t + WINDOW_S > now]
        return next(end for end in ends if self.used(end) + cost <= self.limit) - now


class Naive:
    """Runs a scenario whose endpoints have explicit latency laws, with static routing."""

    def __init__(self, scenario, load):
        self.spec, self.load = scenario, load
        self.heap, self.order, self.now = [], itertools.count(), 0.0
        self.rows, self.outcome = {}, {}
        self.queue = {name: [] for name in scenario.endpoints}
        self.busy = dict.fromkeys(scenario.endpoints, 0)
        self.cut = {}  # services of (endpoint, request) that the client gave up on
        self.draws = {}
        self.limits = {name: self._limits(spec) for name, spec in scenario.endpoints.items()}
        self.jitter_key = load.luck.key("jitter")

    def _limits(self, spec):
        given = getattr(spec, "limits", None)
        if given is None:
            return []
        made = [(n, kind) for n, kind in ((given.rpm, "rpm"), (given.input_tpm, "tpm")) if n is not None]
        return [(Limit(given.algorithm, n, given.burst_share), kind) for n, kind in made]

    def at(self, time_s, act):
        heapq.heappush(self.heap, (time_s, next(self.order), act))

    def service_s(self, endpoint, request):
        k = self.cut.get((endpoint, request), 0)
        if (endpoint, k) not in self.draws:
            rng = self.load.luck.rng(f"latency/{endpoint}", k)
            self.draws[endpoint, k] = self.spec.endpoints[endpoint].latency.draw(rng, len(self.load))
        return float(self.draws[endpoint, k][request])

    def run(self):
        arrivals = self.load.arrival_s.tolist()
        for i, t in enumerate(arrivals):
            self.at(t, lambda i=i: self.route(i, 1))
        end = math.inf if self.spec.study.drain else self.spec.duration_s
        while self.heap and self.heap[0][0] <= end:
            self.now, _, act = heapq.heappop(self.heap)
            act()
        return self

    def route(self, request, number):
        routing = self.spec.routing
        name = self.load.class_names[self.load.class_id[request]]
        endpoint = routing.get("by_class", {}).get(name, routing.get("endpoint"))
        self.send(endpoint, request, number, 0)

    def send(self, endpoint, request, number, stage):
        key = (request, stage, number)
        call = {
            "key": key,
            "endpoint": endpoint,
            "send": self.now,
            "begin": None,
            "free": None,
            "over": False,
        }
        self.rows[key] = call
        wait, why = self.refusal(endpoint, request)
        if why:
            self.finish(call, why)
            self.retry(call, wait)
            return
        if self.spec.client.timeout_s is not None:
            self.at(self.now + self.spec.client.timeout_s, lambda: self.expire(call))
        self.queue[endpoint].append(call)
        self.serve(endpoint)

    def refusal(self, endpoint, request):
        spec = self.spec.endpoints[endpoint]
        if spec.buy == "instances":
            slots = spec.count * spec.slots
            full = self.busy[endpoint] >= slots and spec.queue_limit is not None
            return 0.0, "REJECTED" if full and len(self.queue[endpoint]) >= spec.queue_limit else ""
        costs = {"rpm": 1, "tpm": int(self.load.input_tokens[request])}
        waits = [limit.wait(self.now, costs[kind]) for limit, kind in self.limits[endpoint]]
        wait = max(waits, default=0.0)
        for limit, kind in self.limits[endpoint]:
            if not wait or limit.algorithm == "sliding_log_all":
                limit.log.append((self.now, costs[kind]))
        if not wait:
            return 0.0, ""
        return wait if math.isinf(wait) else (math.floor(wait * 1000) + 1) / 1000, "THROTTLED"

    def serve(self, endpoint):
        spec = self.spec.endpoints[endpoint]
        slots = spec.count * spec.slots if spec.buy == "instances" else math.inf
        while self.queue[endpoint] and self.busy[endpoint] < slots:
            call = self.queue[endpoint].pop(0)
            self.busy[endpoint] += 1
            call["begin"] = self.now
            free = self.now + self.service_s(endpoint, call["key"][0])
            timeout_s = self.spec.client.timeout_s
            if timeout_s is not None and free > call["send"] + timeout_s:
                where = (endpoint, call["key"][0])
                self.cut[where] = self.cut.get(where, 0) + 1
                if self.spec.client.cancel_on_timeout:
                    free = call["send"] + timeout_s
            call["free"] = free
            self.at(free, lambda call=call: self.release(call))

    def release(self, call):
        endpoint, (request, stage, _) = call["endpoint"], call["key"]
        self.busy[endpoint] -= 1
        self.serve(endpoint)
        timeout_s = self.spec.client.timeout_s
        if call["over"] or (
            timeout_s is not None
            and self.now >= call["send"] + timeout_s
            and self.spec.client.cancel_on_timeout
        ):
            return
        self.finish(call, "SERVED")
        following = self.spec.endpoints[endpoint].then
        if following:
            self.send(following, request, 1, stage + 1)

    def expire(self, call):
        if call["over"]:
            return
        self.finish(call, "TIMED_OUT")
        if call["begin"] is None:
            self.queue[call["endpoint"]].remove(call)
        self.retry(call, 0.0)

    def finish(self, call, outcome):
        call["over"], call["outcome"], call["end"] = True, outcome, self.now
        self.outcome[call["key"][0]] = outcome

    def retry(self, call, wait):
        request, stage, number = call["key"]
        client = self.spec.client
        if number >= client.max_attempts:
            return
        delay = self.backoff_s(request, number) + (wait if client.backoff.honour_retry_delay else 0.0)
        patience = float(self.load.deadline_s[request])
        if self.now + delay >= float(self.load.arrival_s[request]) + patience:
            return
        if stage == 0:
            self.at(self.now + delay, lambda: self.route(request, number + 1))
        else:
            self.at(self.now + delay, lambda: self.send(call["endpoint"], request, number + 1, stage))

    def backoff_s(self, request, number):
        b = self.spec.client.backoff
        top = min(b.cap_s, b.base_s * b.multiplier ** (number - 1))
        u = counted_uniform(self.jitter_key, request, number)
        return {
            "none": top,
            "full": top * u,
            "equal": top / 2 + top / 2 * u,
            "exponential": -top * math.log(1 - u),
        }[b.jitter]
