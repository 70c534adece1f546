// SPDX-License-Identifier: Apache-2.0
/* The JSON of the control socket: what is taken is written and read again as the same. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "vmm/json.h"

/* An object of the same members. */
static void write_object(struct json_out *out, const struct json_object *object)
{
	json_open(out, NULL, '{');
	for (unsigned i = 0; i < object->count; i++) {
		const struct json_member *m = &object->member[i];

		if (m->type == JSON_STRING)
			json_string(out, m->key, m->string);
		else if (m->type == JSON_NUMBER)
			json_number(out, m->key, m->whole ? m->number : 0);
		else
			json_bool(out, m->key, m->type == JSON_BOOL && m->truth);
	}
	json_close(out, '}');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *again;
	struct json_object object, second;
	const char *why = NULL;
	struct json_out out;

	require(text);
	if (size)
		memcpy(text, data, size);
	if (json_parse(text, size, &object, &why)) {
		require(why && *why, "refused without a word");
		free(text);
		return 0;
	}
	json_out_init(&out, 1 << 20);
	write_object(&out, &object);
	require(!out.full && (again = malloc(out.len + 1)));
	memcpy(again, out.buf, out.len);
	require(!json_parse(again, out.len, &second, &why), "%.*s: %s", (int)out.len, out.buf, why);
	require(object.count == second.count);
	for (unsigned i = 0; i < object.count; i++) {
		const struct json_member *a = &object.member[i];
		const struct json_member *b = json_find(&second, a->key);

		require(b, "%s is lost", a->key);
		if (a->type == JSON_STRING)
			require(b->type == JSON_STRING && !strcmp(a->string, b->string));
		if (a->type == JSON_NUMBER && a->whole)
			require(b->whole && a->number == b->number);
	}
	json_out_free(&out);
	free(again);
	free(text);
	return 0;
}
