"""The sections of the library: what runs inside one process, without a device."""

import re
import subprocess

from benchlib.host import cores, finish, start
from benchlib.report import AHEAD, Row, Section, Target

# Upstream's own figures, recorded once: its look-up, in millions a second by segments, and reading through
# its library on one thread, from the page cache: requests of 4 KiB a second, and MB/s in requests of 1 MiB.
RECORDED_LOOKUPS = {1_000: 32, 10_000: 25, 100_000: 17.5, 1_000_000: 7.7}
RECORDED_READS = {"plain-10": (892_000, 8_530), "lz4-10": (546_000, 5_065), "zstd-half-1": (149_000, 1_140)}

READS = [
    ("4 KiB random", "IOPS", ["--block-size", 4096]),
    ("1 MiB sequential", "MB/s", ["--block-size", 1 << 20, "--sequential"]),
]


def lookup(context):
    """Looking up random sectors in an index."""
    figures = context.alternate("lookup", {
        count: lambda number, count=count: context.measure("lookup", count, "--seed", number + 1)
        for count in RECORDED_LOOKUPS
    })
    rows = [
        Row(f"{count:,} segments", "M/s", figures[count], [recorded], "recorded", Target(2))
        for count, recorded in RECORDED_LOOKUPS.items()
    ]
    notes = [
        "recorded: upstream's index in an earlier run on a machine of this size whose processor has AVX-512, "
        "not measured in this run"
    ]
    return Section("lookup", "look-ups in an index, one thread, random keys", rows, notes)


def library(context):
    """Reading through the library, from the page cache."""
    names = {
        "plain-10": "10 plain layers", "lz4-10": "10 LZ4 4K layers", "zstd-1": "one ZSTD 4K layer",
        "zstd-half-1": "one ZSTD 4K layer, half zeros",
    }
    contents = [
        ("random content", context.images.random, ["plain-10", "lz4-10", "zstd-half-1"]),
        ("programs", context.images.ordinary, ["plain-10", "lz4-10", "zstd-1"]),
    ]
    rows = []
    for content, prepare, stacks in contents:
        directory = prepare(*stacks)
        figures = context.alternate(f"library, {content}", {
            (stack, work): lambda _, stack=stack, options=options: context.measure(
                "read", f"overlaybd:{directory}/{stack}.json", *options, "--seconds", context.seconds / 2)
            for stack in stacks for work, _, options in READS
        })
        for stack in stacks:
            recorded = RECORDED_READS.get(stack) if content == "random content" else None
            for number, (work, unit, _) in enumerate(READS):
                row = Row(f"{names[stack]}, {content}: {work}", unit, figures[stack, work])
                if recorded:
                    row.peer, row.peer_name, row.target = [recorded[number]], "recorded", AHEAD
                rows.append(row)
        if content != "random content":
            context.images.drop(directory)
    notes = [
        "recorded: upstream's library in an earlier run on a machine of this size, not measured in this run; "
        "its ZSTD layer was half random bytes, half zeros; what its stacks held and how many layers they had "
        "is not recorded",
        "no peer was recorded with programs and documents as content",
    ]
    return Section("library", "reading through the library, one thread, from the page cache", rows, notes)


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
            cases[codec, count, "ours"] = lambda _, zfile=zfile, count=count: context.measure(
                "decode", zfile, "--threads", count, "--seconds", context.seconds / 2)
            cases[codec, count, "peer"] = lambda _, peer=peer, count=count: decode_speed(peer, count)
    figures = context.alternate("decode", cases)
    rows = [
        Row(f"{codec.upper()} 4K, {'1 thread' if count == 1 else f'all {count} cores'}", "MB/s",
            figures[codec, count, "ours"], figures[codec, count, "peer"], " ".join(peer[:3]), Target(0.85))
        for codec, peer in peers.items() for count in counts
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
