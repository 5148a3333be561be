#include "train/adopt.h"
#include "base/err.h"
#include "io/ckpt.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ckpt_tensor *
find(const struct ckpt *k, int layer, int slot, const char *part)
{
	char name[96];

	snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.%s_proj.weight", layer, slot,
		 part);
	return ckpt_find(k, name);
}

static int
take_tensor(struct tensor *t, const struct ckpt *k, int layer, int slot, const char *part)
{
	const struct ckpt_tensor *from = find(k, layer, slot, part);

	if (!from && !t->rows)
		return 0;
	if (!from || from->dims != 2 || from->shape[0] != (uint64_t)t->rows ||
	    from->shape[1] != (uint64_t)t->cols)
		return err_set("%s: expert %d of layer %d has no %s_proj of %ld by %ld", k->name,
			       slot, layer, part, t->rows, t->cols);
	if (ckpt_floats(k, from, t->w, (size_t)(t->rows * t->cols)) != 0)
		return -1;
	if (!isfinite(kern->sumsq(t->rows * t->cols, t->w)))
		return err_set("%s: tensor %s holds a value that is not finite", k->name,
			       from->name);
	return 0;
}

/* The slots of a file's layer, in order, into ours from *next on. */
static int
take_layer(struct param *p, const struct ckpt *k, int layer, int *next)
{
	for (int i = 0; i < k->n; i++) {
		int l, slot, end = 0;
		struct expert *x;
		if (sscanf(k->tensor[i].name, "model.layers.%9d.mlp.experts.%9d.up_proj.weight%n",
			   &l, &slot, &end) != 2 ||
		    end == 0 || k->tensor[i].name[end] || l != layer)
			continue;
		if (*next == p->layer[layer].experts)
			return err_set("%s: more experts than the %d slots of layer %d", k->name,
				       *next, layer);
		x = p->layer[layer].expert[(*next)++];
		if (!x)
			return err_set("--expert-init pretrained has no use for empty slots");
		if (take_tensor(&x->gate, k, layer, slot, "gate") != 0 ||
		    take_tensor(&x->up, k, layer, slot, "up") != 0 ||
		    take_tensor(&x->down, k, layer, slot, "down") != 0)
			return -1;
	}
	return 0;
}

int
adopt_experts(struct param *p, char *const *file, int files)
{
	int *next = mem_zero((size_t)p->shape.layers, sizeof *next), status = 0;

	if (files == 0)
		status = err_set("--expert-init pretrained (expected pretrained:CKPT, or "
				 "--experts-from CKPT beside it)");
	for (int i = 0; i < files && status == 0; i++) {
		struct ckpt *k = ckpt_open(file[i]);
		status = k ? 0 : -1;
		for (int l = 0; l < p->shape.layers && status == 0; l++)
			status = take_layer(p, k, l, &next[l]);
		ckpt_close(k);
	}
	for (int l = 0; l < p->shape.layers && status == 0; l++)
		if (next[l] < p->layer[l].experts)
			status = err_set("--expert-init pretrained: %d experts for the %d slots of "
					 "layer %d (expected as many)",
					 next[l], p->layer[l].experts, l);
	free(next);
	return status;
}
