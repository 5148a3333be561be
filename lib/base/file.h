#ifndef BASE_FILE_H
#define BASE_FILE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Byte streams.  "-" is the standard stream; gzip input is recognised by its first bytes, and
 * demanded of a name that ends in ".gz"; output to such a name is compressed.  Errors name the
 * file.  EINTR and short writes are dealt with here and nowhere else.
 */

struct file; /* one direction, buffered */

struct file *file_open(const char *name);	  /* for reading; NULL on failure */
struct file *file_from(int fd, const char *name); /* an open descriptor, now the file's */
/* Up to n bytes; fewer only at the end; -1 on a read error or a cut or damaged gzip stream. */
ssize_t file_read(struct file *f, void *buf, size_t n);
/* What there is, at least one byte, without waiting for n: for pipes. 0 at the end. */
ssize_t file_some(struct file *f, void *buf, size_t n);

struct file *file_create(const char *name); /* for writing, truncates; .gz at level 1 */
struct file *file_append(const char *name); /* for writing at the end, creates */
int file_write(struct file *f, const void *buf, size_t n);
int file_print(struct file *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/*
 * Flush to the system.  In a .gz it ends a gzip member, if anything was written since the last: a
 * reader gets all of it, and a file cut there is whole, and appended to gives the same bytes as
 * one never cut.
 */
int file_flush(struct file *f);
int file_sync(struct file *f); /* flush, then fdatasync (harmless on a pipe) */

/*
 * Keep the length and CRC-32 of what a writer has sent to the system, as it stands on disk,
 * counting on from these; after file_flush they are of everything written.
 */
void file_tally(struct file *f, uint64_t bytes, uint32_t crc);
void file_tallied(const struct file *f, uint64_t *bytes, uint32_t *crc);

/* A writer into memory, and what was written so far (NUL added after n bytes), freed by free(). */
struct file *file_memory(const char *name); /* the name is for messages */
char *file_text(struct file *f, size_t *n);

/* Close; for a writer, flush and check first. NULL is harmless. -1 when data may be lost. */
int file_close(struct file *f);
const char *file_name(const struct file *f);
int file_fd(const struct file *f);

/* The whole file in memory (NUL added after n bytes), freed by free(). NULL on failure. */
char *file_slurp(const char *name, size_t *n);

/* Map a regular, uncompressed file read-only; NULL and n = 0 with a message on failure. */
const void *file_map(const char *name, size_t *n);
void file_unmap(const void *p, size_t n);

/*
 * Replace a file atomically: file_replace opens NAME.tmp beside it; file_commit flushes, fsyncs,
 * renames, and fsyncs the directory; file_abandon removes the temporary file. A reader sees the
 * old file or the new one, never a part. A pipe, a device or "-" is written to instead; file_end
 * ends either: it commits what is whole, and of what is not keeps what a pipe may have already.
 */
struct file *file_replace(const char *name);
int file_commit(struct file *f);
void file_abandon(struct file *f);
int file_end(struct file *f, bool bad); /* -1 if bad, or data may be lost; NULL is harmless */

/* Bytes of a file and CRC-32 of its first n bytes. -1 with a message on failure. */
int file_size(const char *name, uint64_t *n);
int file_crc(const char *name, uint64_t n, uint32_t *crc);
bool file_exists(const char *name);
int file_cut(const char *name, uint64_t n); /* truncate to n and fsync */
int file_mkdir(const char *name);	    /* with parents; harmless when it is there */

#endif
