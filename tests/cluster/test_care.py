"""Looking after a cluster: versions that are mixed, addresses apart from each other, replicas compared, cuts, repair.

STELE_CLUSTER_OLD=/path/to/stele: the program of an older version, which nodes run before they are upgraded; otherwise they
run this one, told to know nothing that is new."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Stele, free_ports, has, main, same  # noqa: E402

from cluster import Cluster, Load, wait_for  # noqa: E402
from history import Watch, Work  # noqa: E402


def features(node):
    return node.status().get("features")


def become(node, is_old):
    node.options = ["--cluster-features", "0"] if is_old else []
    node.binary = os.environ.get("STELE_CLUSTER_OLD") if is_old else None


def test_rolling_upgrade(s: Stele):
    """versions work together without what only the newer knows; once all know it, it is used, and older ones refused"""
    with Cluster(s, 3, start=False) as cluster:
        for node in cluster.nodes:
            become(node, True)
        cluster.start()
        cluster.wait_ready()
        with Work(cluster, 3, patience=40) as work, Watch(cluster.nodes) as watch:
            # The first one goes back once, which can be done until the last one is new; the second one is killed.
            for number, is_old, ends in ((1, False, "stop"), (1, True, "stop"), (2, False, "kill"), (1, False, "stop"),
                                         (3, False, "stop")):
                same([features(node) for node in cluster.nodes], [0, 0, 0])
                work.wait_more(30)
                getattr(cluster[number], ends)()
                become(cluster[number], is_old)
                cluster[number].start()
                cluster.wait_ready()
            for node in cluster.nodes:
                wait_for(lambda node=node: features(node) == 7, words=lambda node=node: node.log[-3000:])
            has(cluster[1].log + cluster[2].log + cluster[3].log, "all nodes know features 0x7")
            work.wait_more(30)
            # Going back is too late.
            cluster[2].stop()
            mark = len(cluster[1].log)
            become(cluster[2], True)
            cluster[2].start()
            cluster[1].wait_log("node 2 is refused (software-too-old): your software", after=mark)
            cluster[2].wait_log("is too old: the cluster already uses what it does not know")
            wait_for(lambda: "refuses" in cluster[2].ask("GET", "/health/ready").json.get("message", ""),
                     words=lambda: repr(cluster[2].ask("GET", "/health/ready")))
            # Work goes on with the others; who asks the old one is told nothing wrong.
            work.wait_more(30)
            newcomer = cluster.add(4)
            become(newcomer, True)
            newcomer.join(cluster[1])
            newcomer.start()
            assert newcomer.ended() != 0
            has(newcomer.log, "too old")
            cluster.nodes.pop()
            cluster[2].kill()
            become(cluster[2], False)
            cluster[2].start()
            cluster.wait_ready()
            work.stop()
            events = cluster.all()
            work.check(events)
            watch.check(events)
        cluster.stop()
        cluster.verify()


def tamper(path, data):
    """Changes what is found in a node's store so that no checksum can tell: a multiple of CRC-32C's polynomial is
    added, bits in the order in which the checksum takes them."""
    pattern = [0] * 5
    for at, bit in enumerate([1] + [0x1EDC6F41 >> (31 - k) & 1 for k in range(32)]):
        pattern[at // 8] |= bit << at % 8
    done = 0
    for folder, _, names in os.walk(path):
        for name in names:
            whole = os.path.join(folder, name)
            with open(whole, "r+b") as file:
                bytes_ = file.read()
                at = bytes_.find(data)
                # The events alone: what cluster/ has is on its way to the store.
                if at >= 0 and os.path.relpath(whole, path).split(os.sep)[0] != "cluster":
                    file.seek(at + 2)
                    file.write(bytes(old ^ new for old, new in zip(bytes_[at + 2:at + 7], pattern)))
                    done += 1
    same(done, 1)


def check(s, node):
    ended = s.run("cluster", "check", "--events", "--json", "--store", node.target, code=None)
    same(ended.code, 0 if ended.json[0]["ok"] else 1)
    return ended.json[0]


def differing(s, node):
    return [(one["node"], one["message"]) for one in check(s, node)["findings"] if one["what"] == "differs"]


def test_a_store_that_differs(s: Stele):
    """an event that differs on one node is found although its checksums match"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        with Load(cluster, 2) as load:
            load.wait_more(100)
        for node, text in ((2, "find-this-text"), (1, "and-this-one-too")):
            body = json.dumps([{"id": f"00000000-0000-4000-8000-00000000000{node}", "type": "T", "data": text}])
            same(cluster[node].ask("POST", "/api/streams/a", body).status, 201)
        with Load(cluster, 2, prefix="more") as more:
            more.wait_more(50)
        events = cluster.all()
        cluster.wait_ready()
        # Each node's word on how far it is, is some moments old; on a busy machine it lags behind for a moment.
        wait_for(lambda: check(s, cluster[2])["ok"] and check(s, cluster[2])["compared"]["events"] >= len(events))
        same(check(s, cluster[2])["compared"]["nodes"], ["n1", "n2", "n3"])
        # Retention lets nodes lose events at different times: that is no difference.
        same(cluster[1].ask("PUT", "/api/meta/load-0-0", '{"$maxCount": 1}').is_done, True)
        cluster[3].stop()
        s.run("verify", "--store", cluster[3].dir)
        tamper(s.path(cluster[3].dir), b"find-this-text")
        s.run("verify", "--store", cluster[3].dir)
        cluster[3].start()
        cluster.wait_ready()
        place = next(int(position) for position, stream, revision, _, _ in events if (stream, revision) == ("a", 0))
        wait_for(lambda: differing(s, cluster[1]))
        found = differing(s, cluster[1])
        same([number for number, _ in found], [3])
        has(found[0][1], f"1 differ, 0 are missing, the first at position {place}: stop it")
        # Which node is asked makes no difference.
        same(differing(s, cluster[3]), found)


def test_a_damaged_store(s: Stele):
    """a node whose store is damaged gets everything anew from the others, by one command"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        body = json.dumps([{"type": "T", "data": "damage-" + "x" * 50000}])
        same(cluster[1].ask("POST", "/api/streams/a", body).status, 201)
        with Load(cluster, 2) as load:
            load.wait_more(100)
        victim = cluster[3]
        cluster.settle()
        ended = s.run("cluster", "repair", "--store", victim.dir, "--yes", code=None)
        assert ended.code != 0
        has(ended.err, "open for writing already")
        victim.stop()
        changed = 0
        for folder, _, names in os.walk(s.path(victim.dir)):
            for name in names:
                with open(os.path.join(folder, name), "r+b") as file:
                    at = file.read().find(b"damage-x") if "cluster" not in folder else -1
                    if at >= 0:
                        file.seek(at + 1000)
                        file.write(b"y")
                        changed += 1
        same(changed, 1)
        assert s.run("verify", "--store", victim.dir, code=None).code != 0
        plan = s.run("cluster", "repair", "--store", victim.dir)
        has(plan.out, cluster[1].address)
        has(plan.err, "nothing was changed")
        assert not os.path.exists(s.path(victim.dir + "/cluster/damaged-3"))
        # Cut off in the middle, it is not served until it was gone on with.
        has(s.run("cluster", "repair", "--store", victim.dir, "--yes").out, "rm -r")
        node = s.path(victim.dir + "/cluster/node")
        with open(node, encoding="utf-8") as file:
            identity = json.load(file)
        same((identity["number"], identity["replaces"]), (0, 3))
        with open(node, "w", encoding="utf-8") as file:
            json.dump({**identity, "repairs": 3}, file)
        victim.start()
        assert victim.ended() != 0
        has(victim.log, "begun and not finished: stele cluster repair --yes")
        s.run("cluster", "repair", "--store", victim.dir, "--yes")
        victim.start()
        cluster.wait_ready()
        same(sorted(one["number"] for one in cluster[1].status()["nodes"]), [1, 2, 4])
        with Load(cluster, 2, prefix="after") as after:
            after.wait_more(50)
        events = cluster.all()
        load.check([e for e in events if e[1].startswith("load")])
        same(differing(s, cluster[1]), [])
        s.shell(f"rm -r {victim.dir}/cluster/damaged-3")
        cluster.stop()
        cluster.verify()


def test_a_cut(s: Stele):
    """a cut is a position that everything acknowledged is at or below, and that nothing comes to any more"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        target = cluster[3].target
        with Load(cluster, 3) as load:
            cuts = []
            for _ in range(3):
                load.wait_more(50)
                before = set(load.acknowledged)
                cut = s.run("cluster", "cut", "--json", "--store", target).json[0]
                seen = {e["id"]: int(e["position"]) for e in cluster[3].read("all")}
                assert all(seen[name] <= cut["position"] for name in before)
                cuts.append((cut, {name for name, position in seen.items() if position <= cut["position"]}))
        events = [(int(position), name) for position, _, _, name, _ in cluster.all()]
        for cut, names in cuts:
            # On every node, also later; and partition by partition, which a position tells by its last ten bits.
            same({name for position, name in events if position <= cut["position"]}, names)
            same({name for position, name in events if position <= cut["partitions"][position % 1024]}, names)
            assert 3 in cut["nodes"] and len(cut["partitions"]) == cluster[1].status()["partitions"], cut
        has(s.run("cluster", "cut", "--store", target).out, "position ")
        cluster[1].kill()
        cluster[2].kill()
        ended = s.run("cluster", "cut", "--store", target, code=None)
        assert ended.code != 0, ended.out


def test_listening_apart(s: Stele):
    """a node listens for others where cluster-listen says, and others dial what its address says"""
    with Cluster(s, 3, start=False) as cluster:
        given = [node.cluster_port for node in cluster.nodes]
        from relay import Relay
        relay = Relay()
        try:
            for node in cluster.nodes:
                own = free_ports(1)[0]
                node.options = ["--cluster-listen", f"127.0.0.1:{own}"]
                relay.node(node.number, own, node.cluster_port)
            cluster.start()
            cluster.wait_ready()
            same([one["address"] for one in cluster[1].status()["nodes"]], [f"localhost:{port}" for port in given])
            same(cluster[2].append("a").status, 201)
            assert len({pair for pair, (count, size) in relay.status().items() if size > 0}) >= 6, relay.status()
            cluster[3].stop()
            cluster[3].options = ["--cluster-listen", "nowhere"]
            cluster[3].start()
            assert cluster[3].ended() != 0
            has(cluster[3].log, "cluster-listen nowhere is not host:port")
        finally:
            for node in cluster.nodes:
                if node.is_running:
                    node.kill()
            relay.close()


def test_cut_from_one(s: Stele):
    """of three nodes two cannot reach each other: all go on, because the third leads"""
    with Cluster(s, 3, start=False) as cluster:
        from relay import Relay
        relay = Relay()
        try:
            for node in cluster.nodes:
                own = free_ports(1)[0]
                node.options = ["--cluster-listen", f"127.0.0.1:{own}"]
                relay.node(node.number, own, node.cluster_port)
            cluster.start()
            cluster.wait_ready()
            relay.cut(1, 2)
            for node in cluster.nodes:
                for number in range(8):
                    wait_for(lambda node=node, number=number:
                             node.append(f"apart-{node.number}-{number}").status == 201,
                             words=lambda node=node: f"node {node.number} appends nothing")
            relay.heal()
            for node in cluster.nodes:
                wait_for(lambda node=node: all(one["groups_led"] > 0 for one in
                                               node.status()["nodes"]),
                         words=lambda: "leaders are not spread again")
        finally:
            for node in cluster.nodes:
                if node.is_running:
                    node.kill()
            relay.close()


main(sys.modules[__name__])
