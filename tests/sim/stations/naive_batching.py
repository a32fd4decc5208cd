"""Continuous batching as plainly as possible: one loop a step, one token a sequence a step, lists only."""

from __future__ import annotations


class Seq:
    def __init__(self, name, send, prompt, cached, thinking, output, priority=0):
        self.name, self.send, self.prompt, self.priority = name, send, prompt, priority
        self.unread, self.thinking, self.total = max(prompt - cached, 1), thinking, thinking + output
        self.done = self.kv = 0  # tokens made; keys and values in memory
        self.ready, self.left_to_read, self.in_host, self.preempted = False, 0, 0, 0
        self.begin = self.first = self.end = None

    def emit(self, now):
        self.done += 1
        if self.done == self.thinking + 1:
            self.first = now
        if self.done == self.total:
            self.end = now


class Machine:
    """One machine. ``watermark`` None: a call reserves room for its whole answer; else memory grows."""

    def __init__(self, *, a, b, c=0.0, rate=None, chunk=None, most, memory=float("inf"),
                 watermark=None, swap=None):  # fmt: skip
        self.a, self.b, self.c, self.rate, self.chunk = a, b, c, rate, chunk
        self.most, self.memory, self.watermark, self.swap = most, memory, watermark, swap
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
            if not decoding or self.in_use() + decoding <= self.memory:
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
            head.begin = now if head.begin is None else head.begin
            if head.in_host:
                head.kv, head.ready = head.in_host, True
                self.stall += head.in_host / self.swap
                head.in_host = 0
            elif self.rate is None:
                head.kv, head.ready = head.prompt + head.done, True
            else:
                head.left_to_read = head.unread + head.done
            self.running.append(head)

    def step(self, now):
        """Make one step; when it ends."""
        now += self.stall
        self.stall = 0.0
        reading = [s for s in self.running if not s.ready]
        if reading and self.chunk is None:
            now += self.a + reading[0].left_to_read / self.rate
            self.read_through(reading[0], now)
        else:
            decoding = [s for s in self.running if s.ready]
            now += self.a + self.b * len(decoding) + self.c * sum(s.kv for s in decoding)
            if reading:
                read = min(self.chunk, reading[0].left_to_read)
                now += read / self.rate
                reading[0].left_to_read -= read
            for s in decoding:
                s.kv += 1
                s.emit(now)
            if reading and reading[0].left_to_read == 0:
                self.read_through(reading[0], now)
        self.running = [s for s in self.running if s.end is None]
        return now

    def read_through(self, seq, now):
        seq.ready, seq.kv = True, seq.prompt + seq.done
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
        now = machine.step(now) if machine.running else coming[0].send
    return sequences
