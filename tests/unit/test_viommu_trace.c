// SPDX-License-Identifier: Apache-2.0
/* --trace viommu: the lines, the histogram, and the option. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "iommufd/uapi.h"
#include "vmm/machine.h"
#include "vmm/options.h"
#include "vmm/viommu_trace.h"

static char path[] = "/tmp/postern-trace-XXXXXX";
static char text[16384];

static struct viommu_trace *open_trace(void)
{
	struct viommu_trace *trace;
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(viommu_trace_new(path, &trace), 0);
	return trace;
}

static void close_trace(struct viommu_trace *trace)
{
	FILE *f;

	viommu_trace_free(trace);
	f = fopen(path, "re");
	cr_assert_not_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	unlink(path);
}

static bool has(const char *line)
{
	const char *at = strstr(text, line);

	return at && (at == text || at[-1] == '\n') && at[strlen(line)] == '\n';
}

Test(viommu_trace, lines_and_histogram)
{
	struct viommu_trace *trace = open_trace();

	viommu_trace_command(trace, false, 0x18, 0x1005, 0, 100);
	viommu_trace_command(trace, false, 0x18, 0x1007, 0, 127);
	viommu_trace_command(trace, false, 0x18, 5, -EINVAL, 128);
	viommu_trace_command(trace, true, 0x2000, UINT64_MAX, 0, 0);
	close_trace(trace);
	cr_expect(has("trace viommu set 0x0018 0x0000000000001005 0 100"), "%s", text);
	cr_expect(has("trace viommu set 0x0018 0x0000000000000005 -22 128"), "%s", text);
	cr_expect(has("trace viommu get 0x2000 0xffffffffffffffff 0 0"), "%s", text);
	cr_expect(has("trace viommu histogram set 0x0018 count 3 errors 1 shortest 100 longest 128 "
		      "ns 128:2 256:1"),
		  "%s", text);
	cr_expect(has("trace viommu histogram get 0x2000 count 1 errors 0 shortest 0 longest 0 "
		      "ns 1:1"),
		  "%s", text);
}

/* More kinds than there is room for, and times off every scale. */
Test(viommu_trace, has_bounds)
{
	struct viommu_trace *trace = open_trace();

	for (unsigned i = 0; i < 100; i++)
		viommu_trace_command(trace, false, (uint16_t)(i * 8), 0, 0, UINT64_MAX);
	close_trace(trace);
	cr_expect(has("trace viommu histogram others count 36"), "%s", text);
	cr_expect(strstr(text, " 549755813888:1\n"), "%s", text);
}

/* What a context carries, it reports: with the value that came back, and the refusals. */
Test(viommu_trace, sees_the_calls_of_a_context)
{
	struct viommu_trace *trace = open_trace();
	struct guest_memory memory = {0};
	struct iommufd *ctx;
	uint64_t value;

	cr_assert_eq(iommufd_open_soft(&ctx, &memory), 0);
	iommufd_viommu_command_trace(ctx, viommu_trace_command, trace);
	cr_expect_eq(iommufd_viommu_command_set(ctx, 77, 0x170, 9), -ENOENT);
	cr_expect_eq(iommufd_viommu_command_get(ctx, 77, 0x18, &value), -ENOENT);
	iommufd_viommu_command_trace(ctx, NULL, NULL);
	cr_expect_eq(iommufd_viommu_command_set(ctx, 77, 0x178, 9), -ENOENT);
	iommufd_close(ctx);
	close_trace(trace);
	cr_expect(strstr(text, "trace viommu set 0x0170 0x0000000000000009 -2 "), "%s", text);
	cr_expect(strstr(text, "trace viommu get 0x0018 0x0000000000000000 -2 "), "%s", text);
	cr_expect(!strstr(text, "0x0178"), "%s", text);
}

Test(viommu_trace, the_option)
{
	static const char *const wrong[] = {"", "viommu=", "viommux", "vio", "=x", "pci"};
	struct machine_config config;

	machine_config_init(&config);
	cr_expect_eq(config_set_trace(&config, "viommu=/a=b"), 0);
	cr_expect(config.trace_viommu);
	cr_expect_str_eq(config.trace_viommu_path, "/a=b");
	cr_expect_eq(config_set_trace(&config, "viommu"), 0);
	cr_expect_null(config.trace_viommu_path);
	cr_redirect_stderr();
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		cr_expect_eq(config_set_trace(&config, wrong[i]), -EINVAL, "%s", wrong[i]);
	machine_config_free(&config);
}

Test(viommu_trace, a_file_that_cannot_be_written_is_said)
{
	struct viommu_trace *trace;

	cr_redirect_stderr();
	cr_expect_eq(viommu_trace_new("/nonexistent/file", &trace), -ENOENT);
}
