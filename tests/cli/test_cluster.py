"""`stele cluster` shows what a cluster says, shows changes before it makes them, and says why when it cannot.

Method: the real binary against a server of a few lines that answers as a node does, so that every state of a
cluster can be had; then against a real node. What whole clusters do is in tests/sim/cluster.
"""

import base64
import http.server
import json
import os
import re
import signal
import socket
import sys
import threading
import time

from harness import HANGS, Stele, free_ports, has, hasnt, main, one_line, same


def node(number, **changes):
    return {"number": number, "name": f"n{number}", "state": "active",
            "role": "leader" if number == 1 else "follower", "alive": True, "zone": "",
            "address": f"n{number}.example:1112", "client_address": f"n{number}.example:2113",
            "version": "0.1.0", "term": 3, "position": 5, "groups_led": 43, **changes}


class Node:
    """Answers GET with its document and POST with the next of its answers."""

    def __init__(self, **changes):
        self.document = {"cluster": "0123456789abcdef" * 2, "table_version": 17, "this": 1,
                         "leader": 1, "partitions": 128, "ready": True, "why": "",
                         "groups_leaderless": 0, "log_lag": 0, "closed_lag_us": 0, "imbalance": 0,
                         "wal_size": 1, "nodes": [node(1), node(2), node(3)], **changes}
        self.answers, self.asked, self.users = [], [], []
        self.raw = None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.users.append(self.headers.get("authorization"))
                self.answer(200, outer.document)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.asked.append((self.path, json.loads(body)))
                status, answer = outer.answers.pop(0) if outer.answers else (200, {"outcome": "done"})
                if status is None:
                    self.close_connection = True
                    return
                if callable(answer):
                    answer = answer()
                self.answer(status, answer)

            def answer(self, status, value):
                text = outer.raw if outer.raw is not None else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def run(self, s, *args, **kwargs):
        where = f"stele://admin:a-secret@127.0.0.1:{self.port}?tls=false"
        ended = s.run("cluster", *args, env={"STELE_STORE": where}, **kwargs)
        hasnt(ended.err + ended.out, "a-secret")
        return ended


def test_status(s: Stele):
    """status shows every node, and what is wrong"""
    with Node() as there:
        lines = there.run(s, "status").lines
        has(lines[0], "cluster 0123456789abcdef")
        has(lines[2], "n1")
        same(lines[-1], "3 of 3 nodes answer; 1 more may fail")
        same(there.users[0], "Basic " + base64.b64encode(b"admin:a-secret").decode())
        there.document["nodes"][2]["alive"] = False
        lines = there.run(s, "status").lines
        same(lines[-3:], ["2 of 3 nodes answer; 0 more may fail",
                          "n3 at n3.example:1112 does not answer",
                          "no node may fail: 2 of 3 answer"])
        same(there.run(s, "status", "--json").json, [there.document])


def test_check(s: Stele):
    """check ends with 1 if anything is not as it should be, and names it"""
    with Node() as there:
        same(there.run(s, "check").lines, ["everything is as it should be"])
        same(there.run(s, "check", "--json").json, [{"ok": True, "findings": []}])
    for changes, whats in [
            ({"groups_leaderless": 2}, ["no-leader"]),
            ({"ready": False, "why": "it is catching up"}, ["not-ready"]),
            ({"closed_lag_us": 2000000}, ["behind"]),
            ({"nodes": [node(1), node(2, version="0.2.0")]}, ["version"]),
            ({"nodes": [node(1), node(2, state="joining")]}, ["joining"]),
            ({"nodes": [node(1), node(2, state="draining")]}, ["draining"]),
            ({"nodes": [node(1), node(2, role="stopped")]}, ["stopped"]),
            ({"nodes": [node(1), node(2, alive=False)]}, ["no-answer", "no-majority"]),
            ({"nodes": [node(1), node(2), node(3, alive=False)]}, ["no-answer", "no-spare"])]:
        with Node(**changes) as there:
            verdict = there.run(s, "check", "--json", code=1).json[0]
            same([finding["what"] for finding in verdict["findings"]], whats)
            same(verdict["ok"], False)
            same(len(there.run(s, "check", code=1).lines), len(whats))


def test_plan(s: Stele):
    """a change is shown, and made with --yes only, on the table that was shown"""
    with Node() as there:
        ended = there.run(s, "remove", "n3")
        has(ended.out, "remove n3 (node 3, active, at n3.example:1112), for good")
        has(ended.out, "2 of 2 nodes answer, and 0 more may fail (now 1)")
        has(ended.out, "drain it first")
        has(ended.err, "nothing was changed")
        plan = there.run(s, "remove", "3", "--json").json[0]
        same(plan["done"], False)
        same(there.asked, [])
        has(there.run(s, "remove", "3", "--yes").out, "remove: done")
        same(there.asked, [("/cluster/remove", {"node": 3, "if_version": 17})])
        there.answers = [(200, {"outcome": "same"})]
        has(there.run(s, "undrain", "n2", "--yes").out, "it is so already")
        there.run(s, "set", "rebalance", "paused", "--yes", "--json")
        same(there.asked[1:], [("/cluster/undrain", {"node": 2}),
                               ("/cluster/set", {"key": "rebalance", "value": "paused"})])


def test_drain_waits(s: Stele):
    """drain ends when the node leads nothing, or says that it still does"""
    with Node() as there:
        ended = there.run(s, "drain", "n2", "--yes", "--timeout", "1", code=15)
        has(ended.err, "n2 still leads 43 groups")

        def drained():
            there.document["nodes"][1]["groups_led"] = 0
            return {"outcome": "done", "number": 2, "table_version": 17}

        there.answers = [(200, drained)]
        has(there.run(s, "drain", "n2", "--yes").out, "drain: done")


def test_transfer(s: Stele):
    """a transfer is asked of every node until the one that leads is found"""
    with Node() as first, Node() as second:
        first.document["nodes"] = [node(1, client_address=f"127.0.0.1:{first.port}"),
                                   node(2, client_address=f"127.0.0.1:{second.port}")]
        elsewhere = (409, {"error": "condition-failed",
                           "message": "transfer: partition 5 is led by node 2: ask that one"})
        first.answers = [elsewhere]
        has(first.run(s, "transfer", "5", "n1", "--yes").out, "transfer: done")
        same(second.asked, [("/cluster/transfer", {"partition": 5, "to": 1})])
        first.answers, second.answers = [elsewhere], [elsewhere]
        has(first.run(s, "transfer", "5", "n1", "--yes", code=1).err, "nobody who answers leads")
        first.answers = [(409, {"error": "condition-failed", "message": "transfer: not now"})]
        has(first.run(s, "transfer", "5", "n1", "--yes", code=3).err, "not now")
        has(first.run(s, "transfer", "128", "n1", code=2).err, "0 to 127")


def test_replace(s: Stele):
    """replace says how, unless the node is there"""
    with Node() as there:
        has(there.run(s, "replace", "n3", code=3).err, "n3 answers")
        there.document["nodes"][2].update(alive=False, zone="west")
        has(there.run(s, "replace", "n3").out,
            "--replace 3 --name n3 --zone west --seed n1.example:1112 --seed n2.example:1112")
        same(there.run(s, "replace", "n3", "--json").json[0]["replace"], 3)


def test_refused(s: Stele):
    """what the cluster refuses is told in its words, with an exit code"""
    with Node() as there:
        for status, code in [(400, 9), (401, 11), (403, 11), (404, 5), (409, 3), (504, 10), (503, 1)]:
            there.answers = [(status, {"error": "a-name", "message": "these words"})]
            ended = there.run(s, "remove", "n2", "--yes", "--json", code=code)
            same((ended.failure["error"], ended.failure["exit_code"]), ("a-name", code))
            has(ended.failure["message"], "these words")
        there.answers = [(None, None)]
        has(there.run(s, "remove", "n2", "--yes", code=10).err, "it may have happened")
        has(there.run(s, "remove", "n9", "--yes", code=5).err, "there is no node n9")
        for raw in (b"", b"hello", b"{}", b"[]", b'{"nodes":7}'):
            there.raw = raw
            assert there.run(s, "status", code=None).code in (12, 13), raw


def test_arguments(s: Stele):
    """mistakes are told before anybody is asked"""
    for args in [("status", "n1"), ("drain",), ("transfer", "1"), ("fly",), ("set", "a", "b", "c"),
                 ("init",), ("join", "--name", "a", "--address", "x:1"),
                 ("init", "--name", "a b", "--address", "x:1"), ("init", "--name", "a", "--address", "x"),
                 ("init", "now", "--name", "a", "--address", "x:1")]:
        one_line(s.run("cluster", *args, code=2).err)
    has(s.run("cluster", "status", code=2).err, "a running server")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        where = f"stele://127.0.0.1:{closed.getsockname()[1]}?tls=false"
        has(s.run("cluster", "status", "--store", where, code=12).err, "cannot be reached")


def test_terminal_is_safe(s: Stele):
    """what a server says reaches no terminal as control characters"""
    with Node(nodes=[node(1, name="a\x1b[2J", zone="\x07", address="x\r\n:1", alive=False)]) as there:
        for args in (("status",), ("check",), ("remove", "1"), ("replace", "1")):
            ended = there.run(s, *args, code=None)
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", ended.out + ended.err), (args, ended.out)


def test_real_node(s: Stele):
    """a cluster of one real node is made, served, looked at and set"""
    nodes, clients = free_ports(2)
    s.run("cluster", "init", "--name", "n1", "--address", f"127.0.0.1:{nodes}", "--partitions", "4")
    server = s.start("serve", "--insecure", "--no-sandbox", "--port", str(clients))
    try:
        where = f"stele://127.0.0.1:{clients}?tls=false"
        end = time.monotonic() + HANGS
        while s.run("cluster", "check", "--store", where, code=None).code != 0:
            if server.poll() is not None and b"without clusters" in server.stderr.read():
                return  # Built without libraft.
            assert server.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        has(s.run("cluster", "status", "--store", where).out, "1 of 1 nodes answer")
        s.run("cluster", "set", "colour", "blue", "--yes", "--store", where)
        has(s.run("cluster", "set", "colour", "blue", "--yes", "--store", where).out, "so already")
        has(s.run("cluster", "remove", "n1", "--yes", "--store", where, code=3).err, "last one")
        has(s.run("cluster", "drain", "n1", "--yes", "--store", where, code=3).err, "last one")
        s.run("append", "a-1", "--type", "A", "--store", where)
        same(len(s.run("read", "a-1", "--store", where).lines), 1)
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=HANGS)
    has(s.run("cluster", "init", "--name", "n1", "--address", "x:1", code=9).err, "node n1 already")


main(sys.modules[__name__])
