// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "postern/bits.h"
#include "vmm/machine.h"
#include "vmm/options.h"
#include "vmm/viommu_trace.h"

/* A register each, and with room to spare: the front end has two dozen. */
#define KINDS_MAX 64
/* Bucket N counts those of less than 2^N ns; the last one all that are longer too. */
#define BUCKETS 40

struct kind {
	bool get;
	uint16_t index;
	uint64_t count, errors, shortest, longest;
	uint64_t bucket[BUCKETS];
};

struct viommu_trace {
	FILE *out;
	pthread_mutex_t lock;
	struct unit {
		unsigned kinds;
		struct kind kind[KINDS_MAX];
		uint64_t uncounted; /* of further kinds */
	} unit[MACHINE_SEGMENTS_MAX];
};

int config_set_trace(struct machine_config *config, const char *text)
{
	static const char name[] = "viommu";
	const char *path = strchr(text, '=');
	size_t len = path ? (size_t)(path - text) : strlen(text);

	if (len != strlen(name) || strncmp(text, name, len) != 0 || (path && !path[1])) {
		log_error("--trace %s: must be viommu or viommu=FILE", text);
		return -EINVAL;
	}
	config->trace_viommu = true;
	free(config->trace_viommu_path);
	config->trace_viommu_path = NULL;
	return path ? config_set_string(&config->trace_viommu_path, path + 1) : 0;
}

int viommu_trace_new(const char *path, struct viommu_trace **out)
{
	struct viommu_trace *trace = calloc(1, sizeof(*trace));

	if (!trace)
		return -ENOMEM;
	trace->out = path ? fopen(path, "we") : stderr;
	if (!trace->out) {
		int rc = -errno;

		log_error("--trace viommu=%s: cannot write it: %s", path, strerror(-rc));
		free(trace);
		return rc;
	}
	pthread_mutex_init(&trace->lock, NULL);
	*out = trace;
	return 0;
}

static struct kind *find_kind(struct unit *unit, bool get, uint16_t index)
{
	struct kind *kind;

	for (unsigned i = 0; i < unit->kinds; i++) {
		kind = &unit->kind[i];
		if (kind->get == get && kind->index == index)
			return kind;
	}
	if (unit->kinds == KINDS_MAX)
		return NULL;
	kind = &unit->kind[unit->kinds++];
	*kind = (struct kind){.get = get, .index = index, .shortest = UINT64_MAX};
	return kind;
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned bits = ns ? 64 - (unsigned)__builtin_clzll(ns) : 0;

	return bits < BUCKETS ? bits : BUCKETS - 1;
}

static const char *operation(bool get)
{
	return get ? "get" : "set";
}

/* "viommu", "viommu1", "viommu2"... */
static const char *unit_name(unsigned unit, char name[static 20])
{
	if (unit)
		snprintf(name, 20, "viommu%u", unit);
	else
		snprintf(name, 20, "viommu");
	return name;
}

void viommu_trace_unit_command(struct viommu_trace *trace, unsigned number, bool get,
			       uint16_t index, uint64_t value, int rc, uint64_t ns)
{
	struct unit *unit = &trace->unit[number];
	struct kind *kind;
	char name[20];

	unit_name(number, name);
	pthread_mutex_lock(&trace->lock);
	fprintf(trace->out, "trace %s %s 0x%04x 0x%016llx %d %llu\n", name, operation(get), index,
		(unsigned long long)value, rc, (unsigned long long)ns);
	kind = find_kind(unit, get, index);
	if (kind) {
		kind->count++;
		kind->errors += rc != 0;
		if (ns < kind->shortest)
			kind->shortest = ns;
		if (ns > kind->longest)
			kind->longest = ns;
		kind->bucket[bucket_of(ns)]++;
	} else {
		unit->uncounted++;
	}
	pthread_mutex_unlock(&trace->lock);
}

void viommu_trace_command(void *trace, bool get, uint16_t index, uint64_t value, int rc,
			  uint64_t ns)
{
	viommu_trace_unit_command(trace, 0, get, index, value, rc, ns);
}

static void print_kind(FILE *out, const char *name, const struct kind *kind)
{
	fprintf(out,
		"trace %s histogram %s 0x%04x count %llu errors %llu shortest %llu longest "
		"%llu "
		"ns",
		name, operation(kind->get), kind->index, (unsigned long long)kind->count,
		(unsigned long long)kind->errors, (unsigned long long)kind->shortest,
		(unsigned long long)kind->longest);
	for (unsigned i = 0; i < BUCKETS; i++) {
		if (kind->bucket[i])
			fprintf(out, " %llu:%llu", 1ull << i, (unsigned long long)kind->bucket[i]);
	}
	fputc('\n', out);
}

static void print_unit(FILE *out, unsigned number, const struct unit *unit)
{
	char name[20];

	unit_name(number, name);
	for (unsigned i = 0; i < unit->kinds; i++)
		print_kind(out, name, &unit->kind[i]);
	if (unit->uncounted)
		fprintf(out, "trace %s histogram others count %llu\n", name,
			(unsigned long long)unit->uncounted);
}

void viommu_trace_free(struct viommu_trace *trace)
{
	int failed;

	if (!trace)
		return;
	for (unsigned i = 0; i < MACHINE_SEGMENTS_MAX; i++)
		print_unit(trace->out, i, &trace->unit[i]);
	failed = ferror(trace->out) | fflush(trace->out);
	if (trace->out != stderr)
		failed |= fclose(trace->out);
	if (failed)
		log_error("--trace viommu: not all of it could be written: is the disk full?");
	pthread_mutex_destroy(&trace->lock);
	free(trace);
}
