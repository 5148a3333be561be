#ifndef DATA_IMAGES_H
#define DATA_IMAGES_H
#include <stdint.h>

/*
 * Samples with a class each: images of bytes, in planes (red, green, blue, or grey), or vectors of
 * features.  Four formats of images, gzip recognised in all:
 *
 *	records   2 bytes of label, little-endian, then planes x height x width bytes
 *	cifar10   1 byte of label, then 3 x 32 x 32
 *	cifar100  1 byte of coarse and 1 of fine label, then 3 x 32 x 32; the fine one counts
 *	idx       IMAGES in the format of MNIST; the labels are in the file whose name has "labels"
 *	          and "idx1" where this one's has "images" and "idx3"
 *
 * and csv: a sample per row.  The class is the column "class" or "label", or in a table without a
 * header the one that is no number, else the last; all others are features.  Classes that are not
 * all whole numbers are numbered in the order of their names' bytes.
 */
enum images_format {
	IMAGES_AUTO, /* idx by its magic, csv by its text, cifar10 or records by their length */
	IMAGES_RECORDS,
	IMAGES_CIFAR10,
	IMAGES_CIFAR100,
	IMAGES_IDX,
	IMAGES_CSV
};

struct images_form {
	enum images_format format;
	int planes, height, width; /* of records; 0: the one known shape that fits the length */
	const char *labels;	   /* of idx; NULL: beside the images */
};

struct images {
	char *name, *file; /* as of tokens: NAME= if given, else from the file's */
	long n;
	int classes;		   /* the highest label + 1 */
	int planes, height, width; /* a vector: 1, 1, features */
	uint16_t *label;	   /* [n] */
	uint8_t *pixel;		   /* [n, planes, height, width]; NULL: a vector */
	float *value;		   /* [n, features]; NULL: images */
	char **class_name;	   /* [classes]; NULL: they are numbers */
	uint64_t bytes;		   /* of the file as it stands on disk */
	uint32_t crc;
};

/*
 * "[NAME=]FILE"; NULL with a message that says where (byte or line).  With `like`, another set, it
 * must have that one's shape, and its classes are that one's.
 */
struct images *images_open(const char *spec, const struct images_form *form,
			   const struct images *like);
void images_close(struct images *s); /* NULL is harmless */

/* PLANESxHEIGHTxWIDTH. -1 with a message. */
int images_shape(const char *text, struct images_form *form);

/* Write a set of images as records, cifar10 or cifar100 (its coarse labels 0), whole or not at all;
 * as csv also vectors.  -1 with a message: what the format cannot hold. */
int images_write(const struct images *s, enum images_format format, const char *file);

#endif
