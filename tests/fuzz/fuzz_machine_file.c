// SPDX-License-Identifier: Apache-2.0
/* Machine descriptions: flattened device trees of any bytes. What is refused has said why. */
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/options_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct machine_config config;
	char path[32];
	int fd = memfd_create("fuzz", MFD_CLOEXEC), ret;

	require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	machine_config_init(&config);
	fuzz_messages();
	ret = machine_file_read(&config, path);
	require(ret <= 0 && (!ret || fuzz_messages()), "refused (%d) without a word", ret);
	config_check(&config, !ret);
	machine_config_free(&config);
	close(fd);
	return 0;
}
