"""Everything that can happen to processes and the network between them, in random order, under load: nothing that was
acknowledged is lost, doubled or out of order, and every node has the same.

A short run by itself; more of it with STELE_CLUSTER_ROUNDS=200, the same again with STELE_CLUSTER_SEED=7, each
disturbance for longer with STELE_CLUSTER_SECONDS=30. The nodes speak to each other through relay.py, so no rights
and no namespaces are needed; test_machines.py, which has disks too, needs them.
"""

import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Stele, free_ports, main, same  # noqa: E402

from cluster import Cluster  # noqa: E402
from history import Watch, Work, describe  # noqa: E402
from nemesis import Nemesis  # noqa: E402
from relay import Relay  # noqa: E402

ROUNDS = int(os.environ.get("STELE_CLUSTER_ROUNDS", "5"))
SEED = int(os.environ.get("STELE_CLUSTER_SEED", "1"))
SECONDS = float(os.environ.get("STELE_CLUSTER_SECONDS", "0.5"))


def test_nemesis(s: Stele):
    """nodes that are killed, stopped, cut off and slowed down lose nothing, double nothing, and agree"""
    rng = random.Random(SEED)
    relay = Relay()
    try:
        with Cluster(s, 3, start=False) as cluster:
            for node in cluster.nodes:
                own = free_ports(1)[0]
                node.options = ["--cluster-listen", f"127.0.0.1:{own}"]
                relay.node(node.number, own, node.cluster_port)
            cluster.start()
            cluster.wait_ready()
            nemesis = Nemesis(cluster, relay, rng, SECONDS)
            names = []
            with Work(cluster, 6, SEED, patience=40) as work, Watch(cluster.nodes, 0) as watch:
                for _ in range(ROUNDS):
                    names = names or nemesis.names()
                    nemesis.round(work, names.pop())
                relay.calm()
                cluster.wait_ready()
                work.stop()
                events = cluster.all()
                work.check(events)
                watch.check(events)
            print(f"# seed {SEED}, {ROUNDS} rounds: {nemesis.counts}", flush=True)
            print(f"# {work.operations} operations: {work.words()}; {describe([watch])}", flush=True)
            for node in cluster.nodes:
                same((node.name, node.status()["mismatches"]), (node.name, 0))
            cluster.stop()
            cluster.verify()
    finally:
        relay.close()


main(sys.modules[__name__])
