#ifndef IO_HF_H
#define IO_HF_H
#include "io/ckpt.h"

/*
 * A model as a directory of Hugging Face: model.safetensors without optimizer and CRCs, and
 * config.json.
 *
 * Two architectures of the transformers library compute what models here compute: mixtral (linear
 * router, gated experts of one width) and llama (one gated expert and no router).  Their tensors
 * have names of their own.  Any other model keeps its names, under model_type "moe" and with its
 * recipe in the configuration.
 */

/*
 * Write the checkpoint c, of moe-train, to the directory, which is made if it is missing; bf16: its
 * float32 as bfloat16.  *why is NULL, or why the model fits neither architecture.
 */
int hf_write(const struct ckpt *c, const char *dir, bool bf16, const char **why);

#endif
