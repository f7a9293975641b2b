"""`stele project` and `stele run` keep read models right, whatever happens to them, and say why when they
do not.

Method: the real binary, killed with SIGKILL at moments of its own; sums compared with those of the events;
a table of mistakes with the exact words.
"""

import json
import random
import re
import signal
import sqlite3
import subprocess
import sys

from harness import HANGS, Stele, has, main, one_line, same, wait_until

TOTALS = """-- @projection totals
-- @version 1
-- @tables
CREATE TABLE accounts (account TEXT PRIMARY KEY, cents INTEGER NOT NULL, entries INTEGER NOT NULL);
-- @on Deposited
INSERT INTO accounts VALUES (:stream, :data ->> '$.cents', 1)
ON CONFLICT (account) DO UPDATE SET cents = accounts.cents + excluded.cents, entries = entries + 1;
"""


class World:
    """Deposits, and what they sum up to."""

    def __init__(self, s):
        self.s, self.random, self.sums = s, random.Random(1), {}
        s.write("totals.sql", TOTALS)

    def deposit(self, count, *options):
        lines = []
        for _ in range(count):
            stream, cents = f"account-{self.random.randrange(50)}", self.random.randrange(1000)
            before = self.sums.get(stream, (0, 0))
            self.sums[stream] = (before[0] + cents, before[1] + 1)
            lines.append(json.dumps({"stream": stream, "type": "Deposited",
                                     "data": {"cents": cents}}))
        self.s.run("import", *options, stdin="\n".join(lines) + "\n")

    def check(self, name="totals.db"):
        base = sqlite3.connect(self.s.path(name))
        found = {row[0]: row[1:] for row in base.execute("SELECT * FROM accounts")}
        base.close()
        same(found, self.sums)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=HANGS)


def test_killed(s: Stele):
    """a run that is killed again and again counts every event once"""
    world = World(s)
    world.deposit(3000)
    for round_ in range(12):
        process = s.start("project", "run", "totals.sql", "--into", "totals.db", "--batch", "5")
        if round_ % 2 == 0:
            world.deposit(200)
        try:
            process.wait(timeout=world.random.random() * 0.2)
        except subprocess.TimeoutExpired:
            pass
        kill(process)
    s.run("project", "run", "totals.sql", "--into", "totals.db", "--once")
    world.check()
    status = s.run("project", "status", "--into", "totals.db", "--json").json[0]
    same((status["events"], status["lag_events"]), (sum(n for _, n in world.sums.values()), 0))


def test_rebuild_killed(s: Stele):
    """a rebuild that is killed leaves the old build to readers, and is taken up again"""
    world = World(s)
    world.deposit(2000)
    s.run("project", "run", "totals.sql", "--into", "totals.db", "--once")
    for _ in range(6):
        process = s.start("project", "rebuild", "totals.sql", "--into", "totals.db", "--batch", "3")
        try:
            process.wait(timeout=world.random.random() * 0.1)
        except subprocess.TimeoutExpired:
            pass
        kill(process)
        world.check()
    s.run("project", "rebuild", "totals.sql", "--into", "totals.db")
    world.check()
    same(len(s.run("project", "status", "--into", "totals.db").lines), 1)


def test_remote(s: Stele):
    """a store behind a server is followed like one in a directory"""
    world = World(s)
    with open(s.path("out"), "wb") as out:
        server = s.start("serve", "--insecure", "--no-sandbox", "--port", "0", stdout=out, stderr=out)

    def port():
        with open(s.path("out"), encoding="utf-8") as file:
            return re.search(r"is ready: .*?127\.0\.0\.1:(\d+)", file.read())

    try:
        wait_until(lambda: port() or server.poll() is not None)
        store = ["--store", f"stele://127.0.0.1:{port()[1]}?tls=false"]
        world.deposit(500, *store)
        s.run("project", "run", "totals.sql", "--into", "totals.db", "--once", *store)
        world.check()
        process = s.start("project", "run", "totals.sql", "--into", "totals.db", *store)
        world.deposit(200, *store)
        s.run("project", "wait", "totals", "--into", "totals.db", "--timeout", "300s", *store)
        world.check()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=HANGS)
        same(process.returncode, 0)
    finally:
        kill(server)


def test_run_file(s: Stele):
    """stele run runs all projections of a file, beside the file"""
    world = World(s)
    world.deposit(300)
    s.shell("mkdir here && mv totals.sql here/one.sql && sed s/totals/other/ here/one.sql > here/two.sql")
    s.write("here/stele.yaml", "store: ../stele-data\nprojections:\n- {file: one.sql, into: one.db}\n"
            "- {file: two.sql, into: two.db, batch: 7}\n")
    same(sorted(s.run("run", "here/stele.yaml", "--once").lines),
         ["other: 300 events applied (build 1)", "totals: 300 events applied (build 1)"])
    world.check("here/one.db")
    world.check("here/two.db")
    process = s.start("run", "here/stele.yaml")
    world.deposit(100)
    for name in ("one", "two"):
        s.run("project", "wait", {"one": "totals", "two": "other"}[name], "--into", f"here/{name}.db",
              "--timeout", "300s")
        world.check(f"here/{name}.db")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=HANGS)
    same(process.returncode, 0)


def test_run_file_refused(s: Stele):
    """what is wrong in a file of stele run is told with its line, and nothing runs"""
    World(s)
    s.append("account-1", "Deposited", data='{"cents":1}')
    for text, line, words in (
        ("", 1, ""),
        ("projections: []\n", 1, "there are 0"),
        ("projections:\n- file: totals.sql\n", 2, "into"),
        ("projections:\n- file: totals.sql\n  into: t.db\n  lanse: 2\n", 4, "Unexpected key: lanse"),
        ("projections:\n- file: totals.sql\n  into: t.db\n  lanes: many\n", 4, "lanes: a number"),
        ("stores: x\nprojections:\n- file: totals.sql\n  into: t.db\n", 1, "Unexpected key: stores"),
        ("projections: [\n", 0, ""),
    ):
        s.write("bad.yaml", text)
        ended = s.run("run", "bad.yaml", "--once", code=9)
        one_line(ended.err)
        has(ended.err, words)
        has(ended.err, f"bad.yaml:{line}: " if line else "bad.yaml:")
    s.write("bad.yaml", "projections:\n- {file: totals.sql, into: t.db}\n- {file: no.sql, into: t.db}\n")
    has(s.run("run", "bad.yaml", "--once", code=5).err, "no.sql: No such file or directory")
    s.run("run", "no.yaml", code=5)
    s.shell("! test -e t.db")


def test_refused(s: Stele):
    """every mistake of stele project is told in one line, and nothing is made"""
    World(s)
    s.append("account-1", "Deposited", data='{"cents":1}')
    into = ["--into", "t.db"]
    for arguments, code, words in (
        (["run", "totals.sql"], 2, "--into DB is missing"),
        (["rnu", "totals.sql", *into], 2, "did you mean run?"),
        (["run", *into], 2, "run takes one FILE.sql"),
        (["run", "no.sql", *into], 5, "no.sql: No such file or directory"),
        (["run", "totals.sql", *into, "--lanes", "2"], 8, "SQLite has 1 writer at a time"),
        (["run", "totals.sql", *into, "--lanes", "99"], 2, "--lanes: at most 32"),
        (["run", "totals.sql", *into, "--follow"], 2, "--follow belongs to `project rebuild`"),
        (["run", "totals.sql", "--into", "mysql://x"], 9, "begin with postgresql://"),
        (["run", "totals.sql", "--into", "no/t.db"], 12, "unable to open database file"),
        (["rebuild", "totals.sql", *into, "--as-of", "9"], 2, "--as-of belongs to `project run`"),
        (["status", *into], 5, "t.db: there is no such database"),
        (["wait", "totals", *into], 5, "t.db: there is no such database"),
        (["park", "skip", "totals", *into], 2, "park takes list [NAME], retry NAME [STREAM] or skip"),
        (["park", "list", *into], 5, "t.db: there is no such database"),
        (["drop", "totals", *into], 5, "t.db: there is no such database"),
        (["run", "stele-data/stele.store", *into], 9, "stele-data/stele.store:1: this is no text in UTF-8"),
        (["run", "totals.sql", "--into", "totals.sql"], 9, "totals.sql: file is not a database"),
    ):
        ended = s.run("project", *arguments, code=code)
        one_line(ended.err)
        has(ended.err, words)
    s.shell("! test -e t.db && grep -q @projection totals.sql")
    s.run("project", "run", "totals.sql", *into, "--once")
    for arguments, code, words in (
        (["status", "other", *into], 5, "there is no projection other"),
        (["wait", "other", *into], 5, "there is no projection other"),
        (["park", "retry", "totals", *into], 5, "nothing is parked"),
        (["wait", "totals", *into, "--position", "2080-01-01T00:00:00Z", "--timeout", "1"], 15,
         "it has not come so far in time"),
        (["run", "totals.sql", *into, "--as-of", "2026-01-01T00:00:00Z"], 3, "a fresh one is wanted"),
    ):
        ended = s.run("project", *arguments, code=code)
        one_line(ended.err)
        has(ended.err, words)


main(sys.modules[__name__])
