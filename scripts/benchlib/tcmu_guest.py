#!/usr/bin/env python3
"""Measures TCMU and its peers inside one virtual machine: tcmu_guest.py PROGRAMS RUNS SECONDS RESULT [OTHER].

It is started as root by the section tcmu of scripts/bench, which says what is measured. PROGRAMS is the directory of
ashlar and ashlard, OTHER that of another build of them. RESULT is a JSON file: for each workload and device a list of figures, one a round. With
ASHLAR_RUNNER_HANDLER, the path of tcmu-runner's handler_file.so, tcmu-runner is measured too.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

TARGET = Path("/sys/kernel/config/target")
MEMORY = Path("/dev/shm")
SIZE = 256 << 20
WORKLOADS = {
    "4 KiB random read, depth 1": ["--rw=randread", "--bs=4k", "--iodepth=1"],
    "4 KiB random read, depth 32": ["--rw=randread", "--bs=4k", "--iodepth=32"],
    "4 KiB random write, depth 1": ["--rw=randwrite", "--bs=4k", "--iodepth=1"],
    "4 KiB random write, depth 32": ["--rw=randwrite", "--bs=4k", "--iodepth=32"],
    "128 KiB sequential read, depth 8": ["--rw=read", "--bs=128k", "--iodepth=8"],
    "128 KiB sequential write, depth 8": ["--rw=write", "--bs=128k", "--iodepth=8"],
}


def run(*arguments):
    return subprocess.run([str(each) for each in arguments], check=True, capture_output=True, text=True).stdout


def write(path, text):
    Path(path).write_text(text, encoding="ascii")


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"tcmu_guest: {what} did not happen within {seconds} s")
        time.sleep(0.05)


def user_backstore(name, configuration):
    """A backstore that a daemon serves; nobody waits for an answer over netlink, whichever daemon runs beside it."""
    path = TARGET / "core/user_0" / name
    path.mkdir(parents=True)
    for line in (f"dev_config={configuration}", f"dev_size={SIZE}", "hw_max_sectors=2048", "nl_reply_supported=-1"):
        write(path / "control", line)
    write(path / "enable", "1")
    # Whoever serves it opens its device.
    wait_until(lambda: server_of(path.name), f"serving {configuration}")
    return path


def server_of(name):
    """The process that has the backstore's UIO device open; None if none has."""
    for entry in Path("/sys/class/uio").iterdir():
        if not (entry / "name").read_text().startswith(f"tcm-user/0/{name}/"):
            continue
        for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if os.readlink(descriptor) == f"/dev/{entry.name}":
                    return int(descriptor.parts[2])
    return None


def fileio_backstore(image):
    path = TARGET / "core/fileio_1/fileio"
    path.mkdir(parents=True)
    write(path / "control", f"fd_dev_name={image},fd_dev_size={SIZE}")
    write(path / "enable", "1")
    return path


def disk(number, backstore):
    """Exports a backstore over the loopback fabric; returns its disk."""
    name = f"naa.50014050000000{number:02}"
    group = TARGET / "loopback" / name / "tpgt_1"
    (group / "lun/lun_0").mkdir(parents=True)
    write(group / "nexus", name)
    (group / "lun/lun_0/link").symlink_to(backstore)
    device = Path("/sys/class/scsi_device") / f"{(group / 'address').read_text().strip()}:0" / "device/block"
    wait_until(lambda: device.is_dir() and list(device.iterdir()), f"a disk of {backstore}")
    path = Path("/dev") / next(device.iterdir()).name
    wait_until(path.exists, f"{path}")
    return path


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fio(path, options, seconds, pid):
    """Requests (or MB) a second, and the server's microseconds of processor for each request."""
    before = processor_seconds(pid) if pid else 0
    output = run(
        "fio", "--name=bench", f"--filename={path}", "--thread", "--ioengine=libaio", "--direct=1", *options,
        f"--runtime={1000 * seconds:.0f}ms", "--time_based", "--output-format=json")
    job = json.loads(output[output.index("{"):])["jobs"][0]
    side = job["write"] if "write" in options[0] else job["read"]
    spent = (processor_seconds(pid) - before) * 1e6 / max(side["total_ios"], 1) if pid else None
    return side["bw_bytes"] / 1e6 if "--bs=128k" in options else side["iops"], spent


def start_daemons(programs):
    environment = {**os.environ, "ASHLAR_ROOT": "/tmp/bench/root", "ASHLAR_RUN": "/tmp/bench/run"}
    log = open("/tmp/bench.log", "w", encoding="utf-8")
    subprocess.Popen(
        [f"{programs}/ashlard", "manage", "--serve-backstores", "ashlar,null"], env=environment, stdout=log, stderr=log)
    wait_until(lambda: os.path.exists("/tmp/bench/run/ashlard.sock"), "the start of ashlard")
    handler = os.environ.get("ASHLAR_RUNNER_HANDLER")
    if handler:
        Path("/run/dbus").mkdir(exist_ok=True)
        run("dbus-daemon", "--system", "--fork")
        Path("/etc/tcmu").mkdir(exist_ok=True)
        Path("/etc/tcmu/tcmu.conf").touch()
        subprocess.Popen(["tcmu-runner", "--handler-path", str(Path(handler).parent)], stdout=log, stderr=log)
        time.sleep(3)
    return handler


def attached(programs, image):
    """A disk of a manager of its own; returns its path and its data server."""
    environment = {**os.environ, "ASHLAR_ROOT": "/tmp/other/root", "ASHLAR_RUN": "/tmp/other/run"}

    def ask(*arguments):
        return subprocess.run(
            [f"{programs}/ashlar", *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    path = ask("attach", "--id", "other", "--transport", "tcmu", f"raw:{image}").strip()
    return Path(path), json.loads(ask("inspect", "other", "--json"))["server"]["pid"]


def main():
    programs, runs, seconds, result = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    run("modprobe", "-a", "target_core_user", "tcm_loop", "sd_mod", "target_core_file", "loop")
    for name in ("ours", "fileio", "loop", "runner", "other"):
        with open(MEMORY / f"{name}.img", "wb") as image:
            # Written, not a hole: the peers' file systems are to find their pages.
            for _ in range(SIZE >> 20):
                image.write(b"\xa5" * (1 << 20))
    handler = start_daemons(programs)
    backstores = {
        "ours": user_backstore("ours", f"ashlar/raw:{MEMORY}/ours.img"), "null": user_backstore("null", "null/"),
        "fileio": fileio_backstore(MEMORY / "fileio.img"),
    }
    if handler:
        backstores["runner"] = user_backstore("runner", f"file/{MEMORY}/runner.img")
    disks = {name: disk(number, path) for number, (name, path) in enumerate(backstores.items())}
    disks["loop"] = Path(run("losetup", "--direct-io=on", "--find", "--show", MEMORY / "loop.img").strip())
    pids = {name: server_of(name) for name in backstores if name != "fileio"}
    if len(sys.argv) > 5:
        disks["other"], pids["other"] = attached(sys.argv[5], MEMORY / "other.img")
    figures = {}
    names = list(disks)
    for number in range(runs):
        for workload, options in WORKLOADS.items():
            first = number % len(names)
            for name in names[first:] + names[:first]:
                speed, spent = fio(disks[name], options, seconds, pids.get(name))
                entry = figures.setdefault(workload, {}).setdefault(name, {"speed": [], "processor": []})
                entry["speed"].append(speed)
                if spent is not None:
                    entry["processor"].append(spent)
        print(f"round {number + 1} of {runs}", file=sys.stderr, flush=True)
    Path(result).write_text(json.dumps(figures), encoding="ascii")


main()
