#ifndef BASE_CRC_H
#define BASE_CRC_H
#include <stddef.h>
#include <stdint.h>

/* The CRC-32 of gzip and PNG, of n more bytes: crc32_z of zlib, ten times as fast where it can. */
uint32_t crc_32(uint32_t crc, const void *p, size_t n);

#endif
