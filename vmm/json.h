/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON (RFC 8259) of the control socket: a request is one flat object of strings, numbers and
 * literals, a reply is whatever is written. Strict in what it takes, for anybody may write to a
 * socket; a library would bring nesting, floating point and a heap that nothing here needs.
 * Internal to vmm/.
 */
#ifndef POSTERN_JSON_H
#define POSTERN_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MEMBERS_MAX 16u

enum json_type { JSON_STRING, JSON_NUMBER, JSON_BOOL, JSON_NULL };

struct json_member {
	const char *key;
	enum json_type type;
	const char *string; /* JSON_STRING */
	bool whole;	    /* JSON_NUMBER: a whole number from 0 to 2^53, in NUMBER */
	uint64_t number;
	bool truth; /* JSON_BOOL */
};

struct json_object {
	unsigned count;
	struct json_member member[JSON_MEMBERS_MAX];
};

/*
 * Parse TEXT of LEN bytes in place: strings are decoded where they stand and end with a zero, so
 * that TEXT must have room for one byte more. No member twice, no nesting, nothing behind the
 * object, valid UTF-8, no \u0000. -EINVAL with *WHY a phrase that says what is wrong.
 */
int json_parse(char *text, size_t len, struct json_object *object, const char **why);
const struct json_member *json_find(const struct json_object *object, const char *key);

/* ---- writing ---- */

/* Grows as needed up to LIMIT; what does not fit sets FULL. */
struct json_out {
	char *buf;
	size_t len, size, limit;
	bool full, comma;
};

void json_out_init(struct json_out *out, size_t limit);
void json_out_free(struct json_out *out);
/* KEY is NULL for the outermost value and inside arrays. */
void json_open(struct json_out *out, const char *key, char bracket);
void json_close(struct json_out *out, char bracket);
/* VALUE that is not UTF-8 comes out with U+FFFD in place of what is wrong. */
void json_string(struct json_out *out, const char *key, const char *value);
void json_number(struct json_out *out, const char *key, uint64_t value);
void json_bool(struct json_out *out, const char *key, bool value);
/* As they are. */
void json_raw(struct json_out *out, const char *bytes, size_t len);
void json_text(struct json_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
