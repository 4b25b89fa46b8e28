#!/usr/bin/env python3
"""Measures sandboxes against the kernel's own tools inside a virtual machine: sandbox_guest.py PROGRAMS RUNS RESULT [OTHER].

It is started as root by the section sandboxes of scripts/bench, which says what is measured. PROGRAMS is the directory
of ashlar and ashlard, OTHER that of another build of them; /dev/vda is an empty disk of 4 GiB or more. RESULT is a JSON
file: for each case lists of ours, of theirs, of theirs with a flush, and of the other build, in milliseconds.
"""

import contextlib
import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

BASE_MIB, DISK_MIB, PIECES, PIECE_MIB = 256, 1024, 10, 20
# Cycles of create and rm, and of pause and resume, a run.
CYCLES = 6


def tool(*command, is_read=False):
    """Runs a program as cheaply as can be: the tools are to be measured, and not how they are started."""
    if not is_read:
        pid = os.posix_spawnp(command[0], command, os.environ)
        output = ""
    else:
        reader, writer = os.pipe()
        pid = os.posix_spawnp(
            command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
        os.close(writer)
        with open(reader, encoding="ascii") as pipe:
            output = pipe.read().strip()
    status = os.waitpid(pid, 0)[1]
    if status != 0:
        sys.exit(f"sandbox_guest: {' '.join(command)} ended with wait status {status}")
    return output


class Manager:
    """A connection to the manager, which is kept, as a program does; as cheap as the tools are started."""

    # The manager closes a connection that says nothing for 10 s.
    IDLE_SECONDS = 5

    def __init__(self, path):
        self.path, self.used = path, -math.inf

    def ask(self, method, path, body=None):
        if time.monotonic() - self.used > self.IDLE_SECONDS:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.connect(self.path)
        data = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: ashlar\r\nContent-Length: {len(data)}\r\n\r\n"
        self.socket.sendall(head.encode() + data)
        answer, wanted = b"", None
        while wanted is None or len(answer) < wanted:
            piece = self.socket.recv(65536)
            if not piece:
                sys.exit(f"sandbox_guest: {method} {path}: the manager has hung up")
            answer += piece
            match = re.match(rb"HTTP/1.1 (\d+).*?\r\ncontent-length: (\d+).*?\r\n\r\n", answer, re.I | re.S)
            if wanted is None and match:
                wanted = match.end() + int(match[2])
        self.used = time.monotonic()
        if match[1] != b"200":
            sys.exit(f"sandbox_guest: {method} {path}: {answer.decode()}")
        return json.loads(answer[match.end():])

    def create(self, name, base):
        return self.ask("POST", "/v1/sandboxes", {"name": name, "base": base})

    def verb(self, name, verb):
        return self.ask("POST", f"/v1/sandboxes/{name}/{verb}")

    def remove(self, name):
        return self.ask("DELETE", f"/v1/sandboxes/{name}")


class Tools:
    """A sandbox made by the programs, in the order in which wrenn's devicemapper package runs them."""

    def __init__(self, directory, base):
        self.base, self.running, self.paused = base, f"{directory}/tools.cow", f"{directory}/tools.paused"

    def _attach(self, is_new):
        self.origin = tool("losetup", "--read-only", "--find", "--show", self.base, is_read=True)
        size = int(tool("blockdev", "--getsize64", self.origin, is_read=True))
        if is_new:
            # As large as the origin: what the package does, and too small to rewrite all of it.
            tool("truncate", "-s", str(size), self.running)
        self.cow = tool("losetup", "--find", "--show", self.running, is_read=True)
        table = f"0 {size // 512} snapshot {self.origin} {self.cow} P 8"
        tool("dmsetup", "create", "tools", "--table", table)

    def _detach(self):
        tool("dmsetup", "remove", "tools")
        tool("losetup", "-d", self.cow)

    def create(self):
        self._attach(is_new=True)

    def remove(self):
        self._detach()
        os.unlink(self.running)
        tool("losetup", "-d", self.origin)

    def pause(self):
        self._detach()
        os.rename(self.running, self.paused)
        tool("losetup", "-d", self.origin)

    def resume(self):
        os.rename(self.paused, self.running)
        self._attach(is_new=False)


def timed(*bodies):
    """The milliseconds that some steps take together."""
    begin = time.monotonic()
    for body in bodies:
        body()
    return (time.monotonic() - begin) * 1000


def drop_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"sandbox_guest: {what} did not happen within {seconds} s")
        time.sleep(0.05)


@contextlib.contextmanager
def manager(programs, directory, name="ours"):
    """A manager whose journal and stores are in a directory; none without programs."""
    if not programs:
        yield None
        return
    root, place = f"{directory}/{name}", f"/run/bench-{name}"
    os.mkdir(root)
    environment = {**os.environ, "ASHLAR_ROOT": root, "ASHLAR_RUN": place}
    Path(place).mkdir(exist_ok=True)
    with open(f"/tmp/bench-{name}.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen([f"{programs}/ashlard", "manage"], env=environment, stdout=log, stderr=log)
        wait_until(lambda: os.path.exists(f"{place}/ashlard.sock"), "the start of ashlard")
        yield Manager(f"{place}/ashlard.sock")
        process.terminate()
        process.wait()


def verbs(ours, other, directory, runs, figures):
    """create and rm, pause and resume, by turns with the tools and the other build, if there is one."""
    base = f"{directory}/base"
    with open(base, "wb") as file:
        for _ in range(BASE_MIB):
            file.write(os.urandom(1 << 20))
    os.sync()
    tools = Tools(directory, base)
    # The digest of the base is computed once, with the first sandbox.
    builds = [(ours, "one", 0)] + ([(other, "other", 3)] if other else [])
    for build, name, _ in builds:
        build.create(name, base)
        build.remove(name)
    for _ in range(runs * CYCLES):
        for build, name, side in builds:
            figures["create and rm"][side].append(timed(
                lambda build=build, name=name: build.create(name, base),
                lambda build=build, name=name: build.remove(name)))
        figures["create and rm"][1].append(timed(tools.create, tools.remove))
    for build, name, _ in builds:
        build.create(name, base)
    tools.create()
    for _ in range(runs * CYCLES):
        for build, name, side in builds:
            figures["pause and resume"][side].append(timed(
                lambda build=build, name=name: build.verb(name, "pause"),
                lambda build=build, name=name: build.verb(name, "resume")))
        figures["pause and resume"][1].append(timed(tools.pause, tools.resume))
    for build, name, _ in builds:
        build.remove(name)
    tools.remove()
    os.unlink(base)


def flatten(ours, other, directory, runs, figures):
    """A disk of 1 GiB with 200 MiB of changes, in ten places; caches are dropped before each."""
    base, flat = f"{directory}/base", f"{directory}/flat"
    with open(base, "wb") as file:
        file.truncate(DISK_MIB << 20)
    builds = {0: (ours, "one"), **({3: (other, "other")} if other else {})}
    devices = [build.create(name, base)["device"] for build, name in builds.values()]
    device = devices[0]
    for number in range(PIECES):
        piece = os.urandom(PIECE_MIB << 20)
        for each in devices:
            with open(each, "r+b", buffering=0) as disk:
                disk.seek((number * DISK_MIB // PIECES) << 20)
                disk.write(piece)
                os.fsync(disk)
    case = f"flatten {DISK_MIB // 1024} GiB with {PIECES * PIECE_MIB} MiB"
    for number in range(runs):
        for side, options in ((1, []), (2, ["conv=sparse,fsync"]), *((side, None) for side in builds)):
            drop_caches()
            if options is None:
                build, name = builds[side]
                took = timed(
                    lambda build=build, name=name: build.ask("POST", f"/v1/sandboxes/{name}/flatten", {"target": flat}))
            else:
                command = ["dd", f"if={device}", f"of={flat}", "bs=4M", *(options or ["conv=sparse"]), "status=none"]
                took = timed(lambda command=command: tool(*command))
            figures[case][side].append(took)
            if number == 0:
                tool("cmp", flat, device)
            os.unlink(flat)
    for build, name in builds.values():
        build.remove(name)
    os.unlink(base)


def main():
    programs, runs, result = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    others = sys.argv[4] if len(sys.argv) > 4 else None
    # No udevd runs here: dmsetup makes its node itself and waits for nobody.
    os.environ["DM_DISABLE_UDEV"] = "1"
    tool("modprobe", "-a", "loop", "dm_mod", "dm_snapshot", "ext4")
    tool("mkfs.ext4", "-q", "-F", "/dev/vda")
    places = {"memory": Path("/dev/shm/bench"), "disk": Path("/tmp/disk")}
    for place in places.values():
        place.mkdir()
    tool("mount", "/dev/vda", str(places["disk"]))
    figures = {}
    for name, directory in places.items():
        cases = ("create and rm", "pause and resume", f"flatten {DISK_MIB // 1024} GiB with {PIECES * PIECE_MIB} MiB")
        figures[name] = {case: [[], [], [], []] for case in cases}
        with manager(programs, str(directory)) as ours, manager(others, str(directory), "other") as other:
            for work in (verbs, flatten):
                work(ours, other, str(directory), runs, figures[name])
                print(f"{name}: {work.__name__} done", file=sys.stderr, flush=True)
        for case, (one, theirs, *_) in figures[name].items():
            print(f"{name}, {case}: {sorted(one)[len(one) // 2]:.1f} ms, tools "
                  f"{sorted(theirs)[len(theirs) // 2]:.1f} ms", file=sys.stderr, flush=True)
    tool("umount", str(places["disk"]))
    Path(result).write_text(json.dumps(figures), encoding="ascii")


main()
