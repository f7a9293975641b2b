"""No secret comes out anywhere, whichever way it went in.

Method: every secret is a text that exists only once. It is put in by every door there is: environment,
file, flags, headers, bodies, addresses, queries, right ones, wrong ones and ones in the wrong place.
Then everything that came out is searched: logs at their most verbose in both forms, standard output,
answers, statistics, metrics, the audit stream and all other events, the files of the store, error
messages, the environment of the process."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import BINARY, HANGS, Stele, has, main, same  # noqa: E402

import rawhttp as raw  # noqa: E402
from protobuf import pb  # noqa: E402
from server import SANITIZED, Server, certificate  # noqa: E402


class Canaries:
    """Makes secrets, and finds them: as they are, in base64 (at any offset), in hex, percent-encoded."""

    def __init__(self):
        self.made = {}

    def make(self, name):
        text = f"canary{len(self.made):02}{os.urandom(9).hex()}"
        self.made[name] = text
        return text

    def forms(self, text):
        raw_bytes = text.encode()
        yield raw_bytes
        yield raw_bytes.hex().encode()
        yield "".join(f"%{byte:02x}" for byte in raw_bytes).encode()
        for offset in range(3):  # What stands before it moves the letters.
            coded = base64.b64encode(b"\0" * offset + raw_bytes)
            yield coded[4 if offset else 0:-4]

    def search(self, where, output):
        """The output is clean."""
        output = output if isinstance(output, bytes) else output.encode()
        for name, text in self.made.items():
            for form in self.forms(text):
                assert form not in output, (
                    f"{name} is in {where}: …"
                    f"{output[max(0, output.index(form) - 200):output.index(form) + 100]!r}")


def basic(login, password):
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()


def token(secret, **claims):
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")
    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = part(json.dumps({"exp": int(time.time()) + 600, **claims}).encode())
    signed = head + b"." + body
    return (signed + b"." + part(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


def grpc(port, path, message, authorization):
    """All bytes that come back."""
    peer = raw.Peer(port)
    stream = peer.open(path, end=False, method=b"POST", content_type=b"application/grpc",
                       te=b"trailers", **({"authorization": authorization.encode()}
                                          if authorization else {}))
    peer.send(raw.frame(raw.DATA, raw.END_STREAM, stream, b"\0" + raw.u32(len(message)) + message))
    out = b""
    while (got := peer.read()) is not None:
        out += got[3]
        if got[2] == stream and got[0] in (raw.HEADERS, raw.DATA) and got[1] & raw.END_STREAM:
            break
    peer.close()
    return out


def converse(c, server, admin_password, jwt_secret):
    """Sends secrets in every way a client can. Returns everything that came back."""
    out = []

    def request(method, path, body=None, authorization=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANGS)
        headers = dict(headers or {})
        if authorization:
            headers["Authorization"] = authorization
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
        out.append((f"the answer to {method} {path.split('?')[0][:30]}",
                    str(response.status).encode() + str(response.getheaders()).encode() + data))
        connection.close()
        return response.status

    admin = basic("admin", admin_password)
    for path in ("/info", "/stats", "/metrics", "/gossip", "/api/me", "/api/users"):
        same(request("GET", path, authorization=admin), 200)
    # Wrong ones, and right ones in the wrong field.
    for authorization in (
            basic("admin", c.make("a wrong password")),
            basic(c.make("a password typed as a login"), "x"),
            "Basic " + c.make("what is no base64"),
            "Basic " + base64.b64encode(c.make("credentials without a colon").encode()).decode(),
            "Digest " + c.make("credentials of another scheme"),
            "Bearer " + c.make("what is no token"),
            "Bearer " + token(c.make("the secret of a foreign key").encode(), sub="eve"),
            c.make("credentials without a scheme")):
        same(request("GET", "/stats", authorization=authorization), 401)
        grpc(server.port, b"/event_store.client.streams.Streams/Read", b"", authorization[:120])
    good = token(jwt_secret.encode(), sub="jon", roles=["$admins"])
    c.made["a good token"] = good
    same(request("GET", "/stats", authorization="Bearer " + good), 200)
    same(request("GET", "/stats", authorization="Bearer " + good[:-1] + "x"), 401)
    # Users and their passwords, by both ways.
    password = c.make("the password of a user")
    user = {"login": "ada", "password": password, "full_name": "Ada", "groups": []}
    same(request("POST", "/api/users", json.dumps(user), admin), 201)
    same(request("POST", "/api/users", json.dumps(user), admin), 409)
    same(request("GET", "/api/me", authorization=basic("ada", password)), 200)
    same(request("GET", "/stats", authorization=basic("ada", password)), 200)
    for body in (
            {**user, "login": "bob", "pasword": c.make("a password under a mistyped name")},
            {**user, "login": "x:y", "password": c.make("a password for a bad login")},
            {**user, "login": "bob", "password": c.make("a password too long") * 100},
            {**user, "login": "bob", "password": [c.make("a password in a list")]},
            {**user, "login": "bob", "groups": c.make("a password as a group")}):
        same(request("POST", "/api/users", json.dumps(body), admin) // 100, 4)
    same(request("POST", "/api/users", '{"login": "bob", "password": "' +
                 c.make("a password in broken JSON"), admin), 400)
    same(request("POST", "/api/users/ada",
                 json.dumps({"password": c.make("a new password")}), admin), 200)
    users = "/event_store.client.users.Users/"
    for method, fields in (
            ("Create", [(1, "cyd"), (2, c.make("a password by gRPC")), (3, "Cyd")]),
            ("Create", [(1, "cyd"), (2, c.make("a password of a user that exists")), (3, "Cyd")]),
            ("ResetPassword", [(1, "cyd"), (2, c.make("a password that is reset"))]),
            ("ChangePassword", [(1, "cyd"), (2, c.make("a wrong current password")),
                                (3, c.make("its new password"))]),
            ("ResetPassword", [(1, c.make("a password as a login, by gRPC")), (2, "new-password")])):
        out.append((method, grpc(server.port, (users + method).encode(), pb((1, pb(*fields))), admin)))
    # Places where secrets do not belong.
    request("GET", "/stats?password=" + c.make("a secret in a query"), authorization=admin)
    request("GET", "/no/such/" + c.make("a secret in a path"), authorization=admin)
    request("GET", "/stats", authorization=admin, headers={"X-Api-Key": c.make("a foreign header"),
                                                           "Cookie": c.make("a cookie")})
    request("PATCH", "/stats", c.make("a body for a method that is none"), admin)
    request("GET", f"http://admin:{c.make('a secret in an address')}@127.0.0.1/stats",
            authorization=admin)
    for path in ("/info", "/stats", "/metrics", "/api/users"):
        same(request("GET", path, authorization=admin), 200)
    return out



def everything_stored(s):
    out = b""
    for directory, _, names in os.walk(s.path("stele-data")):
        for name in names:
            with open(os.path.join(directory, name), "rb") as file:
                out += file.read()
    return out


def test_canaries(s: Stele):
    """secrets that clients send and operators set come out nowhere"""
    for form in ("text", "json"):
        c = Canaries()
        admin = c.make("the administrator's first password")
        ops = c.make("the operator's first password")
        jwt_secret = c.make("the key of tokens") + "x" * 32
        key = base64.urlsafe_b64encode(jwt_secret.encode()).rstrip(b"=").decode()
        s.write("keys.json", json.dumps({"keys": [{"kty": "oct", "alg": "HS256", "k": key}]}))
        s.write("stele.yaml", f"ops-password: {ops}\nlog-level: debug\njwt-keys: keys.json\n"
                              "login-failures-max: 1000\npassword-memory: 8KiB\n"
                              f"store: data-{form}\n")
        env = {"STELE_ADMIN_PASSWORD": admin}
        if form == "json":
            env["STELE_PASWORD"] = c.make("the value of a mistyped variable")
        with Server(s, "--config", "stele.yaml", "--log-format", form, env=env) as server:
            answers = converse(c, server, admin, jwt_secret)
            with open(f"/proc/{server.process.pid}/cmdline", "rb") as file:
                c.search("the command line", file.read())
            try:
                with open(f"/proc/{server.process.pid}/environ", "rb") as file:
                    environment = file.read()
                c.made.pop("the value of a mistyped variable", None)  # Not ours to change.
                c.search("the environment", environment)
            except PermissionError:
                pass  # Nobody but root may look, which is as good.
            server.stop()
        for where, data in answers:
            c.search(where, data)
        c.search("the log", server.output)
        has(server.output, "ready")
        shutil_name = s.path(f"data-{form}")
        os.rename(shutil_name, s.path("stele-data"))
        c.search("the store's files", everything_stored(s))
        events = s.run("read", "--json", "$stele-audit").out
        assert events.count("\n") > 5, f"the audit stream has only {events}"
        c.search("the audit stream", events)
        os.rename(s.path("stele-data"), shutil_name)


def test_first_passwords(s: Stele):
    """passwords that the first start makes are on standard output, once, and in no log"""
    process = s.start("serve", "--port", "0", "--no-sandbox", "--log-level", "debug")
    lines = []
    while len(lines) < 3:
        lines.append(process.stdout.readline().decode())
        assert lines[-1], process.stderr.read().decode()
    process.terminate()
    rest, log = process.communicate(timeout=HANGS)
    passwords = [line.split(": ")[1].strip() for line in lines if line.startswith("first password")]
    same(len(passwords), 2)
    for password in passwords:
        assert password not in log.decode() and password not in rest.decode()
        assert password.encode() not in everything_stored(s)


def test_print_config(s: Stele):
    """--print-config shows no secret, wherever it comes from"""
    c = Canaries()
    s.write("stele.yaml", f"admin-password: {c.make('a password in the file')}\n")
    ended = s.run("serve", "--config", "stele.yaml", "--print-config",
                  env={"STELE_OPS_PASSWORD": c.make("a password in the environment")})
    has(ended.out, "admin-password")
    has(ended.out, "ops-password")
    c.search("--print-config", ended.out + ended.err)


def test_bad_values(s: Stele):
    """what is wrong with a secret is said without it"""
    c = Canaries()

    def fails(*args, env=None):
        ended = s.run("serve", "--port", "0", *args, env=env, code=None, timeout=HANGS)
        assert ended.code != 0, f"it started: {args}"
        c.search(f"an error message ({args})", ended.out + ended.err)

    fails("--admin-password", c.make("a flag that is none"))
    fails(f"--admin-password={c.make('a flag that is none, in one word')}")
    files = (
        "admin-password:\n  - " + c.make("a list"),
        "admin-password:\n  inner: " + c.make("a map"),
        "admin-pasword: " + c.make("a mistyped key"),
        "admin-password: \"" + c.make("a quote that does not end") + "\n",
        "admin-password: " + c.make("a tab") + "\n\tport: 1\n",
        "admin-password: " + c.make("a key twice") + "\nadmin-password: " + c.make("its second") + "\n",
        "admin-password: " + c.make("too long") * 100 + "\n",
        c.make("no YAML at all"),
    )
    for text in files:
        s.write("bad.yaml", text)
        fails("--config", "bad.yaml")
    fails(env={"STELE_ADMIN_PASSWORD": c.make("too long, in the environment") * 100})
    keys = (
        c.make("keys that are none"),
        '{"keys": [{"kty": "oct", "alg": "HS256", "k": "' + c.make("a short key")[:16] + '"}]}',
        '{"keys": [{"kty": "oct", "alg": "' + c.make("an algorithm") + '", "k": "' +
        c.make("its key") + '"}]}',
        '{"keys": [{"kty": "oct", "k": "' + c.make("a key in broken JSON"),
        '{"keys": [{"kty": "oct", "alg": "HS256", "k": "!!!' + c.make("no base64") + '"}]}',
        "-----BEGIN PRIVATE KEY-----\n" + c.make("a private key that is none") +
        "\n-----END PRIVATE KEY-----\n",
    )
    for text in keys:
        s.write("keys", text)
        fails("--jwt-keys", "keys")
    certificate(s, "server", "localhost")
    for name in ("a key that is none", "a key with a password"):
        text = c.make(name)
        s.write("bad.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + text +
                "\n-----END ENCRYPTED PRIVATE KEY-----\n" if "password" in name else text)
        fails("--tls-certificate", "server.pem", "--tls-key", "bad.key")


def test_addresses(s: Stele):
    """a password in a store's address is in no message of the command line"""
    c = Canaries()
    for address in ("stele://admin:{}@127.0.0.1:1", "kurrentdb://admin:{}@127.0.0.1:1?tls=false",
                    "stele://admin:{}@127.0.0.1:notaport", "stele://admin:{}@127.0.0.1:1?nosuch=1",
                    "stele://admin:{}/x@127.0.0.1:1", "stele://admin:12/{}@127.0.0.1:1",
                    "stele://admin:12?{}@127.0.0.1:1", "stele://admin:{}?x@127.0.0.1:1",
                    "stele://admin:{}@", "stele://{}@127.0.0.1:1", "stele://admin:{}@[::1",
                    "esdb://admin:{}@127.0.0.1:99999", "stelle://admin:{}@127.0.0.1:1",
                    "stele://admin:{}@127.0.0.1:1?tlsCaFile=/no/such/file"):
        store = address.format(c.make(address))
        for command in (("info",), ("read", "x"), ("user", "list"), ("append", "x")):
            ended = s.run(*command, "--store", store, code=None, timeout=HANGS)
            assert ended.code != 0
            c.search(f"a message about {address}", ended.out + ended.err)


def test_addresses_that_work(s: Stele):
    """a password in a store's address is in no output of the command line either"""
    c = Canaries()
    password = c.make("the password of an administrator")
    with Server(s, env={"STELE_ADMIN_PASSWORD": password}) as server:
        store = f"stele://admin:{password}@127.0.0.1:{server.port}"
        for command in (("info",), ("info", "--json"), ("streams",), ("read", "$users"),
                        ("read", "no-such-stream"), ("delete", "no-such-stream")):
            ended = s.run(*command, "--store", store, code=None)
            c.search(f"what {command} says", ended.out + ended.err)
            if command[0] == "info":
                same(ended.code, 0)
        server.stop()
    c.search("the log", server.output)


def test_no_core(s: Stele):
    """the server's memory is closed to its own user: no core dumps, no debugger"""
    if os.getuid() != 0 or SANITIZED:
        print("# skipped: only root sees who may look; the search for leaks is a debugger")
        return
    os.chmod(s.dir, 0o777)
    try:
        process = subprocess.Popen([BINARY, "serve", "--port", "0"], cwd=s.dir,
                                   env={"PATH": "/usr/bin:/bin", "HOME": s.dir}, user=65534,
                                   group=65534, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except PermissionError:
        print("# skipped: the binary lies where only root may look")
        return
    try:
        lines = []
        while not lines or "ready" not in lines[-1]:
            lines.append(process.stdout.readline().decode())
            assert lines[-1], "it ended"
        # proc(5): what belongs to a process that may not be dumped belongs to root.
        same(os.stat(f"/proc/{process.pid}/environ").st_uid, 0)
        with open(f"/proc/{process.pid}/limits", encoding="ascii") as file:
            core = next(line for line in file if line.startswith("Max core file size"))
        same(core.split()[4:6], ["0", "0"])
    finally:
        process.terminate()
        same(process.wait(HANGS), 0)
        process.stdout.close()


if __name__ == "__main__":
    main(sys.modules[__name__])
