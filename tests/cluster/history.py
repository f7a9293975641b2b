"""What clients of a cluster did and saw, and whether it can have been so.

Work appends, repeats and reads from threads, and remembers what it was told; Watch follows $all at one node after the
other. Both go on whatever happens to the nodes. Afterwards

    work.check(cluster.all())     what was acknowledged is there, once, where that was said; what was refused is not;
                                  what nobody knows is there once or not; revisions have no gaps
    watch.check(events)           who followed saw all of it, in that order, and nothing twice

While it runs, a linearizable read through any node shows all that was acknowledged before it, and nothing else.
"""

import http.client
import json
import random
import socket
import threading
import time
import uuid

from cluster import WAIT, Load, Lost


class Work(Load):
    """What counts as an operation: each event of an append, because each is looked for afterwards under its id, at its
    revision; and each linearizable read whose answer was compared.

    A thread has streams of its own, to which it appends with the exact revision; all share some, to which they append
    with none. What nobody knows the outcome of is repeated half of the times, with the same ids."""

    def __init__(self, cluster, threads=6, seed=1, batch=1, size=0, patience=10, prefix="work"):
        super().__init__(cluster, threads, prefix=prefix)
        self.seed, self.batch, self.size, self.patience = seed, batch, size, patience
        self.appends = self.reads = self.repeats = 0

    @property
    def operations(self):
        with self.lock:
            return len(self.acknowledged) + len(self.refused) + len(self.unknown) + self.reads

    def run(self, which, prefix):
        Worker(self, which, prefix).run()

    def words(self):
        with self.lock:
            return (f"{self.appends} appends of {len(self.acknowledged)} events acknowledged, {len(self.refused)} refused, "
                    f"{len(self.unknown)} unknown, {self.repeats} repeated, {self.reads} linearizable reads")

    def check(self, events):
        super().check(events)
        assert not self.errors, self.errors[:3]

    @property
    def errors(self):
        return [one for one in self.failures if one.startswith("WRONG")]


class Worker:
    """One thread of Work."""

    def __init__(self, work, which, prefix):
        self.work, self.which = work, which
        self.rng = random.Random(work.seed * 1000 + which)
        self.clients = {}
        self.turn = which
        self.last = {f"{prefix}-{k}": -1 for k in range(8)}  # None: it has to be asked.
        self.shared = [f"{prefix.rsplit('-', 1)[0]}-shared-{k}" for k in range(4)]
        self.count = 0

    def run(self):
        while not self.work.stopped.is_set():
            self.count += 1
            stream = self.rng.choice([*self.last, *self.shared])
            if stream in self.last and (self.last[stream] is None or self.rng.random() < 0.1):
                self.read(stream)
            else:
                self.append(stream)
        for client in self.clients.values():
            client.close()

    def client(self):
        node = self.work.nodes[self.turn % len(self.work.nodes)]
        return self.clients.setdefault(node.name, node.client(timeout=self.work.patience))

    def elsewhere(self):
        """Another node may do better; a moment later, so that a cluster that is down is not besieged."""
        self.turn += 1
        self.work.stopped.wait(0.02)

    def read(self, stream):
        """Where a stream ends is what this thread knows, if it knows: nobody else appends to it."""
        reader = self.turn
        if self.last[stream] is not None:
            self.turn = self.rng.randrange(len(self.work.nodes))  # Anyone has to know.
        try:
            answer = self.client().ask("GET", f"/api/streams/{stream}?backwards=true&limit=1&linearizable=true")
        except Lost:
            self.turn = reader
            self.elsewhere()
            return
        node, self.turn = self.turn % len(self.work.nodes) + 1, reader
        if answer.status not in (200, 404):
            self.elsewhere()
            return
        revision = -1 if answer.status == 404 else answer.json["events"][0]["revision"]
        with self.work.lock:
            self.work.reads += 1
            if self.last[stream] not in (None, revision):
                self.work.failures.append(f"WRONG: a linearizable read of {stream} through n{node} ended at {revision}, "
                                          f"and {self.last[stream]} was acknowledged before")
        self.last[stream] = revision

    def append(self, stream):
        """Until its outcome is known, or this is given up."""
        names = [str(uuid.uuid4()) for _ in range(self.rng.randint(1, self.work.batch))]
        data = {"thread": self.which, "count": self.count, "more": "x" * self.work.size}
        body = [{"id": name, "type": "T", "data": data} for name in names]
        expect = None if stream in self.shared else "none" if self.last[stream] == -1 else str(self.last[stream])
        is_unknown = False
        while True:
            began = time.monotonic()
            try:
                answer = self.client().append(stream, body, expect)
            except Lost as lost:
                answer, words = None, str(lost)
            if answer is not None and answer.is_done:
                self.acknowledged(stream, names, answer.json["revision"], began)
                return
            words = words if answer is None else f"{self.turn}: {answer}"
            is_refusal = answer is not None and answer.is_not_done
            with self.work.lock:
                self.work.failures.append(words)
                if is_refusal and not is_unknown:
                    self.work.refused.update(names)
            self.elsewhere()
            if is_refusal and not is_unknown:
                if answer.error == "wrong-revision":
                    self.last[stream] = None
                return
            is_unknown = True
            # A refusal says nothing of what was asked before it.
            if self.work.stopped.is_set() or self.rng.random() < 0.5 or is_refusal:
                with self.work.lock:
                    self.work.unknown.update(names)
                if stream in self.last:
                    self.last[stream] = None
                return
            with self.work.lock:
                self.work.repeats += 1

    def acknowledged(self, stream, names, revision, began):
        first = revision - len(names) + 1
        with self.work.lock:
            if stream in self.last and first != self.last[stream] + 1:
                self.work.failures.append(f"WRONG: {stream} was to go on behind {self.last[stream]} and did at {first}")
            self.work.appends += 1
            self.work.slowest = max(self.work.slowest, time.monotonic() - began)
            self.work.times.append((time.monotonic(), stream))
            for at, name in enumerate(names):
                self.work.acknowledged[name] = (stream, first + at)
        if stream in self.last:
            self.last[stream] = revision


class Watch:
    """Follows $all from the beginning, at one node as long as it answers, then at the next, behind the last event that
    it saw."""

    def __init__(self, nodes, first=0, patience=20):
        self.nodes, self.turn, self.patience = nodes, first, patience
        self.seen, self.resumed = [], -1
        self.stopped, self.connection = threading.Event(), None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        while self.thread.is_alive():  # It may just be connecting anew.
            connection = self.connection
            if connection is not None and connection.sock is not None:
                try:
                    connection.sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # Closed in between.
            self.thread.join(0.1)

    def run(self):
        while not self.stopped.is_set():
            self.resumed += 1
            try:
                self.follow(self.nodes[self.turn % len(self.nodes)])
            except (OSError, ValueError, AttributeError, http.client.HTTPException):
                pass  # The node is gone, or is silent for longer than one that lives ever is.
            self.turn += 1
            self.stopped.wait(0.1)

    def follow(self, node):
        connection = http.client.HTTPConnection(node.host, node.port, timeout=self.patience)
        try:
            connection.request("GET", "/api/tail?from=0",
                               headers={"last-event-id": str(self.seen[-1])} if self.seen else {})
            response = connection.getresponse()
            if response.status != 200:
                return
            self.connection, at = connection, None
            for line in response:
                if self.stopped.is_set() or line.startswith(b"event: end"):
                    return
                if line.startswith(b"id: "):
                    at = int(line[4:])
                elif line == b"\n" and at is not None:
                    self.seen.append(at)  # Whole: what was cut off in the middle comes again.
                    at = None
        finally:
            self.connection = None
            connection.close()

    def wait_until(self, position, seconds=WAIT):
        end = time.monotonic() + seconds
        while not (self.seen and self.seen[-1] >= position):
            assert time.monotonic() < end, f"who follows $all is at {self.seen[-1:]} and not at {position}"
            time.sleep(0.02)

    def check(self, events):
        """events: Cluster.all(), when nothing is appended any more."""
        wanted = [int(event[0]) for event in events]
        self.wait_until(wanted[-1])
        seen = self.seen[:]
        for at, (one, other) in enumerate(zip(seen, wanted)):
            assert one == other, f"event {at} of those that were followed is at {one}, of those stored at {other}"
        assert len(seen) == len(wanted), f"{len(seen)} were followed, {len(wanted)} are stored"


def describe(watches):
    return f"{len(watches)} followed $all and resumed {[one.resumed for one in watches]} times; " + json.dumps(
        {"events": len(watches[0].seen)})
