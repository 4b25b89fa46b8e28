"""The section of sandboxes: devices of a real kernel's device-mapper, in one virtual machine."""

import json

from benchlib.host import BenchError, MIB, finish, start
from benchlib.report import NO_LOSS, OTHER, Row, Section, Target

# For the whole machine, in seconds: it is emulated where no other machine can be had.
DEADLINE = 3600
DISK_MIB = 6144
LEAST = {"create and rm": Target(5), "pause and resume": Target(5), "flatten": Target(3)}


def sandboxes(context):
    """Sandboxes in a virtual machine: the manager against losetup, dmsetup, truncate and dd."""
    result = context.state / "sandboxes.json"
    disk = context.images.directory / "sandboxes.disk"
    with open(disk, "wb") as file:
        file.truncate(DISK_MIB * MIB)
    command = [
        context.repository / "scripts/kvm-run", "--kernel", "6.12", "--mem", "4G", "--timeout", DEADLINE,
        "--share", context.state, "--disk", disk, "--",
        context.repository / "scripts/benchlib/sandbox_guest.py", context.builds["ours"],
        context.runs, result, *(context.builds[each] for each in context.builds if each == OTHER),
    ]
    context.progress.line("sandboxes: starting the virtual machine")
    finish(start(command, stdout=-1, stderr=-1), timeout=DEADLINE + 60)
    disk.unlink()
    if not result.exists():
        raise BenchError("the virtual machine has left no result")
    rows = []
    for place, cases in json.loads(result.read_text(encoding="ascii")).items():
        for case, (ours, tools, durable, other) in cases.items():
            target = next(target for name, target in LEAST.items() if case.startswith(name))
            is_flatten = case.startswith("flatten")
            peer = "dd conv=sparse" if is_flatten else "tools"
            rows.append(row(f"{case}, {place}", ours, tools, peer, target))
            if is_flatten:
                rows.append(row(f"{case}, {place}", ours, durable, "dd conv=sparse,fsync"))
            if other:
                rows.append(row(f"{case}, {place}", ours, other, OTHER, NO_LOSS))
    return Section("sandboxes", "sandboxes in a virtual machine, in cycles a second", rows, [
        "one after the other, by turns; 1000 divided by a figure is what one takes in ms",
        "tools: losetup, blockdev, truncate and dmsetup in the order of wrenn's devicemapper package, started with "
        "posix_spawn; they flush nothing and check nothing, ours writes journal and store through to the disk, checks "
        "base and store, and is asked over an HTTP connection that is kept",
        "nothing else stands on the base, so that its loop device comes and goes, too; the digest of the base (256 MiB) "
        "is there already",
        "flatten: caches are dropped before each; dd is neither flushed nor verified, ours is both",
        "memory: stores, journal and flat file in the guest's tmpfs; disk: ext4 on a virtio disk",
    ])


def row(case, ours, peer, name, target=None):
    """Milliseconds as a speed, so that more is better, as in all other tables."""
    return Row(case, "1/s", [1000 / each for each in ours], [1000 / each for each in peer], name, target)
