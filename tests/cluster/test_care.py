"""Looking after a cluster: versions that are mixed, addresses apart from each other, replicas compared, cuts, repair."""

import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Stele, has, main, same  # noqa: E402

from cluster import Cluster, Load, free_ports, wait_for  # noqa: E402


def features(node):
    return node.status().get("features")


def test_rolling_upgrade(s: Stele):
    """versions work together without what only the newer knows; once all know it, it is used, and older ones refused"""
    old = ["--cluster-features", "0"]
    with Cluster(s, 3, start=False) as cluster:
        for node in cluster.nodes:
            node.options = old
        cluster.start()
        cluster.wait_ready()
        with Load(cluster, 2) as load:
            for number in (1, 2, 3):
                same([features(node) for node in cluster.nodes], [0, 0, 0])
                load.wait_more(30)
                cluster[number].stop()
                cluster[number].options = []
                cluster[number].start()
                cluster.wait_ready()
            for node in cluster.nodes:
                wait_for(lambda node=node: features(node) == 1, words=lambda node=node: node.log[-3000:])
            has(cluster[1].log + cluster[2].log + cluster[3].log, "all nodes know features 0x1")
            load.wait_more(30)
            # Going back is too late.
            cluster[2].stop()
            mark = len(cluster[1].log)
            cluster[2].options = old
            cluster[2].start()
            cluster[1].wait_log("node 2 is refused (software-too-old): your software", after=mark)
            cluster[2].wait_log("is too old: the cluster already uses what it does not know")
            wait_for(lambda: "refuses" in cluster[2].ask("GET", "/health/ready").json.get("message", ""),
                     words=lambda: repr(cluster[2].ask("GET", "/health/ready")))
            load.nodes.pop(1)
            load.wait_more(30)
            newcomer = cluster.add(4)
            newcomer.options = old
            newcomer.join(cluster[1])
            newcomer.start()
            assert newcomer.ended() != 0
            has(newcomer.log, "too old")
            cluster.nodes.pop()
            cluster[2].kill()
            cluster[2].options = []
            cluster[2].start()
            cluster.wait_ready()
        load.check(cluster.all())
        cluster.stop()
        cluster.verify()


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


main(sys.modules[__name__])
