#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a service manager relies on: readiness, signs of life, sockets handed over, logs.

POSTERN names another build of the program (a sanitizer's). Reports in TAP.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
O = os.environ.get("O", "build")
POSTERN = os.environ.get("POSTERN", f"{O}/postern")
GUEST = f"{O}/tests/payload/garbage.elf"
PATIENCE = 300  # seconds; only something that hangs takes them

count = failed = 0


def check(name, good, said=""):
    global count, failed
    count += 1
    print(f"{'ok' if good else 'not ok'} {count} - {name}", flush=True)
    if not good:
        failed += 1
        print("# " + str(said).replace("\n", "\n# "), flush=True)


class Service:
    """A machine whose guest spins, started as a service manager starts it."""

    def __init__(self, work, name, *options, guest="spin=1", notify="path", fds=None, **environment):
        self.inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.inbox.settimeout(PATIENCE)
        if notify == "path":
            address = f"{work}/{name}.notify"
            self.inbox.bind(address)
        else:
            address = f"@postern-test-{os.getpid()}-{name}"
            self.inbox.bind("\0" + address[1:])
        self.err = open(f"{work}/{name}.err", "w+b")
        command = [os.path.abspath(POSTERN), "run", "--kernel", GUEST, "--memory", "16M",
                   "--serial", "off", "--cmdline", guest, *options]  # fmt: skip
        # The shell becomes postern: its process id can be put into the environment.
        shell = ["sh", "-c", 'LISTEN_PID=$$ WATCHDOG_PID=${WATCHDOG_PID-$$} exec "$@"', "sh", *command]
        setting = os.environ | {"NOTIFY_SOCKET": address} | environment

        def place():
            for target, source in enumerate(fds or [], 3):
                os.dup2(source, target)

        self.process = subprocess.Popen(
            shell, env=setting, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.err,
            preexec_fn=place, pass_fds=range(3, 3 + len(fds or [])), cwd=TREE,
        )  # fmt: skip

    def next(self):
        try:
            return self.inbox.recv(4096).decode()
        except socket.timeout:
            return "nothing"

    def rest(self):
        """What is there after the process has ended."""
        self.inbox.setblocking(False)
        messages = []
        try:
            while True:
                messages.append(self.inbox.recv(4096).decode())
        except BlockingIOError:
            return messages

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        status = self.process.wait(PATIENCE)
        self.err.seek(0)
        self.said = self.err.read().decode()
        return status


def test_notify(work):
    for kind in ("path", "abstract"):
        s = Service(work, f"ready-{kind}", notify=kind)
        first = s.next()
        check(f"{kind} socket: READY=1", first == "READY=1", first)
        check(f"{kind} socket: the machine ends as asked", s.end() == 4, s.said)
        rest = s.rest()
        check(f"{kind} socket: STOPPING=1, once", rest == ["STOPPING=1"], rest)
    s = Service(work, "broken", "--initrd", f"{work}/missing")
    check("a machine that cannot start", s.wait() == 1, s.said)
    rest = s.rest()
    check("is never ready", "READY=1" not in rest, rest)
    s = Service(work, "nobody", NOTIFY_SOCKET=f"{work}/nobody-there", guest="crash=1")
    check("no such socket: the machine runs", s.wait() == 3, s.said)
    check("and says so", "nobody-there: cannot be connected to" in s.said, s.said)


def test_watchdog(work):
    for loop in ("auto", "poll"):
        s = Service(work, f"watchdog-{loop}", "--event-loop", loop, WATCHDOG_USEC="20000")
        got = [s.next() for _ in range(6)]
        check(f"{loop} loop feeds the watchdog", got == ["READY=1"] + 5 * ["WATCHDOG=1"], got)
        s.end()
    for name, setting in (
        ("of another process", {"WATCHDOG_USEC": "2", "WATCHDOG_PID": "1"}),
        ("that is no number", {"WATCHDOG_USEC": "soon"}),
        ("that is off", {"WATCHDOG_USEC": "0"}),
    ):
        s = Service(work, name.replace(" ", "-"), **setting)
        got = [s.next()]
        s.end()
        got += s.rest()
        check(f"a watchdog {name} is not fed", got == ["READY=1", "STOPPING=1"], got)


def listener(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.bind(path)
    s.listen()
    return s


def ask(path, command):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(PATIENCE)
        s.connect(path)
        s.sendall(json.dumps({"command": command}).encode() + b"\n")
        return json.loads(s.makefile().readline())


def test_activation(work):
    one, two = f"{work}/one.sock", f"{work}/two.sock"
    first, second = listener(one), listener(two)
    s = Service(work, "one", "--ctl", "fd=systemd", fds=[first.fileno()], LISTEN_FDS="1")
    # A socket that listens already takes commands before the machine is there.
    reply = ask(one, "info")
    check("the only socket is the control socket", reply.get("ok") is True, reply)
    ask(one, "quit")
    check("and ends the machine", s.wait() == 4, s.said)
    check("the socket's file stays: it is not ours", os.path.exists(one))
    s = Service(work, "two", "--ctl", "fd=systemd", fds=[first.fileno(), second.fileno()],
                LISTEN_FDS="2", LISTEN_FDNAMES="http:ctl")  # fmt: skip
    reply = ask(two, "info")
    check("of several, that of the name ctl", reply.get("ok") is True, reply)
    ask(two, "quit")
    s.wait()
    for name, fds, setting, words in (
        ("none", [], {}, "no service manager has passed a socket"),
        ("unnamed", [first.fileno(), second.fileno()], {"LISTEN_FDS": "2"}, "none of the name ctl"),
        ("closed", [], {"LISTEN_FDS": "1"}, "descriptor 3"),
    ):
        s = Service(work, name, "--ctl", "fd=systemd", fds=fds, **setting)
        status = s.wait()
        lines = s.said.splitlines()
        check(f"sockets: {name}: refused in a line", status == 2 and len(lines) == 1 and
              words in lines[0], (status, s.said))  # fmt: skip


def test_logs(work):
    path = f"{work}/log"
    s = Service(work, "log", "--log-file", path, "--log-level", "info", guest="crash=1")
    status = s.wait()
    with open(path) as f:
        said = f.read()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "
    lines = said.splitlines()
    check("--log-file: the log is there, and nowhere else", status == 3 and not s.said and lines,
          s.said + said)  # fmt: skip
    check("each line has its time", all(re.match(stamp, line) for line in lines), said)
    check("and errors say so", any(re.match(stamp + "error: ", line) for line in lines), said)
    s = Service(work, "log-again", "--log-file", path, guest="crash=1")
    s.wait()
    with open(path) as f:
        again = f.read()
    check("a log is added to", again.startswith(said) and len(again) > len(said), again)
    with open(f"{work}/stream", "w+") as stream:
        st = os.fstat(stream.fileno())
        for name, value, begins in (
            ("the journal", f"{st.st_dev}:{st.st_ino}", "<3>kernel "),
            ("another file than the journal", f"{st.st_dev}:{st.st_ino + 1}", "postern: error: kernel "),
            ("something with a senseless JOURNAL_STREAM", "x", "postern: error: kernel "),
        ):
            stream.seek(0)
            stream.truncate()
            subprocess.run([POSTERN, "run", "--kernel", f"{work}/missing"], stderr=stream, cwd=TREE,
                           env=os.environ | {"JOURNAL_STREAM": value}, timeout=PATIENCE)  # fmt: skip
            stream.seek(0)
            line = stream.read()
            check(f"standard error is {name}", line.startswith(begins), line)


def main():
    if not os.access("/dev/kvm", os.W_OK):
        print("1..0 # SKIP no /dev/kvm that this user may open")
        return 0
    work = tempfile.mkdtemp()
    try:
        for test in (test_notify, test_watchdog, test_activation, test_logs):
            test(work)
    finally:
        shutil.rmtree(work)
    print(f"1..{count}")
    return failed != 0


sys.exit(main())
