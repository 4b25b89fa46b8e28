"""The sections of the library: what runs inside one process, without a device."""

import os
import re
import subprocess

from benchlib.host import cores, finish, run, start
from benchlib.report import AHEAD, NO_LOSS, OTHER, Row, Section, Target

# A program of a peer that is called as ashlar-bench is, for the commands lookup and read, and prints one figure, too.
PEER = os.environ.get("ASHLAR_BENCH_PEER")
PEER_NOTE = (
    f"peer: {PEER}, on the same files" if PEER
    else "no peer: ASHLAR_BENCH_PEER names no program that takes ashlar-bench's commands lookup and read")
LOOKUPS = [1_000, 10_000, 100_000, 1_000_000]

# Stands in arguments for the number of the round.
ROUND = "ROUND"

READS = [
    ("4 KiB random", "IOPS", ["--block-size", 4096]),
    ("1 MiB sequential", "MB/s", ["--block-size", 1 << 20, "--sequential"]),
]


def sides(context, *arguments):
    """By name, functions that take the figure of ashlar-bench for some arguments: each build of ours, and the peer."""
    cases = {
        build: lambda number, build=build: context.measure(*seeded(arguments, number), build=build)
        for build in context.builds
    }
    if PEER:
        cases["peer"] = lambda number: float(run(PEER, *seeded(arguments, number)))
    return cases


def seeded(arguments, number):
    """The arguments with the number of the round where one stands for it."""
    return [number + 1 if argument == ROUND else argument for argument in arguments]


def beside(case, unit, figures, key, target=None):
    """The rows of a case: ours beside the peer, if there is one, and beside the other build, if there is one."""
    rows = []
    if PEER or OTHER not in {side for _, side in figures}:
        peer = figures.get((key, "peer"), [])
        rows.append(Row(case, unit, figures[key, "ours"], peer, "peer" if peer else "", target if peer else None))
    if (key, OTHER) in figures:
        rows.append(Row(case, unit, figures[key, "ours"], figures[key, OTHER], OTHER, NO_LOSS))
    return rows


def lookup(context):
    """Looking up random sectors in an index."""
    figures = context.alternate("lookup", {
        (count, side): case for count in LOOKUPS
        for side, case in sides(context, "lookup", count, "--seed", ROUND).items()
    })
    rows = [row for count in LOOKUPS for row in beside(f"{count:,} segments", "M/s", figures, count, AHEAD)]
    return Section("lookup", "look-ups in an index, one thread, random keys", rows, [PEER_NOTE])


def library(context):
    """Reading through the library, from the page cache."""
    names = {"plain-10": "10 plain layers", "lz4-10": "10 LZ4 4K layers", "zstd-1": "one ZSTD 4K layer"}
    contents = [
        ("random content", context.images.random, ["plain-10", "lz4-10"]),
        ("programs", context.images.ordinary, ["plain-10", "lz4-10", "zstd-1"]),
    ]
    rows = []
    for content, prepare, stacks in contents:
        directory = prepare(*stacks)
        figures = context.alternate(f"library, {content}", {
            ((stack, work), side): case for stack in stacks for work, _, options in READS
            for side, case in sides(
                context, "read", f"overlaybd:{directory}/{stack}.json", *options, "--seconds",
                context.seconds / 2).items()
        })
        for stack in stacks:
            for work, unit, _ in READS:
                rows += beside(f"{names[stack]}, {content}: {work}", unit, figures, (stack, work), AHEAD)
        if content != "random content":
            context.images.drop(directory)
    return Section("library", "reading through the library, one thread, from the page cache", rows, [PEER_NOTE])


def decode(context):
    """Decompressing a ZFile, against the compression library's own benchmark."""
    directory = context.images.ordinary("raw", "lz4.zf", "zstd.zf", size=64)
    raw = directory / "raw.img"
    peers = {"lz4": ["lz4", "-b1", "-B4096", "-i1", raw], "zstd": ["zstd", "-b3", "-B4096", "-i1", raw]}
    counts = sorted({1, cores()})
    cases = {}
    for codec, peer in peers.items():
        zfile = directory / f"content.{codec}.zf"
        for count in counts:
            for build in context.builds:
                cases[codec, count, build] = lambda _, zfile=zfile, count=count, build=build: context.measure(
                    "decode", zfile, "--threads", count, "--seconds", context.seconds / 2, build=build)
            cases[codec, count, "peer"] = lambda _, peer=peer, count=count: decode_speed(peer, count)
    figures = context.alternate("decode", cases)
    rows = [
        Row(f"{codec.upper()} 4K, {'1 thread' if count == 1 else f'all {count} cores'}", "MB/s",
            figures[codec, count, "ours"], figures[codec, count, side], name, target)
        for codec, peer in peers.items() for count in counts
        for side, name, target in (("peer", " ".join(peer[:3]), Target(0.85)), (OTHER, OTHER, NO_LOSS))
        if (codec, count, side) in figures
    ]
    ratios = " and ".join(
        f"{codec.upper()} {raw.stat().st_size / (directory / f'content.{codec}.zf').stat().st_size:.2f}"
        for codec in peers)
    context.images.drop(directory)
    notes = [
        f"content: 64 MiB of programs and documents, compression ratio {ratios}",
        "all take the fastest of several passes; ours checks each block's CRC-32C, the peers check nothing; "
        "on all cores, the peer runs once on each and the figures are added",
    ]
    return Section("decode", "decompressing a ZFile of 4 KiB blocks", rows, notes)


def decode_speed(command, count):
    """The decompression speed that so many copies of lz4 or zstd find at the same time, in MB/s."""
    copies = [start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(count)]
    try:
        outputs = [finish(copy)[0] for copy in copies]
    finally:
        for copy in copies:
            if copy.poll() is None:
                copy.kill()
                copy.wait()
    # "… 128.0 MB/s,  425.0 MB/s": compressing, then decompressing; the last line is the final one.
    return sum(float(re.findall(r"([\d.]+) MB/s\s*,\s*([\d.]+) MB/s", output)[-1][1]) for output in outputs)
