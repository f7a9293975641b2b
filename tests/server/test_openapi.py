"""What /openapi.json says of each request and answer is true.

Method: requests are generated from the served document: every path, method and parameter, with values
that it allows and with values that it does not. Each answer has to have a documented status, content
type and body. What is allowed is not called malformed, what is not allowed is refused, and nothing
is an error of the server. Twice: without users, and with them as anybody, as nobody and as somebody.
"""

import base64
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import BINARY, HANGS, SOURCE, Stele, main, same  # noqa: E402

import rawhttp as raw  # noqa: E402

SEED = 20260101
ADMIN = "correct horse battery"
with open(BINARY, "rb") as binary:
    code = binary.read()
    SANITIZED = b"__asan_init" in code or b"__tsan_init" in code


class Server:
    """A server and one connection to it."""

    def __init__(self, stele, *args, env=None):
        self.process = stele.start(
            "serve", "--port", "0", *(["--no-sandbox"] if SANITIZED else []), *args, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        line = ""
        while not (found := re.search(r"ready: 127\.0\.0\.1:(\d+)", line)):
            line = self.process.stdout.readline().decode()
            assert line, "the server ended"
        self.port = int(found[1])
        self.drain = threading.Thread(target=self.process.stdout.read, daemon=True)
        self.drain.start()
        self.connection = None
        self.headers = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.drain.join()
        self.process.stdout.close()

    def ask(self, method, target, headers=None, body=None):
        """(status, headers, body); of an answer that does not end its first piece."""
        for again in (True, False):
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANGS)
            try:
                self.connection.request(method, target, body=body,
                                        headers={**self.headers, **(headers or {})})
                response = self.connection.getresponse()
                break
            except (http.client.RemoteDisconnected, ConnectionError):
                self.connection.close()
                self.connection = None
                assert again, f"{method} {target}: the server hangs up"
        endless = (response.getheader("content-type") or "").startswith("text/event-stream")
        if endless and method != "HEAD":
            body = response.read1(65536)
            self.connection.close()
            self.connection = None
        else:
            body = response.read()
            if response.will_close:
                self.connection.close()
                self.connection = None
        return response.status, dict((k.lower(), v) for k, v in response.getheaders()), body


class Document:
    def __init__(self, text):
        self.whole = json.loads(text)

    def follow(self, node):
        while isinstance(node, dict) and "$ref" in node:
            target = node["$ref"]
            node = self.whole
            for part in target[2:].split("/"):
                node = node[part]
        return node

    def operations(self):
        for path, item in self.whole["paths"].items():
            shared = item.get("parameters", [])
            for method, operation in item.items():
                if method != "parameters":
                    parameters = [self.follow(p) for p in shared + operation.get("parameters", [])]
                    yield path, method.upper(), operation, parameters

    def mistake(self, schema, value, at="body"):
        """What is wrong with a value, in words; None: nothing."""
        schema = self.follow(schema)
        if value is None and schema.get("nullable"):
            return None
        if "oneOf" in schema:
            wrong = [self.mistake(one, value, at) for one in schema["oneOf"]]
            return None if wrong.count(None) >= 1 else f"{at} is none of: {wrong}"
        kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int,
                 "number": (int, float)}
        kind = schema.get("type")
        if kind and (not isinstance(value, kinds[kind]) or
                     (isinstance(value, bool) and kind != "boolean")):
            return f"{at} is no {kind}: {value!r}"
        if "enum" in schema and value not in schema["enum"]:
            return f"{at} is none of {schema['enum']}: {value!r}"
        if kind == "string":
            if not re.search(schema.get("pattern", ""), value):
                return f"{at} does not fit {schema['pattern']}: {value!r}"
            if schema.get("format") == "uuid" and not re.fullmatch(r"[0-9a-f-]{36}", value):
                return f"{at} is no UUID: {value!r}"
        if kind in ("integer", "number") and value < schema.get("minimum", value):
            return f"{at} is below {schema['minimum']}: {value}"
        if kind == "array":
            if len(value) < schema.get("minItems", 0):
                return f"{at} has too few items"
            for index, item in enumerate(value):
                if (wrong := self.mistake(schema["items"], item, f"{at}[{index}]")):
                    return wrong
        if kind == "object":
            known = schema.get("properties", {})
            for name in schema.get("required", []):
                if name not in value:
                    return f"{at} has no {name}"
            for name, item in value.items():
                if name in known:
                    if (wrong := self.mistake(known[name], item, f"{at}.{name}")):
                        return wrong
                elif schema.get("additionalProperties") is False:
                    return f"{at} has an unknown {name}"
        return None


# ---- Values ------------------------------------------------------------------------------------

UUID = "01234567-89ab-4def-8123-456789abcd%02x"
# Strings that fit the patterns of the document.
FITTING = ["order-1", "any", "none", "exists", "0", "7", "2026-11-20T15:00:00Z", "2026-11-20T15:00:00.25Z",
           "Placed", "a:b", "$ops", "ada"]
NAMES = ["order-1", "a b", "ü/ö", "100%", "x" * 1024, "q?x=1&y#z", "$ce-order", "$et-Placed"]


class Values:
    def __init__(self, document, seed):
        self.document, self.random = document, random.Random(seed)
        self.count = 0

    def good(self, schema, depth=0):
        """A value that the schema allows."""
        schema = self.document.follow(schema)
        pick = self.random
        if "oneOf" in schema:
            return self.good(pick.choice(schema["oneOf"]), depth)
        if "enum" in schema:
            return pick.choice(schema["enum"])
        kind = schema.get("type")
        if kind == "string":
            return pick.choice(self.good_texts(schema))
        if kind == "integer":
            return pick.choice([schema.get("minimum", 0), schema.get("maximum", 1000)])
        if kind == "boolean":
            return pick.choice([True, False])
        if kind == "array":
            return [self.good(schema["items"], depth + 1)
                    for _ in range(max(schema.get("minItems", 0), pick.randrange(3)))]
        if kind == "object":
            known = schema.get("properties", {})
            return {name: self.good(known[name], depth + 1) for name in known
                    if name in schema.get("required", []) or pick.random() < 0.5}
        return pick.choice([None, True, 1.5, "text ☃", 18446744073709551616, [], {"a": [1, {"b": None}]}])

    def good_texts(self, schema):
        if schema.get("format") == "uuid":
            self.count += 1
            return [UUID % (self.count % 256)]
        lengths = range(schema.get("minLength", 0), schema.get("maxLength", 1024) + 1)
        texts = [text for text in FITTING + ["eight characters", ""]
                 if len(text) in lengths and re.search(schema.get("pattern", ""), text)]
        assert texts, f"no value fits {schema}"
        return texts

    def good_parameters(self, parameter):
        schema = self.document.follow(parameter["schema"])
        if "enum" in schema:
            return schema["enum"]
        kind = schema["type"]
        if kind == "boolean":
            return ["true", "false", "1", "0"]
        if kind == "integer":
            return [str(schema["minimum"]), str(schema.get("maximum", 12))]
        if parameter["in"] == "path":
            return [n for n in NAMES if len(n.encode()) <= schema.get("maxLength", 1024)]
        if "pattern" not in schema and parameter["in"] == "query":
            return ["order-", "ü ö", "%", "y" * schema.get("maxLength", 100)]
        return self.good_texts(schema)

    def bad_parameters(self, parameter):
        """Percent-encoded values that the schema forbids."""
        schema = self.document.follow(parameter["schema"])
        kind = schema["type"]
        if "enum" in schema:
            return ["nothing.js"]
        if kind == "boolean":
            return ["maybe", "TRUE", "2", "%00", "t" * 100]
        if kind == "integer":
            return ["abc", "-1", "1e3", "", "0x10", str(schema["minimum"] - 1), "%00", "9" * 40,
                    str(schema["maximum"] + 1)]
        long = "z" * (schema.get("maxLength", 1024) + 3)
        if "pattern" in schema:
            return ["bad%20value!", "-1", "1x", "%00", "%ff", long, "9" * 40] + (
                [""] if parameter["name"] in ("from", "as_of", "expect", "stopAt") else [])
        return [long, "a%00b", "%ff", "a%c3"]

    def bad_bodies(self, schema):
        """Bodies that the schema forbids, as bytes."""
        yield from (b"", b"{", b"nothing", b"\xff\xfe", b'{"a":1}}', b'"' + b"\xff" + b'"', b"5", b"null",
                    b"[" * 100000)
        schema = self.document.follow(schema)
        for one in schema.get("oneOf", [schema]):
            one = self.document.follow(one)
            if one.get("type") != "object":
                continue
            whole = self.good({**one, "required": list(one.get("properties", {}))})
            for name in one.get("required", []):
                yield json.dumps({k: v for k, v in whole.items() if k != name}).encode()
            for name, member in one.get("properties", {}).items():
                member = self.document.follow(member)
                wrong = {"string": 5, "array": {"a": 1}, "boolean": "yes", "integer": "x"}
                if member.get("type") in wrong:
                    yield json.dumps({**whole, name: wrong[member["type"]]}).encode()
                if member.get("minLength"):
                    yield json.dumps({**whole, name: ""}).encode()
                if member.get("format") == "uuid":
                    yield json.dumps({**whole, name: "no-uuid"}).encode()
                if member.get("type") == "array":
                    yield json.dumps({**whole, name: [5]}).encode()
                    yield json.dumps({**whole, name: ["x"] * (member["maxItems"] + 1)}).encode()


# ---- Requests ----------------------------------------------------------------------------------

class Request:
    def __init__(self, method, path):
        self.method, self.path, self.query, self.headers, self.body = method, path, [], {}, None

    def put(self, parameter, value, encoded=False):
        """encoded: the value is percent-encoded already."""
        name = parameter["name"]
        text = value if encoded else urllib.parse.quote(value, safe="")
        if parameter["in"] == "path":
            self.path = self.path.replace("{" + name + "}", text)
        elif parameter["in"] == "query":
            self.query.append(f"{name}={text}")
        else:
            self.headers[name] = value

    @property
    def target(self):
        return self.path + ("?" + "&".join(self.query) if self.query else "")


class Checker:
    def __init__(self, server, document, values):
        self.server, self.document, self.values = server, document, values
        self.asked, self.seen = 0, {}
        self.mistakes = []

    def check(self, path, operation, request, wanted):
        """wanted: "good", "bad", or a status."""
        status, headers, body = self.server.ask(request.method, request.target, request.headers, request.body)
        self.asked += 1
        self.seen.setdefault((request.method, path), set()).add(status)
        what = f"{request.method} {request.target[:120]} {str(request.body)[:120]}: {status} {body[:200]}"
        documented = operation["responses"].get(str(status)) or operation["responses"].get(
            f"{status // 100}XX")
        wrong = None
        if status >= 500:
            wrong = "an error of the server"
        elif documented is None:
            wrong = f"documented are {list(operation['responses'])}"
        elif wanted == "good" and status == 400:
            wrong = "refused although the document allows it"
        elif wanted == "bad" and status < 400:
            wrong = "taken although the document forbids it"
        elif isinstance(wanted, int) and status != wanted:
            wrong = f"{wanted} was expected"
        if wrong is None and request.method != "HEAD":
            wrong = self.wrong_content(self.document.follow(documented), headers, body)
        if wrong is not None:
            self.mistakes.append(f"{wrong}: {what}")
        return status

    def wrong_content(self, documented, headers, body):
        content = documented.get("content")
        if content is None:
            return None if body == b"" else "a body where none is documented"
        kind = headers.get("content-type", "none").split(";")[0]
        if kind not in content:
            return f"its type is {kind}, documented are {list(content)}"
        if kind != "application/json":
            body.decode()
            return None
        try:
            value = json.loads(body.decode())
        except ValueError as error:
            return f"no JSON: {error}"
        return self.document.mistake(content[kind].get("schema", {}), value)

    def base(self, path, method, operation, parameters, leave=None):
        """A request with what is required, and nothing else."""
        request = Request(method, path)
        for parameter in parameters:
            if parameter is not leave and (parameter["in"] == "path" or parameter.get("required")):
                good = self.values.good_parameters(parameter)
                request.put(parameter, good[0])
        content = operation.get("requestBody", {}).get("content", {})
        if content:
            kind = next(iter(content))
            request.headers["content-type"] = kind
            request.body = json.dumps(self.values.good(content[kind]["schema"])).encode()
        return request

    def run(self, path, method, operation, parameters):
        def build(leave=None):
            return self.base(path, method, operation, parameters, leave)

        self.check(path, operation, build(), "good")
        for parameter in parameters:
            writes_system = parameter["in"] == "path" and method != "GET"
            for value in self.values.good_parameters(parameter):
                if not (writes_system and value.startswith("$")):
                    request = build(parameter)
                    request.put(parameter, value)
                    self.check(path, operation, request, "good")
            for value in self.values.bad_parameters(parameter) if parameter["in"] != "header" else []:
                request = build(parameter)
                request.put(parameter, value, encoded=True)
                self.check(path, operation, request, "bad")
            if parameter.get("required") and parameter["in"] != "path":
                self.check(path, operation, build(parameter), "bad")
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            if operation["requestBody"]["required"]:
                for _ in range(6):
                    request = build()
                    request.headers["content-type"] = kind
                    request.body = json.dumps(self.values.good(media["schema"])).encode()
                    self.check(path, operation, request, "good")
                for body in self.values.bad_bodies(media["schema"]):
                    request = build()
                    request.headers["content-type"] = kind
                    request.body = body
                    self.check(path, operation, request, "bad")
        optional = [p for p in parameters if p["in"] == "query"]
        for _ in range(8 if len(optional) > 1 else 0):  # All together.
            request = build()
            for parameter in optional:
                if not parameter.get("required"):
                    request.put(parameter, self.values.random.choice(self.values.good_parameters(parameter)))
            self.check(path, operation, request, "good")
        if method == "GET":
            request = build()
            wanted = self.check(path, operation, request, "good")
            request.method = "HEAD"
            self.check(path, operation, request, wanted)
            request.method = "BREW"
            status, headers, body = self.server.ask("BREW", request.target)
            if status not in (400, 405, 501) or (status == 405 and "GET" not in headers.get("allow", "")):
                self.mistakes.append(f"BREW {request.target}: {status} {headers} {body[:100]}")


def document_of(server):
    status, _, body = server.ask("GET", "/openapi.json")
    same(status, 200)
    return Document(body)


def settle(checker):
    assert not checker.mistakes, f"{len(checker.mistakes)} of {checker.asked}:\n" + "\n".join(
        checker.mistakes[:20])


def make_group(server, stream, group, authorization=None):
    """KurrentDB's PersistentSubscriptions/Create, put together by hand."""
    def field(number, data):
        assert len(data) < 128
        return bytes([number << 3 | 2, len(data)]) + data

    settings = b"\x28\x0a\x38\x01\x40\x0a\x50\x64\x58\x14\x60\x64" + b"\x70\xb8\x17" + b"\x78\xe8\x07"
    message = field(1, field(4, field(1, field(3, stream.encode())) + field(3, b"")) +
                    field(2, group.encode()) + field(3, settings))
    peer = raw.Peer(server.port)
    extra = {} if authorization is None else {"authorization": authorization.encode()}
    opened = peer.open(
        b"/event_store.client.persistent_subscriptions.PersistentSubscriptions/Create", end=False,
        method=b"POST", content_type=b"application/grpc", te=b"trailers", **extra)
    peer.send(raw.frame(raw.DATA, raw.END_STREAM, opened, b"\0" + raw.u32(len(message)) + message))
    while True:
        frame = peer.until(raw.HEADERS, opened)
        if frame[1] & raw.END_STREAM:
            break
    peer.close()


def fill(server):
    drafts = [{"type": "Placed", "data": {"n": n}, "tags": ["a:b"]} for n in range(5)]
    for stream in ("order-1", "order-2"):
        status, _, body = server.ask("POST", f"/api/streams/{stream}", {"content-type": "application/json"},
                                     json.dumps(drafts).encode())
        same((status, body), (201, body))
    for kind, body in (("text/plain", b"words"), ("application/octet-stream", b"\0\xff")):
        status, _, answer = server.ask("POST", "/api/streams/order-1",
                                       {"content-type": kind, "stele-type": "Placed"}, body)
        same((status, answer), (201, answer))


# What ends the server, or makes it busy, comes alone and last.
LAST = {("/admin/shutdown", "POST"), ("/admin/scavenge", "POST")}


def test_every_route_is_documented(s: Stele):
    """the routes of the authorization table are those of the document, to the method"""
    with open(os.path.join(SOURCE, "src", "auth", "table.h"), encoding="utf-8") as file:
        rows = re.findall(r'row\(\w+,\s*"([A-Z]+)",\s*"([^"]+)"', file.read())
    with Server(s, "--insecure") as server:
        document = document_of(server)
    documented = {(method, path) for path, method, _, _ in document.operations()}

    def fits(route, path):
        return path.startswith(route[:-1]) and path != route[:-1] if route.endswith("*") else path == route

    for method, route in rows:
        assert any(m == method and fits(route, p) for m, p in documented), f"{method} {route}"
    for method, path in documented:
        assert any(m == method and fits(r, path) for m, r in rows), f"{method} {path}"


def test_without_users(s: Stele):
    """without users: every request that the document allows or forbids is answered as it says"""
    with Server(s, "--insecure") as server:
        document = document_of(server)
        fill(server)
        make_group(server, "order-1", "g")
        checker = Checker(server, document, Values(document, SEED))
        # Reads first: what is written, deleted and closed comes behind them.
        order = {"GET": 0, "PUT": 1, "POST": 2, "DELETE": 3}
        for path, method, operation, parameters in sorted(
                document.operations(), key=lambda row: order[row[1]]):
            if (path, method) not in LAST and not path.startswith("/api/users"):
                checker.run(path, method, operation, parameters)
        seen = checker.seen
        for path, method in LAST:
            operation = document.whole["paths"][path][method.lower()]
            if method == "POST" and path != "/admin/shutdown":
                checker.check(path, operation, Request(method, path), 200)
        shutdown = document.whole["paths"]["/admin/shutdown"]["post"]
        checker.check("/admin/shutdown", shutdown, Request("POST", "/admin/shutdown"), 202)
        same(server.process.wait(HANGS), 0)
        print(f"# {checker.asked} requests, seed {SEED}")
        settle(checker)
        for key, statuses in (("/api/streams/{stream}", {200, 404}), ("/api/all", {200, 400}),
                              ("/api/groups", {200})):
            assert statuses <= seen[("GET", key)], f"{key}: only {seen[('GET', key)]}"
        assert {201, 400, 409} <= seen[("POST", "/api/streams/{stream}")], seen


def test_with_users(s: Stele):
    """with users: nobody gets 401, wrong passwords 401, who may not 403, administrators what is documented"""
    env = {"STELE_ADMIN_PASSWORD": ADMIN, "STELE_OPS_PASSWORD": ADMIN}
    with Server(s, "--password-memory", "64KiB", "--login-failures-max", "100000", env=env) as server:
        document = document_of(server)
        checker = Checker(server, document, Values(document, SEED + 1))

        def basic(login, password):
            return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()

        server.headers = {"authorization": basic("admin", ADMIN)}
        fill(server)
        user = {"login": "ada", "password": ADMIN, "groups": []}
        status, _, body = server.ask("POST", "/api/users", {"content-type": "application/json"},
                                     json.dumps(user).encode())
        same((status, body), (201, body))
        open_to_all = {"/health/live", "/health/ready", "/ping", "/info", "/gossip", "/openapi.json", "/api/me",
                       "/{file}"}
        admins = {"/info/options", "/api/users", "/api/users/{login}", "/admin/shutdown", "/admin/scavenge",
                  "/api/groups/replay"}
        for path, method, operation, parameters in document.operations():
            request = checker.base(path, method, operation, parameters)
            request.headers["content-type"] = "application/json"
            for login, password, wanted in (
                    (None, None, "good" if path in open_to_all else 401), ("admin", "wrong", 401),
                    ("ada", ADMIN, 403 if path in admins else None)):
                server.headers = {} if login is None else {"authorization": basic(login, password)}
                if wanted is not None:
                    checker.check(path, operation, request, wanted)
        server.headers = {"authorization": basic("admin", ADMIN)}
        for path, method, operation, parameters in document.operations():
            if path.startswith("/api/users"):
                checker.run(path, method, operation, parameters)
        print(f"# {checker.asked} requests, seed {SEED + 1}")
        settle(checker)
        server.process.send_signal(signal.SIGTERM)
        same(server.process.wait(HANGS), 0)


def test_metrics(s: Stele):
    """metrics are what Prometheus reads, count what was done, and name no stream"""
    with Server(s, "--insecure") as server:
        fill(server)
        make_group(server, "order-1", "group-1")
        server.ask("POST", "/api/streams/order-1?expect=none", {"content-type": "application/json"},
                   b'{"type":"Refused"}')
        read = len(json.loads(server.ask("GET", "/api/streams/order-2")[2])["events"])
        text = server.ask("GET", "/metrics")[2].decode()
        values, kinds = {}, {}
        for line in text.splitlines():
            if line.startswith("# "):
                word, name, rest = line[2:].split(" ", 2)
                if word == "TYPE":
                    assert name not in kinds, f"{name} twice"
                    kinds[name] = rest
                continue
            series, value = re.fullmatch(r"([a-z_]+(?:\{[^}]*\})?) (\S+)", line).groups()
            name = series.split("{")[0]
            family = re.sub("_(bucket|sum|count)$", "", name)
            assert name in kinds or kinds[family] == "histogram", f"{series} has no type"
            assert series not in values, f"{series} twice"
            values[series] = float(value)
        for name in ("order-1", "order-2", "group-1"):
            assert name not in text, name
        appends = 5  # Four of fill(), and the group's configuration.
        same(values["eventstore_append_success_total"], appends)
        same(values["eventstore_append_failure_total"], 1)
        same(values["eventcore_events_published_total"], values['kurrentdb_io_events_total{activity="written"}'])
        assert values["eventcore_events_published_total"] >= 12
        assert values["eventcore_events_consumed_total"] >= read
        same(values["stele_groups"], 1)
        buckets = [value for series, value in values.items()
                   if series.startswith('eventstore_append_duration_milliseconds_bucket{success="true"')]
        same(buckets, sorted(buckets))
        same(buckets[-1], appends)
        same(values['eventstore_append_duration_milliseconds_count{success="true"}'], appends)
        stats = json.loads(server.ask("GET", "/stats")[2])
        same(sum(count for _, count in stats["appends_us"]), stats["appends"])
        options = {row["name"]: row for row in json.loads(server.ask("GET", "/info/options")[2])}
        same((options["insecure"]["value"], options["insecure"]["configurationSource"]), (True, "Command Line"))
        same(options["listen"]["value"], ["localhost"])


def test_data_is_stored_as_it_was_sent(s: Stele):
    """numbers of any size, their digits, blanks and escapes come back byte by byte"""
    with Server(s, "--insecure") as server:
        texts = ["12345678901234567890123", "1.10", "-0", "1E400", "[1, 2 ,\n3]", '{"b":1, "a":{"c" :[]}}',
                 '"\\u00e9\\u0000\\/"', '"é"', "true", "null", '{"x":"}]","y":"\\""}', "0.1e-7"]
        for index, text in enumerate(texts):
            body = f' {{ "data" : {text} ,"type":"T", "metadata":{{"m":{text}}} }} '
            status, _, answer = server.ask("POST", f"/api/streams/raw-{index}",
                                           {"content-type": "application/json"}, body.encode())
            if text == "1E400":  # Larger than any double: refused, not rounded.
                same(status, 400)
                continue
            assert status == 201, f"{text}: {answer}"
            _, _, page = server.ask("GET", f"/api/streams/raw-{index}")
            assert f'"data":{text},"metadata":{{"m":{text}}}' in page.decode(), f"{text}: {page}"
        listed = "[" + ",".join(f'{{"type":"T","data":{text}}}' for text in texts if text != "1E400") + "]"
        same(server.ask("POST", "/api/streams/raw", {"content-type": "application/json"}, listed.encode())[0], 201)
        _, _, page = server.ask("GET", "/api/streams/raw")
        for text in texts:
            assert text == "1E400" or f'"data":{text}' in page.decode(), text
        # A name that is spelt with escapes is the same name.
        same(server.ask("POST", "/api/streams/spelt", {"content-type": "application/json"},
                        b'{"type":"T","d\\u0061ta":{"a":1}}')[0], 201)
        assert b'"data":{"a":1}' in server.ask("GET", "/api/streams/spelt")[2]


def test_cloudevents(s: Stele):
    """CloudEvents go in and come out whole, in both modes; the same one is stored once"""
    with Server(s, "--insecure") as server:
        event = {"specversion": "1.0", "id": "A-1", "source": "https://shop.example/orders", "subject": "1",
                 "type": "Placed", "dataschema": "https://shop.example/placed.json", "priority": 5, "gift": True,
                 "time": "2020-01-02T03:04:05.000000Z",
                 "data": {"total": 12}}
        kind = {"content-type": "application/cloudevents+json"}
        same(server.ask("POST", "/api/streams/shop", kind, json.dumps(event).encode())[0], 201)
        same(server.ask("POST", "/api/streams/shop", kind, json.dumps(event).encode())[0], 200)
        binary = {"ce-specversion": "1.0", "ce-id": "A-2", "ce-source": "shop", "ce-type": "Seen", "ce-subject": "2",
                  "content-type": "text/plain"}
        same(server.ask("POST", "/api/streams/shop", binary, b"words")[0], 201)
        same(server.ask("POST", "/api/streams/shop", binary, b"words")[0], 200)
        tagged = {"specversion": "1.0", "id": UUID % 7, "source": "shop", "type": "T", "tags": '["a:b"]',
                  "metadata": '{"by":"ada"}'}
        batch = {"content-type": "application/cloudevents-batch+json"}
        same(server.ask("POST", "/api/streams/shop", batch, json.dumps([tagged]).encode())[0], 201)
        page = json.loads(server.ask("GET", "/api/streams/shop?cloudevents=1")[2])["events"]

        def known(got, wanted):
            same({name: got.get(name) for name in wanted}, wanted)

        known(page[0], event)
        known(page[1], {"id": "A-2", "source": "shop", "type": "Seen", "subject": "2", "data": "words",
                        "datacontenttype": "text/plain"})
        known(page[2], tagged)
        # What was read can be written, and is recognised.
        for one in page:
            for name in ("revision", "position"):
                del one[name]
        same(server.ask("POST", "/api/streams/shop", batch, json.dumps(page).encode())[0], 200)
        same(json.loads(server.ask("GET", "/api/streams/shop")[2])["events"][0]["metadata"]["cloudevents"]["id"],
             "A-1")
        for wrong in ({"id": ""}, {"source": ""}, {"source": 5}, {"specversion": "2.0"}, {"Upper": "x"}, {"x": []}):
            same(server.ask("POST", "/api/streams/shop", kind, json.dumps({**event, **wrong}).encode())[0], 400)
        same(server.ask("POST", "/api/streams/shop", {"ce-type": "T", "ce-id": "1"}, b"")[0], 400)


def test_no_condition_is_lost(s: Stele):
    """a condition that cannot be read refuses the append instead of being left out"""
    with Server(s, "--insecure") as server:
        headers = {"content-type": "application/json"}
        for query in ("?expect=" + "0" * 40, "?expect=no%00ne", "?expect=%ff", "?expect="):
            same(server.ask("POST", "/api/streams/x" + query, headers, b'{"type":"T"}')[0], 400)
        same(server.ask("POST", "/api/streams/x", {**headers, "if-match": "0" * 40}, b'{"type":"T"}')[0], 400)
        same(server.ask("GET", "/api/streams/x")[0], 404)


main(sys.modules[__name__])
