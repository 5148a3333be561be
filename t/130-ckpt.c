/* Checkpoints: what is written is read back; what is damaged or hostile is refused. */
#include "base/err.h"
#include "base/file.h"
#include "io/ckpt.h"
#include "tap.h"
#include "temp.h"
#include <float.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* A new file each time: some file systems flush one that is cut to nothing and written again. */
static void
spill(const char *name, const void *p, size_t n)
{
	unlink(temp(name));
	temp_bytes(name, p, n);
}

static char *
slurp(const char *name, size_t *n)
{
	char *p = file_slurp(temp(name), n);

	if (!p)
		exit(99);
	return p;
}

/* A file of this JSON header and so many zeros of data. */
static void
spill_json(const char *name, const char *json, size_t data)
{
	uint64_t n = strlen(json);
	char *p = calloc(1, 8 + n + data);

	memcpy(p, &n, 8);
	memcpy(p + 8, json, n);
	spill(name, p, 8 + n + data);
	free(p);
}

/* Refused, with a message that names the file and says this. */
static bool
refused(const char *name, const char *says)
{
	struct ckpt *c = ckpt_open(temp(name));
	bool right = !c && !strncmp(err_text(), temp(name), strlen(temp(name))) &&
		     strstr(err_text(), says);

	if (!right)
		fprintf(stderr, "# expected a message with \"%s\", found \"%s\"\n", says,
			c ? "(it was opened)" : err_text());
	ckpt_close(c);
	return right;
}

static const float small[6] = {1, -2.5F, 3e-30F, 0, -0.0F, 6};
static const int64_t whole[3] = {INT64_MIN, -1, INT64_MAX};
static const unsigned char bytes[5] = {0, 1, 127, 128, 255};
static const uint64_t two_by_three[] = {2, 3}, three[] = {3}, five[] = {5}, none[] = {4, 0};

static struct ckpt_out *
sample(void)
{
	struct ckpt_out *o = ckpt_out_new();

	ckpt_out_meta(o, "recipe", "dim 64\nname \"quoted\" \\ \t caf\xc3\xa9\n");
	ckpt_out_meta(o, "step", "0");
	ckpt_out_floats(o, "model.b", small, CKPT_F32, 2, two_by_three);
	ckpt_out_raw(o, "a whole", whole, CKPT_I64, 1, three);
	ckpt_out_raw(o, "empty", NULL, CKPT_F64, 2, none);
	ckpt_out_raw(o, "bytes", bytes, CKPT_U8, 1, five);
	ckpt_out_floats(o, "half=b", small, CKPT_BF16, 1, three);
	ckpt_out_floats(o, "scalar", small + 1, CKPT_F32, 0, NULL);
	ckpt_out_meta(o, "step", "12");
	return o;
}

static void
write_sample(const char *name)
{
	struct ckpt_out *o = sample();

	if (ckpt_write(o, temp(name)) < 0) {
		fprintf(stderr, "# %s\n", err_text());
		exit(99);
	}
	ckpt_out_free(o);
}

static void
join(void *arg, const char *key, const char *value)
{
	strcat(arg, key);
	strcat(arg, strcmp(key, "step") ? " " : "=");
	if (!strcmp(key, "step"))
		strcat(strcat(arg, value), " ");
}

static void
check_sample(const char *file, const char *how)
{
	struct ckpt *c = ckpt_open(file);
	const struct ckpt_tensor *t;
	char keys[256] = "";
	float out[6];

	if (!ok(c != NULL, "%s: opened", how)) {
		fprintf(stderr, "# %s\n", err_text());
		return;
	}
	is_long(c->n, 6, "%s: tensors", how);
	is_text(c->tensor[0].name, "model.b", "%s: the order of adding", how);
	is_text(c->tensor[1].name, "a whole", "%s: the order of adding, second", how);
	is_text(ckpt_meta(c, "recipe"), "dim 64\nname \"quoted\" \\ \t caf\xc3\xa9\n", "%s: text",
		how);
	ckpt_each_meta(c, join, keys);
	is_text(keys, "header_crc32 format recipe step=12 crc32 ", "%s: entries in order", how);
	ok(!ckpt_meta(c, "absent") && !ckpt_find(c, "absent") && !ckpt_find(c, ""),
	   "%s: what is absent is not found", how);

	t = ckpt_find(c, "model.b");
	ok(t && t->type == CKPT_F32 && t->dims == 2 && t->shape[0] == 2 && t->shape[1] == 3 &&
		   t->bytes == 24 && t->has_crc,
	   "%s: description of a tensor", how);
	is_long(t->crc, (long)crc32(0, (const void *)small, 24), "%s: its CRC-32", how);
	is_long(ckpt_floats(c, t, out, 6), 0, "%s: floats", how);
	is_bytes(out, small, sizeof small, "%s: the very bits", how);
	is_long(ckpt_floats(c, t, out, 5), -1, "%s: another number of values is refused", how);
	ok(strstr(err_text(), "tensor model.b has 6 values (expected 5)") != NULL, "%s: by name",
	   how);
	t = ckpt_find(c, "a whole");
	is_long(ckpt_floats(c, t, out, 3), -1, "%s: integers are not floats", how);
	is_bytes(c->data + t->offset, whole, sizeof whole, "%s: integers", how);
	t = ckpt_find(c, "empty");
	ok(t && t->bytes == 0 && ckpt_floats(c, t, out, 0) == 0, "%s: a tensor of no values", how);
	t = ckpt_find(c, "half=b");
	ok(t && t->bytes == 6 && ckpt_floats(c, t, out, 3) == 0 && out[0] == 1 && out[1] == -2.5F,
	   "%s: bf16", how);
	t = ckpt_find(c, "scalar");
	ok(t && t->dims == 0 && ckpt_floats(c, t, out, 1) == 0 && out[0] == -2.5F, "%s: a scalar",
	   how);
	ckpt_close(c);
}

static void
test_round_trip(void)
{
	char *a, *b, command[512];
	uint64_t n;
	size_t na, nb;
	struct ckpt_out *o;
	FILE *pipe;

	write_sample("a");
	check_sample(temp("a"), "mapped");
	a = slurp("a", &na);
	memcpy(&n, a, 8);
	is_long((long)((8 + n) % 64), 0, "data begins on 64 bytes");
	is_long((long)na, (long)(8 + n) + 24 + 24 + 5 + 6 + 4, "8 + header + data is the length");
	write_sample("a2");
	b = slurp("a2", &nb);
	ok(na == nb && !memcmp(a, b, na), "the same tensors give the same bytes");
	free(b);
	ok(!file_exists(temp("a.tmp")), "no temporary file is left");

	write_sample("a.gz");
	b = slurp("a.gz", &nb);
	ok(na == nb && !memcmp(a, b, na), ".gz holds the same bytes");
	free(b);
	check_sample(temp("a.gz"), "gzip");

	/* a pipe delivers in pieces; ckpt_open sees /dev/stdin as a pipe */
	mkfifo(temp("fifo"), 0600);
	snprintf(command, sizeof command, "cat '%s' >'%s'", temp("a"), temp("fifo"));
	pipe = popen(command, "w");
	check_sample(temp("fifo"), "pipe");
	pclose(pipe);
	snprintf(command, sizeof command, "cat '%s' >'%s'", temp("fifo"), temp("b"));
	pipe = popen(command, "w");
	o = sample();
	is_long(ckpt_write(o, temp("fifo")), 0, "written into a pipe");
	ckpt_out_free(o);
	pclose(pipe);
	b = slurp("b", &nb);
	ok(na == nb && !memcmp(a, b, na), "the pipe got the same bytes");
	free(b);
	free(a);

	o = ckpt_out_new();
	is_long(ckpt_write(o, temp("nothing")), 0, "no tensors: written");
	ckpt_out_free(o);
	struct ckpt *c = ckpt_open(temp("nothing"));
	ok(c && c->n == 0 && !ckpt_find(c, "x"), "no tensors: read");
	ckpt_close(c);
	ckpt_close(NULL);
	ckpt_out_free(NULL);
}

/* Every file but the first is refused, whichever way it is read. */
static void
test_damage(void)
{
	size_t n, opened = 0, silent = 0;
	char *p = slurp("a", &n), *q = malloc(n + 1), want[256];
	static const unsigned char flips[] = {0x01, 0x20, 0x80, 0xff};
	struct ckpt *c;

	for (size_t i = 0; i < n; i++) {
		spill("cut", p, i);
		c = ckpt_open(temp("cut"));
		opened += c != NULL;
		silent += !strstr(err_text(), temp("cut"));
		ckpt_close(c);
	}
	is_long((long)opened, 0, "a file cut at any of its %zu lengths is refused", n);
	is_long((long)silent, 0, "each with a message that names it");
	memcpy(q, p, n);
	q[n] = 0;
	spill("long", q, n + 1);
	ok(refused("long", "too long"), "one byte too many is refused");

	opened = silent = 0;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < sizeof flips; k++) {
			memcpy(q, p, n);
			q[i] ^= (char)flips[k];
			spill("flip", q, n);
			c = ckpt_open(temp("flip"));
			if (c)
				fprintf(stderr, "# byte %zu ^ %02x was not noticed\n", i, flips[k]);
			opened += c != NULL;
			silent += !strstr(err_text(), temp("flip"));
			ckpt_close(c);
		}
	is_long((long)opened, 0, "a file with any byte changed is refused");
	is_long((long)silent, 0, "each with a message that names it");

	memcpy(q, p, n);
	q[n - 1] ^= 1;
	spill("flip", q, n);
	ok(refused("flip", "tensor scalar: CRC-32"),
	   "damaged data is refused by the tensor's name");

	/* gzip and a pipe take the other way in */
	snprintf(want, sizeof want, "gzip -c '%s' >'%s'", temp("flip"), temp("flip.gz"));
	is_long(system(want), 0, "gzip runs");
	ok(refused("flip.gz", "tensor scalar: CRC-32"), "gzip: damaged data is refused");
	opened = silent = 0;
	for (size_t i = 0; i < n; i += i < 24 ? 1 : 13) {
		unlink(temp("cut.gz"));
		gzFile z = gzopen(temp("cut.gz"), "wb1");
		if (i)
			gzwrite(z, p, (unsigned)i);
		gzclose(z);
		c = ckpt_open(temp("cut.gz"));
		opened += c != NULL;
		silent += !strstr(err_text(), temp("cut.gz"));
		ckpt_close(c);
	}
	is_long((long)opened, 0, "gzip: a file cut is refused");
	is_long((long)silent, 0, "each with a message that names it");
	memcpy(q, p, n);
	q[n] = 0;
	gzFile z = gzopen(temp("long.gz"), "wb1");
	gzwrite(z, q, (unsigned)n + 1);
	gzclose(z);
	ok(refused("long.gz", "more data"), "gzip: one byte too many is refused");
	free(p);
	free(q);
}

/* Headers that are refused, before so many bytes of data, and what the message says. */
static const struct {
	const char *json;
	size_t data;
	const char *says;
} hostile[] = {
	{"", 0, "header of 0 bytes"},
	{"[]", 0, "not an object"},
	{"{}x", 0, "not JSON"},
	{"{\"a\":", 0, "not JSON"},
	{"{\"a\":1}", 0, "tensor a"},
	{"{\"a\":{}}", 0, "tensor a"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "tensor a"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
	 "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
	 8, "duplicate"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
	 "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}",
	 6, "overlap"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
	 "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
	 4, "overlap"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
	 "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[5,9]}}",
	 9, "a gap"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "a gap"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
	 "4 bytes (expected 8"},
	{"{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
	 "4 bytes (expected 8"},
	{"{\"a\":{\"dtype\":\"Q4\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype Q4"},
	{"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "shape"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],"
	 "\"data_offsets\":[0,0]}}",
	 0, "64-bit"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],"
	 "\"data_offsets\":[0,4]}}",
	 4, "64-bit"},
	{"{\"a\":{\"dtype\":\"F64\",\"shape\":[1152921504606846976],"
	 "\"data_offsets\":[0,9223372036854775807]}}",
	 4, "64-bit"},
	{"{\"a\":{\"dtype\":\"U8\",\"shape\":[9223372036854775807],"
	 "\"data_offsets\":[0,9223372036854775807]}}",
	 4, "cut"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],"
	 "\"data_offsets\":[0,4]}}",
	 4, "not JSON"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "data_offsets"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "data_offsets"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, "cut"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "too long"},
	{"{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
	 "a NUL character"},
	{"{\"__metadata__\":{\"x\":\"a\\u0000b\"}}", 0, "a NUL character"},
	{"{\"a\\nb\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
	 "control character"},
	{"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "empty"},
	{"{\"a\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "not JSON"},
	{"{\"__metadata__\":[]}", 0, "__metadata__"},
	{"{\"__metadata__\":{\"x\":1}}", 0, "metadata x"},
	{"{\"__metadata__\":{\"format\":\"moe 1\"}}", 0, "header_crc32"},
	{"{\"__metadata__\":{\"header_crc32\":\"00000000\"}}", 0, "CRC-32"},
	{"{\"__metadata__\":{\"\\u0068eader_crc32\":\"00000000\"}}", 0, "header_crc32"},
	{"{\"__metadata__\":{\"x\":\"header_crc32\",\"header_crc32\":\"zzzzzzzz\"}}", 0,
	 "hexadecimal"},
	{"{\"__metadata__\":{\"format\":\"moe 2\",\"header_crc32\":\"00000000\"}}", 0, "CRC-32"},
};

static void
test_hostile(void)
{
	char deep[4096] = {'{', '"', 'a', '"', ':'};
	uint64_t n = UINT64_MAX;

	for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
		spill_json("bad", hostile[i].json, hostile[i].data);
		ok(refused("bad", hostile[i].says), "refused: %zu %.60s", i, hostile[i].json);
	}
	memset(deep + 5, '[', sizeof deep - 6);
	spill_json("bad", deep, 0);
	ok(refused("bad", "not JSON"), "refused: 4,000 brackets");
	for (int shift = 0; shift < 64; shift += 9) {
		memcpy(deep, &(uint64_t){n >> shift}, 8);
		spill("bad", deep, 300);
		ok(refused("bad", "header"), "refused: a header of %llu bytes",
		   (unsigned long long)(n >> shift));
	}
	spill("bad", "", 0);
	ok(refused("bad", "shorter"), "refused: an empty file");
	ok(!ckpt_open("/nonexistent/x") && strstr(err_text(), "/nonexistent/x"),
	   "refused: no file");
	ok(!ckpt_open("/tmp") && strstr(err_text(), "/tmp"), "refused: a directory");
}

/* The header's CRC, made right again after an edit, so that what lies behind it is reached. */
static void
spill_signed(const char *name, char *json, size_t data)
{
	char *at = strstr(json, "\"header_crc32\":\"") + 16, digits[9];

	memcpy(at, "00000000", 8);
	snprintf(digits, sizeof digits, "%08lx", crc32(0, (void *)json, (unsigned)strlen(json)));
	memcpy(at, digits, 8);
	spill_json(name, json, data);
}

static void
test_signed(void)
{
	static const struct {
		const char *format, *crcs, *says;
	} bad[] = {
		{"moe 1", "a=2144df1c\\n", NULL}, /* crc32 of four zeros */
		{"moe 1", "a=2144df1d\\n", "tensor a: CRC-32 2144df1c (expected 2144df1d)"},
		{"moe 2", "a=2144df1c\\n", "format is \"moe 2\" (expected \"moe 1\")"},
		{"pt", "a=2144df1c\\n", "format is \"pt\""},
		{"moe 1", "", "tensor a: no CRC-32"},
		{"moe 1", "a=2144df1c", "line 1"},
		{"moe 1", "a=2144DF1C\\n", "line 1"},
		{"moe 1", "=2144df1c\\n", "line 1"},
		{"moe 1", "\\n", "line 1"},
		{"moe 1", "b=2144df1c\\n", "line 1"},
		{"moe 1", "a=2144df1c\\na=2144df1c\\n", "line 2"},
	};
	char json[512];
	struct ckpt *c;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(json, sizeof json,
			 "{\"__metadata__\": "
			 "{\"x\":\"\\\"header_crc32\\\":\\\"12345678\\\"\",\"format\":"
			 "\"%s\",\"crc32\":\"%s\",\"header_crc32\":\"00000000\"},\"a\":{\"dtype\":"
			 "\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
			 bad[i].format, bad[i].crcs);
		spill_signed("signed", json, 4);
		if (bad[i].says) {
			ok(refused("signed", bad[i].says), "refused: %s", bad[i].says);
			continue;
		}
		c = ckpt_open(temp("signed"));
		ok(c && c->n == 1 && c->tensor[0].has_crc, "another order of entries is read");
		ckpt_close(c);
	}
}

static void
test_foreign(void)
{
	float f[2];
	struct ckpt *c;
	struct ckpt_out *o;
	size_t n;
	char *p;

	spill_json(
		"foreign",
		"{\"z\":{\"shape\":[2],\"dtype\":\"F32\",\"data_offsets\":[4,12]},\"__metadata__\":"
		"{"
		"\"format\":\"pt\"},\"e\":{\"shape\":[0],\"dtype\":\"F32\",\"data_offsets\":[4,4]},"
		"\"b\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[0,4]}}  ",
		12);
	c = ckpt_open(temp("foreign"));
	ok(c && c->n == 3, "a file without CRCs is read");
	if (c) {
		ok(!strcmp(c->tensor[0].name, "b") && !strcmp(c->tensor[1].name, "e") &&
			   !strcmp(c->tensor[2].name, "z"),
		   "tensors are in the order of their data");
		ok(!c->tensor[0].has_crc, "it records no CRC");
		is_text(ckpt_meta(c, "format"), "pt", "its metadata");
		is_long(ckpt_floats(c, ckpt_find(c, "z"), f, 2), 0, "unaligned data is read");
	}
	ckpt_close(c);
	spill_json("foreign", "{}", 0);
	c = ckpt_open(temp("foreign"));
	ok(c && c->n == 0, "the smallest file is read");
	ckpt_close(c);

	o = sample();
	ckpt_out_meta(o, "crc32", "x");
	ckpt_out_meta(o, "format", "pt");
	is_long(ckpt_write(o, temp("plain")), 0, "another format: written");
	ckpt_out_free(o);
	p = slurp("plain", &n);
	ok(!strncmp(p + 8, "{\"__metadata__\":{\"recipe\"", 25) && !memmem(p, n, "crc32", 5),
	   "another format: no CRCs");
	free(p);
	c = ckpt_open(temp("plain"));
	ok(c && c->n == 6 && !strcmp(ckpt_meta(c, "format"), "pt"), "another format: read");
	ckpt_close(c);
}

/* Value of an IEEE half by its definition, for all but NaN. */
static double
half(unsigned h)
{
	int e = h >> 10 & 31, m = h & 1023;
	double v = e == 31 ? INFINITY : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);

	return h & 0x8000 ? -v : v;
}

static void
test_bf16(void)
{
	static const struct {
		uint32_t f32;
		uint16_t bf16;
		const char *what;
	} b[] = {
		{0x3f800000, 0x3f80, "one"},
		{0x3f808000, 0x3f80, "a tie goes to even, down"},
		{0x3f818000, 0x3f82, "a tie goes to even, up"},
		{0x3f808001, 0x3f81, "just above a tie goes up"},
		{0x3f807fff, 0x3f80, "just below a tie goes down"},
		{0x7f7fffff, 0x7f80, "the largest float rounds to infinity"},
		{0xff800000, 0xff80, "minus infinity"},
		{0x80000000, 0x8000, "minus zero"},
		{0x00000001, 0x0000, "the least subnormal rounds to zero"},
		{0x00018000, 0x0002, "a subnormal tie"},
		{0x007fffff, 0x0080, "the largest subnormal becomes normal"},
		{0x7f800001, 0x7fc0, "a NaN whose payload is cut stays NaN"},
		{0xffffffff, 0xffff, "a NaN of all ones"},
	};
	enum { B = sizeof b / sizeof *b };
	static float narrow[B];
	struct ckpt_out *o = ckpt_out_new();
	struct ckpt *c;

	ckpt_out_floats(o, "bf16", narrow, CKPT_BF16, 1, (uint64_t[]){B});
	for (size_t i = 0; i < B; i++)
		memcpy(&narrow[i], &b[i].f32, 4); /* borrowed until it is written */
	is_long(ckpt_write(o, temp("narrow")), 0, "bf16: written");
	ckpt_out_free(o);
	c = ckpt_open(temp("narrow"));
	for (size_t i = 0; c && i < B; i++) {
		uint16_t h;

		memcpy(&h, c->data + 2 * i, 2);
		is_long(h, b[i].bf16, "bf16: %s", b[i].what);
	}
	ckpt_close(c);
}

static void
test_numbers(void)
{
	static uint16_t h[65536];
	static float out[65536];
	static const double d[6] = {1.0 / 3, 1e300, -1e-310, NAN, -0.0, FLT_MAX};
	static const uint64_t all[] = {65536}, six[] = {6};
	static const int32_t whole32[1] = {INT32_MIN};
	struct ckpt_out *o = ckpt_out_new();
	struct ckpt *c;
	long wrong = 0, nans = 0;

	for (int i = 0; i < 65536; i++)
		h[i] = (uint16_t)i;
	ckpt_out_raw(o, "bf16", h, CKPT_BF16, 1, all);
	ckpt_out_raw(o, "f16", h, CKPT_F16, 1, all);
	ckpt_out_raw(o, "f64", d, CKPT_F64, 1, six);
	is_long(ckpt_write(o, temp("numbers")), 0, "all halves: written");
	ckpt_out_free(o);
	c = ckpt_open(temp("numbers"));
	if (!ok(c != NULL, "all halves: read"))
		return;
	is_long(ckpt_floats(c, ckpt_find(c, "f16"), out, 65536), 0, "f16");
	for (int i = 0; i < 65536; i++) {
		if ((i & 0x7fff) > 0x7c00)
			nans += isnan(out[i]) && !signbit(out[i]) == !(i & 0x8000);
		else
			wrong += out[i] != half(i) || !signbit(out[i]) != !(i & 0x8000);
	}
	is_long(wrong, 0, "f16: every finite value, subnormal, zero and infinity");
	is_long(nans, 2 * 1023, "f16: every NaN");
	is_long(ckpt_floats(c, ckpt_find(c, "bf16"), out, 65536), 0, "bf16");
	wrong = 0;
	for (uint32_t i = 0; i < 65536; i++) {
		uint32_t u;
		memcpy(&u, &out[i], 4);
		/* the way out may quiet a signalling NaN */
		wrong += u != i << 16 && (u != (i << 16 | 0x400000) || !isnan(out[i]));
	}
	is_long(wrong, 0, "bf16: every value");
	is_long(ckpt_floats(c, ckpt_find(c, "f64"), out, 6), 0, "f64");
	ok(out[0] == 1.0F / 3 && out[1] == INFINITY && out[2] == 0 && signbit(out[2]) &&
		   isnan(out[3]) && out[4] == 0 && signbit(out[4]) && out[5] == FLT_MAX,
	   "f64: rounded to float32");
	ckpt_close(c);
	is_real(ckpt_value(CKPT_I64, &whole[2]), 0x1p63, 0, "a large integer as a number");
	is_real(ckpt_value(CKPT_I32, whole32), INT32_MIN, 0, "a negative integer as a number");
	is_real(ckpt_value(CKPT_U8, &bytes[4]), 255, 0, "a byte as a number");
}

static void
test_bad_out(void)
{
	static const uint64_t huge[] = {1ULL << 40, 1ULL << 40};
	static const uint64_t large[] = {INT64_MAX - 3};
	static const char *const names[] = {"", "a\nb", "__metadata__", "\x7f", "a\xff"};
	struct ckpt_out *o;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		o = ckpt_out_new();
		ckpt_out_floats(o, names[i], small, CKPT_F32, 1, three);
		is_long(ckpt_write(o, temp("no")), -1, "a bad name is refused: %zu", i);
		ckpt_out_free(o);
	}
	o = ckpt_out_new();
	ckpt_out_floats(o, "twice", small, CKPT_F32, 1, three);
	ckpt_out_floats(o, "other", small, CKPT_F32, 1, three);
	ckpt_out_floats(o, "twice", small, CKPT_F32, 1, three);
	is_long(ckpt_write(o, temp("no")), -1, "a name twice is refused");
	ok(strstr(err_text(), temp("no")) && strstr(err_text(), "twice"), "by name");
	ckpt_out_free(o);
	o = ckpt_out_new();
	ckpt_out_floats(o, "huge", small, CKPT_F32, 2, huge);
	is_long(ckpt_write(o, temp("no")), -1, "an overflowing shape is refused");
	ckpt_out_free(o);
	o = ckpt_out_new();
	ckpt_out_raw(o, "b", small, CKPT_U8, 1, five);
	ckpt_out_raw(o, "large", small, CKPT_U8, 1, large);
	is_long(ckpt_write(o, temp("no")), -1, "an overflowing sum of shapes is refused");
	ckpt_out_free(o);
	o = ckpt_out_new();
	ckpt_out_floats(o, "f16", small, CKPT_F16, 1, three);
	is_long(ckpt_write(o, temp("no")), -1, "floats as F16 are refused");
	ckpt_out_free(o);
	o = ckpt_out_new();
	ckpt_out_meta(o, "name", "caf\xe9");
	is_long(ckpt_write(o, temp("no")), -1, "metadata that is not UTF-8 is refused");
	ok(strstr(err_text(), "metadata \"name\" is not UTF-8") != NULL, "by key");
	ckpt_out_free(o);
	ok(!file_exists(temp("no")) && !file_exists(temp("no.tmp")), "nothing was written");
}

/* A write that fails midway leaves the file that was there, and no other. */
static void
test_atomic(void)
{
	struct rlimit old, limit;
	struct ckpt_out *o = sample();
	static float large[100000];
	static const uint64_t n[] = {100000};
	int r;

	write_sample("kept");
	ckpt_out_floats(o, "large", large, CKPT_F32, 1, n);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = old;
	limit.rlim_cur = 100000;
	setrlimit(RLIMIT_FSIZE, &limit);
	r = ckpt_write(o, temp("kept"));
	setrlimit(RLIMIT_FSIZE, &old);
	is_long(r, -1, "a write beyond the file size limit fails");
	ok(strstr(err_text(), temp("kept")) != NULL, "with a message that names the file");
	ok(!file_exists(temp("kept.tmp")), "the temporary file is gone");
	check_sample(temp("kept"), "after a failed write");
	is_long(ckpt_write(o, "/dev/full"), -1, "a full disk is noticed");
	is_long(ckpt_write(o, "/nonexistent/x"), -1, "no directory is noticed");
	ckpt_out_free(o);
}

int
main(void)
{
	test_round_trip();
	test_damage();
	test_hostile();
	test_signed();
	test_foreign();
	test_bf16();
	test_numbers();
	test_bad_out();
	test_atomic();
	return done();
}
