"""The host: running programs, what machine this is, and the images that are measured."""

import contextlib
import datetime
import itertools
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


class BenchError(Exception):
    """Something that had to run did not."""


class Interrupted(BaseException):
    """A signal asks us to end."""


class Signals:
    """The signals that end us, and whether they have to wait."""

    ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    is_deferred = False
    pending = None

    @classmethod
    def handle(cls, number, _):
        """Unwinds everything at the first signal; further ones must not disturb the cleaning up."""
        for each in cls.ALL:
            signal.signal(each, signal.SIG_IGN)
        cls.pending = signal.Signals(number).name
        cls.check()

    @classmethod
    def check(cls):
        if cls.pending and not cls.is_deferred:
            name, cls.pending = cls.pending, None
            raise Interrupted(name)


def end_on_signals():
    """From now on a signal raises Interrupted."""
    for each in Signals.ALL:
        signal.signal(each, Signals.handle)


@contextlib.contextmanager
def uninterrupted():
    """Keeps signals waiting while something is made whose name is known only afterwards."""
    Signals.is_deferred = True
    try:
        yield
    finally:
        Signals.is_deferred = False
    Signals.check()


def start(arguments, **options):
    """Starts a program in a session of its own, so that Ctrl-C reaches only us and we end it in order."""
    return subprocess.Popen(
        [str(argument) for argument in arguments], stdin=subprocess.DEVNULL, start_new_session=True,
        text=True, **options)


def run(*arguments, env=None, timeout=120):
    """Runs a program to its end and returns what it printed."""
    process = start(arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return finish(process, timeout)[0]


def finish(process, timeout=120):
    """Waits for a program; returns its standard output and standard error."""
    name = Path(process.args[0]).name
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException as error:
        # In order, if it can: a virtual machine has children of its own.
        process.terminate()
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise BenchError(f"{name} did not end within {timeout} s: {' '.join(process.args)}") from None
        raise
    if process.returncode != 0:
        raise BenchError(
            f"{name} ended with status {process.returncode}: {' '.join(process.args)}\n{errors.strip()}")
    return output, errors


class Progress:
    """What we are at, on standard error."""

    def __init__(self):
        self.is_terminal = sys.stderr.isatty()

    def line(self, text):
        clear = "\r\x1b[K" if self.is_terminal else ""
        print(f"{clear}{text}", file=sys.stderr, flush=True)

    def step(self, text):
        """Something that the next step may overwrite; too much for a log."""
        if self.is_terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self):
        self.step("")


@dataclass
class Context:
    """What every section needs."""

    repository: Path
    # The directories of the builds that are measured: "ours", and "other build" if one is given.
    builds: dict
    state: Path
    # Where images are that have to be on a disk.
    disk: Path
    images: "Images"
    runs: int
    seconds: float
    progress: Progress

    def binary(self, name, build="ours"):
        return self.builds[build] / name

    def measure(self, *arguments, build="ours"):
        """The one figure that ashlar-bench prints."""
        return float(run(self.binary("ashlar-bench", build), *arguments))

    def alternate(self, title, cases):
        """Runs cases (name: function of the round's number) in turn, round by round.

        Each round begins with another one, so that none always runs in the wake of the same other.
        """
        figures = {name: [] for name in cases}
        names = list(cases)
        for number in range(self.runs):
            if not self.progress.is_terminal:
                self.progress.line(f"{title}: round {number + 1} of {self.runs}")
            first = number % len(names)
            for name in names[first:] + names[:first]:
                label = ", ".join(map(str, name)) if isinstance(name, tuple) else name
                self.progress.step(f"{title}: round {number + 1} of {self.runs}: {label}")
                figures[name].append(cases[name](number))
        self.progress.clear()
        return figures


class Images:
    """The images that are measured, made when they are first asked for."""

    # How much of the host's own files is taken for ordinary content; larger disks repeat it.
    SAMPLE_MIB = 256

    def __init__(self, directory, size, bench, content, progress):
        self.directory, self.size = Path(directory), size
        self.bench, self.content, self.progress = bench, content, progress

    def random(self, *what):
        """Images of random content; they all hold the same."""
        return self._make("random", what, self.size, None)

    def ordinary(self, *what, size=None):
        """Images of ordinary content: programs and documents."""
        if self.content is None:
            self.progress.line("collecting ordinary content from this host's own files")
            self.content = self.directory / "content"
            collect(self.content, min(self.SAMPLE_MIB, self.size) * MIB)
        size = size or self.size
        return self._make(f"ordinary-{size}", what, size, self.content)

    def drop(self, directory):
        """Removes the images of a directory, whose room others need."""
        shutil.rmtree(directory)

    def _make(self, name, what, size, content):
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        files = {"raw": "raw.img", "lz4.zf": "content.lz4.zf", "zstd.zf": "content.zstd.zf"}
        missing = [each for each in what if not (directory / files.get(each, f"{each}.json")).exists()]
        if missing:
            self.progress.line(f"making images of {size} MiB, {name} content: {' '.join(missing)}")
            options = ["--content", content] if content else []
            run(self.bench, "prepare", directory, *missing, "--size", size, *options, timeout=600)
        return directory


def collect(target, byte_count):
    """Fills a file with programs and documents of this host."""
    def files(directory):
        for root, directories, names in os.walk(directory):
            directories.sort()
            yield from (os.path.join(root, name) for name in sorted(names))

    roots = [files(f"/usr/{name}") for name in ("bin", "lib", "share")]
    with open(target, "wb") as output:
        for path in filter(None, itertools.chain.from_iterable(itertools.zip_longest(*roots))):
            # A huge one would stand for too much of the sample.
            if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > 16 * MIB:
                continue
            with open(path, "rb") as file:
                output.write(file.read(byte_count - output.tell()))
            if output.tell() >= byte_count:
                return


def machine(repository):
    """What a reader has to know about where the figures come from."""
    def version(program):
        if shutil.which(program) is None:
            return f"no {program}"
        found = re.search(r"\d+(\.\d+)+", run(program, "--version"))
        return f"{program} {found.group() if found else '?'}"

    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": run("git", "-C", repository, "describe", "--always", "--dirty").strip(),
        "kernel": f"{platform.system()} {platform.release()}",
        "CPU": model.group(1) if model else platform.machine(),
        "cores": cores(),
        "memory": f"{memory:.1f} GiB",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "programs": ", ".join(map(version, ["fio", "qemu-storage-daemon", "lz4", "zstd"])),
    }


def cores():
    return len(os.sched_getaffinity(0))


def file_system(directory):
    """The type of the file system that a directory is on."""
    return run("stat", "--file-system", "--format=%T", directory).strip()
