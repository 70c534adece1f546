// SPDX-License-Identifier: Apache-2.0
/* Capabilities, and how others may look into the process. */
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "postern/bits.h"
#include "postern/log.h"
#include "sandbox/internal.h"

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT		 47
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

static int capabilities(int call, struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3])
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	return syscall(call, &header, data) ? -errno : 0;
}

static bool has(const struct __user_cap_data_struct *data, unsigned capability)
{
	return data[capability / 32].effective & (uint32_t)BIT(capability % 32);
}

/*
 * Guest RAM that is pinned for a device does not count against RLIMIT_MEMLOCK with CAP_IPC_LOCK;
 * devices come later, too, so that what the capability gave stays as a limit.
 */
static void keep_locked_memory(const struct __user_cap_data_struct *data)
{
	const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};

	if (has(data, CAP_IPC_LOCK) && has(data, CAP_SYS_RESOURCE))
		setrlimit(RLIMIT_MEMLOCK, &none);
}

static void drop_bounding_set(void)
{
	/* Up to the last that this kernel knows. */
	for (int i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
		prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
}

int privileges_drop(void)
{
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	const struct rlimit no_core = {0};
	int rc = capabilities(SYS_capget, data);

	if (rc)
		goto out;
	keep_locked_memory(data);
	/* It takes a capability; where that is missing, the others are missing as well. */
	if (has(data, CAP_SETPCAP))
		drop_bounding_set();
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	memset(data, 0, sizeof(data));
	rc = capabilities(SYS_capset, data);
	if (rc)
		goto out;
	/* A core would hold the guest's memory; and what runs as the same user cannot attach. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ||
	    setrlimit(RLIMIT_CORE, &no_core))
		rc = -errno;
out:
	if (rc)
		log_error("sandbox: privileges: %s", strerror(-rc));
	return rc;
}
