"""Machines for the nodes of a cluster: each has a file system of its own, in a file, and a network stack of its own,
all on this machine.

Disks lose their power (the shutdown ioctl of ext4 and XFS: what was not synced is gone), fill up, and fail; between
the stacks packets are dropped by nftables, one way or both, all or some. A program that uses this calls enter() first:
it goes on in namespaces of its own, so that nothing stays mounted and no network is left, whatever happens. That takes
root, loop devices, and programs; why_not() says what is missing.
"""

import os
import shutil
import subprocess
import sys

from cluster import Cluster, Node

OWN = "STELE_OWN_MACHINES"
PROGRAMS = ("unshare", "nsenter", "ip", "nft", "losetup", "mount", "mkfs.ext4", "mkfs.xfs")
CLIENTS = "10.77.0.100"


def run(*command, check=True):
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert not check or ended.returncode == 0, f"{' '.join(command)}: {ended.stdout}{ended.stderr}"
    return ended.returncode == 0


def why_not():
    """What is missing for this; None: nothing."""
    if os.getuid() != 0:
        return "needs root"
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"needs {program}"
    if not run("losetup", "--find", check=False):
        return "needs loop devices"
    if not run("unshare", "-mn", "nft", "add", "table", "ip", "t", check=False):
        return "needs namespaces with nftables"
    if not run("unshare", "-mn", "ip", "link", "add", "name", "machines", "type", "bridge", check=False):
        return "needs bridges"
    return None


def enter():
    """Goes on in namespaces of its own, from the beginning of the program; or says that all is skipped, and why."""
    os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    if OWN in os.environ:
        return
    missing = why_not()
    if missing is not None:
        print(f"1..0 # SKIP {missing}")
        sys.exit(0)
    os.environ[OWN] = "1"
    os.execvp("unshare", ["unshare", "-mn", "--propagation", "private", sys.executable, "-B", *sys.argv])


class Machine:
    """One: `dir` is where its disk is mounted."""

    def __init__(self, number, folder, kind, mib, programs):
        self.number, self.kind, self.mib, self.programs = number, kind, mib, programs
        self.image, self.dir = os.path.join(folder, f"disk{number}"), os.path.join(folder, f"m{number}")
        self.address = f"10.77.0.{number}"
        self.holder = None

    def begin(self):
        os.makedirs(self.dir)
        with open(self.image, "wb") as file:
            file.truncate(self.mib << 20)
        run(f"mkfs.{self.kind}", "-q", *(["-F"] if self.kind == "ext4" else []), self.image)
        self.mount()
        # Its network lives as long as somebody is in it.
        self.holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        port = f"v{self.number}"
        run("ip", "link", "add", "name", port, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        run("ip", "link", "set", port, "master", "machines", "up")
        for command in (f"ip addr add {self.address}/24 dev eth0", "ip link set eth0 up", "ip link set lo up",
                        "nft add table ip bad", "nft add chain ip bad in { type filter hook input priority 0; }"):
            self.inside(*command.split())

    def end(self):
        if self.holder is not None:
            self.holder.stdin.close()
            self.holder.wait()
        run("umount", self.dir, check=False)

    @property
    def door(self):
        """What a command has to begin with to run on this machine."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]

    def inside(self, *command):
        run(*self.door, *command)

    # ---- Its disk ----

    def mount(self):
        run("mount", "-o", "loop", self.image, self.dir)

    def cut_power(self):
        """Nothing is written any more, and what was not synced is gone. Nobody may run on it when it is mounted."""
        run(os.path.join(self.programs, "cut"), self.dir)

    def mount_again(self):
        run("umount", self.dir)
        self.mount()

    def room(self):
        at = os.statvfs(self.dir)
        return at.f_bavail * at.f_frsize

    def fill(self):
        """Until not a page is left."""
        with open(os.path.join(self.dir, "filler"), "ab") as file:
            size = file.tell()
            step = self.room()
            while step >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                    size += step
                    step = min(step, self.room()) if self.room() >= 4096 else step // 2
                except OSError:
                    step //= 2

    def free(self):
        os.remove(os.path.join(self.dir, "filler"))


class Wires:
    """What is between machines, as relay.py has it; a and b are numbers, or * for all."""

    def __init__(self, machines):
        self.machines = machines

    def rule(self, source, to, *what):
        for machine in self.machines:
            if to in ("*", machine.number):
                for other in self.machines:
                    if other is not machine and source in ("*", other.number):
                        machine.inside("nft", "add", "rule", "ip", "bad", "in", "ip", "saddr", other.address, *what)

    def oneway(self, source, to):
        """Nothing of source arrives at to."""
        self.rule(source, to, "drop")

    def cut(self, a, b):
        self.oneway(a, b)
        self.oneway(b, a)

    def lose(self, a, b, percent):
        """So many of a hundred packets, both ways."""
        for source, to in ((a, b), (b, a)):
            self.rule(source, to, "numgen", "random", "mod", "100", "<", str(percent), "drop")

    def reset(self, a, b):
        """Connections break that say something now."""
        for source, to in ((a, b), (b, a)):
            self.rule(source, to, "meta", "l4proto", "tcp", "reject", "with", "tcp", "reset")

    def heal(self):
        for machine in self.machines:
            machine.inside("nft", "flush", "chain", "ip", "bad", "in")

    calm = heal


class MachineNode(Node):
    """A node on a machine of its own."""

    def __init__(self, cluster, number, name=None, zone=None):
        super().__init__(cluster, number, name, zone)
        self.machine = cluster.machines[number - 1]
        self.host, self.port = self.machine.address, 2113
        self.address = f"{self.host}:1111"
        self.dir = os.path.join(self.machine.dir, "store")
        self.options = ["--listen", self.host]
        self.env = {}

    def start(self):
        self.prefix = self.machine.door
        super().start()


class MachineCluster(Cluster):
    """programs: the directory of tests/stress in the build, which has what makes disks ill."""

    def __init__(self, s, programs, count=3, partitions=8, mib=512):
        run("ip", "link", "set", "lo", "up")
        if not run("ip", "link", "show", "machines", check=False):
            run("ip", "link", "add", "name", "machines", "type", "bridge")
            run("ip", "addr", "add", f"{CLIENTS}/24", "dev", "machines")
            run("ip", "link", "set", "machines", "up")
        self.machines = []
        for number in range(1, count + 1):
            machine = Machine(number, s.dir, "xfs" if number == 2 else "ext4", mib, programs)
            self.machines.append(machine)
            machine.begin()
        self.wires = Wires(self.machines)
        super().__init__(s, count, partitions)

    def add(self, number, name=None):
        node = MachineNode(self, number, name)
        self.nodes.append(node)
        return node

    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        for machine in self.machines:
            machine.end()
