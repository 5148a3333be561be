#include "data/shapes.h"
#include "base/mem.h"
#include "base/rng.h"
#include <math.h>
#include <stdbool.h>

enum { OUTLINES = 8, HUES = 8 };

/* What is drawn for one sample; lengths are in halves of the image's side. */
struct scene {
	int outline;
	double hue, stripes;	   /* radians */
	double x, y, radius, turn; /* of the shape */
	double light;
	double ground[3], slope[3]; /* background: value and fall from top to bottom */
};

static double
between(struct rng *r, double lo, double hi)
{
	return lo + (hi - lo) * rng_uniform(r);
}

static struct scene
scene(struct rng *r, int class, int classes)
{
	const int directions = (classes + OUTLINES * HUES - 1) / (OUTLINES * HUES);
	struct scene s = {.outline = class % OUTLINES};

	s.hue = 2 * M_PI * (class / OUTLINES % HUES) / HUES;
	s.stripes = M_PI * (class / (OUTLINES * HUES)) / directions;
	s.x = between(r, -0.3, 0.3);
	s.y = between(r, -0.3, 0.3);
	s.radius = between(r, 0.4, 0.7);
	s.turn = between(r, -0.2, 0.2);
	s.light = between(r, 0.6, 1);
	for (int c = 0; c < 3; c++) {
		s.ground[c] = between(r, 0.1, 0.7);
		s.slope[c] = between(r, -0.2, 0.2);
	}
	return s;
}

/* Is (u, v), in radii from the shape's centre, inside the outline? */
static bool
inside(int outline, double u, double v)
{
	const double d = hypot(u, v);

	switch (outline) {
	case 0: return d < 0.9;				      /* disc */
	case 1: return fabs(u) < 0.75 && fabs(v) < 0.75;      /* square */
	case 2: return v < 0.7 && fabs(u) < (v + 0.9) * 0.55; /* triangle */
	case 3: return fabs(u) + fabs(v) < 0.95;	      /* diamond */
	case 4: return d < 0.95 && d > 0.5;		      /* ring */
	case 5: return fabs(u) < 0.95 && fabs(v) < 0.95 && fmin(fabs(u), fabs(v)) < 0.3; /* cross */
	case 6: return d < 0.62 + 0.33 * cos(5 * atan2(v, u));				 /* star */
	default: return d < 0.95 && v > 0; /* half a disc */
	}
}

/* The value of colour c of three at a place of the image. */
static double
shade(const struct scene *s, int c, double x, double y)
{
	const double dx = (x - s->x) / s->radius, dy = (y - s->y) / s->radius;
	const double u = dx * cos(s->turn) - dy * sin(s->turn),
		     v = dx * sin(s->turn) + dy * cos(s->turn);

	if (!inside(s->outline, u, v))
		return s->ground[c] + s->slope[c] * y;
	return s->light * (0.5 + 0.4 * cos(s->hue - 2 * M_PI * c / 3)) *
	       (1 + 0.3 * sin(9 * (u * cos(s->stripes) + v * sin(s->stripes))));
}

static void
draw(struct images *s, long k, int class, uint64_t seed)
{
	struct rng r = rng_at(seed, RNG_DATA, (uint64_t) class, (uint64_t)k);
	const struct scene what = scene(&r, class, s->classes);
	const int size = s->width;
	uint8_t *to = s->pixel + 3 * (long)size * size * k;

	for (int c = 0; c < 3; c++)
		for (int y = 0; y < size; y++)
			for (int x = 0; x < size; x++) {
				double v = shade(&what, c, (2 * x + 1.0) / size - 1,
						 (2 * y + 1.0) / size - 1);

				v = 255 * v + 12 * rng_normal(&r);
				*to++ = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : lrint(v));
			}
	s->label[k] = (uint16_t) class;
}

struct images *
shapes_make(long n, int classes, int size, uint64_t seed)
{
	struct images *s = mem_zero(1, sizeof *s);

	s->name = mem_copy("shapes");
	s->file = mem_copy("shapes");
	s->n = n;
	s->classes = classes;
	s->planes = 3;
	s->height = s->width = size;
	s->label = mem_zero((size_t)n, sizeof *s->label);
	s->pixel = mem_zero((size_t)n, 3 * (size_t)size * (size_t)size);
	for (long k = 0; k < n; k++)
		draw(s, k, (int)(k % classes), seed);
	return s;
}
