#!/usr/bin/python3
"""The model of moe-train in plain PyTorch: a second opinion on its losses, a peer for its speed.

  torch_moe.py --eval [--seq N] CKPT... DATA
      Load checkpoints by the names of their tensors and print what `moe-train --eval` prints: the
      loss over DATA, a file of bytes, in consecutive windows.  A row for each checkpoint.

  torch_moe.py --train [--config nano|base|wide] [--steps N] [--skip N] [--threads N] [--seed N]
               [--lr X] [--schedule cosine|constant] [--warmup N]
               [--val FILE --val-every N --loss-csv FILE] DATA
      Train a reference configuration and print tokens per second, from the median of the steps
      after the first --skip, and the peak memory.  The CSV has moe-train's step,loss,val_loss.

Debian packages: python3-torch, and libopenblas0-openmp for full speed.
"""
import argparse
import glob
import json
import math
import os
import statistics
import struct
import sys
import time


def at_best():
    """Start again with the OpenBLAS that serves PyTorch best: both are read at loading time.

    Its OpenMP build shares PyTorch's threads, and its own choice of kernels is wrong for processors
    younger than itself.  What the user has chosen stands.
    """
    better = {}
    if "OPENBLAS_CORETYPE" not in os.environ:
        with open("/proc/cpuinfo") as f:
            flags = next((l.split() for l in f if l.startswith("flags")), [])
        if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(flags):
            better["OPENBLAS_CORETYPE"] = "SkylakeX"
        elif {"avx2", "fma"} <= set(flags):
            better["OPENBLAS_CORETYPE"] = "Haswell"
    path = os.environ.get("LD_LIBRARY_PATH", "")
    openmp = glob.glob("/usr/lib/*/openblas-openmp")
    if openmp and openmp[0] not in path.split(":"):
        better["LD_LIBRARY_PATH"] = openmp[0] + (":" + path if path else "")
    if better:
        os.environ.update(better)
        os.execv(sys.executable, [sys.executable] + sys.argv)


if __name__ == "__main__":
    at_best()

import torch
import torch.nn as nn
import torch.nn.functional as F

EPS = 1e-5
ROPE_BASE = 10000.0

ACT = {
    "gelu": lambda u: F.gelu(u),
    "relu": lambda u: F.relu(u),
    "relu2": lambda u: F.relu(u).square(),
    "swiglu": lambda u, g: F.silu(g) * u,
    "reglu": lambda u, g: F.relu(g) * u,
}
GATED = ("swiglu", "reglu")


class Shape:
    """What sizes a model; experts and hidden as lists, one entry per layer and per slot."""

    def __init__(self, dim, layers, heads, experts, hidden, top_k, kv_heads=None, vocab=256,
                 act="gelu", router="linear", router_hidden=None, dense=False, tied=True,
                 temperature=1.0):
        self.dim, self.layers, self.heads, self.vocab = dim, layers, heads, vocab
        self.kv_heads = kv_heads or heads
        self.act, self.router, self.router_hidden = act, router, router_hidden or dim
        self.dense, self.tied, self.temperature = dense, tied, temperature
        self.top_k = 1 if dense else top_k
        experts = [1] * layers if dense else experts * layers if len(experts) == 1 else experts
        self.hidden = [hidden * e if len(hidden) == 1 else hidden for e in experts]


CONFIGS = {
    "nano": Shape(dim=128, layers=2, heads=4, experts=[8], hidden=[512], top_k=2),
    "base": Shape(dim=256, layers=6, heads=8, experts=[8], hidden=[1024], top_k=2),
    "wide": Shape(dim=256, layers=4, heads=8, experts=[64], hidden=[256], top_k=2),
}
SEQ, BATCH = 256, 16  # of all three
BALANCE, DECAY, BETAS, CLIP = 0.01, 0.1, (0.9, 0.95), 1.0


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * self.weight


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads, self.kv_heads, self.width = s.heads, s.kv_heads, s.dim // s.heads
        self.q_proj = linear(s.dim, s.dim)
        self.k_proj = linear(s.dim, s.kv_heads * self.width)
        self.v_proj = linear(s.dim, s.kv_heads * self.width)
        self.o_proj = linear(s.dim, s.dim)

    def forward(self, x, cos, sin, mask):
        B, T, C = x.shape
        h, g, d = self.heads, self.kv_heads, self.width
        # One product for all three.
        w = torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight))
        qkv = F.linear(x, w).view(B, T, h + 2 * g, d).transpose(1, 2)
        qk, v = qkv.split((h + g, g), 1)
        a, b = qk.chunk(2, -1)
        qk = torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
        q, k = qk.split((h, g), 1)
        if g < h:
            k, v = k.repeat_interleave(h // g, 1), v.repeat_interleave(h // g, 1)
        p = (q / math.sqrt(d) @ k.transpose(-1, -2) + mask).softmax(-1)
        return self.o_proj((p @ v).transpose(1, 2).reshape(B, T, C))


class Expert(nn.Module):
    def __init__(self, s, hidden):
        super().__init__()
        self.act = ACT[s.act]
        self.gate_proj = linear(s.dim, hidden) if s.act in GATED else None
        self.up_proj = linear(s.dim, hidden)
        self.down_proj = linear(hidden, s.dim)

    def forward(self, x):
        if self.gate_proj is None:
            return self.down_proj(self.act(self.up_proj(x)))
        return self.down_proj(self.act(self.up_proj(x), self.gate_proj(x)))


class Experts(nn.Module):
    """A layer's routed experts; after forward, balance is its load-balance loss (1.0 = even)."""

    def __init__(self, s, hidden):
        super().__init__()
        n = len(hidden)
        self.k, self.cosine, self.temperature = s.top_k, s.router == "cosine", s.temperature
        self.gate = None
        if not s.dense and s.router == "mlp":
            self.gate = nn.Sequential(linear(s.dim, s.router_hidden), nn.GELU(),
                                      linear(s.router_hidden, n))
        elif not s.dense:
            self.gate = linear(s.dim, n)
        if self.gate is not None:
            self.gate.register_buffer("e_score_correction_bias", torch.zeros(n))
        self.experts = nn.ModuleList(Expert(s, h) for h in hidden)
        self.balance = 0.0

    def scores(self, x):
        if self.cosine:
            x, key = F.normalize(x, dim=-1), F.normalize(self.gate.weight, dim=-1)
            return F.linear(x, key) / self.temperature
        return self.gate(x) / self.temperature

    def forward(self, x):
        if self.gate is None:
            return self.experts[0](x)
        shape, n = x.shape, len(self.experts)
        x = x.reshape(-1, shape[-1])
        z = self.scores(x)
        chosen = (z.detach() + self.gate.e_score_correction_bias).topk(self.k, -1).indices
        weight = z.gather(-1, chosen).softmax(-1)  # all experts', renormalised over the chosen
        flat = chosen.flatten()
        count = flat.bincount(minlength=n)
        if self.training:
            self.balance = n * (count / flat.numel() * z.softmax(-1).mean(0)).sum()
        order = flat.argsort(stable=True)
        token = order // self.k
        rows = x[token].split(count.tolist())
        y = torch.cat([e(r) for e, r in zip(self.experts, rows) if len(r)])
        y = y * weight.flatten()[order, None]
        return torch.zeros_like(x).index_add_(0, token, y).view(shape)


class Layer(nn.Module):
    def __init__(self, s, hidden):
        super().__init__()
        self.input_layernorm, self.self_attn = RMSNorm(s.dim), Attention(s)
        self.post_attention_layernorm, self.mlp = RMSNorm(s.dim), Experts(s, hidden)

    def forward(self, x, *rope):
        x = x + self.self_attn(self.input_layernorm(x), *rope)
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(nn.Module):
    """Parameters have the names of moe-ckpt(5)."""

    def __init__(self, s):
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(s.vocab, s.dim)
        self.model.layers = nn.ModuleList(Layer(s, h) for h in s.hidden)
        self.model.norm = RMSNorm(s.dim)
        self.lm_head = None if s.tied else linear(s.dim, s.vocab)
        self.head_width, self.made = s.dim // s.heads, None
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02)

    def rope(self, T):
        """cos and sin [T, width / 2] of position * base^(-2i / width), and the causal mask."""
        if self.made is None or len(self.made[0]) != T:
            d = self.head_width
            turn = ROPE_BASE ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
            angle = torch.outer(torch.arange(T, dtype=torch.float64), turn)
            mask = torch.full((T, T), -math.inf).triu(1)
            self.made = angle.cos().float(), angle.sin().float(), mask
        return self.made

    def forward(self, tokens):
        """Logits [B, T, V]."""
        x = self.model.embed_tokens(tokens)
        rope = self.rope(tokens.shape[1])
        for layer in self.model.layers:
            x = layer(x, *rope)
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return F.linear(self.model.norm(x), head.weight)


# ---- checkpoints ----

def safetensors(file):
    """The model's tensors by name, as float32, and the metadata."""
    with open(file, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        head, data = json.loads(f.read(size)), bytearray(f.read())
    meta, tensors = head.pop("__metadata__", {}), {}
    for name, t in head.items():
        if name.startswith(("optim.", "census.")):
            continue
        kind = {"F32": torch.float32, "BF16": torch.bfloat16}[t["dtype"]]
        begin, end = t["data_offsets"]
        n = (end - begin) // (4 if kind == torch.float32 else 2)
        x = torch.frombuffer(data, dtype=kind, count=n, offset=begin)
        tensors[name] = x.view(t["shape"]).float()
    return tensors, meta


def last_temperature(text, steps):
    """Of A[:B[:STEPS]] after so many steps."""
    a, b, over = (text.split(":") + [None, None])[:3]
    a = float(a)
    b = a if b is None else float(b)
    at = min(1.0, steps / int(over)) if over else 1.0
    return b + (a - b) * 0.5 * (1 + math.cos(math.pi * at))


def recipe_shape(r):
    if r["router"] == "random" and r["dense"] == "0":
        sys.exit("torch_moe.py: the random router's choices are moe-train's own")

    def ints(name):
        return [int(n) for n in r[name].split(",")]

    return Shape(dim=int(r["dim"]), layers=int(r["layers"]), heads=int(r["heads"]),
                 kv_heads=int(r.get("kv-heads", r["heads"])), experts=ints("experts"),
                 hidden=ints("hidden"), top_k=int(r["top-k"]), vocab=int(r["vocab"]), act=r["act"],
                 router=r["router"], router_hidden=int(r.get("router-hidden", r["dim"])),
                 dense=r["dense"] == "1", tied=r["untied"] == "0",
                 temperature=last_temperature(r["temperature"], int(r["steps"])))


def load(file):
    """The model, and its recipe's options by name."""
    tensors, meta = safetensors(file)
    recipe = dict(line.split(" ", 1) for line in meta["recipe"].splitlines())
    m = Model(recipe_shape(recipe))
    for name, bias in m.named_buffers():
        tensors.setdefault(name, bias)
    m.load_state_dict(tensors)  # refuses missing, unknown and misshapen tensors
    return m, recipe


# ---- evaluation ----

def tokens_of(file):
    with open(file, "rb") as f:
        return torch.frombuffer(bytearray(f.read()), dtype=torch.uint8).long()


@torch.no_grad()
def evaluate(m, data, seq):
    """Tokens, mean loss and share of right tokens over windows that see only themselves."""
    m.eval()
    n = (len(data) - 1) // seq
    x, y = data[:n * seq].view(n, seq), data[1:n * seq + 1].view(n, seq)
    loss = hits = 0.0
    for at in range(0, n, BATCH):
        logits, want = m(x[at:at + BATCH]).flatten(0, 1), y[at:at + BATCH].flatten()
        loss += F.cross_entropy(logits, want, reduction="none").double().sum().item()
        hits += (logits.argmax(-1) == want).sum().item()
    m.train()
    if n == 0:
        sys.exit(f"torch_moe.py: {len(data)} tokens to evaluate on (expected at least {seq + 1})")
    return n * seq, loss / (n * seq), hits / (n * seq)


def print_losses(checkpoints, file, seq):
    data = tokens_of(file)
    print("tokens,loss,bits_per_token,perplexity,accuracy")
    for checkpoint in checkpoints:
        m, recipe = load(checkpoint)
        n, loss, accuracy = evaluate(m, data, seq or int(recipe["seq"]))
        print(f"{n},{loss:.9g},{loss / math.log(2):.9g},{math.exp(loss):.9g},{accuracy:.9g}")


# ---- training ----

def rate(a, step):
    """The learning rate of a step, from 0."""
    r = a.lr * min(1.0, (step + 1) / max(1, a.warmup))
    if a.schedule == "cosine":
        r *= 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / a.steps))
    return r


def peak_mib():
    with open("/proc/self/status") as f:
        return next(int(l.split()[1]) / 1024 for l in f if l.startswith("VmHWM:"))


def train_step(m, opt, x, y):
    loss = F.cross_entropy(m(x).flatten(0, 1), y.flatten())
    (loss + BALANCE * sum(l.mlp.balance for l in m.model.layers)).backward()
    nn.utils.clip_grad_norm_(m.parameters(), CLIP)
    opt.step()
    opt.zero_grad(set_to_none=True)
    return loss


def train(a, file):
    torch.manual_seed(a.seed)
    data, val = tokens_of(file), tokens_of(a.val) if a.val else None
    m = Model(CONFIGS[a.config])
    flat = [p for p in m.parameters() if p.dim() < 2]
    matrices = [p for p in m.parameters() if p.dim() > 1]
    opt = torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY},
                             {"params": flat, "weight_decay": 0.0}], lr=a.lr, betas=BETAS)
    draw = torch.Generator().manual_seed(a.seed)
    seconds, rows = [], ["step,loss,val_loss"]
    for step in range(a.steps):
        at = torch.randint(len(data) - SEQ, (BATCH, 1), generator=draw) + torch.arange(SEQ)
        x, y = data[at], data[at + 1]
        for group in opt.param_groups:
            group["lr"] = rate(a, step)
        start = time.perf_counter()
        loss = train_step(m, opt, x, y).item()
        seconds.append(time.perf_counter() - start)
        last = step + 1 == a.steps or a.val_every and (step + 1) % a.val_every == 0
        after = f"{evaluate(m, val, SEQ)[1]:.9g}" if val is not None and last else ""
        rows.append(f"{step + 1},{loss:.9g},{after}")
    if a.loss_csv:
        with open(a.loss_csv, "w") as f:
            print(*rows, sep="\n", file=f)
    took = statistics.median(seconds[a.skip:])
    params = sum(p.numel() for p in m.parameters())
    print("config,threads,params,tokens_per_s,ms_per_step,loss,peak_mib")
    print(f"{a.config},{a.threads},{params},{BATCH * SEQ / took:.1f},{1e3 * took:.2f},"
          f"{loss:.9g},{peak_mib():.1f}")


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    mode = p.add_mutually_exclusive_group(required=True)
    mode.add_argument("--eval", action="store_true")
    mode.add_argument("--train", action="store_true")
    p.add_argument("--config", choices=CONFIGS, default="nano")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--seq", type=int)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--skip", type=int, default=2)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--schedule", choices=("cosine", "constant"), default="cosine")
    p.add_argument("--warmup", type=int, default=0)
    p.add_argument("--val")
    p.add_argument("--val-every", type=int, default=0)
    p.add_argument("--loss-csv")
    p.add_argument("files", nargs="+")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    if a.eval and len(a.files) < 2:
        p.error("--eval: expected CKPT... DATA")
    if a.train and (len(a.files) != 1 or a.steps <= a.skip):
        p.error("--train: expected one DATA, and more --steps than --skip")
    if a.eval:
        print_losses(a.files[:-1], a.files[-1], a.seq)
    else:
        train(a, a.files[0])


if __name__ == "__main__":
    main()
