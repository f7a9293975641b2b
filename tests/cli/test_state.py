"""`stele state` shows what the events of a stream amount to, as of any moment, and says what is wrong with a
program.

Method: the real binary, on a local store and on a served one; states compared with sums made here; a table
of mistakes with the exact words.
"""

import json
import random
import re
import sys

from harness import HANGS, ID, Stele, has, main, one_line, same, wait_until

BALANCE = """# What is in an account.
def sign: if . == "Deposited" then 1 elif . == "Withdrawn" then -1 else 0 end;
.cents += ($event.type | sign) * $event.data.cents
| .entries += 1
"""


def state(s, *args, **kwargs):
    return s.run("state", *args, "--json", **kwargs).json[0]


def fill(s, count=60):
    """Entries of some accounts; the balances of account-1 by revision."""
    rng, lines, balances = random.Random(3), [], []
    for number in range(count):
        stream = f"account-{rng.randrange(1, 3)}"
        kind, cents = rng.choice(["Deposited", "Withdrawn"]), rng.randrange(1, 1000)
        lines.append({"stream": stream, "type": kind, "data": {"cents": cents}})
        if stream == "account-1":
            before = balances[-1] if balances else 0
            balances.append(before + (cents if kind == "Deposited" else -cents))
    s.run("import", s.lines("events.jsonl", lines))
    s.write("balance.jq", BALANCE)
    return balances


def test_every_revision(s: Stele):
    """a state can be asked for at every revision and position, and is the sum up to there"""
    balances = fill(s)
    events = s.run("read", "account-1", "--json").json
    for revision, cents in list(enumerate(balances))[::5]:
        wanted = {"cents": cents, "entries": revision + 1}
        by_revision = state(s, "account-1", "--fold", "balance.jq", "--revision", str(revision))
        same(by_revision["state"], wanted)
        same((by_revision["revision"], by_revision["events"]), (revision, revision + 1))
        same(by_revision["position"], events[revision]["position"])
        same(state(s, "account-1", "--fold", "balance.jq", "--as-of",
                   events[revision]["position"]), by_revision)
    same(state(s, "account-1", "--fold", "balance.jq")["state"]["cents"], balances[-1])
    same(state(s, "$ce-account", "--fold", "balance.jq")["state"]["entries"], 60)
    same(state(s, "$all", "--fold", "balance.jq")["events"], 60)


def test_merge(s: Stele):
    """without a program the data of the events are merged, and what is no object is passed over"""
    for data in ('{"name":"Ada","at":{"city":"London"}}', "5", '{"at":{"zip":"W1"},"name":"Ada L."}'):
        s.run("append", "person-1", "--type", "Changed", "--data", data)
    s.run("append", "person-1", "--type", "Drawn", "--data", "x", "--content-type", "text/plain")
    same(json.loads(s.run("state", "person-1").out),
         {"name": "Ada L.", "at": {"city": "London", "zip": "W1"}})
    same(state(s, "person-1", "--initial", '{"vip":false}', "--revision", "0")["state"],
         {"vip": False, "name": "Ada", "at": {"city": "London"}})


def test_event(s: Stele):
    """a program sees everything of an event"""
    s.run("append", "a-1", "--type", "T", "--id", ID % 1, "--tag", "x", "--tag", "y", "--data", "[1]",
          "--metadata", '{"by":"ada"}', "--created", "2026-01-02T03:04:05.678901Z")
    s.write("all.jq", "$event")
    shown = state(s, "a-1", "--fold", "all.jq")
    same(shown["state"], {
        "id": ID % 1, "type": "T", "stream": "a-1", "revision": 0, "position": shown["position"],
        "created": "2026-01-02T03:04:05.678901Z", "data": [1], "metadata": {"by": "ada"},
        "tags": ["x", "y"]})
    s.write("none.jq", "empty")
    same(state(s, "a-1", "--fold", "none.jq", "--initial", "[7]")["state"], [7])


def test_effective(s: Stele):
    """what counts, and what was known, are asked for separately"""
    s.write("sum.jq", ".cents += $event.data.cents")
    times = ("2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z")
    for number, (cents, time) in enumerate(zip((100, 20), times)):
        s.run("append", "a-1", "--type", "T", "--id", ID % number, "--data", f'{{"cents":{cents}}}',
              "--metadata", json.dumps({"effective": time}))
    s.run("append", "a-1", "--type", "T", "--data", '{"cents":90}',
          "--metadata", json.dumps({"corrects": ID % 0}))

    def balance(*args):
        return (state(s, "a-1", "--fold", "sum.jq", "--effective", *args)["state"] or {}).get("cents")
    same(balance("all"), 110)
    same(balance("now"), 110)
    same(balance("2026-02-15T00:00:00Z"), 20)
    same(balance("all", "--revision", "1"), 120)
    same(balance("2026-02-15T00:00:00Z", "--revision", "0"), None)


def test_served(s: Stele):
    """a store that is served gives the same states as one that is opened"""
    fill(s)
    args = ("account-1", "--fold", "balance.jq", "--revision", "11")
    local = state(s, *args)
    with open(s.path("out"), "wb") as out:
        server = s.start("serve", "--insecure", "--no-sandbox", "--port", "0", stdout=out, stderr=out)

    def port():
        with open(s.path("out"), encoding="utf-8") as text:
            return re.search(r"127\.0\.0\.1:(\d+)", text.read())
    wait_until(lambda: port() or server.poll() is not None)
    try:
        address = f"stele://127.0.0.1:{port()[1]}"
        same(state(s, *args, "--store", address), local)
        whole = state(s, "account-1", "--fold", "balance.jq", "--effective", "all", "--store", address)
        same(whole["state"]["entries"], whole["events"])
    finally:
        server.kill()
        server.communicate(timeout=HANGS)


def test_begins_late(s: Stele):
    """a stream whose beginning is hidden is folded from there, and that is told"""
    s.append("a-1", *["T"] * 5, data='{"n":1}')
    s.run("meta", "a-1", "--truncate-before", "3")
    s.write("count.jq", ".n += 1")
    ended = s.run("state", "a-1", "--fold", "count.jq")
    same(json.loads(ended.out), {"n": 2})
    has(ended.err, "a-1 begins with revision 3")


def test_mistakes(s: Stele):
    """a mistake is told with file and line, or with the event; nothing is printed"""
    s.append("a-1", "T", "U", data='{"n":1}')
    programs = {
        "open.jq": ".n\n| if . then 1", "name.jq": ".n\n|\nnoname", "two.jq": "1,\n2", "fail.jq": "error(\"no \\(.)\")",
        "zero.jq": ". \0", "empty.jq": "", "type.jq": 'if $event.type == "U" then .n + {} else 5 end',
    }
    for name, text in programs.items():
        s.write(name, text)
    for code, args, words in (
        (9, ["a-1", "--fold", "open.jq"], "open.jq:2: syntax error"),
        (9, ["a-1", "--fold", "name.jq"], "name.jq:3: noname/0 is not defined"),
        (9, ["a-1", "--fold", "two.jq"], "two.jq: a-1@0 (T): it gives more than one state"),
        (9, ["a-1", "--fold", "fail.jq"], "fail.jq: a-1@0 (T): no null"),
        (9, ["a-1", "--fold", "type.jq"], "type.jq: a-1@1 (U): Cannot index number"),
        (9, ["a-1", "--fold", "type.jq", "--effective", "all"], "type.jq: a-1@1 (U): Cannot index"),
        (9, ["a-1", "--fold", "zero.jq"], "zero.jq: is no text"),
        (9, ["a-1", "--fold", "empty.jq"], "empty.jq:1: syntax error"),
        (5, ["a-1", "--fold", "nowhere.jq"], "nowhere.jq: the jq program cannot be opened"),
        (9, ["a-1", "--initial", "{"], "the initial state is no JSON"),
        (5, ["b-1"], "b-1"),
        (5, ["a-1", "--revision", "2"], "a-1: there is no event 2"),
        (2, ["a-1", "--revision", "2", "--as-of", "5"], "exclude each other"),
        (2, ["$all", "--revision", "2"], "--as-of takes a position"),
        (2, ["$all", "--effective", "now"], "--effective takes a stream"),
        (2, ["a-1", "--effective", "soon"], "'soon' is none of now, all"),
        (2, ["a-1", "--as-of", "soon"], "neither a position nor a time"),
        (2, ["", "--as-of", "5"], "the stream's name is empty"),
    ):
        ended = s.run("state", *args, code=code)
        one_line(ended.err)
        has(ended.err, words)
        same(ended.out, "")


def test_terminal(s: Stele):
    """what an event says does not move a terminal's cursor"""
    s.run("append", "a-1", "--type", "T", "--data", json.dumps({"x": "\x1b[2J\u202e\x7f"}))
    shown = s.run("state", "a-1").out
    same(json.loads(shown.replace("\\u{202e}", "\u202e").replace("\\x7f", "\x7f"))["x"][-1:], "\x7f")
    assert "\x1b" not in shown and "\u202e" not in shown, shown


main(sys.modules[__name__])
