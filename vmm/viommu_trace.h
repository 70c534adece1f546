/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --trace viommu: every VIOMMU_COMMAND as a line of text, and a histogram of them at the end.
 */
#ifndef POSTERN_VIOMMU_TRACE_H
#define POSTERN_VIOMMU_TRACE_H

#include "iommufd/iommufd.h"

struct viommu_trace;

/* To PATH, which is replaced, or standard error where it is NULL. -errno, said why. */
int viommu_trace_new(const char *path, struct viommu_trace **trace);
/* Writes the histogram. */
void viommu_trace_free(struct viommu_trace *trace);
/* An iommufd_viommu_trace_fn; any thread. */
void viommu_trace_command(void *trace, bool get, uint16_t index, uint64_t value, int rc,
			  uint64_t ns);

#endif
