"""A cluster whose nodes have machines of their own: processes, disks and networks fail in random order, under load;
nothing that was acknowledged is lost, doubled or out of order, every node has the same, linearizable reads are not from
the past, and who follows sees everything once.

A short run by itself; more of it with STELE_CLUSTER_ROUNDS=200, the same choices with STELE_CLUSTER_SEED=7, each
disturbance for longer with STELE_CLUSTER_SECONDS=2, nodes that stand still for longer with STELE_CLUSTER_PAUSE=30, more
events in an append with STELE_CLUSTER_BATCH=30, until there were so many operations with
STELE_CLUSTER_OPERATIONS=100000. Needs root, loop devices and nftables (machines.py).
"""

import os
import random
import sys
import time

import machines

machines.enter()

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Stele, has, main, same  # noqa: E402

from cluster import wait_for  # noqa: E402
from history import Watch, Work, describe  # noqa: E402
from machines import MachineCluster  # noqa: E402
from nemesis import MachineNemesis  # noqa: E402

PROGRAMS = os.path.abspath(sys.argv[4])
del sys.argv[4]

ROUNDS = int(os.environ.get("STELE_CLUSTER_ROUNDS", "5"))
SEED = int(os.environ.get("STELE_CLUSTER_SEED", "1"))
SECONDS = float(os.environ.get("STELE_CLUSTER_SECONDS", "0.3"))
PAUSE = float(os.environ.get("STELE_CLUSTER_PAUSE", "1.5"))
BATCH = int(os.environ.get("STELE_CLUSTER_BATCH", "3"))
OPERATIONS = int(os.environ.get("STELE_CLUSTER_OPERATIONS", "0"))
ONLY = os.environ.get("STELE_CLUSTER_ONLY", "").split()
# What a short run has: disks, which no other test of clusters has.
SHORT = ["power", "full", "ill_sync", "power_all", "full_all", "ill_write"]


def test_machines(s: Stele):
    """machines that fail in any way lose nothing, double nothing, and agree"""
    rng = random.Random(SEED)
    with MachineCluster(s, PROGRAMS, mib=4096 if ROUNDS > 10 else 512) as cluster:
        cluster.wait_ready()
        nemesis = MachineNemesis(cluster, cluster.wires, rng, SECONDS, PAUSE)
        names = []
        with Work(cluster, 6, SEED, BATCH) as work, Watch(cluster.nodes, 0) as one, Watch(cluster.nodes, 1) as other:
            for number in range(ROUNDS):
                names = names or (ONLY or (nemesis.names() if ROUNDS > len(SHORT) else SHORT))[:]
                nemesis.round(work, names.pop(0))
                if rng.random() < 0.7:  # Otherwise the next one comes before the last one is over.
                    cluster.wait_ready()
            share = OPERATIONS - work.operations
            if share > 0:
                work.wait_more(share, 600)
            cluster.wait_ready()
            work.stop()
            events = cluster.all()
            work.check(events)
            one.check(events)
            other.check(events)
        print(f"# seed {SEED}, {ROUNDS} rounds: {nemesis.counts}", flush=True)
        print(f"# {work.operations} operations: {work.words()}; {describe([one, other])}", flush=True)
        for node in cluster.nodes:
            same((node.name, node.status()["mismatches"]), (node.name, 0))
        cluster.stop()
        cluster.verify()


def test_a_full_disk(s: Stele):
    """a node whose disk is full hands over what it leads, refuses appends, says why, and takes its part again by itself"""
    with MachineCluster(s, PROGRAMS) as cluster:
        cluster.wait_ready()
        cluster.wait_balanced()
        victim, others = cluster[1], cluster.nodes[1:]
        work = Work(cluster, 3, size=60_000)
        work.nodes = others
        with work:
            work.wait_more(10)
            victim.machine.fill()
            wait_for(lambda: not victim.status()["ready"])
            has(victim.status()["why"], "its disk is full")
            has(victim.ask("GET", "/metrics").body.decode(), "\nstele_cluster_disk_full 1\n")
            has(victim.log, "the disk is full")

            def leaders():
                status = others[0].status()
                return [status["leader"], *status["leaders"]]
            wait_for(lambda: 1 not in leaders() and 0 not in leaders(), words=lambda: repr(leaders()))
            same(victim.append("refused").error, "no-space")
            # Nobody gives it what it could not do.
            leader = others[0].status()["leaders"][0]
            answer = cluster[leader].change("transfer", {"partition": 0, "to": "n1"})
            same(answer.status, 409)
            has(answer.json["message"], "make room there first")
            answer = others[0].change("move", {"partition": 0, "from": "n2", "to": "n1"})
            same(answer.status, 409)
            has(answer.json["message"], "the disk of node 1 is full")
            # Longer than it takes until leaders are put where they belong.
            began = time.monotonic()
            while time.monotonic() < began + 4:
                work.wait_more(10)
                assert 1 not in leaders(), leaders()
            victim.machine.free()
            cluster.wait_ready()
            wait_for(lambda: 1 in leaders(), words=lambda: repr(leaders()))
            has(victim.log, "there is room on the disk again")
        same(victim.append("taken").status, 201)
        work.check(cluster.all())
        cluster.stop()
        cluster.verify()


main(sys.modules[__name__])
