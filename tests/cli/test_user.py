"""`stele user` looks after the users of a store, and says why when it does not.

Method: the real binary; passwords from a pipe and from a terminal; what a server makes of the result
is in test_serve.py.
"""

import json
import sys

from harness import Stele, has, hasnt, main, one_line, same

PASSWORD = "a-password-Kq8"


def refused(s, code, *args, stdin=""):
    ended = s.run("user", *args, stdin=stdin, code=code)
    one_line(ended.err)
    hasnt(ended.err, PASSWORD)
    return ended.err


def test_life(s: Stele):
    """a user is added, listed, disabled, enabled and deleted"""
    s.run("user", "add", "ada", "--group", "readers", "--group", "$ops", "--full-name", "Ada L.",
          stdin=PASSWORD + "\n")
    same(s.run("user", "list").lines, ["ada  readers $ops  Ada L."])
    same(s.run("user", "disable", "ada").lines, ["ada: disabled"])
    same(s.run("user", "list", "--json").json,
         [{"login": "ada", "full_name": "Ada L.", "groups": ["readers", "$ops"], "disabled": True}])
    s.run("user", "enable", "ada")
    s.run("user", "passwd", "ada", stdin="another-" + PASSWORD)
    same(s.run("user", "list").lines, ["ada  readers $ops  Ada L."])
    s.run("user", "delete", "ada")
    same(s.run("user", "list").lines, [])
    s.run("user", "add", "ada", stdin=PASSWORD)
    same(s.run("user", "list").lines, ["ada"])


def test_stored(s: Stele):
    """what is stored is what KurrentDB's readers look for, without the password"""
    s.run("user", "add", "ada", stdin=PASSWORD)
    user = json.loads(s.run("read", "$user-ada", "--json").out)
    same(user["type"], "$UserCreated")
    same({name: user["data"][name] for name in ("loginName", "disabled", "groups")},
         {"loginName": "ada", "disabled": False, "groups": []})
    has(user["data"]["hash"], "$argon2id$")
    same([event["type"] for event in s.run("read", "$users", "--json").json], ["$User"])
    s.shell(f"! grep -r -q {PASSWORD} stele-data")


def test_random(s: Stele):
    """--random prints a password that no two users share"""
    first = s.run("user", "add", "ada", "--random").out
    second = s.run("user", "add", "bob", "--random", "--json").json[0]
    same((second["login"], len(second["password"])), ("bob", 24))
    has(first, "password: ")
    hasnt(first, second["password"])


def test_refused(s: Stele):
    """what cannot be is refused with the right code"""
    s.run("user", "add", "ada", stdin=PASSWORD)
    has(refused(s, 3, "add", "ada", stdin=PASSWORD), "already")
    has(refused(s, 5, "passwd", "bob", stdin=PASSWORD), "no user bob")
    has(refused(s, 5, "disable", "bob"), "no user bob")
    has(refused(s, 5, "delete", "bob"), "no user bob")
    has(refused(s, 9, "add", "eve", stdin="short"), "8 bytes")
    has(refused(s, 9, "add", "eve", stdin=""), "8 bytes")
    has(refused(s, 9, "add", "eve", stdin="x" * 2000), "1024 bytes")
    for args in (("add",), ("add", "$admins"), ("add", "a:b"), ("lst",), ("list", "ada"),
                 ("delete", "ada", "--group", "x"), ("enable", "ada", "--random"),
                 ("add", "eve", "--group", ""), ("add", "eve", "--group", "x" * 64)):
        refused(s, 2, *args, stdin=PASSWORD)
    same(s.run("user", "list").lines, ["ada"])


def test_terminal(s: Stele):
    """on a terminal the password is asked for twice and not shown"""
    s.run("user", "add", "ada", "--random")
    typed = (PASSWORD + "\n").encode()
    ended = s.terminal("user", "passwd", "ada", keys=typed + typed, after=b"password: ")
    same(ended.code, 0)
    hasnt(ended.out, PASSWORD)
    ended = s.terminal("user", "passwd", "ada", keys=typed + b"other-password\n",
                       after=b"password: ")
    same(ended.code, 9)
    has(ended.out, "differ")
    ended = s.terminal("user", "passwd", "ada", keys=b"\x03", after=b"password: ")
    same(ended.code, 130)


main(sys.modules[__name__])
