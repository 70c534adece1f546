// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "postern/bits.h"
#include "vmm/json.h"

/* ---- UTF-8 (RFC 3629) ---- */

/* Length of the well-formed sequence at P (LEFT bytes), or 0. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
	size_t len = p[0] < 0x80		   ? 1
		     : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
		     : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
		     : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
						   : 0;

	if (!len || len > left)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	/* Overlong forms, surrogates, beyond U+10FFFF. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return len;
}

static size_t utf8_put(char *to, uint32_t c)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xc0 | c >> 6);
		to[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (char)(0xe0 | c >> 12);
		to[1] = (char)(0x80 | (c >> 6 & 0x3f));
		to[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | c >> 18);
	to[1] = (char)(0x80 | (c >> 12 & 0x3f));
	to[2] = (char)(0x80 | (c >> 6 & 0x3f));
	to[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* ---- reading ---- */

struct parser {
	char *at, *end;
	const char *why;
};

static int bad(struct parser *p, const char *why)
{
	p->why = why;
	return -EINVAL;
}

static void skip_space(struct parser *p)
{
	while (p->at < p->end && strchr(" \t\r\n", *p->at) && *p->at)
		p->at++;
}

static bool take(struct parser *p, char c)
{
	skip_space(p);
	if (p->at == p->end || *p->at != c)
		return false;
	p->at++;
	return true;
}

static int hex4(struct parser *p, uint32_t *value)
{
	*value = 0;
	if (p->end - p->at < 4)
		return bad(p, "a \\u escape without four digits");
	for (unsigned i = 0; i < 4; i++, p->at++) {
		char c = *p->at;
		uint32_t digit = c >= '0' && c <= '9'	? (uint32_t)(c - '0')
				 : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
				 : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
							: 16;

		if (digit > 15)
			return bad(p, "a \\u escape without four digits");
		*value = *value << 4 | digit;
	}
	return 0;
}

/* Behind "\u". What it becomes is never longer than what it was. */
static int unicode_escape(struct parser *p, char **to)
{
	uint32_t c, low;

	if (hex4(p, &c))
		return -EINVAL;
	if (c >= 0xd800 && c < 0xdc00) {
		if (p->end - p->at < 2 || p->at[0] != '\\' || p->at[1] != 'u')
			return bad(p, "half of a surrogate pair");
		p->at += 2;
		if (hex4(p, &low))
			return -EINVAL;
		if (low < 0xdc00 || low >= 0xe000)
			return bad(p, "half of a surrogate pair");
		c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
	} else if (!c || (c >= 0xdc00 && c < 0xe000)) {
		return bad(p, c ? "half of a surrogate pair" : "a \\u0000");
	}
	*to += utf8_put(*to, c);
	return 0;
}

static int parse_string(struct parser *p, const char **string)
{
	static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	char *to;

	if (!take(p, '"'))
		return bad(p, "something else where a string must be");
	*string = to = p->at;
	while (p->at < p->end) {
		unsigned char c = (unsigned char)*p->at;
		const char *escape;
		size_t len;

		if (c == '"') {
			p->at++;
			*to = '\0';
			return 0;
		}
		if (c < 0x20)
			return bad(p, "a control character in a string");
		if (c != '\\') {
			len = utf8_length((const unsigned char *)p->at, (size_t)(p->end - p->at));
			if (!len)
				return bad(p, "a string that is not UTF-8");
			memmove(to, p->at, len);
			to += len;
			p->at += len;
			continue;
		}
		if (++p->at == p->end)
			break;
		c = (unsigned char)*p->at++;
		if (c == 'u') {
			if (unicode_escape(p, &to))
				return -EINVAL;
			continue;
		}
		escape = c ? strchr(escapes, c) : NULL;
		if (!escape)
			return bad(p, "an unknown escape in a string");
		*to++ = meant[escape - escapes];
	}
	return bad(p, "a string without its end");
}

static size_t digits(struct parser *p)
{
	char *from = p->at;

	while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
		p->at++;
	return (size_t)(p->at - from);
}

static int parse_number_value(struct parser *p, struct json_member *m)
{
	bool negative = take(p, '-');
	char *from = p->at;
	size_t n = digits(p);

	m->type = JSON_NUMBER;
	if (!n || (n > 1 && *from == '0'))
		return bad(p, "a malformed number");
	m->whole = !negative && n <= 16;
	for (size_t i = 0; m->whole && i < n; i++)
		m->number = m->number * 10 + (uint64_t)(from[i] - '0');
	if (m->number > BIT(53))
		m->whole = false;
	if (p->at < p->end && *p->at == '.') {
		p->at++;
		m->whole = false;
		if (!digits(p))
			return bad(p, "a malformed number");
	}
	if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
		p->at++;
		m->whole = false;
		if (p->at < p->end && (*p->at == '+' || *p->at == '-'))
			p->at++;
		if (!digits(p))
			return bad(p, "a malformed number");
	}
	return 0;
}

static int parse_value(struct parser *p, struct json_member *m)
{
	static const struct {
		const char *text;
		size_t len;
		enum json_type type;
		bool truth;
	} literals[] = {
		{"true", 4, JSON_BOOL, true},
		{"false", 5, JSON_BOOL, false},
		{"null", 4, JSON_NULL, false},
	};

	skip_space(p);
	if (p->at == p->end)
		return bad(p, "a member without a value");
	if (*p->at == '"') {
		m->type = JSON_STRING;
		return parse_string(p, &m->string);
	}
	if (*p->at == '-' || (*p->at >= '0' && *p->at <= '9'))
		return parse_number_value(p, m);
	for (size_t i = 0; i < ARRAY_SIZE(literals); i++) {
		if ((size_t)(p->end - p->at) < literals[i].len ||
		    memcmp(p->at, literals[i].text, literals[i].len) != 0)
			continue;
		p->at += literals[i].len;
		m->type = literals[i].type;
		m->truth = literals[i].truth;
		return 0;
	}
	return bad(p, *p->at == '{' || *p->at == '[' ? "an object or array inside the request"
						     : "something that is no value");
}

static int parse_member(struct parser *p, struct json_object *object)
{
	struct json_member m = {0};
	int rc = parse_string(p, &m.key);

	if (rc)
		return rc;
	if (!take(p, ':'))
		return bad(p, "a key without its colon");
	rc = parse_value(p, &m);
	if (rc)
		return rc;
	if (json_find(object, m.key))
		return bad(p, "a member twice");
	if (object->count == JSON_MEMBERS_MAX)
		return bad(p, "too many members");
	object->member[object->count++] = m;
	return 0;
}

static int parse_object(struct parser *p, struct json_object *object)
{
	int rc;

	if (!take(p, '{'))
		return bad(p, "something else than an object");
	if (!take(p, '}')) {
		do {
			rc = parse_member(p, object);
			if (rc)
				return rc;
		} while (take(p, ','));
		if (!take(p, '}'))
			return bad(p, "an object without its end");
	}
	skip_space(p);
	return p->at == p->end ? 0 : bad(p, "more behind the object");
}

int json_parse(char *text, size_t len, struct json_object *object, const char **why)
{
	struct parser p = {.at = text, .end = text + len};
	int rc;

	object->count = 0;
	rc = parse_object(&p, object);
	*why = p.why;
	return rc;
}

const struct json_member *json_find(const struct json_object *object, const char *key)
{
	for (unsigned i = 0; i < object->count; i++) {
		if (!strcmp(object->member[i].key, key))
			return &object->member[i];
	}
	return NULL;
}

/* ---- writing ---- */

void json_out_init(struct json_out *out, size_t limit)
{
	*out = (struct json_out){.limit = limit};
}

void json_out_free(struct json_out *out)
{
	free(out->buf);
	json_out_init(out, out->limit);
}

void json_raw(struct json_out *out, const char *bytes, size_t len)
{
	if (!len)
		return;
	if (out->full || len > out->limit - out->len) {
		out->full = true;
		return;
	}
	if (out->len + len > out->size) {
		size_t size = out->size ? out->size : 512;
		char *buf;

		while (size < out->len + len)
			size *= 2;
		buf = realloc(out->buf, size);
		if (!buf) {
			out->full = true;
			return;
		}
		out->buf = buf;
		out->size = size;
	}
	memcpy(out->buf + out->len, bytes, len);
	out->len += len;
}

void json_text(struct json_out *out, const char *format, ...)
{
	char text[192];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof(text))
		out->full = true;
	else
		json_raw(out, text, (size_t)len);
}

static void put_string(struct json_out *out, const char *value)
{
	const unsigned char *p = (const unsigned char *)value;
	size_t left = strlen(value), len;

	json_raw(out, "\"", 1);
	for (; left; p += len, left -= len) {
		len = utf8_length(p, left);
		if (!len) {
			json_raw(out, "\xef\xbf\xbd", 3);
			len = 1;
		} else if (*p == '"' || *p == '\\') {
			json_text(out, "\\%c", *p);
		} else if (*p == '\n') {
			json_raw(out, "\\n", 2);
		} else if (*p < 0x20 || *p == 0x7f) {
			json_text(out, "\\u%04x", *p);
		} else {
			json_raw(out, (const char *)p, len);
		}
	}
	json_raw(out, "\"", 1);
}

static void begin_value(struct json_out *out, const char *key)
{
	if (out->comma)
		json_raw(out, ",", 1);
	out->comma = true;
	if (key) {
		put_string(out, key);
		json_raw(out, ":", 1);
	}
}

void json_open(struct json_out *out, const char *key, char bracket)
{
	begin_value(out, key);
	json_raw(out, &bracket, 1);
	out->comma = false;
}

void json_close(struct json_out *out, char bracket)
{
	json_raw(out, &bracket, 1);
	out->comma = true;
}

void json_string(struct json_out *out, const char *key, const char *value)
{
	begin_value(out, key);
	put_string(out, value);
}

void json_number(struct json_out *out, const char *key, uint64_t value)
{
	begin_value(out, key);
	json_text(out, "%llu", (unsigned long long)value);
}

void json_bool(struct json_out *out, const char *key, bool value)
{
	begin_value(out, key);
	json_text(out, "%s", value ? "true" : "false");
}
