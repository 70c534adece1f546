// SPDX-License-Identifier: Apache-2.0
/* Findings of postern doctor: what the sandbox is made of. */
#include <string.h>

#include "sandbox/sandbox.h"
#include "vmm/doctor.h"

static void check_sandbox(struct doctor *d)
{
	int rc = sandbox_probe_seccomp(), abi = sandbox_probe_landlock();

	if (rc)
		doctor_report(d, "seccomp", DOCTOR_NO, "build it with CONFIG_SECCOMP_FILTER",
			      "%s: machines need --sandbox off", strerror(-rc));
	else
		doctor_report(d, "seccomp", DOCTOR_YES, NULL, "a filter for each kind of thread");
	if (abi < 1)
		doctor_report(d, "landlock", DOCTOR_NO,
			      "build it with CONFIG_SECURITY_LANDLOCK, boot with lsm=landlock,...",
			      "%s: permissions alone keep files from the process", strerror(-abi));
	else
		doctor_report(d, "landlock", DOCTOR_YES, NULL, "version %d of its ABI", abi);
}

static const struct doctor_section sandbox_section = {"Sandbox", 3, check_sandbox};
DOCTOR_SECTION(sandbox_section);
