/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of `postern run`, from one table: what parses it also prints --help, and a test
 * holds the manual page against it. Internal to vmm/.
 */
#ifndef POSTERN_OPTIONS_H
#define POSTERN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct disk_config;
struct machine_config;
struct vfio_config;

struct option_def {
	const char *name;     /* without the dashes */
	const char *argument; /* what --help shows, or NULL for a flag */
	const char *help;
	/* 0 or -EINVAL after one line that names the option; VALUE is NULL for a flag. */
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

/* What both the command line and a machine file set. Each says what is wrong and returns -EINVAL.
 */
int config_parse_disk(struct disk_config *disk, const char *text);
int config_parse_vfio(struct vfio_config *vfio, const char *text);
/* OPTION's WHAT is to be in SEGMENT, behind its IOMMU or not: whether there are these. */
int config_check_place(const struct machine_config *config, const char *option, const char *what,
		       unsigned segment, bool iommu);
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
int config_set_trace(struct machine_config *config, const char *text);
int config_set_string(char **field, const char *text);

/* Read a machine description (.dtb, or .dts through dtc); files in it are relative to it. */
int machine_file_read(struct machine_config *config, const char *path);

#endif
