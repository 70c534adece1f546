/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of `postern run`, from one table: what parses it also prints --help, and a test
 * holds the manual page against it. Internal to vmm/.
 */
#ifndef POSTERN_OPTIONS_H
#define POSTERN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device_config;
struct device_option;
struct machine_config;

struct option_def {
	const char *name;     /* without the dashes */
	const char *argument; /* what --help shows, or NULL for a flag */
	const char *help;
	/* 0 or -EINVAL after one line that names the option; VALUE is NULL for a flag.
	 * NULL: the option is a device's, or --help. */
	int (*set)(struct machine_config *config, const char *value);
};

/* Ends with a NULL name. */
extern const struct option_def run_options[];

/* Parse argv after "run". 0; 1 when --help was printed; -EINVAL after one clear line. */
int options_parse(struct machine_config *config, int argc, char **argv);
void options_help(void);

/* "512M", "4G", "1T", plain bytes: to bytes. -EINVAL, -ERANGE. */
int parse_size(const char *text, uint64_t *bytes);
/* "on" or "off". */
int parse_switch(const char *text, bool *value);
/* The number of a PCI segment, of those that there can be. */
int parse_segment(const char *text, unsigned *segment);
/* The number of a descriptor. */
int parse_fd(const char *text, int *fd);
/* An unsigned number, decimal or 0x, at most MAX. */
int parse_number(const char *text, uint64_t max, uint64_t *value);

struct option_key {
	const char *name;
	int (*set)(void *target, const char *value);
};

/*
 * "value,key=value,key=value" into TARGET. WHAT names the option in messages. KEYS ends with a NULL
 * name; BARE takes a leading part without "="; NULL where there must be none.
 */
int parse_keys(const char *what, const char *text, void *target, const struct option_key *keys,
	       int (*bare)(void *target, const char *value));

/* An option that gives the machine a device; the device's kind has the same name. */
struct device_option {
	const char *name;
	const char *symbol;   /* of Kconfig, without CONFIG_ */
	const char *source;   /* which keys name what it shows, for messages */
	const char *standard; /* source of a device for which none is given; may be NULL */
	size_t size;	      /* of its configuration, which begins with a struct device_config */
	const struct option_key *keys;
	int (*bare)(void *target, const char *value); /* see parse_keys() */
	/* Before the keys, which change what it sets. May be NULL. */
	void (*init)(struct device_config *dev);
	/* After them: 0 or -EINVAL after saying why. May be NULL. */
	int (*check)(const struct device_config *dev, const char *text);
};

extern const struct device_option disk_option, net_option, rng_option, vfio_option;
/* By its name; NULL where there is none. */
const struct device_option *device_option_find(const char *name);

/* The keys that all devices have, for a struct device_option's. */
#define DEVICE_KEYS                                                                                \
	{"iommu", device_iommu}, {"id", device_id}, {"segment", device_segment},                   \
	{                                                                                          \
		NULL, NULL                                                                         \
	}
int device_iommu(void *target, const char *value);
int device_id(void *target, const char *value);
int device_segment(void *target, const char *value);
/* The one source of a device. 0, or -EPERM after saying why. */
int device_source(struct device_config *dev, const char *value);
/* The same for a descriptor of this process. -EINVAL and -ERANGE as parse_number(). */
int device_fd(struct device_config *dev, const char *value, int *fd);

/* What both the command line and a machine file set. Each says what is wrong and returns -EINVAL.
 */
/* OPTION's WHAT is to be in SEGMENT, behind its IOMMU or not: whether there are these. */
int config_check_place(const struct machine_config *config, const char *option, const char *what,
		       unsigned segment, bool iommu);
int config_add_device(struct machine_config *config, const struct device_option *option,
		      const char *text);
/* A device of OPTION from the control socket: not yet part of CONFIG; for config_free_device(). */
int config_parse_device(const struct machine_config *config, const struct device_option *option,
			const char *text, struct device_config **dev);
void config_free_device(struct device_config *dev);
/* The Nth device of OPTION, or NULL. */
const struct device_config *config_device(const struct machine_config *config,
					  const struct device_option *option, unsigned n);
int config_add_disk(struct machine_config *config, const char *text);
/* "FILE[,cmdline=TEXT]", with or without "path=" before; TEXT goes to the end, commas and all. */
int config_add_module(struct machine_config *config, const char *text);
int config_add_net(struct machine_config *config, const char *text);
int config_add_vfio(struct machine_config *config, const char *text);
int config_set_viommu(struct machine_config *config, const char *text);
int config_set_memory(struct machine_config *config, const char *text);
int config_set_serial(struct machine_config *config, const char *text);
int config_set_segments(struct machine_config *config, const char *text);
int config_set_cpus(struct machine_config *config, const char *text);
int config_set_event_loop(struct machine_config *config, const char *text);
int config_set_iommufd(struct machine_config *config, const char *text);
/* The value of --viommu-command-nr. -EINVAL after saying why. */
int parse_command_nr(const char *text, unsigned *nr);
int config_set_sandbox(struct machine_config *config, const char *text);
int config_set_trace(struct machine_config *config, const char *text);
int config_set_string(char **field, const char *text);

/* Read a machine description (.dtb, or .dts through dtc); files in it are relative to it. */
int machine_file_read(struct machine_config *config, const char *path);

#endif
