"""A cluster of real processes on one machine, for tests.

    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        cluster[1].append("order-1", [...])
        cluster[2].kill()

Nodes are counted from 1, like the numbers that they get. Everything that waits does so for a bounded time.
"""

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import HANGS, free_ports, keep_port, same  # noqa: E402

WAIT = HANGS  # Seconds that anything may take on a busy machine before it counts as never.

# What was certainly not done: it may be asked again with another outcome.
NOT_DONE = ("wrong-revision", "condition-failed", "overloaded", "fenced", "closed", "no-space",
            "stream-deleted", "id-conflict", "invalid", "limit")


def free_row(count):
    """The first of some ports in a row that are free, as are those 1000 below."""
    port = 21000 + os.getpid() * 61 % 9000
    while not all(keep_port(one) and keep_port(one - 1000) for one in range(port, port + count)):
        port += count
    return port


class Answer:
    def __init__(self, status, body):
        self.status, self.body = status, body
        try:
            self.json = json.loads(body) if body else {}
        except ValueError:
            self.json = {}

    @property
    def error(self):
        return self.json.get("error", "") if isinstance(self.json, dict) else ""

    @property
    def is_done(self):
        return self.status in (200, 201)

    @property
    def is_not_done(self):
        return self.error in NOT_DONE

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Lost(Exception):
    """The connection ended without an answer."""


class Client:
    """One connection to one node, made again when it breaks."""

    def __init__(self, node, timeout=WAIT):
        self.node, self.timeout, self.connection = node, timeout, None

    def ask(self, method, path, body=None, headers=None):
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.node.host, self.node.port,
                                                             timeout=self.timeout)
                self.connection.connect()
                self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connection.request(method, path, body,
                                    {"content-type": "application/json", **(headers or {})})
            response = self.connection.getresponse()
            return Answer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Lost(f"{self.node.name}: {error!r}") from None

    def append(self, stream, events, expect=None):
        """events: a list of dicts, or a number of them."""
        if isinstance(events, int):
            events = [{"id": str(uuid.uuid4()), "type": "T", "data": {}} for _ in range(events)]
        query = "" if expect is None else f"?expect={expect}"
        return self.ask("POST", f"/api/streams/{stream}{query}", json.dumps(events))

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Node:
    def __init__(self, cluster, number, name=None, zone=None):
        self.cluster, self.number, self.name = cluster, number, name or f"n{number}"
        self.s, self.dir = cluster.s, self.name
        self.zone = zone
        self.host = "127.0.0.1"
        self.port, self.cluster_port = free_ports(2)
        self.address = f"localhost:{self.cluster_port}"
        self.options, self.prefix, self.env, self.binary = [], [], {}, None
        self.process = None
        self.log_path = self.s.path(self.name + ".log")

    # ---- Making ----

    def init(self, partitions):
        self.s.run("cluster", "init", "--store", self.dir, "--name", self.name, "--address", self.address,
                   "--partitions", str(partitions))

    def join(self, *seeds, replace=None):
        arguments = ["--replace", str(replace)] if replace else []
        for seed in seeds:
            arguments += ["--seed", seed.address]
        self.s.run("cluster", "join", "--store", self.dir, "--name", self.name, "--address", self.address, *arguments)

    # ---- Asking it by the command ----

    @property
    def target(self):
        return f"stele://localhost:{self.port}?tls=false"

    def stele(self, *arguments, code=0):
        """What `stele cluster …` says, asked of this node."""
        ended = self.s.run("cluster", *arguments, "--store", self.target, code=code)
        return ended.out + ended.err

    # ---- Running ----

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        assert not self.is_running
        with open(self.log_path, "ab") as log:
            self.process = self.s.start("serve", "--store", self.dir, "--insecure", "--port", str(self.port),
                                        *self.cluster.options, *self.options, prefix=self.prefix, env=self.env, binary=self.binary,
                                        stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait(WAIT)

    def stop(self, code=0):
        """Gracefully."""
        self.process.send_signal(signal.SIGTERM)
        same((self.name, self.process.wait(WAIT)), (self.name, code))

    def restart(self):
        if self.is_running:
            self.stop()
        self.start()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def ended(self, seconds=WAIT):
        """The code with which it ends by itself."""
        return self.process.wait(seconds)

    @property
    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_log(self, words, seconds=WAIT, after=0):
        wait_for(lambda: words in self.log[after:], seconds, lambda: f"no {words!r} in {self.log[-3000:]}")

    # ---- Asking ----

    def client(self, timeout=WAIT):
        return Client(self, timeout)

    def ask(self, method, path, body=None, headers=None, timeout=WAIT):
        client = self.client(timeout)
        try:
            return client.ask(method, path, body, headers)
        finally:
            client.close()

    def append(self, stream, events=1, expect=None):
        client = self.client()
        try:
            return client.append(stream, events, expect)
        finally:
            client.close()

    def change(self, verb, body):
        return self.ask("POST", f"/cluster/{verb}", json.dumps(body))

    def is_ready(self):
        try:
            return self.ask("GET", "/health/ready").status == 200
        except Lost:
            return False

    def status(self):
        """The document of GET /cluster; {} when nobody answers."""
        try:
            return self.ask("GET", "/cluster").json
        except Lost:
            return {}

    def read(self, path):
        """All events of a stream, or of "all", page by page."""
        client = self.client()
        events, start = [], None
        try:
            while True:
                query = "limit=1000" + ("" if start is None else f"&from={start}")
                where = "/api/all" if path == "all" else f"/api/streams/{path}"
                answer = client.ask("GET", f"{where}?{query}")
                if answer.status == 404:
                    return events
                assert answer.status == 200, answer
                events += answer.json["events"]
                if "next" not in answer.json:
                    return events
                start = answer.json["next"]["from"]
        finally:
            client.close()

    def revision(self, stream, linearizable=True):
        """Of the last event; -1: there is no stream. None: it cannot be told now."""
        flag = "&linearizable=true" if linearizable else ""
        answer = self.ask("GET", f"/api/streams/{stream}?backwards=true&limit=1{flag}")
        if answer.status == 404:
            return -1
        return answer.json["events"][0]["revision"] if answer.status == 200 else None

    def known_revision(self, stream):
        """The same, as soon as it can be told: after a leader went there may be none for a while."""
        found = []

        def told():
            found[:] = [self.revision(stream)]
            return found[0] is not None
        wait_for(told, words=lambda: f"{self.name} cannot tell: {self.status()}")
        return found[0]


def wait_for(condition, seconds=WAIT, words=lambda: "it did not happen in time", alive=()):
    """alive: nodes that have to run meanwhile."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, words()
        assert all(node.is_running for node in alive), words()
        time.sleep(0.02)


class Cluster:
    def __init__(self, s, count=3, partitions=8, options=(), start=True):
        self.s, self.partitions, self.options = s, partitions, list(options)
        self.nodes = []
        for number in range(1, count + 1):
            self.add(number)
        if count > 0:
            self.nodes[0].init(partitions)
        for node in self.nodes[1:]:
            node.join(self.nodes[0])
        self.starts = start

    def add(self, number, name=None):
        node = Node(self, number, name)
        self.nodes.append(node)
        return node

    def __getitem__(self, number):
        return self.nodes[number - 1]

    def __enter__(self):
        try:
            if self.starts:
                self.start()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind, error, trace):
        for node in self.nodes:
            if node.is_running:
                node.process.send_signal(signal.SIGCONT)
                node.kill()
        if kind is not None:
            for node in self.nodes:
                print(f"# ---- {node.name}")
                if os.path.exists(node.log_path):
                    print("".join(f"# {line}\n" for line in node.log.splitlines()[-25:]), end="", flush=True)

    def start(self):
        """One after the other, since numbers are given in the order of asking."""
        for i, node in enumerate(self.nodes):
            node.start()
            if i == 0:
                wait_for(node.is_ready, WAIT, lambda node=node: node.log, [node])
            elif i + 1 < len(self.nodes):
                wait_for(lambda node=node: any(one.get("name") == node.name and one.get("number") == node.number
                                               for one in self.nodes[0].status().get("nodes", [])),
                         WAIT, lambda node=node: f"{node.name} has no number: {node.log[-2000:]}", [node])

    def wait_ready(self, nodes=None, seconds=WAIT):
        """Until the nodes serve, and know of each other that they do, and share the work."""
        nodes = self.nodes if nodes is None else nodes

        def ready():
            for node in nodes:
                status = node.status()
                if not node.is_ready() or not status.get("ready"):
                    return False
                if len(status["nodes"]) < len(nodes):
                    return False
                for one in status["nodes"]:
                    if one["name"] in [node.name for node in nodes] and (
                            not one["alive"] or one["state"] != "active"):
                        return False
            return True
        wait_for(ready, seconds, lambda: "not ready: " + json.dumps(
            [(node.name, node.is_running and node.status()) for node in nodes]), nodes)

    def wait_balanced(self, seconds=WAIT):
        """Until every node leads something."""
        wait_for(lambda: all(one["groups_led"] > 0 for one in self.nodes[0].status()["nodes"]), seconds,
                 lambda: json.dumps(self.nodes[0].status()))

    def stop(self):
        """Gracefully, all at the same time."""
        running = [node for node in self.nodes if node.is_running]
        for node in running:
            node.process.send_signal(signal.SIGTERM)
        for node in running:
            same((node.name, node.process.wait(WAIT)), (node.name, 0))

    def settle(self, nodes=None, seconds=WAIT):
        """Until what was acknowledged is on every node."""
        for node in self.nodes if nodes is None else nodes:
            wait_for(lambda node=node: node.ask("GET", "/api/all?limit=1&linearizable=true").status == 200, seconds,
                     lambda node=node: f"{node.name} cannot tell: {node.status()}")

    def all(self, nodes=None):
        """$all, which has to be the same on every node."""
        nodes = self.nodes if nodes is None else nodes
        self.settle(nodes)
        first = None
        for node in nodes:
            events = [(e["position"], e["stream"], e["revision"], e["id"], e.get("created")) for e in node.read("all")]
            if first is None:
                first = events
            elif first != events:
                for at, (one, other) in enumerate(zip(first, events)):
                    assert one == other, f"event {at} of $all is {one} on {nodes[0].name}, {other} on {node.name}"
                raise AssertionError(f"$all has {len(first)} events on {nodes[0].name}, {len(events)} on {node.name}")
        return first

    def verify(self):
        """Of nodes that have ended: nothing is damaged, and what is in them is the same."""
        digests = {}
        for node in self.nodes:
            self.s.run("verify", "--store", node.dir)
            events = self.s.run("export", "--store", node.dir).raw_out
            digests[node.name] = hashlib.sha256(events).hexdigest()
        assert len(set(digests.values())) == 1, digests


class Load:
    """Appends with expected revisions on streams of its own through nodes in turn, from threads; remembers what was
    acknowledged, what was refused, and what nobody knows."""

    def __init__(self, cluster, threads=3, nodes=None, prefix="load", follow=False, pause=0.0):
        self.cluster = cluster
        self.nodes = list(nodes or cluster.nodes)
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.acknowledged = {}  # id: (stream, revision)
        self.refused, self.unknown, self.failures = set(), set(), []
        self.times = []  # When each was acknowledged, with its stream.
        self.slowest = 0.0
        self.follow, self.pause = follow, pause
        self.threads = [threading.Thread(target=self.run, args=(i, f"{prefix}-{i}"), daemon=True)
                        for i in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(WAIT * 2)
            assert not thread.is_alive(), "a request has no end"

    def count(self):
        with self.lock:
            return len(self.acknowledged)

    def wait_more(self, count, seconds=WAIT):
        goal = self.count() + count
        wait_for(lambda: self.count() >= goal, seconds, lambda: f"{self.count()} of {goal}: "
                 f"{[(n.name, n.is_running and n.status().get('why')) for n in self.nodes]}, {self.failures[-3:]}")

    def run(self, which, prefix):
        clients = {}
        turn = which
        # Several streams, so that each thread speaks to several partitions.
        last = {f"{prefix}-{k}": -1 for k in range(8)}
        streams = list(last)
        k = 0
        while not self.stopped.is_set():
            node = self.nodes[turn % len(self.nodes)]
            client = clients.setdefault(node.name, node.client(timeout=40))
            stream = streams[k % len(streams)]
            k += 1
            name = str(uuid.uuid4())
            event = [{"id": name, "type": "T", "data": {"thread": which, "count": k}}]
            began = time.monotonic()
            if last[stream] is None:
                # Read, or ask for what cannot be, to know where the stream is.
                try:
                    revision = client.ask("GET", f"/api/streams/{stream}?backwards=true&limit=1&linearizable=true")
                    if revision.status == 404:
                        last[stream] = -1
                    elif revision.status == 200:
                        last[stream] = revision.json["events"][0]["revision"]
                    else:
                        turn += 1
                        self.stopped.wait(0.02)
                except Lost:
                    turn += 1
                    self.stopped.wait(0.02)
                k -= 1
                continue
            expect = "none" if last[stream] == -1 else str(last[stream])
            try:
                answer = client.append(stream, event, expect)
            except Lost as lost:
                with self.lock:
                    self.unknown.add(name)
                    self.failures.append(str(lost))
                last[stream] = None
                turn += 1
                self.stopped.wait(0.02)
                continue
            took = time.monotonic() - began
            with self.lock:
                self.slowest = max(self.slowest, took)
                if answer.is_done:
                    same(answer.json["revision"], last[stream] + 1)
                    last[stream] += 1
                    self.acknowledged[name] = (stream, answer.json["revision"])
                    self.times.append((time.monotonic(), stream))
                elif answer.is_not_done:
                    self.refused.add(name)
                    self.failures.append(f"{node.name}: {answer}")
                    if answer.error == "wrong-revision":
                        last[stream] = None
                else:
                    self.unknown.add(name)
                    self.failures.append(f"{node.name}: {answer}")
                    last[stream] = None
            if not answer.is_done:
                turn += 1
                self.stopped.wait(0.05)
            elif self.follow is False:
                turn += 1
            if self.pause:
                self.stopped.wait(self.pause)
        for client in clients.values():
            client.close()

    def check(self, events):
        """events: Cluster.all()."""
        there, revisions, before = {}, {}, 0
        for position, stream, revision, name, _ in events:
            assert int(position) > before, f"{position} comes after {before}"
            before = int(position)
            assert name not in there, f"{name} is there twice: {there[name]} and {stream} {revision}"
            there[name] = (stream, revision)
            same((stream, revision), (stream, revisions.get(stream, -1) + 1))
            revisions[stream] = revision
        lost = {name: at for name, at in self.acknowledged.items() if there.get(name) != at}
        assert not lost, f"{len(lost)} of {len(self.acknowledged)} acknowledged appends are not there: " \
                         f"{[(n, at, there.get(n)) for n, at in list(lost.items())[:5]]}"
        wrong = [name for name in self.refused if name in there]
        assert not wrong, f"refused, and there: {wrong[:5]}"

    def gap_after(self, moment):
        """Seconds until the first acknowledgement of each stream after a moment: the longest, or None."""
        first = {}
        for at, stream in self.times:
            if at > moment:
                first.setdefault(stream, at - moment)
        return max(first.values()) if first else None
