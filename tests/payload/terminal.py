#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a person at a terminal can rely on: the escape key, and the terminal as it was before.

POSTERN names another build of the program (a sanitizer's). Reports in TAP.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

TREE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
O = os.environ.get("O", "build")
POSTERN = os.environ.get("POSTERN", f"{O}/postern")
GUEST = f"{O}/tests/payload/garbage.elf"
PATIENCE = 30

count = failed = 0


def check(name, good, said=""):
    global count, failed
    count += 1
    print(f"{'ok' if good else 'not ok'} {count} - {name}", flush=True)
    if not good:
        failed += 1
        print(f"# {said}", flush=True)


class Session:
    """A guest on a terminal of its own."""

    def __init__(self, cmdline):
        self.keyboard, self.terminal = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)
        self.seen = b""
        self.process = subprocess.Popen(
            [POSTERN, "run", "--kernel", GUEST, "--memory", "16M", "--cmdline", cmdline],
            stdin=self.terminal, stdout=self.terminal, stderr=self.terminal,
            start_new_session=True,
        )  # fmt: skip

    def read(self, seconds):
        if select.select([self.keyboard], [], [], seconds)[0]:
            self.seen += os.read(self.keyboard, 4096)

    def wait_for(self, text):
        limit = time.monotonic() + PATIENCE
        while text not in self.seen and time.monotonic() < limit:
            self.read(0.05)
        return text in self.seen

    def raw(self):
        return not termios.tcgetattr(self.terminal)[3] & (termios.ICANON | termios.ECHO)

    def type(self, keys):
        os.write(self.keyboard, keys)

    def end(self):
        """The exit status, or None for a process that did not end."""
        limit = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < limit:
            self.read(0.05)
        status = self.process.poll()
        if status is None:
            self.process.kill()
            self.process.wait()
        return status

    def restored(self):
        return termios.tcgetattr(self.terminal) == self.before

    def close(self):
        os.close(self.keyboard)
        os.close(self.terminal)


def ends(name, cmdline, wanted, keys=b"", signals=()):
    s = Session(cmdline)
    began = s.wait_for(b"ready\r\n")
    if "spin" in cmdline:
        check(f"{name}: raw while the guest runs", s.raw())
    if keys:
        s.type(keys)
    for number in signals:
        s.process.send_signal(number)
    status = s.end()
    check(f"{name}: status {wanted}", began and status == wanted, f"{status}: {s.seen[-500:]}")
    check(f"{name}: the terminal is as before", s.restored())
    s.close()


os.chdir(TREE)
ends("Ctrl-A X", "ready=1 spin=1", 4, keys=b"\x01x")
ends("Ctrl-A X after keys that the guest does not read", "ready=1 spin=1", 4, keys=b"k" * 300 + b"\x01x")
ends("SIGINT", "ready=1 spin=1", 4, signals=[signal.SIGINT])
ends("SIGHUP", "ready=1 spin=1", 4, signals=[signal.SIGHUP])
ends("power-off", "ready=1 rounds=1", 0)
ends("triple fault", "ready=1 crash=1", 3)

s = Session("ready=1 echo=1")
s.wait_for(b"ready\r\n")
s.type(b"one\x01\x01two\x01three")
arrived = s.wait_for(b"three")
got = s.seen.split(b"ready\r\n")[-1]
check(
    "Ctrl-A Ctrl-A is one Ctrl-A, Ctrl-A with another key is both",
    arrived and got == b"one\x01two\x01three", got,
)  # fmt: skip
s.type(b"\x01x")
check("Ctrl-A X from a guest that reads: status 4", s.end() == 4)
s.close()

# A vCPU that waits for a reader must not hold up the end.
inner, outer = os.pipe()
fcntl.fcntl(outer, fcntl.F_SETPIPE_SZ, 4096)
process = subprocess.Popen(
    [POSTERN, "run", "--kernel", GUEST, "--memory", "16M", "--cmdline", "flood=1"],
    stdin=subprocess.DEVNULL, stdout=outer,
)  # fmt: skip
limit = time.monotonic() + PATIENCE
waiting, before = 0, -1
while (not waiting or waiting != before) and time.monotonic() < limit:
    time.sleep(0.5)
    before = waiting
    waiting = struct.unpack("i", fcntl.ioctl(inner, termios.FIONREAD, bytes(4)))[0]
process.send_signal(signal.SIGINT)
try:
    status = process.wait(PATIENCE)
except subprocess.TimeoutExpired:
    status = None
    process.kill()
check("SIGINT while nobody reads the guest's output: status 4", status == 4, status)

print(f"1..{count}")
sys.exit(failed > 0)
