/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and gauges of one moment, gathered on the loop's thread and then written as "stat"
 * lines, JSON or Prometheus text. Internal to vmm/.
 */
#ifndef POSTERN_METRICS_H
#define POSTERN_METRICS_H

#include <stdbool.h>
#include <stdint.h>

struct json_out;

struct metric {
	const char *name;   /* "disk.reads": static storage */
	const char *device; /* its id, or NULL: of the machine */
	bool gauge;
	uint64_t value;
};

struct metrics {
	unsigned count, room;
	struct metric *metric;
};

/* What memory does not suffice for is left out. */
void metric_counter(struct metrics *metrics, const char *name, const char *device, uint64_t value);
void metric_gauge(struct metrics *metrics, const char *name, const char *device, uint64_t value);
void metrics_free(struct metrics *metrics);

/* A line "stat NAME VALUE" a name on standard error, devices summed. */
void metrics_print(const struct metrics *metrics);
/* An array under KEY. */
void metrics_json(const struct metrics *metrics, struct json_out *out, const char *key);
/* Prometheus text exposition format 0.0.4: postern_disk_reads_total{device="disk0"} 7 */
void metrics_prometheus(const struct metrics *metrics, struct json_out *out);

#endif
