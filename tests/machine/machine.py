# SPDX-License-Identifier: Apache-2.0
"""The reference machine: an AMD EPYC host with SVM and AMD-Vi, played by QEMU's TCG.

It boots the kernel of tests/machine/kernel, sees the files of this host read-only at their own
paths, and runs commands through tests/machine/agent.c. run, session and shell are its users.

Frames between host and agent, both ways: u32 type, u32 length, then the bytes, little-endian.
"""
import fcntl
import hashlib
import os
import re
import select
import shlex
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
BUSYBOX = "/bin/busybox"
BOOT_LIMIT = 180  # seconds; a warm boot takes about six
STOPPED, TIMED_OUT = 125, 124

EXEC, STDIN, KILL = 1, 2, 3
READY, STDOUT, STDERR, STDIN_TAKEN, EXIT = 16, 17, 18, 19, 20
EXEC_TTY = 1
STDIN_ROOM = 64 << 10
# A descriptor that select() calls writable takes this much without blocking.
PIPE_BUF = 4096

KERNEL_CMDLINE = (
    "console=ttyS0 quiet panic=-1 oops=panic iommufd.allow_unsafe_interrupts=1 "
    "nokaslr no_timer_check tsc=reliable "
    # The clock rate is measured twice, and under emulation the two differ by more than KVM takes for
    # equal: the timers of every later guest would then be late by the machine's uptime.
    "kvm.tsc_tolerance_ppm=100000"
)

KVM_CREATE_VM, KVM_CREATE_VCPU, KVM_GET_TSC_KHZ = 0xAE01, 0xAE41, 0xAEA3

DEVICES = {
    "edu": ["edu"],
    "e1000e": ["e1000e,netdev=net{n}"],
    "nvme": ["nvme,drive=nvme{n},serial=postern{n}"],
}
DEFAULTS = {"devices": [], "memory": "2G", "cpus": 2, "bind": True, "scratch": None, "nvme_image": None}
# The first slot of the devices under test, on bus 0: a test may rely on 00:10.0 onwards.
FIRST_SLOT = 0x10

# Hidden behind empty file systems: what the host keeps there means nothing inside.
TMPFS = ["/tmp", "/run", "/var/tmp", "/mnt"]


class MachineError(Exception):
    """The machine, not the command in it, failed."""


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = os.environ.get("POSTERN_CACHE") or os.path.join(base, "postern")
    os.makedirs(path, exist_ok=True)
    return os.path.realpath(path)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def cached(name, inputs, make):
    """The path of a cached file that is named by what it was made from; make(path) makes it."""
    key = hashlib.sha256(b"\0".join(inputs)).hexdigest()[:16]
    path = os.path.join(cache_dir(), f"{name}-{key}")
    if not os.path.exists(path):
        fd, new = tempfile.mkstemp(dir=cache_dir(), prefix=name + ".")
        os.close(fd)
        try:
            make(new)
            os.rename(new, path)
        except BaseException:
            os.unlink(new)
            raise
    return path


def cpio(entries):
    """A cpio archive (newc). entries: (name, mode, data) or (name, mode, (major, minor))."""
    out = bytearray()
    for inode, (name, mode, data) in enumerate(entries + [("TRAILER!!!", 0, b"")], 1):
        major, minor = data if isinstance(data, tuple) else (0, 0)
        body = b"" if isinstance(data, tuple) else data
        name = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(body), 0, 0, major, minor, len(name), 0)
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name
        out += b"\0" * (-len(out) % 4)
        out += body
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def cpio_base():
    """What each initramfs here has: busybox, its applets and a console."""
    if not os.path.exists(BUSYBOX):
        raise MachineError(f"{BUSYBOX} is missing: install Debian's busybox-static")
    applets = subprocess.run(
        [BUSYBOX, "--list"], check=True, capture_output=True, text=True
    ).stdout.split()
    directories = ["bin", "dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp"]
    entries = [(d, stat.S_IFDIR | 0o755, b"") for d in directories]
    entries.append(("bin/busybox", stat.S_IFREG | 0o755, read(BUSYBOX)))
    entries += [("bin/" + a, stat.S_IFLNK | 0o777, b"busybox") for a in applets if a != "busybox"]
    entries.append(("dev/console", stat.S_IFCHR | 0o600, (5, 1)))
    entries.append(("dev/null", stat.S_IFCHR | 0o666, (1, 3)))
    return entries


def kernel_dir():
    p = subprocess.run(
        [os.path.join(HERE, "kernel")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    if p.returncode:
        raise MachineError("no kernel for the machine, see above")
    return p.stdout.strip()


def program(name):
    """The path of tests/machine/NAME.c, compiled to run in an initramfs without libraries."""
    source = os.path.join(HERE, name + ".c")
    command = ["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-static", "-s", "-I."]
    # What it is made from: its own text and the headers of the tree that it includes.
    headers = re.findall(rb'^#include "([^"]+)"', read(source), re.M)
    inputs = [read(source), " ".join(command).encode()]
    inputs += [read(os.path.join(TREE, h.decode())) for h in headers]

    def make(path):
        p = subprocess.run(command + ["-o", path, source], stdout=sys.stderr, cwd=TREE)
        if p.returncode:
            raise MachineError(f"tests/machine/{name}.c does not compile, see above")

    return cached(name, inputs, make)


def tsc_khz():
    """The rate of this host's time-stamp counter, which is the machine's; 0 where KVM cannot tell."""
    fds = []
    try:
        fds.append(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        for request in (KVM_CREATE_VM, KVM_CREATE_VCPU):
            fds.append(fcntl.ioctl(fds[-1], request, 0))
        return fcntl.ioctl(fds[-1], KVM_GET_TSC_KHZ, 0)
    except OSError:
        return 0
    finally:
        for fd in fds:
            os.close(fd)


def kernel_cmdline():
    """The kernel would count ticks of an emulated timer, and on a busy host get any rate."""
    khz = tsc_khz()
    return f"{KERNEL_CMDLINE} tsc_early_khz={khz}" if khz else KERNEL_CMDLINE


def comma(path):
    return path.replace(",", ",,")


class TimedOut(Exception):
    """The command took longer than it was given."""


class Machine:
    """One machine. options: see DEFAULTS. Its files are in directory, or in one of its own."""

    def __init__(self, options, directory=None):
        self.options = options
        self.own_directory = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="postern-machine-")
        self.console = os.path.join(self.directory, "console.log")
        self.errors = os.path.join(self.directory, "qemu.log")
        scratch = options["scratch"] or os.path.join(self.directory, "scratch")
        self.scratch = os.path.realpath(scratch)
        self.kernel = None
        self.process = None
        self.channel = None
        self.buffer = b""

    # ---- starting and stopping ---------------------------------------------------------

    def shares(self):
        """(path, writable) of what is mounted over the root share, outer paths first."""
        paths = [(TREE, False)]
        out = os.path.realpath(os.path.join(TREE, os.environ.get("O") or "build"))
        for path in (out, cache_dir()):
            hidden = any(path.startswith(t + "/") for t in TMPFS)
            inside = path.startswith(TREE + "/")
            if os.path.isdir(path) and not inside and (hidden or path == out):
                paths.append((path, False))
        return paths + [(self.scratch, True)]

    def bdf(self, index):
        return f"0000:00:{FIRST_SLOT + index:02x}.0"

    def initramfs(self):
        """The machine's initramfs, with what this machine is to mount and bind."""
        shares = self.shares()
        lines = [f"mount_share {i} {shlex.quote(p)} {'rw' if w else 'ro'}"
                 for i, (p, w) in enumerate(shares)]
        devices = [self.bdf(i) for i in range(len(self.options["devices"]))]
        if self.options["bind"]:
            lines += [f"bind_vfio {d}" for d in devices]
        conf = "".join(line + "\n" for line in lines).encode()
        regular = stat.S_IFREG | 0o755
        path = os.path.join(self.directory, "initramfs")
        with open(path, "wb") as f:
            f.write(cpio(cpio_base() + [
                ("init", regular, read(os.path.join(HERE, "machine-init"))),
                ("agent", regular, read(program("agent"))),
                ("machine.conf", regular, conf),
                ("machine.tmpfs", regular, "\n".join(TMPFS).encode() + b"\n"),
            ]))
        return path

    def nvme_image(self, index):
        """The caller's image for the first one, an empty one for the others."""
        path = self.options["nvme_image"]
        if not path or self.options["devices"].index("nvme") != index:
            path = os.path.join(self.directory, f"nvme{index}.img")
            with open(path, "wb") as f:
                f.truncate(64 << 20)
        elif not os.path.isfile(path):
            raise MachineError(f"POSTERN_NVME_IMAGE: there is no file {path}")
        return os.path.realpath(path)

    def qemu_command(self, channel_fd):
        o = self.options
        command = [
            "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-accel", "tcg,thread=multi", "-machine", "q35,kernel-irqchip=off",
            "-cpu", "EPYC-Rome,+svm,+npt,+x2apic,-xsave", "-smp", str(o["cpus"]), "-m", o["memory"],
            "-device", "amd-iommu,intremap=on",
            "-kernel", os.path.join(self.kernel, "vmlinux"), "-initrd", self.initramfs(),
            "-append", kernel_cmdline(),
            "-chardev", f"file,id=console,path={comma(self.console)}", "-serial", "chardev:console",
            "-chardev", f"socket,id=agent,fd={channel_fd}",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=postern",
            "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
        ]  # fmt: skip
        for i, (path, writable) in enumerate(self.shares()):
            mode = "" if writable else ",readonly=on"
            command += [
                "-fsdev", f"local,id=s{i},path={comma(path)},security_model=none,multidevs=remap{mode}",
                "-device", f"virtio-9p-pci,fsdev=s{i},mount_tag=share{i}",
            ]  # fmt: skip
        for i, kind in enumerate(o["devices"]):
            if kind == "nvme":
                image = comma(self.nvme_image(i))
                command += ["-drive", f"if=none,id=nvme{i},format=raw,file={image}"]
            elif kind == "e1000e":
                command += ["-netdev", f"user,id=net{i},restrict=on"]
            for device in DEVICES[kind]:
                command += ["-device", f"{device.format(n=i)},addr={FIRST_SLOT + i:#x}"]
        return command

    def start(self):
        self.kernel = kernel_dir()
        os.makedirs(self.scratch, exist_ok=True)
        ours, theirs = socket.socketpair()
        with open(self.errors, "wb") as errors:
            try:
                self.process = subprocess.Popen(
                    self.qemu_command(theirs.fileno()), stdin=subprocess.DEVNULL, stdout=errors,
                    stderr=errors, pass_fds=[theirs.fileno()], start_new_session=True,
                )  # fmt: skip
            except FileNotFoundError as e:
                raise MachineError(f"{e.filename} is missing: see packages.debian") from e
        theirs.close()
        self.channel = ours
        limit = time.monotonic() + BOOT_LIMIT
        while True:
            kind, _ = self.frame(limit)
            if kind == READY:
                return
            if kind is None:
                raise self.failure(f"the machine did not come up in {BOOT_LIMIT} s")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        if self.own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def failure(self, what):
        """A MachineError with the ends of the machine's logs."""
        text = what
        for path, name in ((self.errors, "QEMU"), (self.console, "the machine's console")):
            if os.path.exists(path):
                lines = read(path).decode(errors="replace").splitlines()
                lines = [line for line in lines if "TCG doesn't support" not in line][-40:]
                if lines:
                    text += f"\n--- {name} said last:\n" + "\n".join(lines)
        return MachineError(text)

    # ---- frames ------------------------------------------------------------------------

    def send(self, kind, data=b""):
        try:
            self.channel.sendall(struct.pack("<II", kind, len(data)) + data)
        except OSError as e:
            raise self.failure("the machine stopped") from e

    def receive(self):
        """Take what has arrived; MachineError where the machine has ended."""
        try:
            data = self.channel.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self.process.wait()
            raise self.failure(f"the machine stopped (QEMU's exit status {self.process.returncode})")
        self.buffer += data

    def parse(self):
        """The next whole frame that has arrived, or (None, None)."""
        if len(self.buffer) < 8:
            return None, None
        kind, length = struct.unpack_from("<II", self.buffer)
        if len(self.buffer) < 8 + length:
            return None, None
        data = self.buffer[8 : 8 + length]
        self.buffer = self.buffer[8 + length :]
        return kind, data

    def frame(self, limit):
        """The next frame, or (None, None) when the time limit has passed."""
        while True:
            kind, data = self.parse()
            if kind is not None:
                return kind, data
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self.channel], [], [], left)[0]:
                return None, None
            self.receive()

    # ---- commands ----------------------------------------------------------------------

    def environment(self, extra):
        env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "TERM": os.environ.get("TERM", "dumb"),
            "POSTERN_MACHINE": "1",
            "POSTERN_CACHE": cache_dir(),
            "POSTERN_KERNEL": self.kernel,
            "POSTERN_SCRATCH": self.scratch,
        }
        if "O" in os.environ:
            env["O"] = os.environ["O"]
        for i, kind in enumerate(self.options["devices"]):
            name = "POSTERN_BDF_" + kind.upper()
            env[name] = (env.get(name, "") + " " + self.bdf(i)).strip()
        return env | extra

    def execute(self, argv, env, fds, timeout, terminal=None, watch=None):
        """Run argv and return its exit status. fds: standard input, output, error.

        terminal: (rows, columns) for a terminal of its own. watch: a descriptor whose becoming
        readable means that nobody wants the command any more. Raises MachineError and TimedOut; after
        either, the machine is of no more use.
        """
        env = [f"{k}={v}" for k, v in self.environment(env).items()]
        rows, columns = terminal or (0, 0)
        head = struct.pack("<IHHII", EXEC_TTY if terminal else 0, rows, columns, len(argv), len(env))
        self.send(EXEC, head + b"".join(os.fsencode(s) + b"\0" for s in [TREE] + argv + env))

        source, sinks = fds[0], {STDOUT: fds[1], STDERR: fds[2]}
        pending, sink = b"", None
        room = STDIN_ROOM
        limit = time.monotonic() + timeout if timeout else None
        while True:
            # One frame at a time: none is taken while the last one's bytes wait for their reader.
            while not pending:
                kind, data = self.parse()
                if kind is None:
                    break
                if kind == EXIT:
                    return struct.unpack("<I", data)[0]
                if kind == STDIN_TAKEN:
                    room += struct.unpack("<I", data)[0]
                elif sinks.get(kind) is not None:
                    pending, sink = data, kind

            reads = [] if pending else [self.channel]
            if source is not None and room > 0:
                reads.append(source)
            if watch is not None:
                reads.append(watch)
            writes = [sinks[sink]] if pending else []
            left = None if limit is None else limit - time.monotonic()
            if left is not None and left <= 0:
                raise TimedOut(f"'{' '.join(argv)}' had not ended after {timeout:g} s")
            readable, writable, _ = select.select(reads, writes, [], left)

            if watch is not None and watch in readable:
                self.give_up()
                return 128 + signal.SIGKILL
            if writable:
                try:
                    n = os.write(sinks[sink], pending[:PIPE_BUF])
                    pending = pending[n:]
                except OSError:  # its reader has gone; the command's other effects still count
                    sinks[sink], pending = None, b""
            if self.channel in readable:
                self.receive()
            if source is not None and source in readable:
                try:
                    data = os.read(source, min(room, PIPE_BUF))
                except OSError:
                    data = b""
                room -= len(data)
                self.send(STDIN, data)
                if not data:
                    source = None

    def give_up(self):
        """End the running command; the machine with it if it does not go."""
        self.send(KILL)
        limit = time.monotonic() + 10
        while True:
            kind, _ = self.frame(limit)
            if kind == EXIT:
                return
            if kind is None:
                raise self.failure("a command could not be killed")


# ---- what the commands share ------------------------------------------------------------------


def complain(text):
    print(f"machine: {text}", file=sys.stderr, flush=True)


def add_options(parser):
    parser.add_argument("--dev", action="append", default=[], choices=sorted(DEVICES),
                        help="add a device; bound to vfio-pci unless --no-bind")  # fmt: skip
    parser.add_argument("--mem", default=DEFAULTS["memory"], metavar="SIZE",
                        help="memory (default %(default)s)")  # fmt: skip
    parser.add_argument("--cpus", type=int, default=DEFAULTS["cpus"], metavar="N", help="processors (default %(default)s)")
    parser.add_argument("--no-bind", action="store_true", help="leave devices to their drivers")


def add_command(parser):
    parser.add_argument("-t", type=float, dest="timeout", metavar="SECONDS",
                        help="kill the machine and return 124 when CMD takes longer")  # fmt: skip
    parser.add_argument("--env", action="append", default=[], metavar="NAME[=VALUE]",
                        help="a variable for CMD; without a value, this environment's")  # fmt: skip
    parser.add_argument("command", nargs="+", metavar="CMD")


def options_of(args):
    return DEFAULTS | {
        "devices": args.dev, "memory": args.mem, "cpus": args.cpus, "bind": not args.no_bind,
        "scratch": os.environ.get("POSTERN_SCRATCH"),
        "nvme_image": os.environ.get("POSTERN_NVME_IMAGE"),
    }  # fmt: skip


def environment_of(args):
    pairs = (e.split("=", 1) if "=" in e else (e, os.environ.get(e, "")) for e in args.env)
    return dict(pairs)


def standard_fds():
    """Descriptors 0 to 2, each opened on /dev/null where the caller has closed it."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    return (0, 1, 2)


def end_on_signals():
    """SIGTERM and SIGHUP unwind like SIGINT, so that no machine is left behind."""

    def unwind(number, _frame):
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, unwind)
