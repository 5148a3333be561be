#ifndef IO_CKPT_H
#define IO_CKPT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Checkpoints: safetensors.  8 bytes little-endian header length, a JSON header, raw row-major
 * little-endian data; 8 + header + data is the file's length.  __metadata__ is a map of strings.
 * Ours holds, besides the caller's entries, "format" ("moe 1"), "crc32" (a line "NAME=xxxxxxxx\n"
 * for each tensor, eight hex digits) and "header_crc32" (CRC-32 of the whole JSON text with its own
 * eight digits as zeros).  A file with neither a format "moe ..." nor a header_crc32 comes from
 * elsewhere and is read unchecked.  See moe-ckpt(5).
 */

enum ckpt_type { CKPT_F32, CKPT_BF16, CKPT_F16, CKPT_F64, CKPT_I64, CKPT_I32, CKPT_U8 };
enum { CKPT_MAXDIM = 4 };

/* Bytes of memory, about, for each tensor of a file that is read or written: its line in the header
 * and in the list of sums, as text and in tables, as measured. */
enum { CKPT_LISTED = 1100 };

const char *ckpt_type_name(enum ckpt_type type); /* as the header has it: "F32" */
size_t ckpt_type_bytes(enum ckpt_type type);

struct ckpt_tensor {
	char *name;
	enum ckpt_type type;
	int dims;
	uint64_t shape[CKPT_MAXDIM];
	uint64_t offset, bytes; /* in the data section */
	uint32_t crc;		/* of the data */
	bool has_crc;		/* the file records it */
};

/* --- reading: the whole file is verified before ckpt_open returns --- */

struct ckpt {
	char *name; /* of the file */
	int n;
	struct ckpt_tensor *tensor; /* in file (offset) order */
	const unsigned char *data;
	/* private */
	void *meta;
	void *map;
	size_t map_bytes;
	bool mapped;
	void *index;
};

/*
 * Open and verify: header length sane, JSON well-formed, names unique, types known, shapes and
 * offsets consistent, tensors neither overlapping nor leaving gaps, file length exact, header and
 * tensor CRCs right.  A regular file is mapped; a pipe or gzip is read into memory.  NULL with a
 * message naming the file and the tensor.
 */
struct ckpt *ckpt_open(const char *file);
void ckpt_close(struct ckpt *c);
const struct ckpt_tensor *ckpt_find(const struct ckpt *c, const char *name); /* NULL if absent */
const char *ckpt_meta(const struct ckpt *c, const char *key);		     /* NULL if absent */
/* Call fn for each metadata entry, ours included, in file order. */
void ckpt_each_meta(const struct ckpt *c, void (*fn)(void *, const char *, const char *),
		    void *arg);

/* Copy a tensor out as float32 (bf16, f16 and f64 are converted). -1 if integer, or not n values.
 */
int ckpt_floats(const struct ckpt *c, const struct ckpt_tensor *t, float *out, size_t n);
/* One element at p, which need not be aligned; exact but for I64 beyond 2^53. */
double ckpt_value(enum ckpt_type type, const void *p);

/* --- writing --- */

/*
 * A list of tensors to write; data pointers are borrowed until ckpt_write returns.  bf16 data is
 * converted from float32 on the way (round to nearest even).  The order of adding is the order in
 * the file.  What cannot be written (a bad or repeated name, a shape beyond 64 bits, a text that is
 * not UTF-8) is refused by ckpt_write.
 */
struct ckpt_out;
struct ckpt_out *ckpt_out_new(void);
/*
 * Copies both; a key that is there is replaced.  "crc32" and "header_crc32" are ckpt_write's own
 * and ignored here, so that one file's entries can be handed on.  A "format" other than ours makes
 * a plain file without CRCs, as other programs want it.
 */
void ckpt_out_meta(struct ckpt_out *o, const char *key, const char *value);
void ckpt_out_floats(struct ckpt_out *o, const char *name, const float *v, enum ckpt_type as,
		     int dims, const uint64_t *shape);
void ckpt_out_raw(struct ckpt_out *o, const char *name, const void *v, enum ckpt_type type,
		  int dims, const uint64_t *shape);
/* Write atomically (file_replace) with a CRC per tensor and for the header; "-" and .gz work too.
 */
int ckpt_write(struct ckpt_out *o, const char *file);
void ckpt_out_free(struct ckpt_out *o);

#endif
