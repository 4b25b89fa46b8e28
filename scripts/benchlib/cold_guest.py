#!/usr/bin/env python3
"""Measures cold reads over TCMU inside one virtual machine: cold_guest.py IMAGES RUNS COUNT RESULT BUILD=PROGRAMS...

It is started as root by the section cold of scripts/bench, which says what is measured. /dev/vda holds the images, and is
mounted at IMAGES. RESULT is a JSON file: for each case a list of requests a second, one a round.
"""

import contextlib
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

DEPTHS = (32, 1)
STACKS = {"raw": "raw:{}/raw.img", "plain-10": "overlaybd:{}/plain-10.json", "lz4-10": "overlaybd:{}/lz4-10.json"}


def run(*arguments, env=None):
    return subprocess.run(
        [str(each) for each in arguments], check=True, stdout=subprocess.PIPE, text=True, env=env).stdout


def measure(device, depth, count):
    """Requests a second of so many to a device that is made for it, of which nothing is cached."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    with device as path:
        output = run(
            "fio", "--name=bench", f"--filename={path}", "--readonly", "--thread", "--ioengine=libaio", "--direct=1",
            "--rw=randread", "--bs=4k", f"--iodepth={depth}", f"--number_ios={count}", "--output-format=json")
    return json.loads(output[output.index("{"):])["jobs"][0]["read"]["iops"]


@contextlib.contextmanager
def attached(programs, environment, name, image):
    """An image's disk, for as long as the block lasts: a data server that goes on keeps pages mapped."""
    command = f"{programs}/ashlar"
    try:
        yield run(
            command, "attach", "--id", name, "--transport", "tcmu", "--read-only", image, env=environment).strip()
    finally:
        run(command, "detach", "--id", name, env=environment)


@contextlib.contextmanager
def loop_device(image):
    """A loop device with direct I/O."""
    path = run("losetup", "--read-only", "--direct-io=on", "--find", "--show", image).strip()
    try:
        yield path
    finally:
        run("losetup", "--detach", path)


def main():
    images, runs, count, result = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    run("modprobe", "-a", "target_core_user", "tcm_loop", "sd_mod", "loop", "ext4")
    Path(images).mkdir(parents=True, exist_ok=True)
    run("mount", "-o", "ro", "/dev/vda", images)
    devices = {"loop": functools.partial(loop_device, f"{images}/raw.img")}
    for index, (build, programs) in enumerate(each.split("=", 1) for each in sys.argv[5:]):
        environment = {**os.environ, "ASHLAR_ROOT": f"/tmp/bench{index}/root", "ASHLAR_RUN": f"/tmp/bench{index}/run"}
        run(f"{programs}/ashlar", "daemon", "start", env=environment)
        for name, image in STACKS.items():
            devices[f"{build} {name}"] = functools.partial(
                attached, programs, environment, f"{name}-{index}", image.format(images))
    names = list(devices)
    figures = {f"{name} {depth}": [] for name in names for depth in DEPTHS}
    for number in range(runs):
        first = number % len(names)
        for depth in DEPTHS:
            for name in names[first:] + names[:first]:
                figures[f"{name} {depth}"].append(measure(devices[name](), depth, count))
        print(f"round {number + 1} of {runs}", file=sys.stderr, flush=True)
    Path(result).write_text(json.dumps(figures), encoding="ascii")


main()
