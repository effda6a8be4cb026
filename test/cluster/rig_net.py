# SPDX-License-Identifier: MIT
"""Machines on one wire, each a network namespace, in a world that ends with the process.

The program starts itself again inside namespaces of its own (network, mounts, processes), so names
and addresses cannot meet those of another run, and the kernel takes everything away when it ends,
however it ends.  Cuts are silent: the one who is cut sends to a station that nobody has.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

INSIDE = "BUGLE_RIG_INSIDE"
FOLDER = pathlib.Path("/run/rig")  # on a file system of this world
NOBODY = "02:00:00:00:00:fe"
SERVICE = "10.77.255.1"  # an address that every Redis has; who is meant, each node's table says
WORLD = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
TOOLS = ["ip", "nsenter", "redis-server", "unshare"]


def _world():
    return WORLD if os.geteuid() == 0 else [*WORLD, "--map-root-user"]


def why_not():
    """Why there can be no such world here; None: there can."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    script = ("mount -t tmpfs none /run && ip link add rig0 type bridge"
              " && ip netns add rig && ip link add rig1 type veth peer name rig2 netns rig")
    done = subprocess.run([*_world(), "sh", "-c", script], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return f"no network namespaces (this needs root): {done.stderr.strip()[-200:]}"


def enter():
    """Go on in a world of one's own: the program begins anew there."""
    if os.environ.get(INSIDE):
        _furnish()
        return
    os.environ[INSIDE] = "1"
    sys.stdout.flush()
    os.execvp("unshare", [*_world(), sys.executable, *sys.argv])


def _furnish():
    def leave(*_):
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    FOLDER.mkdir()
    ip("link set lo up", "link add br0 type bridge", "addr add 10.77.0.1/16 dev br0",
       "link set br0 up")


def clear():
    """Empty the folder."""
    for path in FOLDER.iterdir():
        if path.is_mount():
            run("umount", str(path))
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def run(*command):
    subprocess.run(command, check=True)


def ip(*commands):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)


class Host:
    """A machine; what runs there begins with `prefix`."""

    count = 0

    def __init__(self, name):
        Host.count += 1
        self.name = f"{name}-{Host.count}"
        high, low = divmod(Host.count, 250)
        self.address = f"10.77.{high}.{low + 2}"
        self.mac = f"02:00:00:00:{high + 1:02x}:{low:02x}"
        self.port = f"port{Host.count}"
        self.prefix = ["nsenter", f"--net=/run/netns/{self.name}"]
        ip(f"netns add {self.name}",
           f"link add {self.port} type veth peer name eth0 address {self.mac} netns {self.name}",
           f"link set {self.port} master br0 up")
        self.ip("link set lo up", f"addr add {self.address}/16 dev eth0", "link set eth0 up")

    def ip(self, *commands):
        subprocess.run(["ip", "-n", self.name, "-batch", "-"], input="\n".join(commands),
                       text=True, check=True)

    def unplug(self):
        """Its cable is out: it knows."""
        self.ip("link set eth0 down")

    def plug(self):
        self.ip("link set eth0 up")

    def send_to(self, address, mac):
        """What it sends to the address goes to this station."""
        self.ip(f"neigh replace {address} lladdr {mac} dev eth0 nud permanent")

    def cut(self, other):
        """Nothing goes between the two any more, and nobody says so."""
        self.send_to(other.address, NOBODY)
        other.send_to(self.address, NOBODY)

    def mend(self, other):
        self.send_to(other.address, other.mac)
        other.send_to(self.address, self.mac)

    def add_service(self):
        """It may be the one that is meant by SERVICE."""
        self.ip(f"addr add {SERVICE}/32 dev eth0")

    def use(self, server):
        """For this machine SERVICE is that one; None: a machine that is silent."""
        self.send_to(SERVICE, server.mac if server else NOBODY)

    def end(self):
        ip(f"link del {self.port}", f"netns del {self.name}")
