"""What happens to a cluster in random order: each disturbance begins something and returns what ends it.

In the first list of a class a majority of nodes is left that can speak to each other, so work has to go on meanwhile;
in the second it has to go on afterwards.
"""

import os
import time

from cluster import WAIT, wait_for


class Nemesis:
    """Processes, and a relay between them (relay.py)."""

    MAJORITY = ("kill", "pause", "cut", "mute", "deaf", "between", "half", "slow", "reset")
    NONE = ("kill_while_cut", "kill_all")

    def __init__(self, cluster, net, rng, seconds=0.5, pause=None):
        """seconds: of each disturbance at least; pause: of a node that stands still."""
        self.cluster, self.net, self.rng = cluster, net, rng
        self.seconds, self.pause_seconds = seconds, seconds if pause is None else pause
        self.counts = {}

    def others(self, victim):
        return [node for node in self.cluster.nodes if node is not victim]

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
        self.net.cut(victim.number, "*")
        return self.net.heal

    def mute(self, victim):
        """A node hears everybody, and nobody hears it."""
        self.net.oneway(victim.number, "*")
        return self.net.heal

    def deaf(self, victim):
        """Everybody hears a node, and it hears nobody."""
        self.net.oneway("*", victim.number)
        return self.net.heal

    def between(self, victim):
        """Two nodes do not hear each other; the third hears both."""
        other = self.rng.choice(self.others(victim))
        self.net.cut(victim.number, other.number)
        return self.net.heal

    def half(self, victim):
        """One node does not hear one other."""
        self.net.oneway(self.rng.choice(self.others(victim)).number, victim.number)
        return self.net.heal

    def slow(self, victim):
        """The way to a node is long and uneven."""
        self.net.delay(victim.number, "*", 80, 40)
        return self.net.calm

    def reset(self, victim):
        """Connections break, again and again."""
        for _ in range(5):
            self.net.reset(victim.number, "*")
        return self.net.heal

    def kill_while_cut(self, victim):
        """A node is killed while another one is cut off: nothing can be decided until one of them is back."""
        self.net.cut(victim.number, "*")
        other = self.rng.choice(self.others(victim))
        other.kill()

        def end():
            other.start()
            self.net.heal()
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

    def names(self):
        """All, in random order."""
        names = [*self.MAJORITY, *self.NONE]
        self.rng.shuffle(names)
        return names

    def round(self, work, name):
        victim = self.rng.choice(self.cluster.nodes)
        seconds = self.pause_seconds if name.startswith("pause") else self.seconds
        before = work.count()
        began = time.monotonic()
        end = getattr(self, name)(victim)
        try:
            if name in self.MAJORITY:
                work.wait_more(20)
            wait_for(lambda: time.monotonic() - began >= seconds)
        finally:
            end()
        ended = time.monotonic()
        work.wait_more(20)
        self.counts[name] = self.counts.get(name, 0) + 1
        print(f"# {name} {victim.name}: {ended - began:.1f} s, {work.count() - before} acknowledged, again after "
              f"{time.monotonic() - ended:.1f} s", flush=True)


class MachineNemesis(Nemesis):
    """Processes on machines of their own (machines.py), with what happens to disks."""

    MAJORITY = ("kill", "pause", "cut", "mute", "deaf", "between", "half", "lossy", "reset",
                "power", "full", "ill_sync", "ill_write")
    NONE = ("kill_while_cut", "kill_all", "power_all", "full_all", "pause_two")

    def lossy(self, victim):
        """A quarter of the packets from and to a node is lost."""
        self.net.lose(victim.number, "*", 25)
        return self.net.heal

    def reset(self, victim):
        """Connections break as soon as they say something."""
        self.net.reset(victim.number, "*")
        return self.net.heal

    def pause_two(self, victim):
        """Two nodes stand still, and go on at different times: the first one with the one that was awake, whose memory is
        fresher."""
        two = self.others(victim)
        for node in two:
            node.pause()

        def end():
            two[0].resume()
            wait_for(two[0].is_ready)
            two[1].resume()
        return end

    # ---- Power ----

    def lose_power(self, nodes):
        self.rng.shuffle(nodes)
        for node in nodes:
            node.machine.cut_power()
        # They notice it, or were about to: then they go with their machines.
        time.sleep(self.rng.random() * 0.03)
        for node in nodes:
            node.process.kill()
        for node in nodes:
            node.process.wait(WAIT)

        def end():
            for node in nodes:
                node.machine.mount_again()
            for node in nodes:
                node.start()
        return end

    def power(self, victim):
        """A machine loses its power."""
        return self.lose_power([victim])

    def power_all(self, victim):
        """All machines lose their power at once."""
        return self.lose_power(list(self.cluster.nodes))

    # ---- Full disks ----

    def fill(self, nodes):
        """Events become large, so that what was made in advance is soon used up."""
        for node in nodes:
            wait_for(node.is_ready)  # It does not start on a full disk.
            node.machine.fill()
        self.work.size = 60_000

        def end():
            self.work.size = 0
            for node in nodes:
                node.machine.free()
        return end

    def full(self, victim):
        """A disk has not a page left until it is noticed, and then it has."""
        end = self.fill([victim])
        self.wait_noticed([victim], end)
        return end

    def full_all(self, victim):
        """All disks are full until nobody can store anything, and then they are not."""
        end = self.fill(list(self.cluster.nodes))
        self.wait_noticed(self.cluster.nodes, end)
        return end

    def wait_noticed(self, nodes, end):
        def noticed():
            return all("disk is full" in node.status().get("why", "") for node in nodes)
        try:
            wait_for(noticed, WAIT, lambda: f"{[(node.status(), node.log[-1000:]) for node in nodes]}")
        except BaseException:
            end()
            raise

    # ---- Ill disks ----

    def ill(self, victim, call):
        """Runs with a disk whose n-th call fails, once or from then on. Then it gets a well one."""
        victim.kill()
        victim.env = {"LD_PRELOAD": os.path.join(victim.machine.programs, "libilldisk.so"), "ILL_CALL": call,
                      "ILL_AT": str(self.rng.randint(1, self.rng.choice((30, 1000)))), "ILL_ONCE": str(self.rng.randint(0, 1))}
        mark = len(victim.log)
        victim.start()

        def end():
            victim.env = {}
            if victim.is_running:
                victim.kill()
            victim.start()
        try:
            wait_for(lambda: "ill: " in victim.log[mark:] or not victim.is_running, WAIT,
                     lambda: f"{victim.env} {victim.log[mark:]}")
        except BaseException:
            end()
            raise
        return end

    def ill_sync(self, victim):
        """A disk cannot sync."""
        return self.ill(victim, "sync")

    def ill_write(self, victim):
        """A disk cannot write."""
        return self.ill(victim, "write")

    def round(self, work, name):
        self.work = work
        super().round(work, name)
