"""The sections of attached devices."""

import contextlib
import time

from benchlib.devices import (
    WORKLOADS, direct_read, engines, fio, loop_device, memory, storage_daemon_device)
from benchlib.report import AHEAD, NO_LOSS, OTHER, Row, Section, Target

# How often the attach section attaches.
ATTACHES = 50


def run_fio(context, title, devices):
    """Every workload on every device (name: path), in turn."""
    def case(path, unit, options):
        return lambda _: fio(path, unit, options, context.seconds)

    return context.alternate(title, {
        (work, name): case(path, unit, options)
        for work, unit, options in WORKLOADS for name, path in devices.items()
    })


def device(context):
    """Reading from the device: ours, the peer's, and the kernel's own."""
    directory = context.images.random("raw", "plain-10")
    raw = directory / "raw.img"
    # The peer as it is by default, and as it is fastest.
    peers = {"qsd": "", "qsd native": ",cache.direct=on,aio=native"}
    with contextlib.ExitStack() as stack:
        instances = stack.enter_context(engines(context))
        devices = {
            (name, build): instance.attach(name, image) for build, instance in instances.items()
            for name, image in {"raw": f"raw:{raw}", "stack10": f"overlaybd:{directory}/plain-10.json"}.items()
        }
        for number, (name, options) in enumerate(peers.items()):
            devices[name] = stack.enter_context(
                storage_daemon_device(raw, context.state, f"export-{number}", options))
        devices["loop"] = stack.enter_context(loop_device(raw))
        figures = run_fio(context, "device", devices)

    def rows(label, ours, peer, targets, name=None):
        return [
            Row(f"{label}: {work}", unit, figures[work, (ours, "ours")], figures[work, peer], name or peer, target)
            for (work, unit, _), target in zip(WORKLOADS, targets) if (work, peer) in figures
        ]

    twice = [AHEAD, Target(2), Target(2)]
    return Section(
        "device", "the attached device, read by fio (libaio, direct)", [
            *rows("raw file", "raw", "qsd", twice),
            *rows("raw file", "raw", "qsd native", twice),
            *rows("10 plain layers", "stack10", ("raw", "ours"), [Target(0.9)] * 3, "raw"),
            *rows("raw file", "raw", "loop", [None] * 3),
            *rows("10 plain layers", "stack10", "loop", [None] * 3),
            *rows("raw file", "raw", ("raw", OTHER), [NO_LOSS] * 3, OTHER),
            *rows("10 plain layers", "stack10", ("stack10", OTHER), [NO_LOSS] * 3, OTHER),
        ], [
            f"every device holds the same {context.images.size} MiB",
            "qsd: qemu-storage-daemon's FUSE export with a loop device (direct I/O) on it; qsd native: the "
            "same with cache.direct=on,aio=native; loop: a loop device with direct I/O on the raw file, the "
            "limit; raw: our raw file",
        ])


def stacks(context):
    """What the number of layers costs on the device."""
    counts = [1, 10, 50, 200]
    directory = context.images.random(*(f"plain-{count}" for count in counts))
    with engines(context) as instances:
        figures = run_fio(context, "stacks", {
            (count, build): instance.attach(f"stack{count}", f"overlaybd:{directory}/plain-{count}.json")
            for count in counts for build, instance in instances.items()
        })
    rows = [
        Row(f"{count} layers: {work}", unit, figures[work, (count, "ours")], figures[work, (1, "ours")], "1 layer",
            Target(0.9) if count == 200 else None)
        for count in counts[1:] for work, unit, _ in WORKLOADS
    ]
    rows += [
        Row(f"{count} layers: {work}", unit, figures[work, (count, "ours")], figures[work, (count, OTHER)], OTHER, NO_LOSS)
        for count in counts for work, unit, _ in WORKLOADS if OTHER in context.builds
    ]
    return Section(
        "stacks", "stacks of plain layers on the device, read by fio (libaio, direct)", rows,
        [f"every stack holds the same {context.images.size} MiB"])


def attach(context):
    """How long attaching takes, and what an attached device takes of memory."""
    directory = context.images.random("raw", "plain-10")
    images = {
        "raw file": f"raw:{directory}/raw.img", "10 plain layers": f"overlaybd:{directory}/plain-10.json",
    }
    rows = []
    with engines(context) as instances:
        for name, image in images.items():
            times = attach_times(context, instances, name, image)
            for step, values in times["ours"].items():
                other = times.get(OTHER, {}).get(step, [])
                rows.append(Row(
                    f"{name}: {step}", "ms", values, other, OTHER if other else "", NO_LOSS if other else None,
                    is_less_better=True))
        cold = []
        instance = instances["ours"]
        for _ in range(context.runs):
            instance.run("daemon", "stop")
            cold.append(1000 * timed(lambda: instance.attach("cold", images["raw file"]))[1])
            instance.detach("cold")
        rows.append(Row("raw file: attach with no manager running", "ms", cold))
        rows += memory_rows(context, instance, images)
    notes = [
        f"from the start of the command to its end, {ATTACHES} times for each image (with no manager: "
        f"{context.runs}); ours is the median, the right end of min–max the worst",
        "a process's PSS is its private memory and its share of what it has in common with others (here: two "
        "data servers and a manager of one binary); loaded: after reading everything by fio, so that PSS and "
        "private count the cached pages of the image's files that are mapped, which the kernel takes back at "
        "need; anonymous memory is what it cannot take back",
    ]
    return Section("attach", "attaching and detaching, and memory", rows, notes)


def timed(body):
    """What a body returns, and how long it took in seconds."""
    begin = time.perf_counter()
    result = body()
    return result, time.perf_counter() - begin


def attach_times(context, instances, name, image):
    """Milliseconds of each step, by the build; the builds take turns."""
    times = {build: {"attach until usable": [], "first 4 KiB, direct": [], "detach": []} for build in instances}
    for number in range(ATTACHES):
        context.progress.step(f"attach: {name}, {number + 1} of {ATTACHES}")
        for build, instance in instances.items():
            path, seconds = timed(lambda instance=instance: instance.attach("timed", image))
            taken = {"attach until usable": seconds, "first 4 KiB, direct": direct_read(path)}
            taken["detach"] = timed(lambda instance=instance: instance.detach("timed"))[1]
            for step, seconds in taken.items():
                times[build][step].append(1000 * seconds)
    context.progress.clear()
    return times


def memory_rows(context, instance, images):
    """The memory of a data server for each image and of the manager, at rest and after load."""
    names = {name: f"memory{number}" for number, name in enumerate(images)}
    devices = {name: instance.attach(names[name], image) for name, image in images.items()}
    pids = {
        f"data server, {name}": instance.json("inspect", names[name])["server"]["pid"] for name in images
    }
    pids["manager"] = instance.json("daemon", "status")["pid"]
    rows = []
    for state in ("at rest", "loaded"):
        if state == "loaded":
            for path in devices.values():
                for _, unit, options in WORKLOADS:
                    fio(path, unit, options, min(1, context.seconds))
        for name, pid in pids.items():
            rows += [Row(f"{name}, {state}: {what}", "MiB", [size]) for what, size in memory(pid).items()]
    for name in names.values():
        instance.detach(name)
    return rows
