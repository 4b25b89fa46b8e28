"""The section of cold reads: of images that are on a disk, with no page of them in memory."""

import contextlib
import functools
import json
import os
import tempfile
from pathlib import Path

from benchlib.devices import engines, fio, loop_device
from benchlib.host import BenchError, Images, MIB, file_system, finish, run, start
from benchlib.report import NO_LOSS, OTHER, Row, Section

# For the whole machine, in seconds: it is emulated where no other machine can be had.
DEADLINE = 3600
STACKS = {"raw": "raw file", "plain-10": "10 plain layers", "lz4-10": "10 LZ4 4K layers"}
# Of each block one at most, and of all of them a part: what is read once is cached, and what is mapped is not dropped.
PART = 8
# In the virtual machine everything takes longer.
GUEST_PART = 64
DEPTHS = {depth: ["--rw=randread", "--bs=4k", f"--iodepth={depth}"] for depth in (32, 1)}


def cold(context):
    """Cold random reads: ours over FUSE, and over TCMU in a virtual machine, beside a plain direct loop device."""
    if file_system(context.disk) in ("tmpfs", "ramfs"):
        raise BenchError(f"{context.disk} is in memory, where nothing is cold: use --disk")
    with tempfile.TemporaryDirectory(prefix="ashlar-bench.", dir=context.disk) as place:
        images = Images(place, context.images.size, context.images.bench, None, context.progress)
        directory = images.random(*STACKS)
        figures = {"FUSE": natively(context, directory), "TCMU": in_machine(context, directory, Path(place))}
    rows = []
    for transport, taken in figures.items():
        for depth in DEPTHS:
            loop = taken[f"loop {depth}"]
            for stack, name in STACKS.items():
                case = f"{transport}, {name}: 4 KiB random, depth {depth}"
                ours = taken[f"ours {stack} {depth}"]
                rows.append(Row(case, "IOPS", ours, loop, "loop"))
                if other := taken.get(f"{OTHER} {stack} {depth}"):
                    rows.append(Row(case, "IOPS", ours, other, OTHER, NO_LOSS))
    return Section("cold", "cold reads from a disk, by fio (libaio, direct)", rows, [
        f"images of {context.images.size} MiB with random content in {context.disk} ({file_system(context.disk)}); caches "
        f"are dropped and the image attached before each, which reads one in {PART} of its blocks; loop: a loop device with direct I/O on the raw file, on the same disk",
        "TCMU: in a virtual machine, the images on ext4 on a virtio disk, whose file the host's cache may hold",
    ])


def drop_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


def natively(context, directory):
    """IOPS by case, over FUSE and of the loop device."""
    count = context.images.size * MIB // 4096 // PART

    def case(device, options):
        def body(_):
            drop_caches()
            with device() as path:
                return fio(path, "IOPS", options, 60, count)
        return body

    with engines(context) as instances:
        devices = {
            f"{build} {name}": functools.partial(attached, instance, name, image(directory, name))
            for build, instance in instances.items() for name in STACKS
        }
        devices["loop"] = functools.partial(loop_device, directory / "raw.img")
        return context.alternate("cold", {
            f"{name} {depth}": case(device, options)
            for name, device in devices.items() for depth, options in DEPTHS.items()
        })


@contextlib.contextmanager
def attached(instance, name, reference):
    """An image's device, for as long as the block lasts: a data server that goes on keeps pages mapped."""
    try:
        yield instance.attach(name, reference)
    finally:
        instance.detach(name)


def image(directory, name):
    return f"raw:{directory}/raw.img" if name == "raw" else f"overlaybd:{directory}/{name}.json"


def in_machine(context, directory, place):
    """IOPS by case, over TCMU and of the guest's loop device."""
    result, disk = context.state / "cold.json", place / "cold.disk"
    # The guest mounts it where the images are here, for their configurations name their files.
    with open(disk, "wb") as file:
        file.truncate(3 * context.images.size * MIB + 256 * MIB)
    run("mkfs.ext4", "-q", "-F", "-d", directory, disk, timeout=600)
    command = [
        context.repository / "scripts/kvm-run", "--kernel", "6.12", "--mem", "2G", "--timeout", DEADLINE,
        "--share", context.state, "--disk", disk, "--",
        context.repository / "scripts/benchlib/cold_guest.py", directory, context.runs,
        context.images.size * MIB // 4096 // GUEST_PART, result,
        *(f"{build}={programs}" for build, programs in context.builds.items()),
    ]
    context.progress.line("cold: starting the virtual machine")
    finish(start(command, stdout=-1, stderr=-1), timeout=DEADLINE + 60)
    disk.unlink()
    if not result.exists():
        raise BenchError("the virtual machine has left no result")
    return json.loads(result.read_text(encoding="ascii"))
