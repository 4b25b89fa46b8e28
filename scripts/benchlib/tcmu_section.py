"""The section of TCMU: all its devices are in one virtual machine, since this host's kernel may not have the driver."""

import json
import os

from benchlib.host import BenchError, finish, start
from benchlib.report import NO_LOSS, OTHER, Row, Section, Target

# For the whole machine, in seconds: it is emulated where no other machine can be had.
DEADLINE = 3600


def tcmu(context):
    """TCMU in a virtual machine: ours, the null volume, LIO's fileio, a loop device, tcmu-runner."""
    result = context.state / "tcmu.json"
    command = [
        context.repository / "scripts/kvm-run", "--kernel", "6.12", "--mem", "4G", "--timeout", DEADLINE,
        "--share", context.state, "--",
        context.repository / "scripts/benchlib/tcmu_guest.py", context.builds["ours"],
        context.runs, f"{context.seconds:g}", result, *(context.builds[each] for each in context.builds if each == OTHER),
    ]
    context.progress.line("tcmu: starting the virtual machine")
    finish(start(command, stdout=-1, stderr=-1), timeout=DEADLINE + 60)
    if not result.exists():
        raise BenchError("the virtual machine has left no result")
    figures = json.loads(result.read_text(encoding="ascii"))
    rows = []
    for workload, devices in figures.items():
        unit = "MB/s" if "128 KiB" in workload else "IOPS"
        is_deep = "depth 1" not in workload
        speeds = {name: figure["speed"] for name, figure in devices.items()}

        def row(peer, target=None, work=workload, unit=unit, speeds=speeds):
            return Row(work, unit, speeds["ours"], speeds[peer], peer, target)

        rows.append(row("null", Target(0.85) if is_deep and unit == "IOPS" else None))
        if "runner" in devices:
            rows.append(row("runner", Target(1.2) if is_deep else None))
            rows.append(Row(
                f"{workload}: processor for each", "µs", devices["ours"]["processor"],
                devices["runner"]["processor"], "runner"))
        rows += [row("fileio"), row("loop")]
        if "other" in devices:
            rows.append(Row(workload, unit, speeds["ours"], speeds["other"], OTHER, NO_LOSS))
    notes = [
        "every device holds 256 MiB in the guest's memory (tmpfs); null is our volume that does no I/O, the limit "
        "of the interface; fileio is LIO's in-kernel backstore over the same loopback fabric; loop has direct I/O; "
        "runner is the file handler of tcmu-runner",
        "under emulation depth 1 is dominated by the waking of threads",
    ]
    if not os.environ.get("ASHLAR_RUNNER_HANDLER"):
        notes.append("tcmu-runner is left out: ASHLAR_RUNNER_HANDLER names no handler_file.so")
    return Section("tcmu", "SCSI disks over TCMU in a virtual machine, by fio (libaio, direct)", rows, notes)
