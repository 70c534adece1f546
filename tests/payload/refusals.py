#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever postern asks of the host until the guest runs is refused once.

Each time it must either go on, so that the guest does all that it would have done, or end with
status 1 and one line that says what failed; and give back what it has got: blocks, mappings,
descriptors. One call of each place in the program is refused; with POSTERN_LONG every call.
"""
import concurrent.futures
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

O = os.environ.get("O") or "build"
PROGRAM = os.environ.get("POSTERN") or f"{O}/tests/payload/refusals"
KERNEL = f"{O}/tests/payload/assigned.elf"
LONG = os.environ.get("POSTERN_LONG")
LIMIT = 300  # seconds: nothing waits
SANITIZER = 99  # exit status

COMMON = ["--memory", "32M", "--iommufd", "soft"]
MACHINES = {
    "disk, network, vIOMMU, assigned device": (1, [
        "--viommu", "amd", "--vfio", "soft=dev,iommu=on", "--disk", "path={dir}/disk,iommu=on",
        "--net", "fd={tap},iommu=on", "--trace", "viommu={dir}/trace", "--stats",
    ]),
    "nested tables": (2, [
        "--viommu", "amd,accel=hwmodel", "--vfio", "soft=dev,iommu=on",
        "--disk", "path={dir}/disk,iommu=on",
    ]),
    "two segments, control socket, poll loop": (0, [
        "--pci-segments", "2", "--viommu", "amd", "--viommu", "amd,segment=1", "--event-loop", "poll",
        "--vfio", "soft=dev", "--vfio", "soft=other,segment=1,iommu=on", "--cpus", "2",
        "--ctl", "{dir}/socket", "--initrd", "{dir}/initrd",
    ]),
}  # fmt: skip


class Run:
    """A machine whose call number fault, or none (0), is refused."""

    def __init__(self, mode, options, fault):
        self.fault = fault
        work = tempfile.mkdtemp()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            for name in ("disk", "initrd"):
                with open(f"{work}/{name}", "wb") as f:
                    f.truncate(1 << 20)
            words = [w.format(dir=work, tap=far.fileno()) for w in options]
            command = [PROGRAM, "run", "--kernel", KERNEL, "--cmdline", f"mode={mode}", *COMMON]
            command += ["--serial", f"file={work}/serial", *words]
            environment = os.environ | {"POSTERN_REPORT": f"{work}/report"}
            for name in ("ASAN", "UBSAN"):
                environment[f"{name}_OPTIONS"] = f"exitcode={SANITIZER}:detect_leaks=0"
            if fault:
                environment["POSTERN_FAULT"] = str(fault)
            self.run(command, environment, far.fileno())
            self.serial = self.read(f"{work}/serial")
            self.report = self.read(f"{work}/report").splitlines()
        finally:
            near.close()
            far.close()
            shutil.rmtree(work)

    def run(self, command, environment, tap):
        try:
            p = subprocess.run(
                command, env=environment, pass_fds=[tap], stdin=subprocess.DEVNULL, timeout=LIMIT,
                capture_output=True, text=True,
            )  # fmt: skip
            self.status, self.said = p.returncode, p.stderr
        except subprocess.TimeoutExpired as e:
            self.status, self.said = None, (e.stderr or b"").decode(errors="replace")

    @staticmethod
    def read(path):
        try:
            with open(path, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def calls(self):
        """Number, place in the program, what it was."""
        return [line.split(" ", 3)[1:] for line in self.report if line.startswith("call ")]

    def leaks(self):
        return [line for line in self.report if line.startswith("leaked ")]

    def wrong(self, good):
        """What is wrong with it, when good is how it should have gone."""
        errors = [t for t in self.said.splitlines() if "postern: error:" in t]
        complaints = []
        if self.status is None:
            complaints.append("it hangs")
        elif self.status == 1 and len(errors) != 1:
            complaints.append(f"status 1 and {len(errors)} lines that say why")
        elif self.status == 0 and (self.serial != good.serial or errors):
            complaints.append("it went on, but not as it should")
        elif self.status not in (0, 1):
            complaints.append(f"status {self.status}")
        if not self.report:
            complaints.append("no report: it did not end in order")
        for text in errors:
            if not re.match(r"postern: error: .*[^ :]+: .*[a-z]{3,}", text):
                complaints.append("the line does not say what failed")
        if len(self.leaks()) > len(good.leaks()):
            complaints += sorted(set(self.leaks()) - set(good.leaks())) or self.leaks()
        return complaints


def place(address):
    """Function and line, where they are known."""
    try:
        p = subprocess.run(["addr2line", "-sfe", PROGRAM, address], capture_output=True, text=True)
        return " ".join(p.stdout.split())
    except OSError:
        return address


def chosen(calls):
    """The last call of each place, for then there is most to give back."""
    if LONG:
        return [int(number) for number, _, _ in calls]
    last = {(caller, what): int(number) for number, caller, what in calls}
    return sorted(last.values())


def test(number, name, mode, options):
    good = Run(mode, options, 0)
    calls = good.calls()
    said = []
    if good.status != 0 or not calls or "moved 7 " not in good.serial:
        said = [f"without a fault: status {good.status}", good.said, good.serial]
    said += [f"without a fault: {leak} {place(leak.split()[-1])}" for leak in good.leaks()]
    faults = chosen(calls) if not said else []
    ended = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for run in pool.map(lambda n: Run(mode, options, n), faults):
            ended += run.status == 1
            complaints = run.wrong(good)
            if complaints:
                _, caller, what = (run.calls() or [["", "0", "?"]])[0]
                said += [f"call {run.fault}, {what} of {place(caller)}:"]
                said += [f"  {c} {place(c.split()[-1]) if '0x' in c else ''}" for c in complaints]
                said += [f"  | {t}" for t in run.said.splitlines()[:12]]
    # That most of them matter shows that it was they that were refused.
    if faults and not ended:
        said.append("no refusal ended the program")
    print(f"{'not ok' if said else 'ok'} {number} - {name}: {len(faults)} of {len(calls)} calls, "
          f"{ended} of which must not fail", flush=True)  # fmt: skip
    for line in said:
        for text in line.splitlines():
            print(f"# {text}")
    return not said


def main():
    if not os.access("/dev/kvm", os.W_OK):
        print("1..0 # SKIP no /dev/kvm that this user may open")
        return 0
    results = [test(i + 1, n, *m) for i, (n, m) in enumerate(MACHINES.items())]
    print(f"1..{len(results)}")
    return 0 if all(results) else 1


sys.exit(main())
