"""Asks a manager for sandboxes, many times or at many times at once; called by Tests/Kernel/sandboxes.

    sandbox_load.py SOCKET cycles BASE COUNT     creates and removes a sandbox COUNT times, one after the other
    sandbox_load.py SOCKET many BASE COUNT       creates COUNT sandboxes at once: load-1 to load-COUNT
    sandbox_load.py SOCKET remove COUNT          removes these, at once
    sandbox_load.py SOCKET resume NAME COUNT     resumes one sandbox COUNT times at once
    sandbox_load.py SOCKET race BASE ROUNDS      times create+rm and pause+resume against losetup, dmsetup, truncate
"""

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("ashlar")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


class Manager:
    def __init__(self, path):
        self.path = path

    def ask(self, method, path, body=None):
        connection = Connection(self.path)
        connection.request(method, path, json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        if response.status != 200:
            raise SystemExit(f"{method} {path}: {answer['error']}")
        return answer

    def create(self, name, base):
        info = self.ask("POST", "/v1/sandboxes", {"name": name, "base": base})
        if info["state"] != "running":
            raise SystemExit(f"{name} is {info['state']}")
        return info

    def remove(self, name):
        self.ask("DELETE", f"/v1/sandboxes/{name}")

    def verb(self, name, verb):
        return self.ask("POST", f"/v1/sandboxes/{name}/{verb}")


def tool(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Tools:
    """The same by the programs, in the order in which wrenn runs them."""

    def __init__(self, base, store):
        self.base, self.store = base, store

    def create(self, is_new=True):
        self.origin = tool("losetup", "--read-only", "--find", "--show", self.base)
        size = int(tool("blockdev", "--getsize64", self.origin))
        if is_new:
            tool("truncate", "-s", str(size), self.store)
        self.cow = tool("losetup", "--find", "--show", self.store)
        table = f"0 {size // 512} snapshot {self.origin} {self.cow} P 8"
        tool("dmsetup", "create", "tools", "--noudevsync", "--table", table)

    def remove(self, keeps=False):
        tool("dmsetup", "remove", "--noudevsync", "tools")
        tool("losetup", "-d", self.cow)
        tool("losetup", "-d", self.origin)
        if not keeps:
            os.unlink(self.store)


def timed(body):
    begin = time.monotonic()
    body()
    return time.monotonic() - begin


def race(manager, base, rounds):
    tools = Tools(base, "/tmp/tools.cow")
    seconds = {name: [] for name in ("ours create+rm", "tools create+rm", "ours pause+resume", "tools pause+resume")}

    def ours_cycle():
        manager.create("race", base)
        manager.remove("race")

    def tools_cycle():
        tools.create()
        tools.remove()

    def ours_pause():
        manager.verb("race-kept", "pause")
        manager.verb("race-kept", "resume")

    def tools_pause():
        tools.remove(keeps=True)
        tools.create(is_new=False)

    for _ in range(rounds):
        seconds["ours create+rm"].append(timed(ours_cycle))
        seconds["tools create+rm"].append(timed(tools_cycle))
    manager.create("race-kept", base)
    tools.create()
    for _ in range(rounds):
        seconds["ours pause+resume"].append(timed(ours_pause))
        seconds["tools pause+resume"].append(timed(tools_pause))
    manager.remove("race-kept")
    tools.remove()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name}: {median * 1000:.1f} ms (median of {rounds})")
    for verb in ("create+rm", "pause+resume"):
        print(f"{verb}: {medians['tools ' + verb] / medians['ours ' + verb]:.1f} times as fast")


def main():
    manager = Manager(sys.argv[1])
    task, arguments = sys.argv[2], sys.argv[3:]
    if task == "cycles":
        for _ in range(int(arguments[1])):
            manager.create("cycle", arguments[0])
            manager.remove("cycle")
    elif task == "race":
        race(manager, arguments[0], int(arguments[1]))
    else:
        with ThreadPoolExecutor(20) as pool:
            if task == "many":
                names = [f"load-{number}" for number in range(1, int(arguments[1]) + 1)]
                list(pool.map(lambda name: manager.create(name, arguments[0]), names))
            elif task == "remove":
                list(pool.map(manager.remove, [f"load-{number}" for number in range(1, int(arguments[0]) + 1)]))
            elif task == "resume":
                answers = list(pool.map(lambda _: manager.verb(arguments[0], "resume"), range(int(arguments[1]))))
                if len({answer["device"] for answer in answers}) != 1:
                    raise SystemExit(f"not one device: {answers}")
            else:
                raise SystemExit(__doc__)


main()
