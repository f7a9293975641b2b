"""The server as a process: it comes up, answers on one port whatever the client speaks, goes down
gracefully, and is not impressed by floods."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import HANGS, Stele, has, main, same, wait_until  # noqa: E402

import rawhttp as raw  # noqa: E402
from server import SANITIZED, SLOW, Server, certificate  # noqa: E402


def test_one_port_speaks_everything(s: Stele):
    """HTTP/1.1 and HTTP/2 with prior knowledge are answered on one port"""
    with Server(s, "--insecure") as server:
        same(server.get(), 204)
        same(server.get("/no/such/place"), 404)
        same(server.get("/no/such/place", method="POST"), 404)
        same(server.get("/info", method="POST"), 405)
        peer = raw.Peer(server.port)
        stream = peer.open(b"/health/live")
        same(peer.until(raw.HEADERS, stream)[2], stream)
        peer.close()
        server.stop()


def test_names_of_other_sites(s: Stele):
    """a web site whose name means this machine gets nothing from a server without users"""
    def ask(host, peer="127.0.0.1", path="/info", method="GET"):
        connection = http.client.HTTPConnection(peer, server.port, timeout=HANGS)
        connection.putrequest(method, path, skip_host=True)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, answer

    with Server(s, "--insecure", "--advertise-host", "store.example") as server:
        for host in ("localhost", f"LocalHost:{server.port}", "localhost.", "a.b.localhost:1", "127.0.0.1",
                     f"127.0.0.1:{server.port}", "[::1]", f"[::1]:{server.port}", "10.1.2.3",
                     "store.example", f"Store.Example.:{server.port}", socket.gethostname()):
            same((host, ask(host)[0]), (host, 200))
        for host in ("evil.example", f"evil.example:{server.port}", "localhost.evil.example", "127.0.0.1.evil.example",
                     "notlocalhost", "store.example.evil.example", "evil.example:localhost", "[evil]", ""):
            status, answer = ask(host)
            same((host, status), (host, 403))
            same(json.loads(answer)["error"], "permission")
        for path in ("/", "/metrics", "/api/streams/a", "/no/such/place", "/health/live"):
            same((path, ask("evil.example", path=path)[0]), (path, 403))
        same(ask("evil.example", path="/api/streams/a", method="POST")[0], 403)
        # Over HTTP/2 as well, should a browser ever speak it without TLS.
        answered = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--http2-prior-knowledge",
                                   "-H", "Host: evil.example", f"http://127.0.0.1:{server.port}/info"],
                                  stdout=subprocess.PIPE, check=True)
        same(answered.stdout, b"403")
        server.stop()
    # Users protect themselves: a site has no password, and a proxy on this machine may pass names on.
    with Server(s, "--store", "with-users") as server:
        same(ask("evil.example", path="/health/live")[0], 204)
        same(ask("evil.example", path="/api/streams/a")[0], 401)
        server.stop()


def test_spellings_of_data(s: Stele):
    """base64 and times are read over HTTP as strictly as everywhere else"""
    with Server(s, "--insecure") as server:
        def ask(method, path, body=None):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANGS)
            connection.request(method, path, body, {"content-type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
            connection.close()
            return response.status, answer

        def append(text):
            return ask("POST", "/api/streams/b",
                       json.dumps({"type": "T", "content_type": "x/y", "data_base64": text}))[0]

        for good in ("", "Zg==", "Zm8=", "Zm9v", "+/+/"):
            assert append(good) < 300, good
        # Padding in the middle, missing, or not alone; bits of no byte; other alphabets.
        for bad in ("Zg==Zg==", "Zg", "Zg=", "====", "Zh==", " Zm9", "Zm9v\n", "-_-_", "Zm9vZ"):
            same((bad, append(bad)), (bad, 400))
        same(len(json.loads(ask("GET", "/api/streams/b")[1])["events"]), 5)
        for good in ("2026-11-20T15:00:00Z", "2026-11-20T15:00:00.25%2B01:00", "1"):
            same((good, ask("GET", f"/api/streams/b?as_of={good}")[0]), (good, 200))
        for bad in ("2026-11-31T15:00:00Z", "2026-11-20T15:00:00", "2026-11-20T25:00:00Z", "soon"):
            same((bad, ask("GET", f"/api/streams/b?as_of={bad}")[0]), (bad, 400))
        server.stop()


def test_what_is_not_understood(s: Stele):
    """parameters and members that a path does not know are refused over HTTP, never left out"""
    with Server(s, "--insecure") as server:
        def ask(method, path, body=None, **headers):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request(method, path, body, {"content-type": "application/json", **headers})
            response = connection.getresponse()
            answer = response.read()
            connection.close()
            return response.status, answer.decode()

        def refused(words, *request, status=400, **headers):
            given, answer = ask(*request, **headers)
            same((request, given), (request, status))
            has(json.loads(answer)["message"], words)

        event = '{"type": "T"}'
        same(ask("POST", "/api/streams/a?expect=none", event)[0], 201)
        # A condition or a filter that is misspelt, or there twice, would be none.
        refused("no parameter expected here; this path takes expect", "POST", "/api/streams/a?expected=none", event)
        refused("expect may be there once", "POST", "/api/streams/a?expect=any&expect=none", event)
        refused("no parameter regex here", "GET", "/api/all?regex=A")
        refused("type may be there once", "GET", "/api/tail?type=A&type=B")
        refused("no parameter type here", "GET", "/api/tail/a?type=A")
        refused("16 times", "GET", "/api/all?" + "&".join(f"type=T{i}" for i in range(17)))
        refused("no parameter %ff here; this path takes none", "GET", "/api/groups?%ff")
        same(ask("GET", "/api/all?" + "&".join(f"type=T{i}" for i in range(16)))[0], 200)
        same(ask("GET", "/gossip?format=json")[0], 200)
        refused("as_of is a position or a time", "GET", "/api/streams/a?as_of=yesterday")
        same(json.loads(ask("GET", "/api/streams/a?as_of=0")[1])["events"], [])
        # A place that was never given out: to begin elsewhere would skip events.
        refused("Last-Event-ID", "GET", "/api/tail/a", **{"last-event-id": "x"})
        refused("Content-Encoding", "POST", "/api/streams/a", event, status=415, **{"content-encoding": "gzip"})

        for words, body in (("\"dta\" is no member", '{"type": "T", "dta": 1}'),
                            ("another one", '{"type": "T", "stream": "b"}'),
                            ("another one", '{"type": "T", "stream": 1}'),
                            ("\"created\" is no time", '{"type": "T", "created": 5}'),
                            ("\"type\" is a string", '{"type": 1}'),
                            ("exclude each other", '{"type": "T", "data": 1, "data_base64": ""}'),
                            ("metadata_base64 is no base64", '{"type": "T", "metadata_base64": "!"}'),
                            ("tombstone", '{"type": "T", "tombstone": true}'),
                            ("line 1, column 12", '{"type": "T"'),
                            ("duplicate", '{"type": "T", "type": "U"}'),
                            ("no event in the list", "[]"), ("the body is empty", "")):
            refused(words, "POST", "/api/streams/a", body)
        assert not ask("POST", "/api/streams/a", "{")[1].startswith("event")
        same(len(json.loads(ask("GET", "/api/streams/a")[1])["events"]), 1)

        # What was read can be sent as it came.
        whole = {"type": "T", "data": {"a": 1}, "metadata_base64": "/w==", "tags": ["x"],
                 "created": "2026-01-02T03:04:05.000006Z"}
        same(ask("POST", "/api/streams/b", json.dumps(whole))[0], 201)
        read = json.loads(ask("GET", "/api/streams/b")[1])["events"][0]
        same({name: read[name] for name in whole}, whole)
        assert ask("DELETE", "/api/streams/b")[0] < 300
        del read["id"]
        same(ask("POST", "/api/streams/b", json.dumps(read))[0], 201)
        server.stop()


def test_tail_of_a_tombstone(s: Stele):
    """a live tail ends with its stream, and leaves nothing that the server trips over when it ends"""
    with Server(s, "--insecure") as server:
        def ask(method, path, body=None):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANGS)
            connection.request(method, path, body, {"stele-type": "A"})
            return connection.getresponse()

        same(ask("POST", "/api/streams/a", "{}").status // 100, 2)
        tail = ask("GET", "/api/tail/a?from=0")
        same(tail.status, 200)
        same(ask("DELETE", "/api/streams/a?tombstone").status // 100, 2)
        has(tail.read().decode(), '"outcome":"stream-deleted"')
        server.stop()


def test_tls(s: Stele):
    """TLS 1.2 and 1.3 with ALPN; SIGHUP serves the new certificate; plain text is refused"""
    certificate(s, "server", "first")
    with Server(s, "--insecure", "--tls-certificate", "server.pem", "--tls-key",
                "server.key") as server:
        def connect(version, protocols):
            context = ssl.create_default_context(cafile=s.path("server.pem"))
            context.minimum_version = context.maximum_version = version
            context.set_alpn_protocols(protocols)
            with socket.create_connection(("127.0.0.1", server.port), timeout=HANGS) as plain:
                with context.wrap_socket(plain, server_hostname="localhost") as tls:
                    subject = dict(pair[0] for pair in tls.getpeercert()["subject"])
                    return tls.version(), tls.selected_alpn_protocol(), subject["commonName"]

        v12, v13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
        same(connect(v13, ["h2", "http/1.1"]), ("TLSv1.3", "h2", "first"))
        same(connect(v12, ["http/1.1"]), ("TLSv1.2", "http/1.1", "first"))
        same(server.get(context=ssl.create_default_context(cafile=s.path("server.pem"))), 204)
        context = ssl.create_default_context(cafile=s.path("server.pem"))
        context.set_alpn_protocols(["h2"])
        peer = raw.Peer(server.port, context=context)
        stream = peer.open(b"/health/live")
        same(peer.until(raw.HEADERS, stream)[2], stream)
        try:
            server.get()
            raise AssertionError("plain text was answered")
        except (http.client.HTTPException, OSError):
            pass
        certificate(s, "server", "second")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("read again")
        same(connect(v13, ["h2"]), ("TLSv1.3", "h2", "second"))
        stream = peer.open(b"/health/live")  # The old connection lives on.
        same(peer.until(raw.HEADERS, stream)[2], stream)
        s.write("server.key", "nothing")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("the old one stays")
        same(connect(v13, ["h2"]), ("TLSv1.3", "h2", "second"))
        peer.close()
        server.stop()


def test_certificates_that_cannot_be_used(s: Stele):
    """a certificate or a key that cannot be used is told in words, without asking at the terminal"""
    one, other = [(s.path(f"{name}.pem"), s.path(f"{name}.key")) for name in ("one", "other")]
    certificate(s, "one", "localhost")
    certificate(s, "other", "localhost")
    encrypted = s.path("encrypted.pem")
    subprocess.run(["openssl", "genrsa", "-aes128", "-passout", "pass:abcd", "-out", encrypted, "2048"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    s.write("rubbish.pem", "rubbish")
    for cert, key, words in ((s.path("nope.pem"), one[1], "nope.pem: No such file or directory"),
                             (s.path("rubbish.pem"), one[1], "nothing of the kind, in PEM"),
                             (one[0], s.path("nope.pem"), "nope.pem: No such file or directory"),
                             (one[0], one[0], "nothing of the kind, in PEM"),
                             (one[0], encrypted, "without a passphrase"),
                             (one[0], other[1], "it is not that of the certificate")):
        has(s.run("serve", "--port", "0", "--tls-certificate", cert, "--tls-key", key, code=2).err, words)


def test_it_ends_gracefully(s: Stele):
    """SIGTERM and SIGINT say GOAWAY, end with code 0 and leave a store that opens again"""
    for how in (signal.SIGTERM, signal.SIGINT):
        # What would wait to the last would wait for longer than this.
        with Server(s, "--insecure", "--drain-timeout", f"{2 * HANGS}s") as server:
            peer = raw.Peer(server.port)
            stream = peer.open(b"/health/live")
            same(peer.until(raw.HEADERS, stream)[2], stream)
            live = peer.open(b"/api/tail")  # Would never end.
            same(peer.until(raw.HEADERS, live)[2], live)
            server.process.send_signal(how)
            goaway = peer.until(raw.GOAWAY)
            same(int.from_bytes(goaway[3][4:8], "big"), 0)
            while peer.read() is not None:
                pass
            same(server.process.wait(HANGS), 0)
    s.run("verify")


def test_subscriptions_are_told(s: Stele):
    """a subscription ends with UNAVAILABLE, so that its client connects again"""
    # ReadReq: options { all { start }, subscription, no_filter, uuid_option { string } }.
    options = bytes.fromhex("12021200" "3200" "4200" "4a021200")
    message = b"\x0a" + bytes([len(options)]) + options
    # What would wait to the last would wait for longer than this.
    with Server(s, "--insecure", "--drain-timeout", f"{2 * HANGS}s") as server:
        peer = raw.Peer(server.port)
        stream = peer.open(b"/event_store.client.streams.Streams/Read", end=False, method=b"POST",
                           content_type=b"application/grpc", te=b"trailers")
        peer.send(raw.frame(raw.DATA, raw.END_STREAM, stream,
                            b"\0" + raw.u32(len(message)) + message))
        same(peer.until(raw.DATA, stream)[2], stream)  # The confirmation.
        server.process.send_signal(signal.SIGTERM)
        trailers = peer.until(raw.HEADERS, stream)
        same(trailers[1] & raw.END_STREAM, raw.END_STREAM)
        assert b"\x0214" in trailers[3], f"no grpc-status 14 in {trailers}"
        while peer.read() is not None:
            pass
        same(server.process.wait(HANGS), 0)


def test_nobody_is_shown_plain_text(s: Stele):
    """without --insecure plain text is refused on every address but loopback"""
    ended = s.run("serve", "--listen", "0.0.0.0", "--port", "0", code=None)
    assert ended.code != 0
    has(ended.err, "insecure")


def test_a_port_in_use_is_refused(s: Stele):
    """a second server on the same port does not start, and says what to do"""
    with Server(s, "--insecure") as server:
        ended = s.run("serve", "--insecure", "--port", str(server.port), "--store", "other",
                      code=None)
        assert ended.code != 0
        has(ended.err, "another program listens there")
        same(server.get(), 204)
        server.stop()


def test_systemd_is_told(s: Stele):
    """READY=1 and STOPPING=1 go to NOTIFY_SOCKET"""
    path = s.path("notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(HANGS)
        with Server(s, "--insecure", env={"NOTIFY_SOCKET": path}) as server:
            same(listener.recv(100), b"READY=1")
            server.stop()
            same(listener.recv(100), b"STOPPING=1")


def neighbour(port, stop, times, naps):
    """Asks for something small again and again, and notes how long that takes; and how long a nap of a millisecond
    does, which nobody but the machine can prolong."""
    peer = raw.Peer(port)
    peer.send(raw.frame(raw.WINDOW_UPDATE, 0, 0, raw.u32(1 << 30)))
    while not stop.is_set():
        before = time.monotonic()
        stream = peer.open(b"/ping")
        if peer.until(raw.HEADERS, stream) is None:
            break
        answered = time.monotonic()
        times.append(answered - before)
        time.sleep(0.001)
        naps.append(time.monotonic() - answered)
    peer.close()


def test_floods(s: Stele):
    """floods end with ENHANCE_YOUR_CALM, cost little memory, and the neighbour is served"""
    if SLOW:
        print("# skipped: at this speed nobody sends enough for a flood")
        return
    bomb = b"\x40\x01a\x7f" + bytes([0x80 | (3900 - 127) & 0x7f, (3900 - 127) >> 7]) + b"x" * 3900
    with Server(s, "--insecure") as server:
        for _ in range(3):
            server.get()
        memory = server.status("VmRSS")
        stop, times, naps = threading.Event(), [], []
        thread = threading.Thread(target=neighbour, args=(server.port, stop, times, naps))
        thread.start()

        def rapid_reset(peer):
            def pair():
                stream = peer.next
                peer.next += 2
                return raw.frame(raw.HEADERS, raw.END_HEADERS | raw.END_STREAM, stream,
                                 raw.request(b"/ping")) + raw.frame(
                                     raw.RST_STREAM, 0, stream, raw.u32(8))
            return pair

        def made_you_reset(peer):
            def pair():
                stream = peer.next
                peer.next += 2
                return raw.frame(raw.HEADERS, raw.END_HEADERS, stream, raw.request(
                    b"/api/streams/x", method=b"POST")) + raw.frame(
                        raw.WINDOW_UPDATE, 0, stream, raw.u32(0x7fffffff))
            return pair

        cases = {
            "rapid reset": rapid_reset,
            "made you reset": made_you_reset,
            "settings": lambda peer: raw.frame(raw.SETTINGS, 0, 0),
            "ping": lambda peer: raw.frame(raw.PING, 0, 0, b"12345678"),
            "priority": lambda peer: raw.frame(raw.PRIORITY, 0, 1001, b"\0\0\0\0\1"),
            "window update": lambda peer: raw.frame(raw.WINDOW_UPDATE, 0, 0, raw.u32(1)),
            "unknown": lambda peer: raw.frame(99, 0, 0, b"?"),
            "empty data": lambda peer: raw.frame(raw.DATA, 0, peer.open(
                b"/api/streams/x", end=False, method=b"POST")),
            "bomb": lambda peer: raw.frame(raw.HEADERS, raw.END_HEADERS, 1,
                                           raw.request(b"/ping") + bomb + b"\xbe" * 4000),
        }
        for name, make in cases.items():
            for _ in range(3):
                peer = raw.Peer(server.port)
                error = peer.flood(make(peer))
                # A reset may overtake the last words on their way; a wrong word may not come.
                assert error in (None, raw.CALM), f"{name}: GOAWAY({error})"
                peer.close()
        # Many requests, and not one byte of window for the answers.
        peers = [raw.Peer(server.port, settings=b"\0\4" + raw.u32(0)) for _ in range(4)]
        for peer in peers:
            for _ in range(500):
                peer.open(b"/metrics")
        time.sleep(0.5)
        grown = server.status("VmRSS") - memory
        wait_until(lambda: len(times) > 20 or not thread.is_alive())
        stop.set()
        thread.join()
        for peer in peers:
            peer.close()
        same(server.get(), 204)
        server.stop()
        times.sort()
        print(f"# grown by {grown} KiB; neighbour: {len(times)} answers, p50 "
              f"{times[len(times) // 2] * 1e6:.0f} us, p99 {times[len(times) * 99 // 100] * 1e6:.0f} "
              "us")
        if not SANITIZED:
            # Each of the four connections may have 4 MiB for a client that takes nothing; how much they get to have
            # in half a second is chance.
            assert grown < (4 * 4 + 8) * 1024, f"grown by {grown} KiB"
        assert len(times) > 20, "the neighbour was hung up on"
        assert times[len(times) * 99 // 100] < 1.0 + 5 * max(naps)


def test_half_open_connections_are_closed(s: Stele):
    """who connects and says nothing, or never ends its headers, is closed after a while"""
    with Server(s, "--insecure") as server:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
        slow = socket.create_connection(("127.0.0.1", server.port))
        slow.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        for connection in silent:
            connection.settimeout(HANGS)
            same(connection.recv(1), b"")
            connection.close()
        slow.settimeout(HANGS)
        has(slow.recv(1000).decode(), "408")
        slow.close()
        server.stop()


def test_connections_are_bounded(s: Stele):
    """more connections than allowed are closed, and one that ends makes room for another"""
    with Server(s, "--insecure", "--connections-max", "5") as server:
        def is_served(peer):
            try:
                stream = peer.open(b"/ping")
                return peer.until(raw.HEADERS, stream) is not None
            except OSError:
                return False

        peers = [raw.Peer(server.port) for _ in range(5)]
        same([is_served(peer) for peer in peers], [True] * 5)
        try:
            same(is_served(raw.Peer(server.port)), False)
        except OSError:
            pass  # Closed before the preface was out.
        peers.pop().close()
        deadline = time.monotonic() + HANGS
        while True:
            try:
                if is_served(raw.Peer(server.port)):
                    break
            except OSError:
                pass
            assert time.monotonic() < deadline, "no room came free"
            time.sleep(0.05)
        same([is_served(peer) for peer in peers], [True] * 4)
        server.stop()


def append_one(peer):
    """Asks for an event in the stream "load"; nobody has waited for the answer."""
    options = b"\x0a\x06\x1a\x04load" + b"\x22\x00"  # stream identifier, expected revision: any
    first = b"\x0a" + bytes([len(options)]) + options
    proposed = (b"\x0a\x26" + b"\x12\x24" + str(uuid.uuid4()).encode() + b"\x12\x09\x0a\x04type\x12\x01t" +
                b"\x12\x20\x0a\x0ccontent-type\x12\x10application/json" + b"\x22\x02{}")
    second = b"\x12" + bytes([len(proposed)]) + proposed
    body = b"".join(b"\0" + raw.u32(len(m)) + m for m in (first, second))
    stream = peer.open(b"/event_store.client.streams.Streams/Append", end=False, method=b"POST",
                       content_type=b"application/grpc", te=b"trailers")
    peer.send(raw.frame(raw.DATA, raw.END_STREAM, stream, body))
    return stream


def test_load_and_the_end(s: Stele):
    """a server that is stopped in the middle of appends answers them or says that it did not"""
    answered = 0
    for _ in range(3):
        with Server(s, "--insecure") as server:
            peer = raw.Peer(server.port)
            peer.send(raw.frame(raw.WINDOW_UPDATE, 0, 0, raw.u32(1 << 30)))
            peer.until(raw.HEADERS, peer.open(b"/ping"))
            streams = []
            for _ in range(200):
                stream = append_one(peer)
                streams.append(stream)
            server.process.send_signal(signal.SIGTERM)
            ended, answers, goaway = set(), 0, None
            while (got := peer.read()) is not None:
                if got[0] == raw.GOAWAY:
                    goaway = int.from_bytes(got[3][:4], "big")
                if got[0] == raw.DATA and got[2] in streams:
                    answers += 1
                if got[0] in (raw.HEADERS, raw.DATA) and got[1] & raw.END_STREAM:
                    ended.add(got[2])
            same(server.process.wait(HANGS), 0)
            assert goaway is not None
            missing = [x for x in streams if x <= goaway and x not in ended]
            same(missing, [])
            answered += answers
    assert answered > 0
    # Each answer stands for an event in the store; more may be there, unanswered.
    stored = len(s.run("read", "load", "--json").lines)
    assert stored >= answered, f"{stored} stored, {answered} answered"
    s.run("verify")


def test_the_end_of_what_nobody_waits_for(s: Stele):
    """appends of clients that have gone are written before a server that is stopped ends"""
    count = 0
    for clients in (1, 3):
        # Each sync takes so long that all of them are under way when the server begins to end.
        with Server(s, "--insecure", "--threads", "2", env=s.faulty(slow_ms=200)) as server:
            peers = [raw.Peer(server.port) for _ in range(clients)]
            for peer in peers:
                for _ in range(4):
                    append_one(peer)
                    count += 1
                # It has been read when the answer to what follows is there.
                peer.send(raw.frame(raw.PING, 0, 0, b"12345678"))
                peer.until(raw.PING)
                peer.close()
            server.stop()
            assert "Sanitizer" not in server.output, server.output
    same(len(s.run("read", "load", "--json").lines), count)
    s.run("verify")


def test_it_is_small(s: Stele):
    """idle it takes at most 25 MiB and next to no time; it is up quickly"""
    for _ in range(5):  # A machine that is busy with something else has several chances.
        before = time.monotonic()
        with Server(s, "--insecure") as server:
            started = time.monotonic() - before
            server.stop()
        if started < 5:
            break
    with Server(s, "--insecure") as server:
        server.get()
        memory = server.status("VmRSS")

        def used():
            with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as file:
                fields = file.read().rsplit(")", 1)[1].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        first = used()
        time.sleep(5)
        busy = (used() - first) / 5
        server.stop()
        print(f"# up in {started * 1000:.0f} ms, {memory / 1024:.1f} MiB, {busy * 100:.2f} % CPU")
        if not SANITIZED:
            assert memory <= 25 * 1024, f"{memory} KiB"
            assert busy <= 0.01, f"{busy * 100} % of a processor"
            assert started < 5


if __name__ == "__main__":
    main(sys.modules[__name__])
