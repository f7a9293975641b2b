"""Who votes in which partition: as many as were asked for, evenly, in different zones, and what changes when nodes come
and go."""

import json
import os
import sys
from itertools import chain

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Stele, has, main, same  # noqa: E402

from cluster import Cluster, Load, wait_for  # noqa: E402


def note(text):
    print(f"# {text}", flush=True)


def voters(node):
    return [sorted(one) for one in node.status().get("voters", [])]


def wait_placed(cluster, width, numbers, nodes=None):
    """Until every node that runs says that so many of these vote in each partition, evenly."""
    nodes = nodes or cluster.nodes

    def placed():
        rows = [voters(node) for node in nodes]
        if any(one != rows[0] for one in rows) or any(len(row) != width for row in rows[0]):
            return False
        votes = list(chain(*rows[0]))
        return set(votes) == set(numbers) and all(
            abs(votes.count(number) - len(votes) / len(numbers)) <= 1 for number in numbers)
    wait_for(placed, words=lambda: json.dumps([node.status() for node in nodes[:2]]))
    wait_for(lambda: all(node.status()["rebalance"] == "idle" for node in nodes))
    return voters(nodes[0])


def test_growing_and_shrinking(s: Stele):
    """three of five nodes vote in each partition; nodes come, are drained and go under load, and no request fails"""
    with Cluster(s, 3) as cluster:
        cluster.wait_ready()
        before = wait_placed(cluster, 3, (1, 2, 3))
        with Load(cluster, 3) as load:
            load.wait_more(50)
            for number in (4, 5):
                node = cluster.add(number)
                node.join(cluster[1])
                node.start()
                cluster.wait_ready()
                after = wait_placed(cluster, 3, range(1, number + 1))
                moved = sum(len(set(new) - set(old)) for old, new in zip(before, after))
                note(f"node {number} joined: {moved} of 24 votes moved")
                assert moved <= 24 // number + 1, (before, after)
                before = after
                load.nodes.append(node)
                load.wait_more(50)
            same(cluster[3].change("drain", {"node": "n1"}).status, 200)
            load.nodes.pop(0)
            wait_placed(cluster, 3, (2, 3, 4, 5))
            wait_for(lambda: cluster[2].status()["nodes"][0]["groups_led"] == 0)
            same(cluster[3].change("remove", {"node": "n1"}).status, 200)
            load.wait_more(50)
            wait_placed(cluster, 3, (2, 3, 4, 5), cluster.nodes[1:])
        same(load.failures, [])
        note(f"{load.count()} acknowledged, the slowest took {load.slowest:.2f} s")
        cluster[1].wait_log("stops taking part in the cluster: it was removed")
        cluster[1].kill()
        del cluster.nodes[0]
        load.check(cluster.all())
        cluster.stop()
        cluster.verify()


def test_what_operators_do(s: Stele):
    """votes are moved, evened out and kept where they are by commands; what cannot be is refused with words"""
    with Cluster(s, 4) as cluster:
        cluster.wait_ready()
        rows = wait_placed(cluster, 3, (1, 2, 3, 4))
        stele = cluster[2].stele

        def other(partition):
            return next(number for number in (1, 2, 3, 4) if number not in rows[partition])
        # It may be off by less than what is evened out by itself.
        stele("rebalance", "--yes")
        has(stele("rebalance", "--dry-run"), "nothing to move")
        rows = voters(cluster[2])
        from_, to = rows[3][0], other(3)
        has(stele("move", "3", f"n{from_}", f"n{to}"), f"n{to} votes in the place of n{from_}")
        same(voters(cluster[2]), rows)
        has(stele("move", "3", f"n{from_}", f"n{to}", "--yes"), "move: done")
        wait_for(lambda: voters(cluster[2])[3] == sorted({*rows[3], to} - {from_}))
        has(stele("move", "3", f"n{from_}", f"n{to}", "--yes", code=None), f"n{from_} has no vote")
        has(stele("move", "3", f"n{to}", "n9", "--yes", code=None), "no node n9")
        has(stele("move", "8", f"n{to}", "n1", "--yes", code=None), "no partition")
        has(stele("set", "replication-factor", "9", "--yes", code=None), "1 to 7")
        for value in ("fast", "511KiB", "0"):
            has(stele("set", "copy-rate", value, "--yes", code=None), "at least 512KiB")
        has(stele("set", "copy-rate", "512KiB", "--yes"), "set: done")
        has(stele("set", "copy-rate", "", "--yes"), "set: done")
        has(stele("pause", "--yes"), "pause: done")
        has(stele("status"), "moving is paused")
        has(stele("rebalance", "--yes", code=None), "resume")
        has(stele("move", "3", f"n{to}", f"n{from_}", "--yes", code=None), "resume")
        has(stele("resume", "--yes"), "resume: done")
        has(stele("move", "3", f"n{to}", f"n{from_}", "--yes"), "move: done")
        # One node gets all that it can, until it is full.
        words = ""
        for partition in range(8):
            row = voters(cluster[2])[partition]
            if 4 not in row and "has its share" not in words:
                words = stele("move", str(partition), f"n{row[0]}", "n4", "--yes", code=None)
        has(words, "has its share")

        def metrics():
            return cluster[1].ask("GET", "/metrics").body.decode()
        # The last of them may still be on its way.
        wait_for(lambda: "\nstele_cluster_moving_partitions 0\n" in metrics(), words=metrics)
        same(cluster[1].append("a").status, 201)
        cluster.all()
        cluster.stop()


def test_a_killed_voter(s: Stele):
    """a voter that is killed while votes move costs nothing that was acknowledged, and moving goes on without it"""
    with Cluster(s, 4) as cluster:
        cluster.wait_ready()
        wait_placed(cluster, 3, (1, 2, 3, 4))
        with Load(cluster, 3) as load:
            # While one vote decides, or two have to, nothing goes on without that node.
            for victim, factor, goes_on in ((3, 5, True), (1, 3, True), (2, 1, False), (4, 3, False)):
                load.wait_more(30)
                others = [node for node in cluster.nodes if node.number != victim]
                same(others[0].change("set", {"key": "replication-factor", "value": str(factor)}).status, 200)
                cluster[victim].kill()
                if goes_on:
                    load.wait_more(30)
                cluster[victim].start()
                cluster.wait_ready()
                wait_placed(cluster, min(factor, 4), (1, 2, 3, 4))
            load.wait_more(30)
        load.check(cluster.all())
        note(f"{load.count()} acknowledged, {len(load.refused)} refused, {len(load.unknown)} unknown")
        cluster.stop()
        cluster.verify()


def test_by_bytes(s: Stele):
    """who votes in a large partition gets fewer others, and what is known of that outlasts a restart"""
    with Cluster(s, 3, partitions=8) as cluster:
        cluster.wait_ready()
        same(cluster[1].change("set", {"key": "rebalance", "value": "manual"}).status, 200)
        same(cluster[1].change("set", {"key": "replication-factor", "value": "1"}).status, 200)
        wait_for(lambda: all(len(row) == 1 for row in voters(cluster[1])))
        same(cluster[1].change("rebalance", {}).status, 200)
        wait_for(lambda: len(set(chain(*voters(cluster[1])))) == 3)
        wait_for(lambda: all(node.status()["rebalance"] == "manual" for node in cluster.nodes))
        rows = voters(cluster[1])
        target = cluster[2].target
        event = {"type": "T", "data": "x" * 1500000}

        def vote_bytes():
            return [node["vote_bytes"] for node in cluster[2].status()["nodes"]]

        def append(stream, count):
            """Returns the number of the node that votes there."""
            before = vote_bytes()
            for _ in range(count):
                same(cluster[1].append(stream, [event]).status, 201)

            def grown():
                return [now - was > count * 1000000 for was, now in zip(before, vote_bytes())]
            wait_for(lambda: grown().count(True) == 1, words=lambda: json.dumps(cluster[2].status()))
            return 1 + grown().index(True)
        # A node that has others to give away.
        stream = next(name for name in (f"large{i}" for i in range(100))
                      if list(chain(*rows)).count(append(name, 1)) == 3)
        owner = append(stream, 30)
        had = 3
        wait_for(lambda: all(node["disk_free"] > 0 and node["stored"] > 40000000
                             for node in cluster[2].status()["nodes"]),
                 words=lambda: json.dumps(cluster[2].status()))
        wait_for(lambda: cluster[2].status()["imbalance_percent"]["bytes"] >= 20)
        same(voters(cluster[1]), rows)
        text = cluster[2].ask("GET", "/metrics").body.decode()
        ratio = float(text.split("\nstele_cluster_imbalance_bytes_ratio ")[1].split()[0])
        assert ratio >= 0.2, text
        # What was counted is there after a restart.
        cluster[2].restart()
        cluster.wait_ready()
        wait_for(lambda: cluster[2].status()["imbalance_percent"]["bytes"] >= 20)
        plan = s.run("cluster", "rebalance", "--dry-run", "--store", target)
        has(plan.out + plan.err, f"from n{owner} to ")
        has(plan.out + plan.err, "0.0 MiB have to be copied")
        shown = s.run("cluster", "rebalance", "--dry-run", "--json", "--store", target).json[0]
        assert shown["after"]["bytes"] + 5 <= shown["before"]["bytes"], shown
        assert shown["bytes"] == sum(move["bytes"] for move in shown["moves"]), shown
        # Nobody has to ask.
        same(cluster[1].change("set", {"key": "rebalance", "value": ""}).status, 200)
        wait_for(lambda: list(chain(*voters(cluster[1]))).count(owner) < had)
        wait_for(lambda: all(node.status()["rebalance"] == "idle" for node in cluster.nodes))
        rows = voters(cluster[1])
        same(s.run("cluster", "rebalance", "--dry-run", "--json", "--store", target).json[0]["moves"], [])
        same(voters(cluster[1]), rows)
        cluster.all()
        cluster.stop()


def test_a_full_node(s: Stele):
    """votes do not go to nodes whose disk is full, and asking for it is refused with words"""
    with Cluster(s, 4) as cluster:
        cluster.wait_ready()
        rows = wait_placed(cluster, 3, (1, 2, 3, 4))
        stele = cluster[2].stele
        has(stele("set", "disk-reserve", "much", "--yes", code=None), "500MiB")
        has(stele("set", "disk-reserve", "900TiB", "--yes"), "set: done")
        to = next(number for number in (1, 2, 3, 4) if number not in rows[3])
        has(stele("move", "3", f"n{rows[3][0]}", f"n{to}", "--yes", code=None), f"the disk of n{to} is full")
        same(voters(cluster[2]), rows)
        # A fifth one gets no votes either.
        node = cluster.add(5)
        node.join(cluster[1])
        node.start()
        cluster.wait_ready()
        has(stele("rebalance", "--dry-run"), "nothing to move")
        same(voters(cluster[2]), rows)
        has(stele("set", "disk-reserve", "", "--yes"), "set: done")
        cluster.wait_ready()
        wait_placed(cluster, 3, (1, 2, 3, 4, 5))
        cluster.all()
        cluster.stop()


main(sys.modules[__name__])
