// SPDX-License-Identifier: Apache-2.0
/* The control socket's JSON: what is taken, what is refused, and what is written. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "postern/bits.h"
#include "vmm/json.h"

/* On the heap with no byte to spare, for the sanitizers. */
static char *copy_of(const char *text, size_t len)
{
	char *copy = malloc(len + 1);

	cr_assert_not_null(copy);
	memcpy(copy, text, len);
	copy[len] = '#';
	return copy;
}

static int parse(const char *text, size_t len, struct json_object *object, char **copy)
{
	const char *why = NULL;
	int rc;

	*copy = copy_of(text, len);
	rc = json_parse(*copy, len, object, &why);
	cr_expect_eq(!rc, !why, "%.*s: %s", (int)len, text, why ? why : "no reason");
	return rc;
}

Test(json, members)
{
	static const char text[] =
		" { \"s\" : \"a\\n\\\"\\\\\\/\\u00e9\\ud83d\\ude00\xc3\xa9\" ,\t"
		"\"n\":42,\"z\":0,\"neg\":-1,\"frac\":1.5e3,\"big\":9007199254740992,"
		"\"huge\":9007199254740993,\"t\":true,\"f\":false,\"0\":null } \r";
	struct json_object o;
	char *copy;

	cr_assert_eq(parse(text, sizeof(text) - 1, &o, &copy), 0);
	cr_expect_eq(o.count, 10);
	cr_expect_str_eq(json_find(&o, "s")->string, "a\n\"\\/\xc3\xa9\xf0\x9f\x98\x80\xc3\xa9");
	cr_expect(json_find(&o, "n")->whole && json_find(&o, "n")->number == 42);
	cr_expect(json_find(&o, "z")->whole && json_find(&o, "z")->number == 0);
	cr_expect_not(json_find(&o, "neg")->whole);
	cr_expect_not(json_find(&o, "frac")->whole);
	cr_expect(json_find(&o, "big")->whole && json_find(&o, "big")->number == BIT(53));
	cr_expect_not(json_find(&o, "huge")->whole);
	cr_expect(json_find(&o, "t")->type == JSON_BOOL && json_find(&o, "t")->truth);
	cr_expect(json_find(&o, "f")->type == JSON_BOOL && !json_find(&o, "f")->truth);
	cr_expect_eq(json_find(&o, "0")->type, JSON_NULL);
	cr_expect_null(json_find(&o, "absent"));
	free(copy);
}

Test(json, empty_object)
{
	struct json_object o;
	char *copy;

	cr_expect_eq(parse("{}", 2, &o, &copy), 0);
	cr_expect_eq(o.count, 0);
	free(copy);
}

Test(json, refused)
{
	static const char *const texts[] = {
		"",
		" ",
		"{",
		"}",
		"[]",
		"1",
		"\"a\"",
		"null",
		"{}{}",
		"{} x",
		"{,}",
		"{\"a\"}",
		"{\"a\":}",
		"{\"a\":1,}",
		"{\"a\":1 \"b\":2}",
		"{a:1}",
		"{\"a\":tru}",
		"{\"a\":True}",
		"{\"a\":01}",
		"{\"a\":-}",
		"{\"a\":1.}",
		"{\"a\":.5}",
		"{\"a\":1e}",
		"{\"a\":+1}",
		"{\"a\":0x10}",
		"{\"a\":NaN}",
		"{\"a\":[]}",
		"{\"a\":{}}",
		"{\"a\":1,\"a\":2}",
		"{\"a\":\"b}",
		"{\"a\":\"\\x\"}",
		"{\"a\":\"\\u12\"}",
		"{\"a\":\"\\u12g4\"}",
		"{\"a\":\"\\u0000\"}",
		"{\"a\":\"\\ud800\"}",
		"{\"a\":\"\\ud800\\u0041\"}",
		"{\"a\":\"\\udc00\"}",
		"{\"a\":\"\\",
		"{\"a\":\"\\u",
		"{\"a\":\"\\ud800\\u",
		"{\"a\":\"\t\"}",
		"{\"a\":\"\xff\"}",
		"{\"a\":\"\xc0\x80\"}",
		"{\"a\":\"\xed\xa0\x80\"}",
		"{\"a\":\"\xe0\x80\x80\"}",
		"{\"a\":\"\xf4\x90\x80\x80\"}",
		"{\"a\":\"\xf0\x80\x80\x80\"}",
		"{\"a\":\"\xe2\x82\"}",
		"{\"a\":1}/*c*/",
		"{'a':1}",
	};
	struct json_object o;
	char *copy;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		cr_expect_eq(parse(texts[i], strlen(texts[i]), &o, &copy), -EINVAL, "%s", texts[i]);
		free(copy);
	}
	/* A zero byte is no end and no space. */
	cr_expect_eq(parse("{}\0", 3, &o, &copy), -EINVAL);
	free(copy);
	cr_expect_eq(parse("{\"a\0b\":1}", 9, &o, &copy), -EINVAL);
	free(copy);
	cr_expect_eq(parse("{\"a\":\"\\\0\"}", 10, &o, &copy), -EINVAL);
	free(copy);
}

/* Every beginning of a good text is refused, and reads nothing behind itself. */
Test(json, cut_off)
{
	static const char text[] = "{\"a\":\"\\ud83d\\ude00\xc3\xa9\",\"b\":-12.5e+3,\"c\":null}";
	struct json_object o;
	char *copy;

	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		cr_expect_eq(parse(text, len, &o, &copy), -EINVAL, "%zu", len);
		free(copy);
	}
	cr_expect_eq(parse(text, sizeof(text) - 1, &o, &copy), 0);
	free(copy);
}

Test(json, members_are_bounded)
{
	char text[512] = "{";
	struct json_object o;
	char *copy;

	for (unsigned i = 0; i < JSON_MEMBERS_MAX; i++)
		sprintf(text + strlen(text), "%s\"m%u\":%u", i ? "," : "", i, i);
	strcat(text, "}");
	cr_expect_eq(parse(text, strlen(text), &o, &copy), 0);
	cr_expect_eq(o.count, JSON_MEMBERS_MAX);
	free(copy);
	strcpy(text + strlen(text) - 1, ",\"more\":1}");
	cr_expect_eq(parse(text, strlen(text), &o, &copy), -EINVAL);
	free(copy);
}

Test(json, writes)
{
	struct json_out out;

	json_out_init(&out, 4096);
	json_open(&out, NULL, '{');
	json_string(&out, "s", "a\"\\\n\x01\x7f\xc3\xa9\xff");
	json_number(&out, "n", UINT64_MAX);
	json_open(&out, "list", '[');
	json_bool(&out, NULL, true);
	json_open(&out, NULL, '{');
	json_close(&out, '}');
	json_bool(&out, NULL, false);
	json_close(&out, ']');
	json_string(&out, "last", "");
	json_close(&out, '}');
	json_raw(&out, "", 1);
	cr_expect_not(out.full);
	cr_expect_str_eq(out.buf,
			 "{\"s\":\"a\\\"\\\\\\n\\u0001\\u007f\xc3\xa9\xef\xbf\xbd\","
			 "\"n\":18446744073709551615,\"list\":[true,{},false],\"last\":\"\"}");
	json_out_free(&out);
}

Test(json, writing_is_bounded)
{
	struct json_out out;

	json_out_init(&out, 10);
	json_raw(&out, "0123456789", 10);
	cr_expect_not(out.full);
	json_raw(&out, "x", 1);
	cr_expect(out.full);
	cr_expect_eq(out.len, 10);
	json_out_free(&out);
}
