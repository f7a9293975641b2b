"""The server starts as configured, lets in whom it should, keeps secrets, and ends when asked to.

Method: the real binary, spoken to by Python's own HTTP client over TLS and plain text.
"""

import base64
import http.client
import json
import os
import re
import signal
import ssl
import sys
import time
import urllib.parse

from documents import DOCS, commands_of, compare, console_blocks, read, run_session
from harness import BINARY, HANGS, Stele, has, hasnt, main, same, wait_until

CANARY = "canary-Qx7Zp2"


with open(BINARY, "rb") as binary:
    SANITIZED = re.search(b"__[at]san_init", binary.read()) is not None
# The search for leaks looks at the process from outside, which the sandbox does not allow.
USUAL = ["--no-sandbox"] if SANITIZED else []


class Server:
    """A server on a port that the system chose. Ends with the block it is made for."""

    def __init__(self, s, *args, env=None, tls=True):
        self.s, self.tls = s, tls
        options = ["--port", "0", *[one for one in USUAL if one not in args]]
        if tls:
            certificate(s)
            options += ["--tls-certificate", "cert.pem", "--tls-key", "key.pem"]
        self.out, self.err = open(s.path("out"), "wb"), open(s.path("err"), "wb")
        self.process = s.start("serve", *options, *args, env=env, stdout=self.out, stderr=self.err)
        wait_until(lambda: "is ready: " in self.said("out") or self.process.poll() is not None)
        found = re.search(r"127\.0\.0\.1:(\d+)", self.said("out"))
        assert found, self.said("err")
        self.port = int(found[1])

    def said(self, name):
        with open(self.s.path(name), encoding="utf-8", errors="replace") as file:
            return file.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=HANGS)
        self.out.close()
        self.err.close()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        same(self.process.wait(timeout=HANGS), 0)

    def ask(self, method, path, who=None, body=None, **headers):
        """(status, text)"""
        if who is not None:
            headers["authorization"] = "Basic " + base64.b64encode(who.encode()).decode()
        if self.tls:
            context = ssl.create_default_context(cafile=self.s.path("cert.pem"))
            connection = http.client.HTTPSConnection("localhost", self.port, timeout=HANGS,
                                                     context=context)
        else:
            connection = http.client.HTTPConnection("localhost", self.port, timeout=HANGS)
        connection.request(method, path, json.dumps(body) if body is not None else None,
                           {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def first_passwords(self):
        wait_until(lambda: self.said("out").count("first password of ") == 2)
        return dict(re.findall(r"first password of (\w+): (\S+)", self.said("out")))


def certificate(s, name="cert.pem"):
    if os.path.exists(s.path(name)):
        return
    s.shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
            "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 "
            f"-keyout key.pem -out {name}")


def append(server, stream, who):
    return server.ask("POST", f"/api/streams/{stream}", who, {"type": "A", "data": {}})[0]


def test_first_start(s: Stele):
    """the first start tells two passwords, once, and they let in"""
    with Server(s) as server:
        passwords = server.first_passwords()
        same(sorted(passwords), ["admin", "ops"])
        for login, password in passwords.items():
            status, text = server.ask("GET", "/api/me", f"{login}:{password}")
            same((status, json.loads(text)["name"]), (200, login))
            hasnt(server.said("err"), password)
        same(server.ask("GET", "/api/users", f"admin:{passwords['ops']}")[0], 401)
        server.end()
    with Server(s) as server:
        same(server.ask("GET", "/api/me", f"admin:{passwords['admin']}")[0], 200)
        hasnt(server.said("out"), "password")
        server.end()


def test_rights(s: Stele):
    """access lists and groups hold over the network"""
    env = {"STELE_ADMIN_PASSWORD": "admin-password", "STELE_OPS_PASSWORD": "ops-password"}
    s.shell("printf ada-password | stele user add ada")
    with Server(s, env=env) as server:
        admin, ops, ada = "admin:admin-password", "ops:ops-password", "ada:ada-password"
        same(append(server, "orders-1", None), 401)
        same(append(server, "orders-1", ada), 201)
        same(server.ask("PUT", "/api/meta/orders-1", admin, {"$acl": {"$r": "$admins"}})[0] // 100,
             2)
        same(server.ask("GET", "/api/streams/orders-1", ada)[0], 403)
        same(server.ask("GET", "/api/streams/orders-1", admin)[0], 200)
        same(append(server, "orders-1", ada), 201)
        same(server.ask("GET", "/api/streams/$user-ada", ada)[0], 403)
        same(server.ask("GET", "/api/all", ada)[0], 403)
        same(server.ask("GET", "/api/users", ops)[0], 403)
        same(server.ask("PUT", "/api/meta/$all", admin, {"$acl": {"$r": "$all"}})[0] // 100, 2)
        status, text = server.ask("GET", "/api/all?include_system_events=true", ada)
        same(status, 200)
        has(text, '"stream":"orders-1"')
        hasnt(text, "$user-")
        hasnt(text, "argon2")
        has(server.ask("GET", "/api/all?include_system_events=true", admin)[1], "argon2")
        same(server.ask("POST", "/admin/scavenge", ada)[0], 403)
        same(server.ask("POST", "/admin/scavenge", ops)[0] // 100, 2)
        same(server.ask("GET", "/health/live")[0] // 100, 2)
        server.end()


def test_users(s: Stele):
    """users are made, changed and deleted over HTTP, by administrators"""
    env = {"STELE_ADMIN_PASSWORD": "admin-password", "STELE_OPS_PASSWORD": "ops-password"}
    with Server(s, env=env) as server:
        def post(path, body, who="admin:admin-password"):
            return server.ask("POST", path, who, body)[0]

        ada = {"login": "ada", "password": "ada-password", "groups": ["readers"]}
        same(post("/api/users", ada, "ops:ops-password"), 403)
        same(post("/api/users", ada, None), 401)
        same(post("/api/users", ada), 201)
        same(post("/api/users", ada), 409)
        same(server.ask("GET", "/api/me", "ada:ada-password")[0], 200)
        for bad in ([], {}, {"login": "x"}, {"login": 1, "password": "long-enough"},
                    {"login": "x", "password": "short"}, {"login": "$x", "password": "long-enough"},
                    {"login": "x", "password": "long-enough", "groups": "x"},
                    {"login": "x", "password": "long-enough", "grops": []}):
            same((bad, post("/api/users", bad)), (bad, 400))
        same(post("/api/users/ada", {"password": "other-password"}), 200)
        same(server.ask("GET", "/api/me", "ada:ada-password")[0], 401)
        same(server.ask("GET", "/api/me", "ada:other-password")[0], 200)
        same(post("/api/users/ada", {"full_name": "Ada", "groups": ["$admins"]}), 200)
        same(server.ask("GET", "/api/users", "ada:other-password")[0], 200)
        same(post("/api/users/ada", {"disabled": True}), 200)
        same(server.ask("GET", "/api/me", "ada:other-password")[0], 401)
        same(post("/api/users/ada", {"disabled": False}), 200)
        same(post("/api/users/ada", {"disabled": False, "password": "long-enough"}), 400)
        same(post("/api/users/bob", {"disabled": True}), 404)
        same(server.ask("DELETE", "/api/users/ada", "admin:admin-password")[0], 200)
        same(server.ask("DELETE", "/api/users/ada", "admin:admin-password")[0], 404)
        users = json.loads(server.ask("GET", "/api/users", "admin:admin-password")[1])
        same([user["login"] for user in users], ["admin", "ops"])
        server.end()


def test_wrong_passwords(s: Stele):
    """wrong passwords are slowed down, and whoever is known already is not"""
    env = {"STELE_ADMIN_PASSWORD": "admin-password"}
    with Server(s, "--login-failures-max", "3", "--login-failures-refill", "1h", env=env) as server:
        same(server.ask("GET", "/api/users", "admin:admin-password")[0], 200)
        got = [server.ask("GET", "/api/users", f"admin:wrong-{i}")[0] for i in range(5)]
        same(got, [401, 401, 401, 429, 429])
        same(server.ask("GET", "/api/users", "admin:admin-password")[0], 200)
        server.end()


def test_secrets(s: Stele):
    """no password is in a log, an answer or a file of the store"""
    env = {"STELE_ADMIN_PASSWORD": CANARY + "-admin", "STELE_OPS_PASSWORD": CANARY + "-ops"}
    answers = []
    s.shell(f"printf {CANARY}-ada | stele user add ada")
    with Server(s, "--log-level", "debug", env=env) as server:
        admin = f"admin:{CANARY}-admin"
        for who in (admin, f"admin:{CANARY}", f"{CANARY}:x", "ada:" + CANARY + "-ada"):
            answers.append(server.ask("GET", "/api/me", who))
            answers.append(server.ask("GET", "/api/users", who))
        answers.append(server.ask("GET", "/api/me", authorization=f"Bearer {CANARY}.a.b"))
        answers.append(server.ask("GET", "/api/all", admin))
        same({answer[0] for answer in answers}, {200, 401, 403})
        hasnt(json.dumps(answers), CANARY)
        server.end()
        hasnt(server.said("out") + server.said("err"), CANARY)
    ended = s.shell(f"grep -r -l {CANARY} stele-data", code=None)
    same((ended.code, ended.out), (1, ""))
    hasnt(s.run("serve", "--print-config", env=env).out, CANARY)


def test_plain_text(s: Stele):
    """plain text is for loopback, or for who says insecure"""
    ended = s.run("serve", "--listen", "0.0.0.0", "--port", "0", code=None)
    assert ended.code != 0
    has(ended.err, "insecure")
    with Server(s, "--insecure", tls=False) as server:
        same(append(server, "orders-1", None), 201)
        same(server.ask("GET", "/api/all")[0], 200)
        hasnt(server.said("out"), "password")
        server.end()


def test_sandbox(s: Stele):
    """once it has started, every thread is in the sandbox, unless it was told not to"""
    if SANITIZED:
        return  # Nothing to see then: see USUAL.
    def filters(server):
        tasks = f"/proc/{server.process.pid}/task"
        return {re.search(r"^Seccomp:\t(\d)", open(f"{tasks}/{task}/status").read(), re.M)[1]
                for task in os.listdir(tasks)}

    with Server(s, "--insecure", tls=False) as server:
        if "without" not in server.said("err"):
            wait_until(lambda: filters(server) == {"2"})
        server.end()
    with Server(s, "--insecure", "--no-sandbox", tls=False) as server:
        same(filters(server), {"0"})
        server.end()


def test_reload(s: Stele):
    """SIGHUP takes a new certificate"""
    with Server(s, env={"STELE_ADMIN_PASSWORD": "admin-password"}) as server:
        old = ssl.get_server_certificate(("127.0.0.1", server.port))
        certificate(s, "new.pem")
        os.replace(s.path("new.pem"), s.path("cert.pem"))
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: ssl.get_server_certificate(("127.0.0.1", server.port)) != old)
        s.write("key.pem", "no key")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the old one stays" in server.said("err"))
        same(server.ask("GET", "/api/me", "admin:admin-password")[0], 200)
        server.end()


def test_tokens(s: Stele):
    """bearer tokens of the configured key let in, others do not"""
    import hashlib
    import hmac

    def b64(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def token(secret, **claims):
        head = b64(b'{"alg":"HS256"}') + "." + b64(json.dumps(claims).encode())
        return head + "." + b64(hmac.new(secret, head.encode(), hashlib.sha256).digest())

    secret = b"0123456789abcdef0123456789abcdef"
    s.write("keys.json", json.dumps({"keys": [{"kty": "oct", "k": b64(secret)}]}))
    later = int(time.time()) + 1000
    with Server(s, "--jwt-keys", "keys.json", "--jwt-audience", "stele") as server:
        def me(text):
            return server.ask("GET", "/api/users", authorization="Bearer " + text)[0]

        same(me(token(secret, sub="ada", aud="stele", exp=later, roles=["$admins"])), 200)
        same(me(token(secret, sub="ada", aud="stele", exp=later)), 403)
        same(me(token(secret, sub="ada", aud="other", exp=later, roles=["$admins"])), 401)
        same(me(token(secret, sub="ada", aud="stele", exp=1000, roles=["$admins"])), 401)
        same(me(token(b"x" * 32, sub="ada", aud="stele", exp=later, roles=["$admins"])), 401)
        server.end()


CLOUD = {"specversion": "1.0", "id": "A-1", "source": "/shop", "subject": "caf\u00e9", "retries": 3,
         "type": "OrderPlaced", "time": "2020-01-02T03:04:05Z", "dataschema": "https://x.example/s",
         "tags": '["customer:7"]', "data": {"total": 3}}


def test_cloudevents(s: Stele):
    """a CloudEvent comes out of HTTP as it went in, and is the same one on the command line"""
    structured = {"content-type": "application/cloudevents+json"}
    headers = {f"ce-{name}": urllib.parse.quote(str(value), safe="/:") for name, value in
               CLOUD.items() if name != "data"}
    headers["content-type"] = "application/json"
    with Server(s, "--insecure", tls=False) as server:
        def post(stream, body, fields):
            status, answer = server.ask("POST", "/api/streams/" + stream, body=body, **fields)
            return status, json.loads(answer)

        def get(stream):
            status, answer = server.ask("GET", f"/api/streams/{stream}?cloudevents=true")
            same(status, 200)
            return json.loads(answer)["events"]

        same(post("one", CLOUD, structured)[0], 201)
        same(post("two", CLOUD["data"], headers)[0], 201)
        again = post("one", CLOUD, structured)
        same((again[0], again[1]["idempotent"]), (200, True))
        for stream, retries in (("one", 3), ("two", "3")):  # A header has no types.
            event = get(stream)[0]
            for name, value in {**CLOUD, "retries": retries, "stream": stream,
                                "time": "2020-01-02T03:04:05.000000Z"}.items():
                same(event[name], value)
        batch = [dict(CLOUD, id=str(number), source="three") for number in range(3)]
        same(post("three", batch, {"content-type": "application/cloudevents-batch+json"})[0], 201)
        same([(event["id"], event["source"], event.get("stream")) for event in get("three")],
             [(str(number), "three", None) for number in range(3)])

        for wrong in ({"specversion": "0.3"}, {"source": ""}, {"id": None}, {"type": 7},
                      {"time": "soon"}, {"tags": "customer"}, {"list": []}, {"half": 0.5},
                      {"Upper": "x"}):
            status, answer = post("bad", {**CLOUD, **wrong}, structured)
            same((status, answer["error"]), (400, "invalid"))
            has(answer["message"], next(iter(wrong)))
        same(post("bad", {}, {**headers, "ce-subject": "%ff"})[0], 400)
        same(post("bad", {}, {"ce-type": "T"})[0], 400)
        same(server.ask("GET", "/api/streams/bad")[0], 404)

        # What came over HTTP goes through files of the command line, and is known there.
        address = f"stele://127.0.0.1:{server.port}"
        s.shell(f"stele export --cloudevents --store {address} >all.jsonl && "
                "stele import all.jsonl --store copy")
        same(s.run("read", "$all", "--store", "copy", "--cloudevents").json[0]["source"], "/shop")
        same(s.run("streams", "--store", "copy").out.split()[::2], ["one", "three", "two"])
        has(s.shell(f"stele import all.jsonl --store {address}").out, "5 more were there already")
        server.end()


def test_http_md(s: Stele):
    """docs/http.md shows what happens"""
    with Server(s, "--insecure", tls=False) as server:
        text = read(os.path.join(DOCS, "http.md")).replace(
            "localhost:2113", f"127.0.0.1:{server.port}")
        pairs = commands_of(console_blocks(text))
        assert len(pairs) > 15
        compare("http.md", pairs, run_session(s, pairs), "\u2026")
        server.end()


def test_configuration(s: Stele):
    """a mistake in the configuration ends it with advice, before anything is opened"""
    s.write("bad.yaml", "port: 1\nlisten-on: x\n")
    for args, env, part in (
        (["--config", "bad.yaml"], {}, "line 2"),
        (["--config", "missing.yaml"], {}, "missing.yaml"),
        (["--prot", "1"], {}, "did you mean --port"),
        (["--port", "x"], {}, "a whole number"),
        (["--tls-key", "x"], {}, "tls-certificate is missing"),
        (["--listen", "a:b"], {}, "none of HOST"),
        ([], {"STELE_PORT": "tcp://10.0.0.1:2113"}, "enableServiceLinks"),
        (["--jwt-keys", "missing.json"], {}, "missing.json"),
    ):
        ended = s.run("serve", *args, env=env, code=None)
        assert ended.code not in (0, None), args
        has(ended.err, part)


main(sys.modules[__name__])
