"""Block devices: ours, the peers', and fio on them."""

import contextlib
import json
import mmap
import os
import subprocess
import time
from pathlib import Path

from benchlib.host import BenchError, finish, run, start, uninterrupted


def wait_until(condition, what, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"{what} did not happen within {seconds} s")
        time.sleep(0.01)


@contextlib.contextmanager
def engine(context, build="ours"):
    """An engine of our own with its manager running, for as long as the block lasts."""
    instance = Instance(context, build)
    try:
        instance.run("daemon", "start")
        yield instance
    finally:
        instance.close()


class Instance:
    """An engine that has directories of its own: nothing that it does touches another one."""

    def __init__(self, context, build):
        self.command = context.binary("ashlar", build)
        place = context.state / build.split()[0]
        self.env = {**os.environ, "ASHLAR_ROOT": str(place / "root"), "ASHLAR_RUN": str(place / "run")}

    def close(self):
        """Takes everything apart; an attach that was broken off may still be under way, so it looks again."""
        end = time.monotonic() + 30
        while attachments := self.json("ls"):
            for attachment in attachments:
                with contextlib.suppress(BenchError):
                    self.detach(attachment["id"])
            if time.monotonic() > end:
                raise BenchError(f"these attachments could not be detached: {attachments}")
        self.run("daemon", "stop")

    def run(self, *arguments):
        return run(self.command, *arguments, env=self.env)

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json"))

    def attach(self, name, image):
        """Attaches an image read-only and returns the device's path."""
        return self.run("attach", "--id", name, "--read-only", image).strip()

    def detach(self, name):
        self.run("detach", "--id", name)

    def attached(self, images):
        """Attaches several images (name: image); returns their devices."""
        return {name: self.attach(name, image) for name, image in images.items()}


@contextlib.contextmanager
def engines(context):
    """An engine for each build, by its name."""
    with contextlib.ExitStack() as stack:
        yield {build: stack.enter_context(engine(context, build)) for build in context.builds}


@contextlib.contextmanager
def loop_device(path):
    """A loop device with direct I/O on a file, read-only."""
    with uninterrupted():
        device = run("losetup", "--read-only", "--direct-io=on", "--find", "--show", path).strip()
    directory = Path("/sys/block") / Path(device).name / "loop"
    try:
        # losetup only warns where the file cannot do direct I/O.
        if (directory / "dio").read_text().strip() != "1":
            raise BenchError(f"no direct I/O to {path}: put the images elsewhere with --dir")
        yield device
    finally:
        run("losetup", "--detach", device)
        wait_until(lambda: not (directory / "backing_file").exists(), f"the end of {device}")


@contextlib.contextmanager
def storage_daemon(image, state, name, options=""):
    """qemu-storage-daemon exporting a raw file over FUSE, as a file that a loop device goes on."""
    export = Path(state) / f"{name}.img"
    export.touch()
    size = os.path.getsize(image)
    log = Path(state) / f"{name}.log"
    with open(log, "w", encoding="utf-8") as output, uninterrupted():
        process = start(
            ["qemu-storage-daemon",
             "--blockdev", f"driver=file,node-name=file,filename={image},read-only=on{options}",
             "--blockdev", "driver=raw,node-name=disk,file=file,read-only=on",
             "--export", f"type=fuse,id=export,node-name=disk,mountpoint={export},writable=off"],
            stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(
            lambda: process.poll() is not None or os.path.getsize(export) == size, f"{name}'s export")
        if process.returncode is not None:
            raise BenchError(f"qemu-storage-daemon ended: {log.read_text().strip()}")
        yield export
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # One that was killed leaves its mount behind.
        if os.path.ismount(export):
            run("umount", "--lazy", export)
        export.unlink()


@contextlib.contextmanager
def storage_daemon_device(*arguments):
    """The loop device on such an export."""
    with storage_daemon(*arguments) as export, loop_device(export) as device:
        yield device


# Name, unit, fio's options, and what to take from its result.
WORKLOADS = [
    ("4 KiB random, depth 1", "IOPS", ["--rw=randread", "--bs=4k", "--iodepth=1"]),
    ("4 KiB random, depth 32", "IOPS", ["--rw=randread", "--bs=4k", "--iodepth=32"]),
    ("128 KiB sequential, depth 8", "MB/s", ["--rw=read", "--bs=128k", "--iodepth=8"]),
]


def fio(device, unit, options, seconds, count=None):
    """Reads from a device, for so many seconds or until so many requests are done; returns requests or megabytes a second."""
    end = [f"--number_ios={count}"] if count else ["--time_based"]
    # --thread: a worker of its own process would go on when fio is killed.
    process = start(
        ["fio", "--name=bench", f"--filename={device}", "--readonly", "--thread", "--ioengine=libaio",
         "--direct=1", *options, f"--runtime={1000 * seconds:.0f}ms", *end, "--output-format=json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, _ = finish(process, timeout=60 + seconds)
    # Warnings may come before the object.
    job = json.loads(output[output.index("{"):])["jobs"][0]
    if job["error"]:
        raise BenchError(f"fio on {device}: error {job['error']}")
    return job["read"]["iops"] if unit == "IOPS" else job["read"]["bw_bytes"] / 1e6


def direct_read(device):
    """How long the first 4 KiB take, past the page cache, from opening the device on; in seconds."""
    # Mapped memory is aligned to pages, as direct I/O wants it.
    with mmap.mmap(-1, 4096) as buffer:
        begin = time.perf_counter()
        descriptor = os.open(device, os.O_RDONLY | os.O_DIRECT)
        try:
            count = os.preadv(descriptor, [buffer], 0)
        finally:
            os.close(descriptor)
        end = time.perf_counter()
    if count != 4096:
        raise BenchError(f"{device} gave {count} of 4096 bytes")
    return end - begin


def memory(pid):
    """What a process takes, in MiB, by the names that the tables use."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0]) / 1024
    return {
        "PSS": fields["Pss"], "private": fields["Private_Clean"] + fields["Private_Dirty"],
        "anonymous": fields["Anonymous"],
    }
