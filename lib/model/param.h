#ifndef MODEL_PARAM_H
#define MODEL_PARAM_H
#include "base/mem.h"
#include "model/shape.h"
#include <stdint.h>

/*
 * Parameters with their gradients and AdamW moments.  What all tokens use lives in one arena; each
 * expert is one mapped block of its own (weights, gradient, moments), which goes back to the
 * system when the expert dies.
 */
struct tensor {
	char name[96];	 /* Hugging Face name, see moe-ckpt(5) */
	long rows, cols; /* [out, in]; a vector has one row */
	float *w, *g;	 /* g is NULL where nothing learns by gradients */
	float *m, *v;	 /* as g */
	bool decay;	 /* weight decay applies (matrices, not norms) */
	bool flat;	 /* one-dimensional in files */
};

struct expert {
	int64_t id, parent, born; /* parent -1: a founder */
	int hidden;
	bool touched; /* its gradient holds something since the last optimizer step */
	bool frozen;  /* it is left as it is */
	long below;   /* market steps in a row below the threshold */
	int twin;     /* slot of the twin from whom it has not parted; -1: none */
	double norm2; /* squared norm of its gradient, by optim_norm */
	/* Of the living layer: see policy/living.h. */
	float energy;
	long over, starved;
	struct tensor gate, up, down; /* [H, C], [H, C], [C, H]; gate.rows = 0 if not gated */
	void *block;
	size_t bytes;
};

struct layer {
	struct tensor norm1, q, k, v, o, norm2;
	/*
	 * Router: [E, C], or mlp [R, C] and [E, R]; rows 0: none.  There is memory for every slot;
	 * E, the rows that are, ends with the last slot that is not empty.
	 */
	struct tensor route, route2;
	float *bias; /* [E] loss-free bias on the router's choice; not a gradient's */
	/*
	 * Of a key store, where route has the keys, which move by pool/gravity.h alone: its query
	 * network, [C, C] or [R, C] and [C, R]; usage, and the step of a key's last rebirth, [E].
	 */
	struct tensor query, query2;
	float *usage;
	int64_t *reborn;
	struct tensor detour;	/* [1, C] its gate, see model/detour.h; rows 0: none */
	bool away;		/* on a detour in this step */
	int experts;		/* slots */
	struct expert **expert; /* [E]; NULL: an empty slot */
	/* Of the living layer: see policy/living.h. */
	float phi_high, loss_low, norm_mean; /* 0: nothing yet */
	long plateau, until;		     /* until: the step at which its detour ends */
};

struct param {
	struct shape shape;
	struct tensor embed, norm, head; /* head.rows = 0 when tied */
	struct layer *layer;		 /* [L] */
	bool train;			 /* gradients and moments exist */
	bool hollow;			 /* the experts' weights are not here */
	int64_t next_id;		 /* the next expert's id */
	void *block;
	size_t bytes;
};

/* Allocate for a shape; weights are zero. With train: gradients and moments too. */
struct param *param_new(const struct shape *s, bool train);
/* The same without the experts' weights, whose pointers are NULL: who computes the experts has
 * them elsewhere. */
struct param *param_new_hollow(const struct shape *s);
void param_free(struct param *p);
/* Bytes that param_new takes, from the same layout. */
size_t param_bytes(const struct shape *s, bool train);

/*
 * Normal(0, 0.02) for matrices, 1 for norms, from (seed, RNG_INIT); a tensor's draw depends on its
 * place (layer, slot, role) alone, so that shapes that share a tensor share its start.  The keys of
 * a key store have length 1, gates of detours begin at zero.
 */
void param_init(struct param *p, uint64_t seed);

/*
 * The expert of a slot dies: its memory goes back to the system.  One is born in an empty slot,
 * with the next id and zeros in its tensors.  The shape and the router's rows follow; a net laid
 * out for it holds as long as no expert is wider than the widest was.
 */
void param_death(struct param *p, int layer, int slot);
struct expert *param_birth(struct param *p, int layer, int slot, int hidden);
/* The expert of a slot goes to an empty one, tensors and all, but without its twin. */
void param_move(struct param *p, int layer, int slot, int to_layer, int to_slot);

/* Whether the way back makes gradients of its weights. */
static inline bool
param_learns(const struct expert *x)
{
	return x->up.g && !x->frozen;
}

/* The expert of a slot and its twin, if it has one, are twins no more. */
void param_part(struct layer *l, int slot);

/* Visit every tensor in file order; layer and slot are -1 where they do not apply. */
typedef void param_fn(void *arg, struct tensor *t, int layer, int slot);
void param_each(struct param *p, param_fn *fn, void *arg);

#endif
