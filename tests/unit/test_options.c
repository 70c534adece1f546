// SPDX-License-Identifier: Apache-2.0
/* The command line of postern run: values, refusals, and the table against the manual page. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/machine.h"
#include "vmm/options.h"

static int parse(struct machine_config *config, const char *const *words)
{
	char *argv[32];
	int argc = 0;

	while (words[argc]) {
		argv[argc] = (char *)(uintptr_t)words[argc];
		argc++;
	}
	machine_config_init(config);
	return options_parse(config, argc, argv);
}

#define DISK(c, n) container_of(config_device(c, &disk_option, n), const struct disk_config, dev)
#define VFIO(c, n) container_of(config_device(c, &vfio_option, n), const struct vfio_config, dev)
#define NET(c, n)  container_of(config_device(c, &net_option, n), const struct net_config, dev)

#define PARSE(config, ...) parse(config, (const char *const[]){__VA_ARGS__, NULL})

Test(options, sizes)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t bytes;
	} cases[] = {
		{"0", 0, 0},
		{"4096", 0, 4096},
		{"512M", 0, UINT64_C(512) << 20},
		{"4g", 0, UINT64_C(4) << 30},
		{"1T", 0, UINT64_C(1) << 40},
		{"0x10K", 0, 16 << 10},
		{"", -EINVAL, 0},
		{"M", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"5MB", -EINVAL, 0},
		{"5 M", -EINVAL, 0},
		{"18446744073709551616", -ERANGE, 0},
		{"16777216T", -ERANGE, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t bytes = 0;

		cr_expect_eq(parse_size(cases[i].text, &bytes), cases[i].rc, "%s", cases[i].text);
		if (!cases[i].rc)
			cr_expect_eq(bytes, cases[i].bytes, "%s", cases[i].text);
	}
}

Test(options, a_whole_command_line)
{
	struct machine_config c;

	cr_assert_eq(PARSE(&c, "--kernel", "k", "--initrd=i", "--memory", "1G,hugepages=on",
			   "--cpus", "4", "--disk", "path=a.img,readonly=on",
			   "--disk=path=b=c,iommu=on", "--vfio", "0000:01:00.0,iommu=on", "--vfio",
			   "fd=7", "--vfio", "soft=dev,iommu=on", "--iommufd", "soft", "--viommu",
			   "amd,accel=soft,features=v2", "--event-loop", "poll", "--serial",
			   "file=log", "--stats", "--net",
			   "tap=tap0,mac=02:aB:00:ff:10:01,mtu=9000,queues=2,iommu=on,id=lan",
			   "--net=fd=5:6"),
		     0);
	cr_expect_null(config_device(&c, &net_option, 2));
	cr_expect_str_eq(NET(&c, 0)->dev.source, "tap0");
	cr_expect_str_eq(NET(&c, 0)->dev.id, "lan");
	cr_expect(NET(&c, 0)->has_mac && !memcmp(NET(&c, 0)->mac, "\x02\xab\x00\xff\x10\x01", 6));
	cr_expect(NET(&c, 0)->mtu == 9000 && NET(&c, 0)->pairs == 2);
	cr_expect(!NET(&c, 0)->dev.fds && NET(&c, 0)->dev.iommu);
	cr_expect(NET(&c, 1)->dev.fds && NET(&c, 1)->fd[1] == 6 && NET(&c, 1)->pairs == 2);
	cr_expect_str_eq(NET(&c, 1)->dev.source, "fd=5");
	cr_expect(!NET(&c, 1)->has_mac && !NET(&c, 1)->dev.iommu);
	cr_expect_str_eq(c.kernel, "k");
	cr_expect_str_eq(c.initrd, "i");
	cr_expect_eq(c.memory, GIB);
	cr_expect(c.hugepages);
	cr_expect_eq(c.cpus, 4);
	cr_expect_null(config_device(&c, &disk_option, 2));
	cr_expect_str_eq(DISK(&c, 0)->dev.source, "a.img");
	cr_expect(DISK(&c, 0)->readonly && !DISK(&c, 0)->dev.iommu);
	cr_expect_str_eq(DISK(&c, 1)->dev.source, "b=c");
	cr_expect(!DISK(&c, 1)->readonly && DISK(&c, 1)->dev.iommu);
	cr_expect_null(config_device(&c, &vfio_option, 3));
	cr_expect_str_eq(VFIO(&c, 0)->dev.source, "0000:01:00.0");
	cr_expect(VFIO(&c, 0)->dev.iommu && VFIO(&c, 0)->fd == -1 && !VFIO(&c, 0)->dev.fds);
	cr_expect(VFIO(&c, 1)->dev.fds && VFIO(&c, 1)->fd == 7 && !VFIO(&c, 1)->dev.iommu);
	cr_expect(VFIO(&c, 2)->soft && VFIO(&c, 2)->fd == -1 && VFIO(&c, 2)->dev.iommu);
	cr_expect_str_eq(VFIO(&c, 2)->dev.source, "dev");
	cr_expect_eq(c.iommufd, MACHINE_IOMMUFD_SOFT);
	cr_expect(c.viommu[0].present && c.viommu[0].accel == VIOMMU_ACCEL_SOFT);
	cr_expect_eq(c.viommu[0].features, VIOMMU_FEATURES_V2);
	cr_expect_eq(c.loop, EVENT_LOOP_POLL);
	cr_expect(c.serial == SERIAL_FILE && !strcmp(c.serial_path, "log"));
	cr_expect(c.stats);
	machine_config_free(&c);
}

/* What was written to standard error since the last call. */
static long said(void)
{
	static long before;
	long end = lseek(STDERR_FILENO, 0, SEEK_END), now = end - before;

	before = end;
	return now;
}

static void stderr_to_memory(void)
{
	int fd = memfd_create("stderr", MFD_CLOEXEC);

	cr_assert_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	close(fd);
}

/* Every refusal is one line that names the option. */
Test(options, refusals, .init = stderr_to_memory)
{
	static const char *const cases[][6] = {
		{"--memory", "512M"},			      /* no kernel */
		{"--kernel"},				      /* no value */
		{"--kernel", "k", "--nonsense", "1"},	      /* unknown */
		{"--kernel", "k", "stray"},		      /* no option */
		{"--kernel", "k", "--memory", "3"},	      /* too small */
		{"--kernel", "k", "--memory", "9999999999T"}, /* wraps */
		{"--kernel", "k", "--memory", "512M,huge=on"},
		{"--kernel", "k", "--module", ""},
		{"--kernel", "k", "--module", "path="},
		{"--kernel", "k", "--module", ",cmdline=x"},
		{"--kernel", "k", "--module", "m,args=x"},
		{"--kernel", "k", "--module", "m,x,cmdline=y"},
		{"--kernel", "k", "--cpus", "0"},
		{"--kernel", "k", "--cpus", "1025"},
		{"--kernel", "k", "--cpus", "two"},
		{"--kernel", "k", "--disk", "readonly=on"},
		{"--kernel", "k", "--disk", "path="},
		{"--kernel", "k", "--disk", "a.img"},
		{"--kernel", "k", "--disk", "path=a,path=b"},
		{"--kernel", "k", "--disk", "path=a,readonly=yes"},
		{"--kernel", "k", "--disk", "path=a,color=red"},
		{"--kernel", "k", "--disk", "path=a,iommu=on"}, /* no vIOMMU */
		{"--kernel", "k", "--vfio", "iommu=on"},
		{"--kernel", "k", "--vfio", "00:03.0,fd=3"},
		{"--kernel", "k", "--vfio", "fd=-3"},
		{"--kernel", "k", "--vfio", "soft=a/b"},
		{"--kernel", "k", "--vfio", "soft="},
		{"--kernel", "k", "--vfio", "soft=a,fd=3"},
		{"--kernel", "k", "--vfio", "00:03.0,soft=a"},
		{"--kernel", "k", "--vfio", "fd=3,irq=poll"},
		{"--kernel", "k", "--vfio", "00:03.0,iommu=on"}, /* no vIOMMU */
		{"--kernel", "k", "--vfio", ""},
		{"--kernel", "k", "--vfio", ",fd=3"},
		{"--kernel", "k", "--ctl", ""},
		{"--kernel", "k", "--ctl", "fd=x"},
		{"--kernel", "k", "--net", "mtu=1500"},
		{"--kernel", "k", "--net", "tap="},
		{"--kernel", "k", "--net", "tap=a-name-too-long-for-linux"},
		{"--kernel", "k", "--net", "tap=t,fd=3"},
		{"--kernel", "k", "--net", "fd=3:"},
		{"--kernel", "k", "--net", "fd=3:x"},
		{"--kernel", "k", "--net", "fd=1:2:3:4:5:6:7:8:9"},
		{"--kernel", "k", "--net", "fd=3:4,queues=1"},
		{"--kernel", "k", "--net", "tap=t,queues=0"},
		{"--kernel", "k", "--net", "tap=t,queues=9"},
		{"--kernel", "k", "--net", "tap=t,mtu=67"},
		{"--kernel", "k", "--net", "tap=t,mtu=65536"},
		{"--kernel", "k", "--net", "tap=t,mac=02:00:00:00:00"},
		{"--kernel", "k", "--net", "tap=t,mac=02:00:00:00:00:0g"},
		{"--kernel", "k", "--net", "tap=t,mac=02:00:00:00:00:011"},
		{"--kernel", "k", "--net", "tap=t,mac=03:00:00:00:00:01"}, /* of a group */
		{"--kernel", "k", "--net", "tap=t,iommu=on"},		   /* no vIOMMU */
		{"--kernel", "k", "--net", "tap=t,segment=1"},
		{"--kernel", "k", "--rng", "off"},
		{"--kernel", "k", "--rng", "src="},
		{"--kernel", "k", "--rng", "on,rate=fast"},
		{"--kernel", "k", "--viommu", "intel"},
		{"--kernel", "k", "--viommu", "amd,accel=warp"},
		{"--kernel", "k", "--viommu", "amd,features=v3"},
		{"--kernel", "k", "--pci-segments", "0"},
		{"--kernel", "k", "--pci-segments", "17"},
		{"--kernel", "k", "--viommu", "amd,segment=16"},
		{"--kernel", "k", "--viommu", "amd,segment=1"}, /* no such segment */
		{"--kernel", "k", "--disk", "path=a,segment=1"},
		{"--kernel", "k", "--vfio", "00:03.0,segment=1"},
		{"--kernel", "k", "--disk", "path=a,segment=-1"},
		{"--kernel", "k", "--iommufd", "none"},
		{"--kernel", "k", "--event-loop", "epoll"},
		{"--kernel", "k", "--serial", "file="},
		{"--kernel", "k", "--viommu-command-nr", "0x100"},
		{"--kernel", "k", "--guest-fdt", "maybe"},
		{"--kernel", "k", "--log-level", "loud"},
		{"--kernel", "k", "--stats=1"},
		{"--kernel", "k", "--kvm", "fd=-1"},
		{"--kernel", "k", "--kvm", "3"},
		{"--kernel", "k", "--sandbox", "maybe"},
		{"--kernel", "k", "--sandbox", ""},
		{"--kernel", "k", "--sandbox", "on,path="},
		{"--kernel", "k", "--sandbox", "on,file=x"},
		{"--kernel", "k", "--sandbox", "path=/tmp"}, /* and no sandbox */
		{"--kernel", "k", "--config", "/nonexistent.dtb"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine_config c;

		cr_expect_eq(parse(&c, cases[i]), -EINVAL, "case %zu: %s %s", i, cases[i][2],
			     cases[i][3]);
		cr_expect_gt(said(), 0, "case %zu: refused without a word", i);
		machine_config_free(&c);
	}
}

Test(options, segments, .init = cr_redirect_stderr)
{
	static const char *const good[] = {"--kernel",
					   "k",
					   "--pci-segments",
					   "3",
					   "--viommu",
					   "amd,segment=2,features=v2",
					   "--disk",
					   "path=a,segment=2,iommu=on",
					   "--vfio",
					   "00:03.0,segment=1,irq=loop",
					   "--vfio",
					   "00:04.0,irq=direct",
					   NULL};
	/* A vIOMMU translates for its own segment. */
	static const char *const elsewhere[] = {
		"--kernel", "k",   "--pci-segments", "2",
		"--viommu", "amd", "--disk",	     "path=a,segment=1,iommu=on",
		NULL};
	struct machine_config c;

	cr_assert_eq(parse(&c, good), 0);
	cr_expect_eq(c.segments, 3);
	cr_expect(!c.viommu[0].present && !c.viommu[1].present && c.viommu[2].present);
	cr_expect_eq(c.viommu[2].features, VIOMMU_FEATURES_V2);
	cr_expect_eq(DISK(&c, 0)->dev.segment, 2);
	cr_expect_eq(VFIO(&c, 0)->dev.segment, 1);
	cr_expect(VFIO(&c, 0)->irq_loop && !VFIO(&c, 1)->irq_loop);
	machine_config_free(&c);
	cr_expect_eq(parse(&c, elsewhere), -EINVAL);
	machine_config_free(&c);
	cr_expect_stderr_eq_str(
		"postern: error: --disk a,segment=1,iommu=on needs an IOMMU there: add "
		"--viommu amd,segment=1\n");
}

Test(options, sandbox, .init = cr_redirect_stderr)
{
	struct machine_config c;

	cr_assert_eq(PARSE(&c, "--kernel", "k"), 0);
	cr_expect(c.sandbox == SANDBOX_DEFAULT && !c.sandbox_paths);
	machine_config_free(&c);
	cr_assert_eq(PARSE(&c, "--kernel", "k", "--sandbox", "log"), 0);
	cr_expect_eq(c.sandbox, SANDBOX_LOG);
	machine_config_free(&c);
	cr_assert_eq(PARSE(&c, "--kernel", "k", "--sandbox=off", "--sandbox", "on,path=a,path=b",
			   "--sandbox", "path=c"),
		     0);
	cr_expect_eq(c.sandbox, SANDBOX_ON);
	cr_assert_eq(c.sandbox_paths, 3);
	cr_expect_str_eq(c.sandbox_path[0], "a");
	cr_expect_str_eq(c.sandbox_path[2], "c");
	while (c.sandbox_paths < MACHINE_SANDBOX_PATHS)
		cr_assert_eq(config_set_sandbox(&c, "path=d"), 0);
	cr_expect_eq(config_set_sandbox(&c, "path=d"), -EINVAL);
	cr_expect_eq(c.sandbox_paths, MACHINE_SANDBOX_PATHS);
	machine_config_free(&c);
}

Test(options, devices_are_bounded, .init = cr_redirect_stderr)
{
	struct machine_config c;

	machine_config_init(&c);
	for (int i = 0; i < MACHINE_DEVICES_MAX; i++)
		cr_assert_eq(config_add_device(&c, &disk_option, "path=x"), 0);
	cr_expect_eq(config_add_device(&c, &disk_option, "path=x"), -EINVAL);
	cr_expect_null(config_device(&c, &disk_option, MACHINE_DEVICES_MAX));
	for (int i = 0; i < GUEST_MODULES_MAX; i++)
		cr_assert_eq(config_add_module(&c, "x,cmdline=a,path=b"), 0);
	cr_expect_eq(config_add_module(&c, "x"), -EINVAL);
	cr_expect_eq(c.modules, GUEST_MODULES_MAX);
	cr_expect_str_eq(c.module[0].path, "x");
	cr_expect_str_eq(c.module[0].cmdline, "a,path=b");
	machine_config_free(&c);
}

/* What the control socket may ask for: no descriptors, and only places that there are. */
Test(options, devices_that_come_later, .init = cr_redirect_stderr)
{
	struct device_config *dev = NULL;
	struct machine_config c;

	machine_config_init(&c);
	cr_assert_eq(config_parse_device(&c, &net_option, "tap=t,id=lan,queues=2", &dev), 0);
	cr_expect(dev->option == &net_option && !strcmp(dev->id, "lan") && !c.devices);
	config_free_device(dev);
	cr_expect_eq(config_parse_device(&c, &net_option, "fd=0", &dev), -EINVAL);
	cr_expect_eq(config_parse_device(&c, &vfio_option, "fd=0", &dev), -EINVAL);
	cr_expect_eq(config_parse_device(&c, &net_option, "tap=t,iommu=on", &dev), -EINVAL);
	cr_expect_eq(config_parse_device(&c, &disk_option, "path=a,segment=1", &dev), -EINVAL);
	cr_expect_eq(config_parse_device(&c, &disk_option, "", &dev), -EINVAL);
	machine_config_free(&c);
}

/* The manual has every option of the table with the same argument, and none besides. */
Test(options, manual_agrees)
{
	FILE *f = fopen("docs/man/postern-run.1.scd", "re");
	char line[256];
	unsigned in_manual = 0, in_table = 0;

	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f)) {
		char plain[256];
		size_t n = 0;
		bool found = false;

		if (strncmp(line, "*--", 3))
			continue;
		for (const char *p = line; *p && *p != '\n'; p++) {
			if (*p != '*' && *p != '_')
				plain[n++] = *p;
		}
		plain[n] = '\0';
		in_manual++;
		for (const struct option_def *o = run_options; o->name; o++) {
			char want[256];

			snprintf(want, sizeof(want), "--%s%s%s", o->name, o->argument ? " " : "",
				 o->argument ? o->argument : "");
			found = found || !strcmp(want, plain);
		}
		cr_expect(found, "the manual's \"%s\" is not in the table", plain);
	}
	fclose(f);
	for (const struct option_def *o = run_options; o->name; o++)
		in_table++;
	cr_expect_eq(in_manual, in_table);
}
