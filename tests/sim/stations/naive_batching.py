"""Continuous batching as plainly as possible: one loop a step, one token a sequence a step, lists only."""

from __future__ import annotations


class Seq:
    def __init__(self, name, send, prompt, cached, thinking, output):
        self.name, self.send, self.prompt = name, send, prompt
        self.prefill, self.thinking, self.total = max(prompt - cached, 1), thinking, thinking + output
        self.done, self.ready, self.left_to_read = 0, False, self.prefill
        self.begin = self.first = self.end = None

    def emit(self, now):
        self.done += 1
        if self.done == self.thinking + 1:
            self.first = now
        if self.done == self.total:
            self.end = now


def simulate(sequences, *, a, b, c=0.0, rate=None, chunk=None, most, memory=float("inf")):
    """Run ``sequences`` (sorted by send time) on one machine; fills in begin, first and end."""
    now, coming, queue, running = 0.0, list(sequences), [], []
    while coming or queue or running:
        while coming and coming[0].send <= now:
            queue.append(coming.pop(0))
        reading = [s for s in running if not s.ready]
        while queue and len(running) < most and not (rate is not None and reading):
            used = sum(s.prompt + s.total for s in running)
            if used + queue[0].prompt + queue[0].total > memory:
                break
            head = queue.pop(0)
            head.begin, head.ready = now, rate is None
            running.append(head)
            reading = [s for s in running if not s.ready]
        if not running:
            now = coming[0].send
            continue
        if reading and chunk is None:
            now += a + reading[0].left_to_read / rate
            reading[0].ready = True
            reading[0].emit(now)
        else:
            decoding = [s for s in running if s.ready]
            resident = sum(s.prompt + s.done - (rate is not None) for s in decoding)
            step = a + b * len(decoding) + c * resident
            if reading:
                read = min(chunk, reading[0].left_to_read)
                step += read / rate
                reading[0].left_to_read -= read
            now += step
            for s in decoding:
                s.emit(now)
            if reading and reading[0].left_to_read == 0:
                reading[0].ready = True
                reading[0].emit(now)
        running = [s for s in running if s.end is None]
    return sequences
