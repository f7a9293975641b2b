"""Everything that can happen to nodes and the network between them, in random order, under load: nothing that was
acknowledged is lost, doubled or out of order, and every node has the same.

A short run by itself; more of it with STELE_CLUSTER_ROUNDS=200, the same again with STELE_CLUSTER_SEED=7, each
disturbance for longer with STELE_CLUSTER_SECONDS=30. The nodes speak to each other through relay.py, so no rights
and no namespaces are needed.
"""

import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Stele, main, same  # noqa: E402

from cluster import WAIT, Cluster, Load, free_ports, wait_for  # noqa: E402
from relay import Relay  # noqa: E402

ROUNDS = int(os.environ.get("STELE_CLUSTER_ROUNDS", "5"))
SEED = int(os.environ.get("STELE_CLUSTER_SEED", "1"))
SECONDS = float(os.environ.get("STELE_CLUSTER_SECONDS", "0.5"))


class Nemesis:
    def __init__(self, cluster, relay, rng):
        self.cluster, self.relay, self.rng = cluster, relay, rng

    def others(self, victim):
        return [node for node in self.cluster.nodes if node is not victim]

    # Each begins something and returns what ends it. A majority of nodes is left that can speak to each other,
    # but for the last two.

    def kill(self, victim):
        """A node is killed and comes back."""
        victim.kill()
        return victim.start

    def pause(self, victim):
        """A node stands still."""
        victim.pause()
        return victim.resume

    def cut(self, victim):
        """A node hears nobody, and nobody hears it."""
        self.relay.cut(victim.number, "*")
        return self.relay.heal

    def mute(self, victim):
        """A node hears everybody, and nobody hears it."""
        self.relay.oneway(victim.number, "*")
        return self.relay.heal

    def deaf(self, victim):
        """Everybody hears a node, and it hears nobody."""
        self.relay.oneway("*", victim.number)
        return self.relay.heal

    def between(self, victim):
        """Two nodes do not hear each other; the third hears both."""
        other = self.rng.choice(self.others(victim))
        self.relay.cut(victim.number, other.number)
        return self.relay.heal

    def half(self, victim):
        """One node does not hear one other."""
        self.relay.oneway(self.rng.choice(self.others(victim)).number, victim.number)
        return self.relay.heal

    def slow(self, victim):
        """The way to a node is long and uneven."""
        self.relay.delay(victim.number, "*", 80, 40)
        return self.relay.calm

    def reset(self, victim):
        """Connections break, again and again."""
        for _ in range(5):
            self.relay.reset(victim.number, "*")
        return lambda: None

    def kill_while_cut(self, victim):
        """A node is killed while another one is cut off: nothing can be decided until one of them is back."""
        self.relay.cut(victim.number, "*")
        other = self.rng.choice(self.others(victim))
        other.kill()

        def end():
            other.start()
            self.relay.heal()
        return end

    def kill_all(self, victim):
        """All are killed at once."""
        for node in self.cluster.nodes:
            node.process.kill()
        for node in self.cluster.nodes:
            node.process.wait(WAIT)

        def end():
            for node in self.cluster.nodes:
                node.start()
        return end

    MAJORITY = ("kill", "pause", "cut", "mute", "deaf", "between", "half", "slow", "reset")
    NONE = ("kill_while_cut", "kill_all")

    def round(self, load, deed):
        victim = self.rng.choice(self.cluster.nodes)
        began = time.monotonic()
        end = getattr(self, deed)(victim)
        try:
            if deed in self.MAJORITY:
                load.wait_more(20)
            wait_for(lambda: time.monotonic() - began >= SECONDS)
        finally:
            end()
        load.wait_more(20)
        print(f"# {deed} {victim.name}: {time.monotonic() - began:.1f} s, {load.count()} acknowledged", flush=True)


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
            nemesis = Nemesis(cluster, relay, rng)
            deeds = []
            # A thread stays at a node as long as that answers.
            with Load(cluster, 6, follow=True) as load:
                for _ in range(ROUNDS):
                    if not deeds:
                        deeds = list(Nemesis.MAJORITY + Nemesis.NONE)
                        rng.shuffle(deeds)
                    nemesis.round(load, deeds.pop())
                relay.calm()
                cluster.wait_ready()
            events = cluster.all()
            load.check(events)
            print(f"# {ROUNDS} rounds: {load.count()} acknowledged, {len(load.refused)} refused, "
                  f"{len(load.unknown)} unknown", flush=True)
            for node in cluster.nodes:
                same((node.name, node.status()["mismatches"]), (node.name, 0))
            cluster.stop()
            cluster.verify()
    finally:
        relay.close()


main(sys.modules[__name__])
