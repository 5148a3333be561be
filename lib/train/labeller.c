#include "train/labeller.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/num.h"
#include "train/state.h"
#include <stdlib.h>
#include <string.h>

enum { BATCH = 128 };

bool
labeller_is(const char *recipe)
{
	return strncmp(recipe, "task classify\n", 14) == 0 || strstr(recipe, "\ntask classify\n");
}

int
labeller_form(const struct recipe *r, struct images_form *f)
{
	*f = (struct images_form){0};
	return r->pixels ? images_shape(r->pixels, f) : 0;
}

struct classifier_shape
labeller_shape(const struct recipe *r, const struct images *like)
{
	return (struct classifier_shape){
		.depth = like->pixel ? r->depth : 0,
		.widen = r->widen,
		.planes = like->planes,
		.height = like->height,
		.width = like->width,
		.mixture = {.width = r->dim,
			    .router = r->router_hidden ? r->router_hidden : (r->dim + 1) / 2,
			    .experts = r->dense ? 0 : r->experts.v[0],
			    .top_k = r->dense ? 1 : r->top_k,
			    .classes = like->classes,
			    .prototype = r->prototype == 0 ? 1 : 0,
			    .bias = r->bias_rate > 0}};
}

struct mixture_loss
labeller_loss(const struct recipe *r, long step)
{
	struct mixture_loss l = {.temperature = recipe_temperature(r, step),
				 .tau = r->tau,
				 .normalised = r->loss_scale == 1,
				 .random = step < r->random_warmup};

	l.weight[MIXTURE_ENTROPY] = r->entropy;
	l.weight[MIXTURE_ORACLE] = r->oracle;
	l.weight[MIXTURE_BALANCE] = r->balance;
	l.weight[MIXTURE_ORTHO] = r->ortho;
	l.weight[MIXTURE_DIVERGENCE] = r->divergence;
	l.weight[MIXTURE_LOAD] = r->load_balance;
	l.weight[MIXTURE_Z] = r->z_loss;
	return l;
}

/* The shape of samples and the classes that the model knows, as a set without any. */
static int
known(const struct ckpt *k, struct images *like)
{
	static uint8_t some;
	const char *shape = ckpt_meta(k, "image"), *classes = ckpt_meta(k, "classes"),
		   *names = ckpt_meta(k, "class_names");
	struct images_form f;
	long n;

	*like = (struct images){.pixel = shape ? &some : NULL};
	if (!shape)
		shape = ckpt_meta(k, "features");
	if (!shape || !classes || images_shape(shape, &f) < 0 ||
	    num_long(classes, 1, UINT16_MAX, &n) < 0)
		return err_set("%s: does not say what samples it is for", k->name);
	like->file = mem_copy(k->name);
	like->planes = f.planes;
	like->height = f.height;
	like->width = f.width;
	like->classes = (int)n;
	if (!names)
		return 0;
	like->class_name = mem_zero((size_t)n, sizeof *like->class_name);
	for (long i = 0; i < n; i++) {
		const size_t len = strcspn(names, "\n");

		like->class_name[i] = mem_text("%.*s", (int)len, names);
		names += len + (names[len] == '\n');
	}
	return 0;
}

int
labeller_take(struct labeller *l, const struct ckpt *k)
{
	const char *text = state_recipe(k);
	const struct recipe *r = &l->book.recipe;
	struct classifier_shape s;

	*l = (struct labeller){0};
	if (!text || known(k, &l->like) < 0 || recipe_open(&l->book, k->name, text) < 0) {
		labeller_close(l);
		return -1;
	}
	s = labeller_shape(r, &l->like);
	l->how = labeller_loss(r, r->steps);
	if ((l->c = classifier_new(&s, BATCH, false)) && classifier_get(l->c, k) == 0)
		return 0;
	labeller_close(l);
	return -1;
}

void
labeller_close(struct labeller *l)
{
	classifier_free(l->c);
	recipe_close(&l->book);
	for (int i = 0; l->like.class_name && i < l->like.classes; i++)
		free(l->like.class_name[i]);
	free(l->like.class_name);
	free(l->like.file);
	*l = (struct labeller){0};
}

struct images *
labeller_data(const struct labeller *l, const char *file)
{
	struct images_form form;

	return labeller_form(&l->book.recipe, &form) < 0 ? NULL
							 : images_open(file, &form, &l->like);
}
