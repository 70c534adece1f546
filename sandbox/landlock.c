// SPDX-License-Identifier: Apache-2.0
/*
 * Landlock (Linux Documentation/userspace-api/landlock.rst): no file, TCP port or abstract socket
 * can be opened any more, but for the paths that the configuration names. What is open already
 * stays usable.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "postern/bits.h"
#include "postern/log.h"
#include "sandbox/internal.h"

/* Numbers and structures that older headers lack, or have without the last members. */
#define LANDLOCK_CREATE_RULESET 444
#define LANDLOCK_ADD_RULE	445
#define LANDLOCK_RESTRICT_SELF	446
#define RULESET_VERSION		1u
#define RULE_PATH_BENEATH	1

#define FS_EXECUTE     BIT(0)
#define FS_WRITE_FILE  BIT(1)
#define FS_READ_FILE   BIT(2)
#define FS_READ_DIR    BIT(3)
#define FS_REMOVE_FILE BIT(5)
#define FS_IOCTL_DEV   BIT(15)
#define NET_ALL	       GENMASK(1, 0) /* bind, connect */
#define SCOPE_ALL      GENMASK(1, 0) /* abstract sockets, signals */

struct ruleset_attr {
	uint64_t fs, net, scope;
};

struct __attribute__((packed)) path_beneath {
	uint64_t allowed;
	int32_t fd;
};

_Static_assert(sizeof(struct ruleset_attr) == 24, "struct landlock_ruleset_attr of ABI 6");
_Static_assert(sizeof(struct path_beneath) == 12, "struct landlock_path_beneath_attr");

/* By version of the ABI; the kernel refuses what it does not know. */
static uint64_t known_rights(int abi)
{
	if (abi >= 5)
		return GENMASK(15, 0);
	if (abi >= 3)
		return GENMASK(14, 0); /* truncate */
	return abi >= 2 ? GENMASK(13, 0) : GENMASK(12, 0);
}

static uint64_t rights(unsigned access, bool directory)
{
	uint64_t fs = 0;

	if (access & (SANDBOX_READ | SANDBOX_WRITE))
		fs |= FS_READ_FILE | (directory ? FS_READ_DIR : 0);
	if (access & SANDBOX_WRITE)
		fs |= FS_WRITE_FILE | FS_IOCTL_DEV;
	if (access & SANDBOX_REMOVE)
		fs |= FS_REMOVE_FILE;
	return fs;
}

static int allow(int ruleset, const struct sandbox_path *path, uint64_t known)
{
	struct path_beneath rule = {.fd = open(path->path, O_PATH | O_CLOEXEC)};
	struct stat st;
	int rc = 0;

	if (rule.fd < 0 || fstat(rule.fd, &st)) {
		rc = -errno;
	} else {
		rule.allowed = rights(path->access, S_ISDIR(st.st_mode)) & known;
		if (syscall(LANDLOCK_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0))
			rc = -errno;
	}
	if (rule.fd >= 0)
		close(rule.fd);
	if (rc && path->access & SANDBOX_MAYBE)
		return 0;
	if (rc)
		log_error("sandbox: path %s: %s", path->path, strerror(-rc));
	return rc;
}

int sandbox_probe_landlock(void)
{
	int abi = (int)syscall(LANDLOCK_CREATE_RULESET, NULL, 0, RULESET_VERSION);

	return abi < 0 ? -errno : abi;
}

int landlock_enter(const struct sandbox_config *config)
{
	int abi = sandbox_probe_landlock(), ruleset;
	struct ruleset_attr attr = {
		.fs = known_rights(abi),
		.net = NET_ALL,
		.scope = SCOPE_ALL,
	};
	size_t size = abi >= 6 ? sizeof(attr) : abi >= 4 ? 16 : 8;
	int rc = 0;

	/* ENOSYS: not built; EOPNOTSUPP: not among lsm= */
	if (abi < 1)
		return -EOPNOTSUPP;
	ruleset = (int)syscall(LANDLOCK_CREATE_RULESET, &attr, size, 0);
	if (ruleset < 0) {
		rc = -errno;
		log_error("sandbox: Landlock: %s", strerror(-rc));
		return rc;
	}
	for (unsigned i = 0; !rc && i < config->paths; i++)
		rc = allow(ruleset, &config->path[i], attr.fs);
	if (!rc && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0))) {
		rc = -errno;
		log_error("sandbox: Landlock: %s", strerror(-rc));
	}
	close(ruleset);
	return rc;
}
