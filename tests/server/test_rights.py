"""Who may call what, on which stream, over gRPC and over HTTP: exactly who the table and the lists say.

Method: the rows come from the authorization table itself (auth_table.c). Every row is called by every
kind of caller; rows that look at a stream also on every kind of stream. What is expected is worked out
here, from the rule of the row, without the server's code. A row that this file does not know how to
call fails the test, so that whoever adds one has to say here what right it needs. Events carry words
that only who may read them gets to see, whatever the status says.
"""

import base64
import http.client
import json
import os
import subprocess
import sys
import threading
import urllib.parse
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import HANGS, SOURCE, Stele, main, same  # noqa: E402

import hpack  # noqa: E402
import rawhttp as raw  # noqa: E402
from protobuf import field, pb  # noqa: E402
from server import Server  # noqa: E402

TABLE = [line.split() for line in
         subprocess.run([os.environ["AUTH_TABLE"]], stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")
         if line]
RPCS = [row[1:] for row in TABLE if row[0] == "rpc"]
ROUTES = [row[1:] for row in TABLE if row[0] == "route"]

PASSWORDS = {name: f"password-of-{name}" for name in ("admin", "ops", "ada", "bob", "cyd")}
# bob has no group; ada is named by lists; cyd is in a group that lists name.
CALLERS = ["nobody", "bob", "ada", "cyd", "ops", "admin"]
LISTS = {
    "plain": None,
    "closed": {right: "ada" for right in ("$r", "$w", "$d", "$mr", "$mw")},
    "readers": {"$r": ["readers"], "$w": [], "$d": [], "$mr": ["readers"], "$mw": []},
    "$system": None,
    "$user-eve": None,
}
KINDS = list(LISTS)


def may(who, kind, right):
    if who == "admin":
        return True
    if kind == "plain":
        return who != "nobody"
    if kind == "closed":
        return who == "ada"
    if kind == "readers":
        return who == "cyd" and right in ("$r", "$mr")
    assert kind in ("$system", "$user-eve", "$all", "$meta"), kind
    return False


def may_call(who, rule):
    return {"ANYONE": True, "STREAM": True, "USER": who != "nobody",
            "OPS": who in ("ops", "admin"), "ADMIN": who == "admin"}[rule]


def secret(kind):
    return f"only-readers-of-{kind.strip('$')}-see-this"


# ---- Callers

def basic(who):
    return b"Basic " + base64.b64encode(f"{who}:{PASSWORDS[who]}".encode())


class Caller:
    """One user on one connection of gRPC and one of HTTP/1.1."""

    def __init__(self, port, who):
        self.port, self.who = port, who
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=HANGS)
        self.connect()

    def connect(self):
        self.peer = raw.Peer(self.port)
        self.peer.send(raw.frame(raw.WINDOW_UPDATE, 0, 0, raw.u32(1 << 30)))
        self.decoder = hpack.Decoder()

    def close(self):
        self.peer.close()
        self.http.close()

    def call(self, path, messages, enough):
        """(status, messages' bytes) of a call; status None: it was going on, and had enough."""
        headers = {"content_type": b"application/grpc", "te": b"trailers"}
        if self.who != "nobody":
            headers["authorization"] = basic(self.who)
        stream = self.peer.open(path.encode(), end=False, method=b"POST", **headers)
        body = b"".join(b"\0" + raw.u32(len(m)) + m for m in messages)
        self.peer.send(raw.frame(raw.DATA, 0 if enough else raw.END_STREAM, stream, body))
        data, status = b"", None
        while (got := self.peer.read()) is not None:
            kind, flags, at, payload = got
            if kind == raw.HEADERS:  # Of other streams, too: the decoder has a memory.
                block = dict(self.decoder.decode(payload))
                if at == stream and "grpc-status" in block:
                    status = int(block["grpc-status"])
            if at == stream and kind == raw.DATA:
                data += payload
                if enough and enough(data):
                    self.peer.send(raw.frame(raw.RST_STREAM, 0, stream, raw.u32(8)))
                    return None, data
            if at == stream and kind == raw.RST_STREAM and status is None:
                raise AssertionError(f"{path} was reset")
            if at == stream and kind in (raw.HEADERS, raw.DATA) and flags & raw.END_STREAM:
                assert status is not None, f"{path} ended without a status"
                return status, data
        raise AssertionError(f"the connection ended in {path}")

    def request(self, method, path, body=None, enough=None):
        headers = {} if self.who == "nobody" else {"Authorization": basic(self.who).decode()}
        if body is not None:
            headers["Content-Type"] = "application/json"
            headers["ES-EventType"] = "t"  # Of KurrentDB's route.
        self.http.request(method, path, body, headers)
        response = self.http.getresponse()
        if enough and response.status == 200:
            data = b""
            while not enough(data):
                line = response.readline()
                assert line, f"{path} ended"
                data += line
            self.http.close()
            return response.status, data
        return response.status, response.read()


# ---- How each row is called: (right, messages of it for a stream)

def identifier(stream):
    return pb((3, stream))


def proposed():
    return pb((1, pb((2, str(uuid.uuid4())))), (2, pb((1, "type"), (2, "t"))),
              (2, pb((1, "content-type"), (2, "application/json"))), (4, "{}"))


UUIDS = pb((2, b""))
READ_END = [(8, b""), (9, UUIDS)]


def kurrent_read(stream):
    return [pb((1, pb((1, pb((1, identifier(stream)), (3, b""))), (5, 10), *READ_END)))]


def kurrent_append(stream):
    return [pb((1, pb((1, identifier(stream)), (4, b"")))), pb((2, proposed()))]


def kurrent_batch(stream):
    return [pb((1, pb((2, str(uuid.uuid4())))), (2, pb((1, identifier(stream)), (4, b""))),
               (3, proposed()), (4, 1))]


def kurrent_delete(stream):
    return [pb((1, pb((1, identifier(stream)), (4, b""))))]


def v2_record(stream=None):
    record = [(1, str(uuid.uuid4())), (3, pb((1, 1), (2, "t"))), (4, "{}")]
    return record + ([(5, stream)] if stream else [])


def native_append(stream):
    return [pb((1, 1), (2, pb((1, stream), (4, pb((2, "t"), (3, "{}"))))))]


def group_options(stream):
    return pb((1, identifier(stream)), (2, "group"), (3, 10), (4, UUIDS))


STREAM_RPCS = {
    "KURRENT_STREAMS_READ": [("$r", kurrent_read)],
    "KURRENT_STREAMS_APPEND": [("$w", kurrent_append)],
    "KURRENT_STREAMS_BATCH_APPEND": [("$w", kurrent_batch)],
    "KURRENT_STREAMS_DELETE": [("$d", kurrent_delete)],
    "KURRENT_STREAMS_TOMBSTONE": [("$d", kurrent_delete)],
    "KURRENT_V2_APPEND_SESSION": [
        ("$w", lambda s: [pb((1, s), (2, pb(*v2_record())), (3, 3))])],
    "KURRENT_V2_APPEND_RECORDS": [("$w", lambda s: [pb((1, pb(*v2_record(s))))])],
    "KURRENT_PS_READ": [("$r", lambda s: [pb((1, group_options(s)))])],
    "NATIVE_APPEND_EVENTS": [("$w", native_append)],
    "NATIVE_APPEND": [("$w", native_append),
                      ("$r", lambda s: [pb((2, pb((1, s), (2, 2))))])],  # Only an expectation.
    "NATIVE_SUBSCRIBE_TO_STREAM": [("$r", lambda s: [pb((1, pb((1, s))))])],
    "NATIVE_SUBSCRIBE_TO_ALL": [("$all", lambda s: [pb((1, pb((4, pb((4, s), (9, 1))))))])],
    "NATIVE_READ": [("$r", lambda s: [pb((1, s))]), ("$all", lambda s: [pb((8, pb((9, 1))))])],
    "NATIVE_READ_MANY": [("$r", lambda s: [pb((1, pb((1, "plain"))), (1, pb((1, s))))]),
                         ("$all", lambda s: [pb((1, pb((8, pb((9, 1))))))])],
    "NATIVE_CONDITIONS": [("$all", lambda s: [pb((1, pb((1, pb((1, "t"))))))])],
    "NATIVE_STREAMS": [("$r", lambda s: [pb((5, s))]), ("$all", lambda s: [pb((1, 1))])],
    "NATIVE_CONSUME": [("$r", lambda s: [pb((1, pb((1, s), (2, "group"))))])],
    "NATIVE_META": [("$mr", lambda s: [pb((1, s), (2, 1))]),
                    ("$mw", lambda s: [pb((1, s), (3, json.dumps(metadata(s))))]),
                    ("$d", lambda s: [pb((1, s), (4, 1))]),
                    ("$d", lambda s: [pb((1, s), (5, 1))])],
}
SHOW_EVENTS = ("KURRENT_STREAMS_READ", "KURRENT_PS_READ", "NATIVE_CONSUME", "NATIVE_SUBSCRIBE_TO_STREAM",
               "NATIVE_READ", "NATIVE_READ_MANY", "STREAM_READ", "TAIL_STREAM", "KURRENT_READ")
# They go on until their client goes.
ENDLESS = {"KURRENT_PS_READ", "NATIVE_CONSUME", "NATIVE_SUBSCRIBE_TO_STREAM", "NATIVE_SUBSCRIBE_TO_ALL",
           "HEALTH_WATCH", "KURRENT_MONITORING_STATS", "KURRENT_PROJECTIONS_STATISTICS"}
# Rows of other rules that want more than an empty message; None: tested by itself.
MESSAGES = {
    "KURRENT_USERS_DETAILS": lambda who: pb((1, pb((1, who)))),
    # A password that is too short changes nothing.
    "KURRENT_USERS_CHANGE_PASSWORD": lambda who: pb((1, pb((1, who), (2, PASSWORDS.get(who, "")),
                                                           (3, "short")))),
    "KURRENT_OPERATIONS_SHUTDOWN": None,
}
# Rows that the server may have no handler for; every other one has to be answered.
OPTIONAL = {"KURRENT_PROJECTIONS_CREATE"}

STREAM_ROUTES = {
    "STREAM_READ": ("$r", None), "STREAM_APPEND": ("$w", "{}"), "STREAM_DELETE": ("$d", None),
    "META_GET": ("$mr", None), "META_SET": ("$mw", ""), "ALL_READ": ("$all", None),
    "TAIL_STREAM": ("$r", None), "TAIL_ALL": ("$all", None),
    "KURRENT_APPEND": ("$w", "{}"), "KURRENT_READ": ("$r", None),
}
ROUTES_ALONE = {"ADMIN_SHUTDOWN"}
# Lists of everything need the right to everything.
ALL_ROUTES = {"CATEGORIES", "TYPES"}


def metadata(stream):
    kind = next((k for k in KINDS if stream == k or stream.startswith(k + "-")), None)
    return {} if LISTS.get(kind) is None else {"$acl": LISTS[kind]}


# ---- The world

def make_streams(admin, names):
    for name in names:
        quoted = urllib.parse.quote(name, safe="")
        same(admin.request("PUT", f"/api/meta/{quoted}", json.dumps(metadata(name)))[0] // 100, 2)


def make_world(server):
    admin = Caller(server.port, "admin")
    for who, groups in (("ada", []), ("bob", []), ("cyd", ["readers"])):
        user = {"login": who, "password": PASSWORDS[who], "groups": groups}
        same(admin.request("POST", "/api/users", json.dumps(user))[0], 201)
    make_streams(admin, KINDS)
    for kind in KINDS:
        data = proposed()[:-4] + pb((4, json.dumps({"word": secret(kind)})))
        same(admin.call("/event_store.client.streams.Streams/Append",
                        [kurrent_append(kind)[0], pb((2, data))], None)[0], 0)
        settings = pb((5, 10), (7, 10), (8, 1000), (9, 0), (10, 500), (11, 20), (12, 500),
                      (14, 30000), (15, 2000), (16, "RoundRobin"))
        same(admin.call("/event_store.client.persistent_subscriptions.PersistentSubscriptions/Create",
                        [pb((1, pb((1, identifier(kind)), (2, "group"), (3, settings),
                                   (4, pb((1, identifier(kind)), (3, b""))))))], None)[0], 0)
    return admin


ENV = {"STELE_ADMIN_PASSWORD": PASSWORDS["admin"], "STELE_OPS_PASSWORD": PASSWORDS["ops"]}
FLAGS = ("--password-memory", "8KiB", "--password-passes", "1")


def refused_in_band(name, data):
    """Appends are refused in their answers."""
    if name == "KURRENT_STREAMS_BATCH_APPEND":
        return field(data[5:], 2, 1) == 7
    return name in ("NATIVE_APPEND", "NATIVE_APPEND_EVENTS") and field(data[5:], 2) == 10


class Claims:
    def __init__(self):
        self.count, self.wrong, self.missing = 0, [], set()

    def claim(self, name, who, about, expected, status, refused, data, sees=None):
        self.count += 1
        if status in (12, 501) and name in OPTIONAL:
            self.missing.add(name)
            return
        words = f"{name} by {who}{about}: {status}"
        if status in (12, 405, 501):
            self.wrong.append(words + ", it is not answered")
        elif expected == bool(refused):
            self.wrong.append(words + (", should be allowed" if expected else ", should be refused"))
        for kind in KINDS:
            if secret(kind).encode() in data and not may(who, kind, "$r"):
                self.wrong.append(words + f", and shows {kind}")
        if sees is not None and expected and secret(sees).encode() not in data:
            self.wrong.append(words + f", and does not show {sees}")

    def check(self):
        print(f"# {self.count} calls; without a handler: {sorted(self.missing)}")
        assert not self.wrong, "\n".join(self.wrong[:40])


def call_grpc(claims, caller, row, messages, expected, about="", sees=None):
    name, path, _ = row
    enough = None
    if name in ENDLESS:
        def enough(data):
            return secret(sees).encode() in data if sees and expected else len(data) > 0
    status, data = caller.call(path, messages, enough)
    refused = status in (7, 16) or refused_in_band(name, data)
    claims.claim(name, caller.who, about, expected, status, refused, data, sees)


def every_rpc(claims, callers, admin):
    for row in RPCS:
        name, _, rule = row
        if rule == "STREAM":
            assert name in STREAM_RPCS or name in OPTIONAL, f"say here what right {name} needs"
            for right, make in STREAM_RPCS.get(name, []):
                for who, caller in callers.items():
                    every_stream(claims, caller, admin, row, right, make)
            continue
        for who, caller in callers.items():
            make = MESSAGES.get(name, lambda _: b"")
            if make is None:
                if not may_call(who, rule):
                    call_grpc(claims, caller, row, [b""], False)
                continue
            call_grpc(claims, caller, row, [make(who)], may_call(who, rule))


def every_stream(claims, caller, admin, row, right, make):
    if right == "$all":
        call_grpc(claims, caller, row, make("plain"), may(caller.who, "$all", right), " on all")
        return
    for kind in KINDS:
        stream = kind
        if right == "$d":  # What is deleted is not there for the next one.
            stream = f"{kind}-{uuid.uuid4()}"
            if LISTS[kind] is not None:
                make_streams(admin, [stream])
        sees = kind if row[0] in SHOW_EVENTS and right == "$r" else None
        call_grpc(claims, caller, row, make(stream), may(caller.who, kind, right),
                  f" on {kind} ({right})", sees)


def every_route(claims, callers, admin):
    for name, method, path, rule in ROUTES:
        if name in ROUTES_ALONE:
            for who, caller in callers.items():
                if not may_call(who, rule):
                    status, data = caller.request(method, path)
                    claims.claim(name, who, "", False, status, status in (401, 403), data)
            continue
        assert rule != "STREAM" or name in STREAM_ROUTES, f"say here what right {name} needs"
        right, body = STREAM_ROUTES.get(name, (None, None))
        on_streams = right is not None and right != "$all"
        for who, caller in callers.items():
            for kind in KINDS if on_streams else ["nobody-here"]:
                stream = kind
                if right == "$d":
                    stream = f"{kind}-{uuid.uuid4()}"
                    if LISTS[kind] is not None:
                        make_streams(admin, [stream])
                if name == "META_SET":
                    body = json.dumps(metadata(stream))
                expected = may_call(who, rule)
                if right is not None:
                    expected = expected and may(who, kind if on_streams else "$all", right)
                if name in ALL_ROUTES:
                    expected = expected and who == "admin"
                sees = kind if name in SHOW_EVENTS else None
                enough = None
                if name == "TAIL_ALL":
                    def enough(data):
                        return len(data) > 0
                if name == "TAIL_STREAM":
                    def enough(data, kind=kind):
                        return secret(kind).encode() in data
                target = path.replace("*", urllib.parse.quote(stream, safe=""))
                if name.startswith("TAIL"):
                    target += "?from=0"
                status, data = caller.request(method, target, body, enough)
                refused = status in (401, 403)
                if status in (400, 404, 409, 410, 415):
                    refused = False  # It got as far as that.
                claims.claim(name, who, f" on {stream}", expected, status, refused, data, sees)


def test_matrix(s: Stele):
    """every row of the table lets in exactly who its rule and the stream's list say"""
    with Server(s, *FLAGS, env=ENV) as server:
        admin = make_world(server)
        callers = {who: Caller(server.port, who) for who in CALLERS}
        claims = Claims()
        every_rpc(claims, callers, admin)
        every_route(claims, callers, admin)
        claims.check()
        for caller in [admin, *callers.values()]:
            caller.close()
        server.stop()


def test_shutting_down(s: Stele):
    """operators and administrators may end the server, by gRPC and by HTTP"""
    for who in ("ops", "admin"):
        for way in ("grpc", "http"):
            with Server(s, *FLAGS, env=ENV) as server:
                caller = Caller(server.port, who)
                if way == "grpc":
                    same(caller.call("/event_store.client.operations.Operations/Shutdown", [b""],
                                     None)[0], 0)
                else:
                    same(caller.request("POST", "/admin/shutdown")[0] // 100, 2)
                same(server.process.wait(HANGS), 0)
                caller.close()


def test_views(s: Stele):
    """the right to a view is none to the streams in it, whoever is asked"""
    with Server(s, *FLAGS, env=ENV) as server:
        admin = Caller(server.port, "admin")
        for who in ("ada", "bob"):
            user = {"login": who, "password": PASSWORDS[who], "groups": []}
            same(admin.request("POST", "/api/users", json.dumps(user))[0], 201)
        closed = {"$acl": LISTS["closed"]}
        for stream, acl in (("views-closed", closed), ("views-open", {}),
                            ("$ce-views", {"$acl": {"$r": "$all"}}),
                            ("$et-t", {"$acl": {"$r": "$all"}})):
            same(admin.request("PUT", f"/api/meta/{urllib.parse.quote(stream)}",
                               json.dumps(acl))[0] // 100, 2)
        for stream, word in (("views-closed", "closed"), ("views-open", "plain")):
            same(admin.call("/event_store.client.streams.Streams/Append",
                            [kurrent_append(stream)[0],
                             pb((2, proposed()[:-4] + pb((4, json.dumps({"w": secret(word)})))))],
                            None)[0], 0)
        # A link that bob made himself does not help him, either.
        bob = Caller(server.port, "bob")
        link = pb((1, pb((2, str(uuid.uuid4())))), (2, pb((1, "type"), (2, "$>"))),
                  (2, pb((1, "content-type"), (2, "application/octet-stream"))),
                  (4, "0@views-closed"))
        same(bob.call("/event_store.client.streams.Streams/Append",
                      [kurrent_append("links-of-bob")[0], pb((2, link))], None)[0], 0)
        ada = Caller(server.port, "ada")

        def resolved(stream):
            return [pb((1, pb((1, pb((1, identifier(stream)), (3, b""))), (4, 1), (5, 10), *READ_END)))]

        for view in ("$ce-views", "$et-t", "links-of-bob"):
            ways = {
                "kurrent": lambda c: c.call("/event_store.client.streams.Streams/Read",
                                            resolved(view), None)[1],
                "native": lambda c: c.call("/stele.v1.EventStore/Read", [pb((1, view))], None)[1],
                "native, by ordinal": lambda c: c.call(
                    "/stele.v1.EventStore/Read", [pb((1, view), (11, 1))], None)[1],
                "http": lambda c: c.request("GET", f"/api/streams/{urllib.parse.quote(view)}")[1],
            }
            if view != "links-of-bob":
                ways["native, live"] = lambda c: c.call(
                    "/stele.v1.EventStore/SubscribeToStream", [pb((1, pb((1, view))))],
                    lambda data: secret("plain").encode() in data)[1]
                ways["tail"] = lambda c: c.request(
                    "GET", f"/api/tail/{urllib.parse.quote(view)}?from=0",
                    enough=lambda data: secret("plain").encode() in data)[1]
            for way, ask in ways.items():
                got = ask(bob)
                assert secret("closed").encode() not in got, f"{view} shows bob all, {way}"
                if view != "links-of-bob":
                    assert secret("plain").encode() in got, f"{view} shows bob nothing, {way}"
                    assert secret("closed").encode() in ask(ada) or "live" in way or way == "tail", (
                        f"{view} does not show ada all, {way}")
        for caller in (admin, bob, ada):
            caller.close()
        server.stop()


def test_users_through_a_server(s: Stele):
    """`stele user` looks after users through a server, where each change counts at once"""
    with Server(s, *FLAGS, env=ENV) as server:
        def user(*args, by="admin", code=0, stdin=None):
            return s.run("user", *args, "--store", f"stele://{by}:{PASSWORDS[by]}@127.0.0.1:"
                         f"{server.port}", code=code, stdin=stdin)

        def status(who):
            caller = Caller(server.port, who)
            got = caller.request("GET", "/stats")[0]
            caller.close()
            return got

        same(user("list").lines, ["admin  $admins", "ops  $ops"])
        same(status("ada"), 401)
        user("add", "ada", "--group", "readers", "--full-name", "Ada", stdin=PASSWORDS["ada"])
        same(status("ada"), 200)
        same(user("list", "--json").json[0],
             {"login": "ada", "full_name": "Ada", "groups": ["readers"], "disabled": False})
        user("add", "ada", stdin=PASSWORDS["ada"], code=3)
        user("passwd", "ada", stdin="another-password")
        same(status("ada"), 401)
        user("passwd", "ada", stdin=PASSWORDS["ada"])
        same(status("ada"), 200)
        user("disable", "ada")
        same(status("ada"), 401)
        user("enable", "ada")
        same(status("ada"), 200)
        for args in (("add", "eve"), ("passwd", "ada"), ("disable", "ada"), ("delete", "ada")):
            for by in ("ada", "ops"):
                ended = user(*args, by=by, stdin="a-password-of-eve", code=None)
                assert ended.code != 0, f"{by} may {args}"
        user("delete", "ada")
        same(status("ada"), 401)
        same(user("list").lines, ["admin  $admins", "ops  $ops"])
        log = s.run("read", "$stele-audit", "--store", f"stele://admin:{PASSWORDS['admin']}"
                    f"@127.0.0.1:{server.port}").out
        same(log.count("written directly"), 5)
        server.stop()


def event(word):
    return json.dumps({"type": "t", "data": {"word": word}})


def test_tails_end(s: Stele):
    """a live tail over HTTP ends when its user is disabled, and when its stream is closed"""
    with Server(s, *FLAGS, env=ENV) as server:
        admin = Caller(server.port, "admin")
        for who in ("ada", "bob"):
            user = {"login": who, "password": PASSWORDS[who], "groups": []}
            same(admin.request("POST", "/api/users", json.dumps(user))[0], 201)
        tails = {}
        for who in ("ada", "bob"):
            tail = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANGS)
            tail.request("GET", "/api/tail/news", headers={"Authorization": basic(who).decode()})
            tails[who] = tail.getresponse()
            same(tails[who].status, 200)
            same(tails[who].readline(), b"retry: 1000\n")
        same(admin.request("POST", "/api/users/bob", json.dumps({"disabled": True}))[0], 200)
        same(admin.request("POST", "/api/streams/news", event("first"))[0] // 100, 2)
        left = tails["bob"].read()
        assert b"first" not in left, left
        assert b'"outcome":"permission"' in left, left
        while b"first" not in tails["ada"].readline():
            pass
        same(admin.request("PUT", "/api/meta/news", json.dumps({"$acl": {"$r": "eve"}}))[0] // 100, 2)
        # What is live looks at the lists some 50 times a second.
        left = []
        reader = threading.Thread(target=lambda: left.append(tails["ada"].read()))
        reader.start()
        count = 0
        while reader.is_alive():
            count += 1
            same(admin.request("POST", "/api/streams/news", event(f"n{count}"))[0] // 100, 2)
            assert count < 10000, "the tail goes on"
        reader.join()
        assert b'"outcome":"permission"' in left[0], left
        admin.close()
        server.stop()


def test_other_sites(s: Stele):
    """a page of another site cannot change anything with a browser's rights"""
    with Server(s, "--insecure") as server:
        def post(**headers):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANGS)
            connection.request("POST", "/api/streams/x", event("x"), {
                "Content-Type": "application/json",
                **{name.replace("_", "-"): value for name, value in headers.items()}})
            status = connection.getresponse().status
            connection.close()
            return status

        here = f"127.0.0.1:{server.port}"
        same(post() // 100, 2)
        same(post(Origin=f"http://{here}") // 100, 2)
        same(post(Origin=f"http://{here}", Sec_Fetch_Site="same-origin") // 100, 2)
        for origin in ("http://evil.example", "null", f"http://{here}.evil.example",
                       f"http://evil.example/{here}", f"http://127.0.0.1:{server.port + 1}", "",
                       here, f"http://evil@{here}"):
            same((origin, post(Origin=origin)), (origin, 403))
        for site in ("cross-site", "same-site", "SAME-ORIGIN", ""):
            same((site, post(Sec_Fetch_Site=site)), (site, 403))
        server.stop()


def test_a_row_is_needed(s: Stele):
    """a method or a route that has no row does not compile"""
    for source, row in (("src/api/kurrent/gossip.c", "KURRENT_GOSSIP_READ,"),
                        ("src/api/native/health.c", "HEALTH_WATCH,"),
                        ("src/api/http/web.c", "ROUTE_ROW:GROUP_REPLAY,")):
        with open(os.path.join(SOURCE, "src/auth/table.h"), encoding="utf-8") as file:
            lines = file.read().split("\n")
        wanted = "row(" + row.split(":")[-1]
        without = [line for line in lines if wanted not in line]
        same(len(without), len(lines) - 1)
        os.makedirs(s.path("auth"), exist_ok=True)
        os.makedirs(s.path("own"), exist_ok=True)

        def compiles(table):
            s.write("auth/table.h", "\n".join(table))
            # The copy comes first; the sources are compiled as they are.
            return subprocess.run(
                [os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-fsyntax-only",
                 "-I", s.dir, "-I", os.path.join(SOURCE, "src"), "-I",
                 os.path.join(SOURCE, "include"), os.path.join(SOURCE, source)],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)

        whole = compiles(lines)
        same((whole.returncode, whole.stderr.decode()[:1000]), (0, ""))
        broken = compiles(without)
        assert broken.returncode != 0, f"{source} compiles without its row"
        name = wanted[4:-1]
        assert name.encode() in broken.stderr, broken.stderr.decode()[:1000]


if __name__ == "__main__":
    main(sys.modules[__name__])
