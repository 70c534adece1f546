// SPDX-License-Identifier: Apache-2.0
/*
 * Runs when postern is built: prints the filters of table.h as C. libseccomp turns rules into BPF,
 * so that postern itself needs neither it nor the time, and can be linked with any C library.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sandbox/table.h"

#define CALLS 512 /* more than there are */

static const char *const name[SANDBOX_THREADS] = {
	[SANDBOX_SETUP] = "setup",
	[SANDBOX_LOOP] = "loop",
	[SANDBOX_LOOP_HOTPLUG] = "loop_hotplug",
	[SANDBOX_VCPU] = "vcpu",
	[SANDBOX_SIGNALS] = "signals",
};

static int add_rule(scmp_filter_ctx ctx, const struct sandbox_rule *rule)
{
	uint32_t action = rule->error ? SCMP_ACT_ERRNO((uint32_t)rule->error) : SCMP_ACT_ALLOW;
	struct scmp_arg_cmp test = {
		.arg = rule->arg,
		.op = SCMP_CMP_MASKED_EQ,
		.datum_a = rule->mask,
		.datum_b = rule->value,
	};

	return seccomp_rule_add_exact_array(ctx, action, rule->nr, rule->mask ? 1 : 0, &test);
}

static int add_rules(scmp_filter_ctx ctx, unsigned thread)
{
	for (size_t i = 0; i < ARRAY_SIZE(sandbox_table); i++) {
		const struct sandbox_rule *rule = &sandbox_table[i];
		int rc = sandbox_rule_of(rule, thread) ? add_rule(ctx, rule) : 0;

		if (rc) {
			fprintf(stderr, "sandbox/table.h: rule %zu (call %d) of %s: %s\n", i,
				rule->nr, name[thread], strerror(-rc));
			return rc;
		}
	}
	return 0;
}

static int print_program(scmp_filter_ctx ctx, const char *of)
{
	int fd = memfd_create("filter", MFD_CLOEXEC), rc;
	struct sock_filter insn;

	if (fd < 0)
		return -errno;
	rc = seccomp_export_bpf(ctx, fd);
	if (!rc && lseek(fd, 0, SEEK_SET))
		rc = -errno;
	printf("\nstatic const struct sock_filter %s[] = {\n", of);
	while (!rc && read(fd, &insn, sizeof(insn)) == sizeof(insn))
		printf("\t{%#x, %u, %u, %#x},\n", insn.code, insn.jt, insn.jf, insn.k);
	printf("};\n");
	close(fd);
	return rc;
}

static int print_filter(unsigned thread)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
	int rc = ctx ? 0 : -ENOMEM;

	/* Calls of the 32-bit and x32 ABIs, too. */
	if (!rc)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_TRAP);
	/* A tree of call numbers in place of a list. */
	if (!rc)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!rc)
		rc = add_rules(ctx, thread);
	if (!rc)
		rc = print_program(ctx, name[thread]);
	if (ctx)
		seccomp_release(ctx);
	return rc;
}

static void print_names(void)
{
	printf("\nconst char *sandbox_call_name(unsigned nr)\n{\n"
	       "\tstatic const char *const names[] = {\n");
	for (int nr = 0; nr < CALLS; nr++) {
		char *call = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, nr);

		if (call)
			printf("\t\t[%d] = \"%s\",\n", nr, call);
		free(call);
	}
	printf("\t};\n\n\treturn nr < sizeof(names) / sizeof(names[0]) ? names[nr] : NULL;\n}\n");
}

int main(void)
{
	printf("/* Made by sandbox/generate.c from sandbox/table.h. */\n"
	       "#include <stddef.h>\n\n#include \"sandbox/internal.h\"\n");
	for (unsigned thread = 0; thread < SANDBOX_THREADS; thread++) {
		int rc = print_filter(thread);

		if (rc) {
			fprintf(stderr, "sandbox: the filter of %s: %s\n", name[thread],
				strerror(-rc));
			return 1;
		}
	}
	printf("\nconst struct sandbox_filter sandbox_filters[SANDBOX_THREADS] = {\n");
	for (unsigned thread = 0; thread < SANDBOX_THREADS; thread++)
		printf("\t{%s, sizeof(%s) / sizeof(%s[0])},\n", name[thread], name[thread],
		       name[thread]);
	printf("};\n");
	print_names();
	return ferror(stdout) || fflush(stdout) ? 1 : 0;
}
