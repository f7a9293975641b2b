"""Keyrings and shredding from the command line: what cannot be is refused with the right code and words.

Method: docs/shredding.md shows what works (cli-documents runs it); here is what goes wrong, and what must not be seen.
"""

import os
import sys

from harness import Stele, has, hasnt, main, same


def prepared(s):
    s.run("keys", "init", "--keyring", "ring", "--key-file", "master.key")
    s.env.update(STELE_KEYRING="ring", STELE_KEY_FILE="master.key")


def test_master_keys(s: Stele):
    """a master key comes from a file or a descriptor, and a wrong one is told"""
    prepared(s)
    same(os.stat(s.path("master.key")).st_mode & 0o777, 0o600)
    same(os.stat(s.path("ring")).st_mode & 0o777, 0o700)
    s.run("keys", "add", "ada")
    out = s.shell("STELE_KEY_FILE= STELE_KEY_FD=7 stele keys list 7<master.key").out
    has(out, "ada")
    s.write("raw.key", bytes.fromhex(open(s.path("master.key")).read().strip()))
    has(s.run("keys", "list", "--key-file", "raw.key").out, "ada")
    s.write("other.key", "00" * 32)
    has(s.run("keys", "list", "--key-file", "other.key", code=11).err, "not the one")
    s.write("short.key", "0011")
    has(s.run("keys", "list", "--key-file", "short.key", code=9).err, "64 hexadecimal digits")
    s.run("keys", "list", "--key-file", "none.key", code=5)
    s.write("phrase", "correct horse\n")
    has(s.run("keys", "list", "--passphrase-file", "phrase", code=11).err, "key file")
    s.run("keys", "list", "--passphrase-file", "phrase", "--key-file", "raw.key", code=2)
    s.env["STELE_KEY_FILE"] = ""
    has(s.run("keys", "list", code=2).err, "none was named")
    for failure in (s.run("keys", "list", "--key-file", "other.key", code=11).err,):
        hasnt(failure, "0000000000")


def test_refused(s: Stele):
    """what cannot be is refused, and changes nothing"""
    prepared(s)
    for args in (("keys",), ("keys", "lst"), ("keys", "add"), ("keys", "list", "x"),
                 ("keys", "policy"), ("keys", "rewrap"), ("shred",), ("shred", ""),
                 ("keys", "verify-erasure", "--public-key", "12"),
                 ("append", "a", "--type", "T", "--seal-field", "/a")):
        s.run(*args, code=2)
    has(s.run("keys", "init", code=2).err, "already")
    s.write("policy.json", '{"seal":[{"types":["A"],"subject":"/a","field":["/b"]}]}')
    has(s.run("keys", "policy", "policy.json", code=9).err, "field")
    s.run("append", "a", "--type", "T")
    has(s.run("shred", "nobody", code=5).err, "never had")
    s.env["STELE_KEYRING"] = ""
    has(s.run("append", "a", "--type", "T", "--subject", "ada", code=11).err, "no keyring")
    s.run("shred", "ada", code=2)
    s.run("keys", "list", "--keyring", "none", code=5)
    same(len(s.run("read", "a", "--json").json), 1)


def test_damaged(s: Stele):
    """a damaged keyring says so, and a backup mends it"""
    prepared(s)
    s.run("append", "a", "--type", "T", "--data", '{"x":"secret-value"}', "--subject", "ada")
    s.run("keys", "backup", "copy")
    with open(s.path("ring/keyring"), "r+b") as file:
        file.seek(250)
        file.write(b"x")
    has(s.run("read", "a", code=4).err, "checksum")
    s.run("keys", "restore", "copy")
    s.write("ring/keyring", "")
    has(s.run("read", "a", code=13).err, "restore a backup")
    s.run("keys", "restore", "copy")
    same(s.run("read", "a", "--json").json[0]["data"], {"x": "secret-value"})


def test_exported(s: Stele):
    """what is exported without the keyring is sealed, and goes back as it was"""
    prepared(s)
    s.run("append", "a", "--type", "T", "--data", '{"x":"secret-value"}', "--subject", "ada")
    sealed = s.run("export", env={"STELE_KEYRING": ""}).out
    hasnt(sealed, "secret-value")
    s.write("sealed.jsonl", sealed)
    s.shell("STELE_KEYRING= stele import --store other < sealed.jsonl")
    same(s.run("read", "a", "--json", "--store", "other").json[0]["data"], {"x": "secret-value"})


main(sys.modules[__name__])
