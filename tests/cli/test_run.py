"""`stele run` does what a file of sagas and reactions declares, once, whatever ends it, and says what is wrong
with a file before anything runs.

Method: the real binary and participants behind HTTP in this process, which remember what they were asked; a
table of mistakes with the exact words.
"""

import json
import random
import re
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request

from harness import HANGS, ID, Stele, has, main, one_line, same, wait_until
from receiver import Receiver

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def declare(s, text, name="stele.yaml", **names):
    text = textwrap.dedent(text)
    for key, value in names.items():
        text = text.replace("@" + key, str(value))
    return s.write(name, text)


def status(s, *args):
    return s.run("saga", "status", *args, "--json").json


def events(s, stream):
    return s.run("read", stream, "--json").json


WELCOME = """
    reactions:
      - reaction: welcome
        on: UserRegistered
        category: user
        when: .data.mail != null
        from: start
        headers: {X-Key: "${KEY}"}
        retry: {attempts: 3, backoff: 1ms}
        call:
          url: "http://127.0.0.1:@port/mails/{id}"
          body: |
            {to: .data.mail,
             text: "Welcome, \\(.data.name)"}
"""


def register(s, number, mail="ada@example.org", *options):
    data = {"name": f"Ada {number}", "mail": mail} if mail else {"name": "Bob"}
    s.run("append", f"user-{number}", "--type", "UserRegistered", "--id", ID % number,
          "--data", json.dumps(data), *options)


def test_call(s: Stele):
    """a reaction calls once for each event that matches, with key, trace and headers"""
    register(s, 1, "ada@example.org", "--metadata", json.dumps({"traceparent": TRACE}))
    register(s, 2, None)
    s.run("append", "guest-1", "--type", "UserRegistered", "--data", '{"mail":"no"}')
    with Receiver() as receiver:
        declare(s, WELCOME, port=receiver.port)
        for _ in range(2):
            s.run("run", "stele.yaml", "--once", env={"KEY": "secret"})
        same([(one[0], one[1], one[3]) for one in receiver.asked],
             [("POST", f"/mails/{ID % 1}", {"to": "ada@example.org", "text": "Welcome, Ada 1"})])
        headers = receiver.asked[0][2]
        same(headers["Idempotency-Key"], f"welcome/{ID % 1}/do")
        same((headers["X-Key"], headers["traceparent"][:35]), ("secret", TRACE[:35]))
    same([one["state"] for one in status(s, "welcome", "--all")], ["completed"])


def test_whole_event(s: Stele):
    """without a body the event itself is sent; what is too large for a saga is told of and passed over"""
    s.run("append", "a-1", "--type", "T", "--id", ID % 1, "--data", '{"n":[1]}', "--tag", "x")
    s.write("large", "x" * (13 << 20))
    s.run("append", "a-2", "--type", "T", "--data-file", "large", "--content-type", "text/plain")
    s.run("append", "a-3", "--type", "T", "--id", ID % 3)
    with Receiver() as receiver:
        declare(s, """
            reactions:
              - {reaction: all, on: T, from: start, call: {url: "http://127.0.0.1:@port/"}}
        """, port=receiver.port)
        ended = s.run("run", "stele.yaml", "--once")
        has(ended.err, "all: a-2@0: input: it has more than 12 MiB")
        got = {one[3]["id"]: one[3] for one in receiver.asked}
        same((set(got), got[ID % 1]["data"], got[ID % 1]["tags"]),
             ({ID % 1, ID % 3}, {"n": [1]}, ["x"]))


def test_not_of_the_past(s: Stele):
    """history is left alone unless the file asks for it; what comes while nobody runs is not missed"""
    register(s, 1)
    with Receiver() as receiver:
        declare(s, WELCOME.replace("from: start", "from: now"), port=receiver.port)
        s.run("run", "stele.yaml", "--once", env={"KEY": "k"})
        same(receiver.asked, [])
        register(s, 2)
        s.run("run", "stele.yaml", "--once", env={"KEY": "k"})
        same([one[1] for one in receiver.asked], [f"/mails/{ID % 2}"])


def test_parked(s: Stele):
    """what keeps failing is parked and retried by command; the others go on"""
    for number in (1, 2, 3):
        register(s, number)
    bad = f"/mails/{ID % 2}"
    with Receiver({bad: [(500, "broken")] * 3 + [(200, "{}")]}) as receiver:
        declare(s, WELCOME, port=receiver.port)
        s.run("run", "stele.yaml", "--once", env={"KEY": "k"})
        (parked,) = status(s, "--parked")
        same((parked["kind"], parked["id"], parked["reason"]), ("welcome", ID % 2, "HTTP 500: broken"))
        same(len(receiver.of(bad)), 3)
        same({one[2]["Idempotency-Key"] for one in receiver.of(bad)}, {f"welcome/{ID % 2}/do"})
        s.run("saga", "retry", "welcome", ID % 2, "do")
        s.run("run", "stele.yaml", "--once", env={"KEY": "k"})
        same((status(s, "--parked"), len(receiver.of(bad)), len(receiver.asked)), ([], 4, 6))


COUNTING = """
    store: stele-data
    reactions:
      - reaction: count
        on: [OrderPlaced]
        from: start
        append: |
          {stream: "bill-\\(.data.customer)", type: "Billed", data: {order: .stream, at: .revision}},
          (select(.data.gift) | {stream: "gifts", type: "GiftWanted", tags: ["gift"]})
"""


def test_append(s: Stele):
    """a reaction appends each event once, however often its process is killed"""
    declare(s, COUNTING)
    orders = [{"stream": f"order-{number}", "type": "OrderPlaced",
               "data": {"customer": number % 7, "gift": number % 10 == 0}} for number in range(120)]
    s.run("import", s.lines("orders.jsonl", orders))
    rng = random.Random(5)
    for _ in range(8):
        process = s.start("run", "stele.yaml")
        try:
            process.wait(timeout=0.02 + rng.random() * 0.2)
        except subprocess.TimeoutExpired:
            pass
        process.kill()
        process.communicate(timeout=HANGS)
    s.run("run", "stele.yaml", "--once")
    bills = s.run("read", "$ce-bill", "--json").json
    same(sorted(one["data"]["order"] for one in bills), sorted(one["stream"] for one in orders))
    same(len(events(s, "gifts")), 12)
    same(events(s, "gifts")[0]["tags"], ["gift"])
    order = events(s, "order-0")[0]
    (bill,) = [one for one in bills if one["data"]["order"] == "order-0"]
    same((bill["metadata"]["$causationId"], bill["metadata"]["$correlationId"]),
         (order["id"], order["id"]))


ORDER = """
    sagas:
      - saga: order
        on: OrderPlaced
        from: start
        id: .data.number
        input: .data
        steps:
          - step: payment
            call:
              url: "http://127.0.0.1:@port/payments/{id}"
              method: PUT
              body: "{cents: .input.cents}"
            retry: {attempts: 2, backoff: 1ms}
            undo:
              call: {url: "http://127.0.0.1:@port/payments/{id}", method: DELETE}
          - step: stock
            after: payment
            call: {url: "http://127.0.0.1:@port/stock/{id}"}
            undo: {append: '{stream: "stock-\\(.id)", type: "StockReleased"}'}
          - step: letter
            after: payment
            append: '{stream: "letters-\\(.id)", type: "LetterWanted", data: .results.payment}'
          - step: ship
            after: [stock, letter]
            call: {url: "http://127.0.0.1:@port/ships/{id}"}
            retry: {attempts: 1}
"""


def test_saga(s: Stele):
    """a saga runs its steps in order and side by side, and undoes them when one fails"""
    for number in (1, 2):
        s.run("append", f"shop-{number}", "--type", "OrderPlaced",
              "--data", json.dumps({"number": number, "cents": 500 + number}))
    answers = {"/payments/1": [(503, ""), (200, '{"receipt":7}')], "/ships/2": [(409, "no ship")]}
    with Receiver(answers) as receiver:
        declare(s, ORDER, port=receiver.port)
        s.run("run", "stele.yaml", "--once")
        states = {one["id"]: one["state"] for one in status(s, "order", "--all")}
        same(states, {"1": "completed", "2": "compensated"})
        same([(one[0], one[3]) for one in receiver.of("/payments/1")], [("PUT", {"cents": 501})] * 2)
        same(events(s, "letters-1")[0]["data"], {"receipt": 7})
        usual = receiver.of("/stock/1")[0][3]
        same((usual["saga"], usual["id"], usual["step"], usual["input"]["cents"]),
             ("order", "1", "stock", 501))
        same([one[0] for one in receiver.of("/payments/2")], ["PUT", "DELETE"])
        same([one["type"] for one in events(s, "stock-2")], ["StockReleased"])
        (shown,) = status(s, "order", "2")
        same((shown["reason"], shown["step"]), ("HTTP 409: no ship", "ship"))


def test_answers_by_events(s: Stele):
    """a step may be answered by an event that a participant appends"""
    declare(s, """
        sagas:
          - saga: order
            on: OrderPlaced
            from: start
            steps:
              - step: payment
                append: '{stream: "payments", type: "PaymentWanted", data: {order: .id}}'
                success: PaymentDone
                timeout: 1h
        reactions:
          - reaction: bank
            on: PaymentWanted
            from: start
            append: '{stream: "order-\\(.data.order)", type: "PaymentDone", data: {by: "card"}}'
    """)
    s.run("append", "order-1", "--type", "OrderPlaced")
    s.run("run", "stele.yaml", "--once")
    same(status(s, "order", "--all")[0]["state"], "completed")
    same(len(events(s, "payments")), 1)


def test_served(s: Stele):
    """reactions follow a served store while others write to it, and end when asked to"""
    with open(s.path("out"), "wb") as out:
        server = s.start("serve", "--insecure", "--no-sandbox", "--port", "0", stdout=out, stderr=out)

    def port():
        with open(s.path("out"), encoding="utf-8") as text:
            return re.search(r"is ready: .*?127\.0\.0\.1:(\d+)", text.read())
    wait_until(lambda: port() or server.poll() is not None)
    address = f"stele://127.0.0.1:{port()[1]}?tls=false"
    try:
        with Receiver() as receiver:
            declare(s, WELCOME, port=receiver.port)
            process = s.start("run", "stele.yaml", "--store", address, env={"KEY": "k"})
            for number in (1, 2, 3):
                register(s, number, "a@b", "--store", address)
            wait_until(lambda: len(receiver.asked) == 3 or process.poll() is not None)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=HANGS)
            same((process.returncode, err), (0, b""))
    finally:
        server.kill()
        server.communicate(timeout=HANGS)


def test_metrics(s: Stele):
    """monitoring is answered on the port of the file, and hears of what has ended"""
    register(s, 1)
    register(s, 2)
    s.write("t.sql", "-- @projection t\n-- @version 1\n-- @tables\nCREATE TABLE t (s TEXT);\n"
            "-- @on UserRegistered\nINSERT INTO t VALUES (:stream);\n")
    with Receiver({f"/mails/{ID % 2}": [(404, "")]}) as receiver:
        declare(s, "metrics: 127.0.0.1:0\nprojections: [{file: t.sql, into: t.db}]\n"
                + textwrap.dedent(WELCOME), port=receiver.port)
        with open(s.path("err"), "wb") as err:
            process = s.start("run", "stele.yaml", env={"KEY": "k"}, stderr=err)

        def port():
            with open(s.path("err"), encoding="utf-8") as text:
                return re.search(r"metrics are on port (\d+)", text.read())

        def ask(path):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port()[1]}{path}") as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        def figure(name):
            return float(re.search(rf"^{re.escape(name)} (\S+)$", ask("/metrics")[1], re.M)[1])
        try:
            wait_until(lambda: port() or process.poll() is not None)
            wait_until(lambda: figure('stele_sagas_ended_total{saga="welcome"}') == 1
                       and figure('stele_sagas_parked_total{saga="welcome"}') == 1
                       and figure('eventcore_events_consumed_total{consumer="t"}') == 2)
            same(figure('stele_saga_calls_total{saga="welcome"}'), 2)
            same(figure('eventcore_event_lag_seconds{consumer="t"}') >= 0, True)
            same(figure('eventcore_service_health{consumer="welcome"}'), 1)
            same((ask("/health")[0], ask("/nothing")[0]), (200, 404))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=HANGS)
    same(process.returncode, 0)
    declare(s, "metrics: here\n" + textwrap.dedent(COUNTING))
    has(s.run("run", "stele.yaml", code=9).err, "metrics: here; HOST:PORT is wanted")


def test_bad_events(s: Stele):
    """an event that the programs cannot read is told of, or parked with the reason"""
    register(s, 1)
    s.run("append", "user-2", "--type", "UserRegistered", "--data", "5", "--id", ID % 2)
    with Receiver() as receiver:
        declare(s, WELCOME + """
    sagas:
      - saga: greet
        on: UserRegistered
        from: start
        id: .data.name
        steps: [{step: greet, append: "empty"}]
""", port=receiver.port)
        ended = s.run("run", "stele.yaml", "--once", env={"KEY": "k"})
        same(len(receiver.asked), 1)
    has(ended.err, "greet: user-2@0: id: stele.yaml: Cannot index number")
    (parked,) = status(s, "--parked")
    same((parked["id"], parked["kind"]), (ID % 2, "welcome"))
    has(parked["reason"], "when: stele.yaml: Cannot index number")


def test_mistakes(s: Stele):
    """a mistake in a file is told with its line, and nothing runs"""
    s.append("a-1", "T")
    reaction = "reactions:\n  - reaction: r\n    on: T\n    from: start\n"
    saga = "sagas:\n  - saga: s\n    on: T\n    steps:\n"
    for text, words in (
        ("", "stele.yaml:1: there is nothing in it"),
        ("store: x\n", "stele.yaml:1: it declares no projections, no sagas and no reactions"),
        ("a: [\n", "stele.yaml:2: did not find expected"),
        ("- 1\n", 'stele.yaml:1: the file: "key: value" is wanted'),
        ("sagas: []\n", "stele.yaml:1: sagas: there are 0"),
        (reaction + "    cal: x\n", "stele.yaml:5: Unexpected key: cal; a reaction has reaction, on,"),
        (reaction + "    on: U\n", "stele.yaml:5: on is there twice"),
        (reaction, "stele.yaml:2: a reaction has a call, or an append"),
        (reaction + "    append: empty\n    call: {url: \"http://x\"}\n", "stele.yaml:2: a reaction has a call"),
        (reaction + "    call: {url: \"ftp://x\"}\n", "stele.yaml:5: url: ftp://x does not begin"),
        (reaction + "    call: {method: GET}\n", "stele.yaml:5: a call lacks url"),
        (reaction + "    call: {url: \"http://x\", method: get}\n", "stele.yaml:5: method: get"),
        (reaction + "    append: |\n      .a\n      | (\n", "stele.yaml:7: syntax error"),
        (reaction + "    append: nope\n", "stele.yaml:5: nope/0 is not defined"),
        (reaction + "    append: {file: no.jq}\n", "stele.yaml:5: no.jq: the jq program cannot be opened"),
        (reaction + "    append: {file: bad.jq}\n", "bad.jq:2: syntax error"),
        (reaction + "    append: empty\n    timeout: 5\n", "stele.yaml:6: timeout: a time like 250ms"),
        (reaction + "    append: empty\n    retry: {attempts: -1}\n", "stele.yaml:6: attempts: a number"),
        (reaction + "    append: empty\n    headers: {A: \"${NOT_SET}\"}\n", "stele.yaml:6: the environment has no variable NOT_SET"),
        (reaction.replace("start", "soon") + "    append: empty\n", "stele.yaml:4: from: one of these is wanted: now, start"),
        (reaction.replace(" r\n", " a-b\n") + "    append: empty\n", "stele.yaml:2: "),
        (reaction + "    append: empty\n  - reaction: r\n    on: T\n    append: empty\n", "stele.yaml:6: r is the name of the one in line 2"),
        (saga + "      - step: a\n        after: b\n        append: empty\n      - step: b\n        append: empty\n        after: a\n",
         "a -> b -> a"),
        (saga + "      - step: a\n        after: c\n        append: empty\n", "stele.yaml:2: "),
        (saga + "      - step: a\n        append: empty\n        undo: {}\n", "stele.yaml:7: undo has a call, or an append"),
    ):
        s.write("bad.jq", ".\n| (")
        s.write("stele.yaml", text)
        ended = s.run("run", "stele.yaml", "--once", code=None)
        same((text, ended.code in (5, 9), ended.out), (text, True, ""))
        one_line(ended.err)
        has(ended.err, words)
    same(s.run("read", "$all", "--json").json[-1]["stream"], "a-1")


main(sys.modules[__name__])
