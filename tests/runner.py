# SPDX-License-Identifier: Apache-2.0
"""What tests/check runs tests with: outcomes, commands with a limit, programs that report in TAP."""
import glob
import os
import re
import signal
import subprocess
import sys
import time

TREE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
O = os.environ.get("O") or "build"
LOGS = os.path.join(O, "check")
HEARTBEAT = 20  # seconds between signs of life where the output is no terminal
MINUTE = 60
LONGER = 12  # how many times its limit a test may take with --long


class Tally:
    """Counts and prints outcomes."""

    def __init__(self):
        self.passed = self.skipped = 0
        self.failures, self.again = [], []
        self.reporting = sys.stdout.isatty()

    def clear(self):
        if self.reporting:
            print("\r\033[K", end="")

    def alive(self, text):
        """A sign of life: one changing line on a terminal, a line of its own elsewhere."""
        if self.reporting:
            print(f"\r\033[K{text}", end="", flush=True)
        else:
            print(text, flush=True)

    def line(self, text):
        self.clear()
        print(text, flush=True)

    def ok(self, name, note=""):
        self.passed += 1
        self.line(f"ok   {name}{note}")

    def skip(self, name, reason):
        self.skipped += 1
        self.line(f"skip {name} # SKIP {reason or 'no reason given'}")

    def fail(self, name, why, log=None, diagnostics=()):
        """With what the test itself said of it, or else the end of its log."""
        self.failures.append(name)
        self.line(f"FAIL {name}: {why}")
        shown = list(diagnostics)
        if log and os.path.exists(log):
            with open(log, errors="replace") as f:
                shown = shown or f.read().splitlines()[-40:]
        for text in shown:
            print(f"     | {text}")
        if log and os.path.exists(log):
            print(f"     the whole log: {log}", flush=True)

    def unsteady(self, name, failed):
        """A first run failed and there will be a second."""
        self.again.append(name)
        for test, why, *more in failed:
            self.line(f"again {test}: {why}")
            for text in more[1] if len(more) > 1 else ():
                print(f"     | {text}")

    def close(self):
        for name in self.again:
            self.line(f"run twice: {name}: see {log_of(name + '.first')}")
        for name in self.failures:
            self.line(f"failed: {name}")
        self.line(f"{self.passed} passed, {len(self.failures)} failed, {self.skipped} skipped")
        return 1 if self.failures else 0


tally = Tally()


def log_of(name):
    path = os.path.join(LOGS, name + ".log")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def environment():
    """Without the variables by which an outer make would steer the makes that are run here."""
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "CC", "SAN", "V")
    return {k: v for k, v in os.environ.items() if k not in outer} | {"O": O}


def allowed(limit):
    return limit * LONGER if os.environ.get("POSTERN_LONG") else limit


def run(name, command, limit, stdout=None, extra=None):
    """Run a command with its output in the log of name (or stdout's file).

    Returns (exit status, seconds); the status is None when it took longer than allowed(limit).
    """
    begin = time.monotonic()
    spoken = begin
    with open(log_of(name), "ab" if stdout else "wb") as log:
        process = subprocess.Popen(
            command, cwd=TREE, env=environment() | (extra or {}), stdin=subprocess.DEVNULL,
            stdout=stdout or log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            while True:
                try:
                    status = process.wait(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    now = time.monotonic()
                    if now - begin > allowed(limit):
                        status = None
                        break
                    if tally.reporting or now - spoken >= HEARTBEAT:
                        spoken = now
                        tally.alive(f"...  {name}, {now - begin:.0f} s{last_line(log.name)}")
        finally:
            try:  # a command that has ended may have left others behind
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
    return status, time.monotonic() - begin


def last_line(path):
    with open(path, "rb") as f:
        f.seek(max(0, os.path.getsize(path) - 512))
        lines = f.read().decode(errors="replace").split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    return f": {lines[-1][:80]}" if lines else ""


def ended(status, limit):
    if status is None:
        return f"did not end within {allowed(limit)} s"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def step(name, command, limit=30 * MINUTE, extra=None):
    """A test that is one command."""
    status, seconds = run(name, command, limit, extra=extra)
    if status == 0:
        tally.ok(name, f" ({seconds:.0f} s)")
    else:
        tally.fail(name, ended(status, limit), log_of(name))
    return status == 0


def diagnostics_of(lines):
    """The TAP diagnostics right below a test's line: where they are many, their two ends."""
    found = []
    for line in lines:
        if not line.startswith("#"):
            break
        found.append(line)
    return found if len(found) <= 24 else [*found[:3], "# ...", *found[-20:]]


class Outcomes(list):
    """What one run of a TAP program came to: calls of the tally that are still to be made."""

    def add(self, verdict, *arguments):
        self.append((verdict, arguments))

    def failed(self):
        return [arguments for verdict, arguments in self if verdict == tally.fail]

    def report(self):
        for verdict, arguments in self:
            verdict(*arguments)


def tap_lines(name, out, log):
    """The lines of the report; the log becomes the one file that tells the whole story."""
    lines = []
    if os.path.exists(out):
        with open(out, errors="replace") as f:
            lines = f.read().splitlines()
    reports = glob.glob(glob.escape(out) + ".sanitizer.*")
    with open(log, "a") as f:
        f.write("".join(line + "\n" for line in lines))
        for report in reports:
            with open(report, errors="replace") as r:
                f.write(r.read())
            os.unlink(report)
    return lines, bool(reports)


def tap_outcomes(name, command, limit, file=None, extra=None):
    out = file or os.path.join(LOGS, name + ".tap")
    log = log_of(name)
    for old in (out, log):
        if os.path.exists(old):
            os.unlink(old)
    if file:
        status, _ = run(name, command, limit, extra=extra)
    else:
        with open(out, "wb") as f:
            status, _ = run(name, command, limit, stdout=f, extra=extra)
    lines, complaints = tap_lines(name, out, log)

    outcomes = Outcomes()
    plan, seen, bad = None, 0, 0
    for i, line in enumerate(lines):
        if m := re.match(r"1\.\.(\d+)(?:\s*# SKIP\s*(.*))?$", line, re.I):
            plan = int(m[1])
            if plan == 0 and m[2]:
                outcomes.add(tally.skip, name, m[2])
            elif plan == 0:
                outcomes.add(tally.fail, name, "has no tests", log)
        elif m := re.match(r"(not )?ok\b\s*\d*\s*-?\s*(.*)$", line):
            seen += 1
            text, _, note = m[2].partition("#")
            text = re.sub(r"\s*\(\d+\.\d+s\)$", "", text.strip())  # Criterion's time
            test = f"{name}: {text or seen}"
            if re.match(r"\s*SKIP\b", note, re.I):
                outcomes.add(tally.skip, test, note.strip()[4:].strip())
            elif m[1]:
                bad += 1
                said = diagnostics_of(lines[i + 1 :])
                outcomes.add(tally.fail, test, "not ok", log if said or bad == 1 else None, said)
            else:
                outcomes.add(tally.ok, test)
    if plan is None or seen != plan:
        of = "an unknown number of" if plan is None else plan
        why = f"{seen} of {of} tests reported; {ended(status, limit)}"
        outcomes.add(tally.fail, name, why, log)
    elif (status != 0 or complaints) and not bad:
        why = "a sanitizer complains" if complaints else ended(status, limit)
        outcomes.add(tally.fail, name, why, log)
    return outcomes


def tap(name, command, limit, file=None, extra=None):
    """A program that reports in TAP, on its standard output or in a file that it is told."""
    tap_outcomes(name, command, limit, file, extra).report()


def tap_twice(name, command, limit, between, extra=None):
    """A TAP program on ground that is itself unsteady: a failure counts when it comes again.

    between() is called before the second try. What failed first is shown either way, its log kept.
    """
    outcomes = tap_outcomes(name, command, limit, extra=extra)
    if failed := outcomes.failed():
        tally.unsteady(name, failed)
        os.replace(log_of(name), log_of(name + ".first"))
        between()
        outcomes = tap_outcomes(name, command, limit, extra=extra)
    outcomes.report()
