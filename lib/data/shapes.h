#ifndef DATA_SHAPES_H
#define DATA_SHAPES_H
#include "data/images.h"

/*
 * Images for a machine that has none: 3 x size x size, one shape each before a background, with
 * noise.  Class i is one of eight outlines (i % 8), one of eight hues (i / 8 % 8) and one of the
 * directions of stripes that the number of classes asks for (i / 64): neighbours differ in one of
 * them alone.  Sample k is of class k % classes; place, size, turn, brightness, background and
 * noise are drawn at (seed, RNG_DATA, class, k).
 */
enum { SHAPES_CLASSES = 1024 };

/* classes 2 to SHAPES_CLASSES, size 8 to 256; closed by images_close. */
struct images *shapes_make(long n, int classes, int size, uint64_t seed);

#endif
