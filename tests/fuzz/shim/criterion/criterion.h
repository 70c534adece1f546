/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checks of the unit tests' fixtures, for programs without Criterion: what does not hold
 * aborts, which is what a fuzzer looks for.
 */
#ifndef POSTERN_FUZZ_CRITERION_H
#define POSTERN_FUZZ_CRITERION_H

#include "tests/fuzz/fuzz.h"

#define cr_assert	      require
#define cr_assert_not(a, ...) require(!(a), __VA_ARGS__)

#define cr_assert_eq(a, b, ...)	 require((a) == (b), __VA_ARGS__)
#define cr_assert_neq(a, b, ...) require((a) != (b), __VA_ARGS__)
#define cr_assert_lt(a, b, ...)	 require((a) < (b), __VA_ARGS__)

#define cr_assert_null(a, ...)	   require(!(a), __VA_ARGS__)
#define cr_assert_not_null(a, ...) require(a, __VA_ARGS__)
#define cr_assert_fail(...)	   require(false, __VA_ARGS__)

#endif
