"""Clusters of real processes: they form, agree, survive what kills a minority, and refuse what would make two clusters
of one."""

import json
import os
import re
import shutil
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import BINARY, HANGS, SOURCE, Stele, has, hasnt, main, same  # noqa: E402

from cluster import Cluster, Load, free_row, wait_for  # noqa: E402


def note(text):
    print(f"# {text}", flush=True)


def test_three_nodes_agree(s: Stele):
    """three nodes form a cluster; what was appended through one is read through all, in one order"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        for number in (1, 2, 3):
            for k in range(20):
                answer = cluster[number].append(f"order-{k % 7}", 1 + k % 3)
                same((number, k, answer.status), (number, k, 201))
        # Without ids, with a wrong revision, twice, several streams: through every node alike.
        for node in cluster.nodes:
            same(node.ask("POST", f"/api/streams/plain-{node.name}", '{"type":"T"}').status, 201)
            same(node.append("order-0", expect="none").error, "wrong-revision")
        event = [{"id": "01234567-89ab-7def-8123-456789abcd00", "type": "T"}]
        same([node.append("again", event).status for node in cluster.nodes], [201, 200, 200])
        for node in cluster.nodes:
            same(node.revision("again"), 0)
        events = cluster.all()
        same(len(events), sum(1 + k % 3 for k in range(20)) * 3 + 4)
        # The command line reaches it as any server.
        target = f"stele://localhost:{cluster[2].port}"
        s.run("append", "cli", "--type", "T", "--data", "{}", "--expect", "none", "--store", target)
        has(s.run("read", "cli", "--json", "--store", target).out, '"revision":0')
        cluster.all()
        cluster.stop()
        cluster.verify()


def nodes_with(s, cluster, words):
    """The nodes of which some file, the log of the program among them, has these bytes."""
    found = set()
    for node in cluster.nodes:
        paths = [node.log_path]
        for folder, _, names in os.walk(s.path(node.dir)):
            paths += [os.path.join(folder, name) for name in names]
        for path in paths:
            with open(path, "rb") as file:
                if words.encode() in file.read():
                    found.add(node.number)
    return found


SEALED = ("Ada Plainname", "calls on plain Mondays")
KEPT = "Grace Keptname"


def append_sealed(s, cluster):
    """Sealed by clients of two nodes, read by one of the third; nodes have no keys."""
    targets = [f"stele://localhost:{node.port}" for node in cluster.nodes]
    ring = {"STELE_KEYRING": "ring", "STELE_KEY_FILE": "master.key"}
    s.write("policy.json", '{"seal": [{"types": ["Registered"], "subject": "/customer", "fields": ["/name"]}]}')
    s.run("keys", "init", "--keyring", "ring", "--key-file", "master.key")
    s.run("keys", "policy", "policy.json", env=ring)
    for name, subject, target in ((SEALED[0], "c-1", targets[0]), (KEPT, "c-2", targets[1])):
        s.run("append", f"customer-{subject}", "--type", "Registered", "--store", target, "--data",
              json.dumps({"customer": subject, "name": name, "plan": "plainly gold"}), env=ring)
    s.run("append", "note-1", "--type", "Noted", "--subject", "c-1", "--store", targets[1], "--data",
          json.dumps({"text": SEALED[1]}), env=ring)
    cluster.settle()
    same(s.run("read", "customer-c-1", "--json", "--store", targets[2], env=ring).json[0]["data"]["name"], SEALED[0])
    same(s.run("read", "note-1", "--json", "--store", targets[2], env=ring).json[0]["data"], {"text": SEALED[1]})
    has(s.run("read", "customer-c-1", "--store", targets[2]).out, "$sealed")
    return targets, ring


def shred(s, cluster, targets, ring):
    """What was readable with the key is so nowhere any more, other people's is."""
    s.run("keys", "backup", "ring.backup", env=ring)
    s.run("shred", "c-1", "--store", targets[1], env=ring)
    cluster.settle()
    for target in targets:
        gone = s.run("read", "customer-c-1", "--json", "--store", target, env=ring).json[0]
        same((gone["data"]["name"], gone["data"]["plan"], gone["shredded"]), (None, "plainly gold", True))
        same(s.run("read", "note-1", "--json", "--store", target, env=ring).json[0]["data"], None)
        has(s.run("read", "customer-c-2", "--store", target, env=ring).out, KEPT)
    has(s.run("keys", "verify-erasure", "--store", targets[0], env=ring).out, "valid")
    # A keyring of before finds the erasure record in the cluster.
    shutil.rmtree(s.path("ring"))
    s.run("keys", "restore", "ring.backup", env=ring)
    hasnt(s.run("read", "customer-c-1", "--store", targets[2], env=ring).out, SEALED[0])


def test_deletion(s: Stele):
    """deletion and metadata are the same on every node; what was sealed stands in no file of any, also when shredded"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        targets, ring = append_sealed(s, cluster)
        shred(s, cluster, targets, ring)
        for name in "abcd":
            same(cluster[1].append(name, 3).status, 201)
        same(cluster[2].ask("DELETE", "/api/streams/a").is_done, True)
        same(cluster[3].ask("DELETE", "/api/streams/b?tombstone=true").is_done, True)
        same(cluster[2].ask("PUT", "/api/meta/c", '{"$maxCount": 1}').is_done, True)
        cluster.settle()
        for node in cluster.nodes:
            same((node.name, node.ask("GET", "/api/streams/a?linearizable=true").status), (node.name, 404))
            same((node.name, node.append("b").error), (node.name, "stream-deleted"))
            same((node.name, len(node.read("c"))), (node.name, 1))
        same(cluster[3].append("a", expect="none").json["revision"], 3)
        cluster.all()
        for words in (*SEALED, KEPT):
            same((words, nodes_with(s, cluster, words)), (words, set()))
        cluster.stop()
        cluster.verify()
        same(nodes_with(s, cluster, "plainly gold"), {1, 2, 3})
        for words in (*SEALED, KEPT):
            same((words, nodes_with(s, cluster, words)), (words, set()))


def test_a_killed_node(s: Stele):
    """a node that is killed under load costs no acknowledged append, and catches up"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        with Load(cluster, 3) as load:
            for victim in (3, 2, 1):
                load.wait_more(100)
                cluster[victim].kill()
                moment = time.monotonic()
                load.wait_more(100)
                gap = load.gap_after(moment)
                note(f"node {victim} killed: acknowledged again after {gap:.2f} s")
                cluster[victim].start()
                cluster.wait_ready()
            load.wait_more(100)
        load.check(cluster.all())
        note(f"{load.count()} acknowledged, {len(load.refused)} refused, {len(load.unknown)} unknown")
        cluster.stop()
        cluster.verify()


def test_all_killed(s: Stele):
    """all nodes killed at once lose nothing that was acknowledged"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        with Load(cluster, 3) as load:
            for _ in range(3):
                load.wait_more(100)
                for node in cluster.nodes:
                    node.process.kill()
                for node in cluster.nodes:
                    node.process.wait()
                for node in cluster.nodes:
                    node.start()
                cluster.wait_ready()
            load.wait_more(50)
        load.check(cluster.all())
        cluster.stop()
        cluster.verify()


def test_a_node_that_stands_still(s: Stele):
    """a node that stood still for seconds answers no linearizable read from the past"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        same(cluster[1].append("a").status, 201)
        for victim in (1, 2, 3):
            others = [node for node in cluster.nodes if node.number != victim]
            cluster[victim].pause()
            results = []

            def read(node=cluster[victim], results=results):
                results.append(node.revision("a"))
            # Asked while it stands still: it may answer with anything that is true from now on.
            before = others[0].known_revision("a")
            thread = threading.Thread(target=read)
            thread.start()
            with Load(cluster, 2, nodes=others, prefix=f"still-{victim}") as load:
                load.wait_more(50)
            wait_for(lambda node=others[0]: node.append("a").is_done)
            last = others[1].known_revision("a")
            assert last > before, (last, before)
            cluster[victim].resume()
            now = cluster[victim].revision("a")
            # It may say that it does not know; what it says is true.
            assert now in (None, last), (now, last)
            thread.join(HANGS)
            assert results and results[0] in [None, *range(before, last + 1)], results
            cluster.wait_ready()
            load.check([e for e in cluster.all() if e[1].startswith("still-")])
        cluster.stop()
        cluster.verify()


def test_graceful_stop(s: Stele):
    """a node that ends gracefully hands over what it leads: the clients of the others notice nothing"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        cluster.wait_balanced()
        for victim in (1, 2, 3):
            others = [node for node in cluster.nodes if node.number != victim]
            with Load(cluster, 3, nodes=others, prefix=f"stop-{victim}") as load:
                load.wait_more(100)
                cluster[victim].stop()
                load.wait_more(200)
            same((victim, load.failures), (victim, []))
            note(f"node {victim} stopped: the slowest append took {load.slowest:.2f} s")
            cluster[victim].start()
            cluster.wait_ready()
            cluster.wait_balanced()
        cluster.all()
        cluster.stop()
        cluster.verify()


def test_leaders_that_come_back(s: Stele):
    """a node that goes and comes gets back what it led, and the others keep what is theirs"""
    with Cluster(s, 3, partitions=24) as cluster:
        cluster.wait_ready()

        def leaders():
            return cluster[1].status().get("leaders", [])

        def settled(count):
            now = leaders()
            return 0 not in now and len(set(now)) == count and max(map(now.count, now)) <= 24 // count
        wait_for(lambda: settled(3), words=lambda: repr(leaders()))
        before = leaders()
        cluster[3].kill()
        wait_for(lambda: settled(2), words=lambda: repr(leaders()))
        # A node that waited too long for the processor may have lost some for a moment, and gets them back.
        wait_for(lambda: settled(2) and not [one for one in zip(before, leaders()) if one[0] not in (one[1], 3)],
                 words=lambda: repr((before, leaders())))
        note(f"{before.count(3)} of 24 moved")
        cluster[3].start()
        wait_for(lambda: leaders() == before, words=lambda: repr((before, leaders())))
        wait_for(lambda: [node.status()["imbalance"] for node in cluster.nodes] == [0, 0, 0])


def test_a_fourth_node(s: Stele):
    """a node that joins under load gets everything and takes its part; one that is removed is not missed"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        with Load(cluster, 3) as load:
            load.wait_more(200)
            node = cluster.add(4)
            node.join(cluster[2], cluster[1])
            node.start()
            cluster.wait_ready()
            cluster.wait_balanced()
            load.nodes.append(node)
            load.wait_more(100)
            load.nodes.pop(0)
            same(cluster[2].change("drain", {"node": "n1"}).status, 200)
            wait_for(lambda: next(one for one in cluster[2].status()["nodes"] if one["name"] == "n1")["groups_led"]
                     == 0, words=lambda: json.dumps(cluster[2].status()))
            same(cluster[3].change("remove", {"node": "n1"}).status, 200)
            load.wait_more(100)
        cluster[1].wait_log("stops taking part in the cluster: it was removed")
        cluster[1].kill()
        del cluster.nodes[0]
        load.check(cluster.all())
        cluster.stop()
        cluster.verify()


def test_below_the_quorum(s: Stele):
    """a node whose removal would leave no majority is not removed"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        cluster[3].kill()
        wait_for(lambda: not next(one for one in cluster[1].status()["nodes"] if one["name"] == "n3")["alive"])
        answer = cluster[1].change("remove", {"node": "n2"})
        assert answer.status == 409 and "major" in answer.json["message"], answer
        answer = cluster[2].change("remove", {"node": "nobody"})
        same(answer.status, 404)
        # The dead one may go.
        same(cluster[1].change("remove", {"node": "n3"}).status, 200)
        same(cluster[1].append("a").status, 201)


def test_a_wiped_node(s: Stele):
    """a node whose store was lost comes back as another one that replaces it, never under its number"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        with Load(cluster, 2) as load:
            load.wait_more(50)
        cluster[3].kill()
        shutil.rmtree(s.path("n3"))
        # The same name: the cluster knows that one.
        cluster[3].join(cluster[1])
        cluster[3].start()
        assert cluster[3].ended() != 0
        has(cluster[3].log, "n3")
        has(cluster[3].log, "replace")
        shutil.rmtree(s.path("n3"))
        cluster[3].join(cluster[1], replace=3)
        cluster[3].start()
        cluster.wait_ready()
        same(sorted(one["number"] for one in cluster[1].status()["nodes"]), [1, 2, 4])
        load.check(cluster.all())
        cluster.stop()
        cluster.verify()


def test_a_cloned_directory(s: Stele):
    """a node's directory that was restored from a copy is refused, however often it is started"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        same(cluster[1].append("a").status, 201)
        cluster[3].stop()
        shutil.copytree(s.path("n3"), s.path("clone"))
        cluster[3].start()
        cluster.wait_ready()
        same(cluster[1].append("a").status, 201)
        cluster[3].stop()
        # What it is now is older than what it once said.
        shutil.rmtree(s.path("n3"))
        os.rename(s.path("clone"), s.path("n3"))
        for start in range(10):
            marks = [len(cluster[number].log) for number in (1, 2, 3)]
            cluster[3].start()
            # Its count of starts is at first the one that the others know, and then passes it.
            words = "another process runs with the data of node 3" if start == 0 else "(number 2) without your data knowing of it"
            for number in (1, 2):
                cluster[number].wait_log(words, after=marks[number - 1])
            cluster[3].wait_log("refuses this node", after=marks[2])
            has(cluster[3].log[marks[2]:], words)
            wait_for(lambda: "refuses" in cluster[3].ask("GET", "/health/ready").json.get("message", ""),
                     words=lambda: repr(cluster[3].ask("GET", "/health/ready")))
            cluster[3].kill()
        same(cluster[1].append("a").status, 201)
        # What it is told to do helps.
        shutil.rmtree(s.path("n3"))
        cluster[3].join(cluster[1], replace=3)
        cluster[3].start()
        cluster.wait_ready()


def test_foreign_nodes(s: Stele):
    """a node that is one of another cluster joins no second one, whatever its directory is told"""
    with Cluster(s, 1) as one, Cluster(s, 0) as strangers:
        one.wait_ready()
        stranger = strangers.add(2, "stranger")
        stranger.init(16)
        stranger.start()
        wait_for(stranger.is_ready)
        for verb in ("init", "join"):
            ended = s.run("cluster", verb, "--store", stranger.dir, "--name", "x", "--address", stranger.address,
                          *(["--seed", one[1].address] if verb == "join" else []), code=None)
            assert ended.code != 0
            has(ended.err, "already")
        # A store by itself is none that could become a node.
        s.append("a", "T")
        ended = s.run("cluster", "join", "--name", "x", "--address", stranger.address, "--seed", one[1].address,
                      code=None)
        assert ended.code != 0
        has(ended.err, "store by itself")
        same([len(node.status()["nodes"]) for node in (one[1], stranger)], [1, 1])


def test_who_does_not_fit(s: Stele):
    """who does not fit into the cluster is refused with words and a hint, and the cluster is as it was"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        before = cluster[1].status()

        def write(node, identity):
            with open(s.path(os.path.join(node.dir, "cluster", "node")), "w", encoding="utf-8") as file:
                json.dump(identity, file)

        def identity_of(node):
            with open(s.path(os.path.join(node.dir, "cluster", "node")), encoding="utf-8") as file:
                return json.load(file)

        def comes(change, *words, name="n4", address=None, **how):
            """Whoever wants to join, as its directory says after a change."""
            node = cluster.add(4, name)
            node.address = address or node.address
            node.join(cluster[2], **how)
            write(node, {**identity_of(node), **change})
            node.start()
            assert node.ended() != 0
            for word in ("the cluster refuses this node", *words):
                has(node.log, word)
            cluster.nodes.remove(node)
            os.remove(node.log_path)
            shutil.rmtree(s.path(node.dir))
        comes({"cluster": "0123456789abcdef" * 2}, "another cluster")
        comes({"partitions": 128}, "8 partitions", "128")
        comes({"partitions": 8, "partition-key": 1}, "by category")
        comes({}, "so it is not lost", replace=2)
        comes({"name": "n2"}, "stele cluster replace n2")
        comes({}, "belongs to node 2", address=cluster[2].address)
        comes({"incarnation": identity_of(cluster[3])["incarnation"]}, "node 3")
        # Directories of other versions are left as they are, whoever made them.
        for version in (0, 2):
            node = cluster.add(4, "n4")
            node.join(cluster[2])
            identity = {**identity_of(node), "version": version, "what nobody knows": True}
            write(node, identity)
            node.start()
            assert node.ended() != 0
            has(node.log, f"has version {version}, this software knows version 1: run the version of the software")
            same(identity_of(node), identity)
            cluster.nodes.remove(node)
            os.remove(node.log_path)
            shutil.rmtree(s.path(node.dir))
        # As one that has a number, of a cluster that it takes for another.
        cluster[3].stop()
        identity = identity_of(cluster[3])
        for change, words in (({"cluster": "0123456789abcdef" * 2}, "another cluster"), ({"number": 9}, "9")):
            write(cluster[3], {**identity, **change})
            mark = len(cluster[3].log)
            cluster[3].start()
            wait_for(lambda mark=mark, words=words: words in cluster[3].log[mark:],
                     words=lambda mark=mark: cluster[3].log[mark:])
            assert not cluster[3].is_ready()
            cluster[3].kill()
        write(cluster[3], {**identity, "starts": identity["starts"] + 2})
        cluster[3].start()
        cluster.wait_ready()
        after = cluster[1].status()
        for key in ("number", "name", "address", "state"):
            same([node[key] for node in after["nodes"]], [node[key] for node in before["nodes"]])
        same(after["voters"], before["voters"])
        same(cluster[1].append("a").status, 201)
        cluster.all()
        cluster.stop()
        cluster.verify()


def certificates(s, name, ca):
    """A certificate that a CA signed; the CA itself, if name is None."""
    s.shell("set -e; umask 077\n" + (f"""
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {ca}.key -out {ca}.pem -days 2 \
    -subj /CN={ca} -config <(printf '[req]\\ndistinguished_name=dn\\nx509_extensions=v3\\n[dn]\\n[v3]\\n\
basicConstraints=critical,CA:TRUE\\nkeyUsage=keyCertSign\\n')
""" if name is None else f"""
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr \
    -subj /CN={name} -config <(printf '[req]\\ndistinguished_name=dn\\n[dn]\\n')
openssl x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -out {name}.pem -days 2 \
    -extfile <(printf 'subjectAltName=DNS:localhost,DNS:{name}\\n')
"""))


def test_certificates(s: Stele):
    """nodes speak TLS to each other, and not to whom their CA does not know"""
    for name, ca in ((None, "ca"), ("n1", "ca"), ("n2", "ca"), ("n3", "ca"), (None, "other"), ("evil", "other")):
        certificates(s, name, ca)
    with Cluster(s, 3, start=False) as cluster:
        for node in cluster.nodes:
            node.options = ["--cluster-certificate", f"{node.name}.pem", "--cluster-key", f"{node.name}.key",
                            "--cluster-ca", "ca.pem"]
        cluster.start()
        cluster.wait_ready()
        same(cluster[2].append("a").status, 201)
        cluster[3].stop()
        right = cluster[3].options
        for options in (["--cluster-certificate", "evil.pem", "--cluster-key", "evil.key", "--cluster-ca", "other.pem"],
                        ["--cluster-certificate", "evil.pem", "--cluster-key", "evil.key", "--cluster-ca", "ca.pem"],
                        []):
            mark, own = len(cluster[1].log), len(cluster[3].log)
            cluster[3].options = options
            cluster[3].start()
            # Both sides say why, each for a kind of reason only once.
            words = r"node . is not connected: [^\n]*" + ("(certificate|unknown ca)" if options else "ended")
            wait_for(lambda words=words: re.search(words, cluster[1].log[mark:] + cluster[3].log[own:]),
                     words=lambda: cluster[1].log + cluster[3].log)
            same(cluster[3].is_ready(), False)
            cluster[3].kill()
        cluster[3].options = right
        cluster[3].start()
        cluster.wait_ready()
        cluster.all()


def test_readme(s: Stele):
    """what README.md says about a cluster on this machine works as it stands there"""
    with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as file:
        blocks = file.read().split("\n\n")
    block = next(block for block in blocks if block.startswith("    ./dev cluster\n"))
    commands = [line.strip() for line in block.splitlines()]
    same((commands[0], commands[-1]), ("./dev cluster", "./dev cluster stop"))
    build, port = s.path("build"), free_row(3)
    os.mkdir(build)
    os.symlink(BINARY, os.path.join(build, "stele"))

    def run(command):
        command = command.replace("./dev cluster", f"{SOURCE}/tools/cluster {build}").replace("build/cluster", build +
                                                                                               "/cluster")
        for k in range(3):
            command = command.replace(f"localhost:{2111 + k}", f"localhost:{port + k}")
        return s.shell(f"export STELE_CLUSTER_PORT={port}; {command}")
    try:
        answers = [run(command).out for command in commands[:-1]]
        has(answers[0], "n3")
        has(answers[1], '"revision":0')
        has(answers[3], '"revision":1')
        same(len(json.loads(answers[4])["events"]), 2)
        has(run("./dev cluster status").out, "n1")
    finally:
        ended = run("./dev cluster stop")
    has(ended.out, "3 nodes ended")
    for k in (1, 2, 3):
        s.run("verify", "--store", os.path.join(build, "cluster", f"n{k}"))


main(sys.modules[__name__])
