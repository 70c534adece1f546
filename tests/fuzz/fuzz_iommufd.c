// SPDX-License-Identifier: Apache-2.0
/* The soft iommufd's ioctl stream. */
#include "tests/fuzz/ioctls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct ioctls f;

	ioctls_open(&f, IOMMUFD_SOFT_FULL, input_u8(&in));
	while (in.left) {
		if (input_pick(&in, 4))
			ioctl_op_call(&f, &in);
		else
			ioctl_op_other(&f, &in);
	}
	ioctls_close(&f);
	return 0;
}
