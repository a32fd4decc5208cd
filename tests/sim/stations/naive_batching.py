"""Continuous batching as plainly as possible: one loop a step, one token a sequence a step, lists only."""

from __future__ import annotations


class Seq:
    def __init__(self, name, send, prompt, cached, thinking, output, priority=0):
        self.name, self.send, self.prompt, self.priority = name, send, prompt, priority
        self.unread, self.thinking, self.total = max(prompt - cached, 1), thinking, thinking + output
        self.done = self.kv = 0  # tokens made; keys and values in memory
        self.ready, self.left_to_read, self.in_host, self.preempted = False, 0, 0, 0
        self.begin = self.first = self.end = None
        self.text, self.text_tokens, self.talk, self.history, self.found = -1, 0, name, 0, 0  # beginnings

    def emit(self, now):
        self.done += 1
        if self.done == self.thinking + 1:
            self.first = now
        if self.done == self.total:
            self.end = now


class Machine:
    """One machine. ``watermark`` None: a call reserves room for its whole answer; else memory grows."""

    def __init__(self, *, a, b, c=0.0, rate=None, chunk=None, most, memory=float("inf"),
                 watermark=None, swap=None, gives_way=False, store=None, pace=lambda now: 1.0):  # fmt: skip
        self.a, self.b, self.c, self.rate, self.chunk = a, b, c, rate, chunk
        self.most, self.memory, self.watermark, self.swap = most, memory, watermark, swap
        self.gives_way, self.store, self.pace = gives_way, store, pace
        self.queue, self.running, self.stall = [], [], 0.0

    def enqueue(self, seq, in_front=False):
        ahead = [s.priority < seq.priority if in_front else s.priority <= seq.priority for s in self.queue]
        self.queue.insert(sum(ahead), seq)

    def in_use(self):
        return sum(s.kv if s.ready else s.prompt + s.done for s in self.running)

    def fits(self, seq):
        if self.watermark is None:
            used = sum(s.prompt + s.total for s in self.running)
            return used + seq.prompt + seq.total <= self.memory
        if not self.running:
            return True
        need = seq.in_host or seq.prompt + seq.done
        decoding = sum(s.ready for s in self.running)
        return self.in_use() + need + decoding + 1 <= self.memory * (1 - self.watermark)

    def make_room(self):
        while self.watermark is not None:
            decoding = sum(s.ready for s in self.running)
            full = decoding and self.in_use() + decoding > self.memory
            outranked = self.gives_way and len(self.running) == self.most and self.queue
            outranked = outranked and self.queue[0].priority < max(s.priority for s in self.running)
            if not full and not outranked:
                return
            victim = self.running[-1]
            for s in reversed(self.running):
                if s.priority > victim.priority:
                    victim = s
            self.running.remove(victim)
            victim.preempted += 1
            if self.swap and victim.ready:
                victim.in_host = victim.kv
                self.stall += victim.kv / self.swap
            victim.ready, victim.kv = False, 0
            self.enqueue(victim, in_front=True)

    def admit(self, now):
        while self.queue and len(self.running) < self.most and not any(not s.ready for s in self.running):
            if not self.fits(self.queue[0]):
                break
            head = self.queue.pop(0)
            if head.begin is None:
                head.begin = now
                if self.store is not None:
                    head.found = self.store.find(head)
                    head.unread = max(head.prompt - head.found, 1)
            if head.in_host:
                head.kv, head.ready = head.in_host, True
                self.stall += head.in_host / self.swap
                head.in_host = 0
            elif self.rate is None:
                head.kv, head.ready = head.prompt + head.done, True
            else:
                head.left_to_read = head.unread + head.done
            self.running.append(head)

    def start(self, now):
        """Begin a step; when it will end."""
        slow, stall = self.pace(now), self.stall
        self.stall = 0.0
        return now + stall + slow * (self.ends(now) - now)

    def ends(self, now):
        reading = [s for s in self.running if not s.ready]
        if reading and self.chunk is None:
            return now + self.a + reading[0].left_to_read / self.rate
        decoding = [s for s in self.running if s.ready]
        now += self.a + self.b * len(decoding) + self.c * sum(s.kv for s in decoding)
        return now + min(self.chunk, reading[0].left_to_read) / self.rate if reading else now

    def finish(self, now):
        """The step ends; who has made the last token leaves."""
        reading = [s for s in self.running if not s.ready]
        if reading:
            reading[0].left_to_read -= min(self.chunk or 10**12, reading[0].left_to_read)
        if not reading or self.chunk is not None:
            for s in [s for s in self.running if s.ready]:
                s.kv += 1
                s.emit(now)
        if reading and reading[0].left_to_read == 0:
            self.read_through(reading[0], now)
        done = [s for s in self.running if s.end is not None]
        self.running = [s for s in self.running if s.end is None]
        return done

    def read_through(self, seq, now):
        seq.ready, seq.kv = True, seq.prompt + seq.done
        if self.store is not None:
            self.store.keep(seq)
        seq.emit(now)


def simulate(sequences, **rules):
    """Run ``sequences`` (sorted by send time) on one machine; fills in begin, first and end."""
    machine, now, coming = Machine(**rules), 0.0, list(sequences)
    while coming or machine.queue or machine.running:
        while coming and coming[0].send <= now:
            machine.enqueue(coming.pop(0))
        machine.make_room()
        machine.admit(now)
        assert machine.watermark is None or machine.in_use() <= machine.memory
        if machine.running:
            now = machine.start(now)
            machine.finish(now)
        else:
            now = coming[0].send
    return sequences


class Store:
    """Prefixes kept by a machine: a list, the least recently used first."""

    def __init__(self, room):
        self.room, self.kept = room, []

    def use(self, key, tokens):
        self.kept = [entry for entry in self.kept if entry[0] != key]
        if tokens <= self.room:
            self.kept.append((key, tokens))
        while sum(tokens for _, tokens in self.kept) > self.room:
            self.kept.pop(0)

    def find(self, seq):
        found = 0
        for key, most in ((("text", seq.text), seq.text_tokens), (("talk", seq.talk), seq.history)):
            held = dict(self.kept).get(key)
            if most and held is not None:
                self.use(key, held)
                found = max(found, min(most, held))
        return found

    def keep(self, seq):
        if seq.text >= 0:
            self.use(("text", seq.text), seq.text_tokens)
        self.use(("talk", seq.talk), seq.prompt)


def simulate_several(machines, first, choose, followers):
    """Several machines: ``first`` sequences are sent in time, ``followers`` a pause after the answer before.

    ``choose(machines, seq)`` picks a machine; ``followers`` maps a name to its [(pause, sequence)].
    """
    coming, ends = sorted(first, key=lambda s: s.send), [None] * len(machines)

    def go_on(k, now):
        machines[k].make_room()
        machines[k].admit(now)
        ends[k] = machines[k].start(now) if machines[k].running else None

    while coming or any(end is not None for end in ends):
        soonest = min((end for end in ends if end is not None), default=float("inf"))
        if coming and coming[0].send < soonest:
            seq = coming.pop(0)
            k = choose(machines, seq)
            machines[k].enqueue(seq)
            if ends[k] is None:
                go_on(k, seq.send)
            continue
        k = ends.index(soonest)
        for done in machines[k].finish(soonest):
            for pause, later in followers.get(done.name, []):
                later.send = soonest + pause
                coming.append(later)
        coming.sort(key=lambda s: s.send)
        go_on(k, soonest)
