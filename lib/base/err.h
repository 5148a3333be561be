#ifndef BASE_ERR_H
#define BASE_ERR_H

/*
 * Errors.  A function that fails sets a message and returns -1 (or NULL); the program that called
 * it prints the message and exits.  The message belongs to the thread that failed and holds until
 * the thread's next failure.
 */

/* Set the message; always -1, so that `return err_set(...)` reads as a sentence. */
int err_set(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Put `fmt: ` before the message that is there; always -1. */
int err_in(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The message; "" before the first failure. */
const char *err_text(void);

#endif
