#!/usr/bin/python3
"""A classifier of moe-train in PyTorch, in double precision, by the names in its checkpoint:
torch_wrn.py CKPT RECORDS PLANES SIZE prints the loss of the whole set as one batch, the largest
relative difference of a gradient from the one in the checkpoint (AdamW's first moment after one
step that was neither clipped nor long enough to move a weight) with its name, and the number of
parameters."""
import json, math, struct, sys, numpy as np, torch, torch.nn.functional as F
def load(name):
    b = open(name, "rb").read(); n = struct.unpack("<Q", b[:8])[0]; head = json.loads(b[8:8+n])
    meta = head.pop("__metadata__"); d = b[8+n:]
    return meta, {k: torch.tensor(np.frombuffer(d[v["data_offsets"][0]:v["data_offsets"][1]],
        np.float32).reshape(v["shape"]).copy()).double() for k, v in head.items()}
meta, t = load(sys.argv[1]); planes, size = int(sys.argv[3]), int(sys.argv[4])
a = np.fromfile(sys.argv[2], np.uint8).reshape(-1, 2 + planes*size*size)
y = torch.tensor(a[:, 0].astype("i8")); x = torch.tensor(a[:, 2:].reshape(-1, planes, size, size)).double()
recipe = dict(line.split(" ", 1) for line in meta["recipe"].splitlines() if " " in line)
w = {k: v.clone().requires_grad_(True) for k, v in t.items()
     if not k.startswith(("optim.", "input.")) and "running" not in k}
x = (x - t["input.mean"].view(1, -1, 1, 1))/t["input.sd"].view(1, -1, 1, 1)
def norm(x, p): return F.relu(F.batch_norm(x, None, None, w[p + ".weight"], w[p + ".bias"], True))
def wrn(x):
    x = F.conv2d(x, w["encoder.conv1.weight"], None, 1, 1)
    for g in range(3):
        for b in range((int(recipe["depth"]) - 4)//6):
            p = f"encoder.{g}.{b}."; s = 2 if g and not b else 1; h = norm(x, p + "norm1")
            r = F.conv2d(h, w[p + "shortcut.weight"], None, s) if p + "shortcut.weight" in w else x
            h = F.conv2d(h, w[p + "conv1.weight"], None, s, 1)
            x = F.conv2d(norm(h, p + "norm2"), w[p + "conv2.weight"], None, 1, 1) + r
    return norm(x, "encoder.norm").mean((2, 3))
def linear(x, p): return F.linear(x, w[p + ".weight"], w[p + ".bias"])
def mixture(x):
    E, K, n = int(recipe["experts"]), int(recipe["top-k"]), len(y)
    f = F.relu(linear(x, "feature")); z = linear(F.relu(linear(f, "router.0")), "router.2")
    proto = torch.stack([w[f"experts.{e}.prototype"] for e in range(E)])
    z = z + F.cosine_similarity(f[:, None], proto[None], -1)
    p = F.softmax(z/float(recipe["temperature"].split(":")[0]), -1); top = p.topk(K, -1).indices
    g = torch.zeros_like(p).scatter(1, top, p.gather(1, top)); g = g/g.sum(1, keepdim=True)
    u = torch.stack([linear(f, f"experts.{e}.head") for e in range(E)], 1)
    ce = F.cross_entropy((g[..., None]*u).sum(1), y)
    o = F.softmax(-torch.stack([F.cross_entropy(u[:, e], y, reduction="none") for e in range(E)], 1)
                  / float(recipe["tau"]), -1).detach()
    P, c = p.mean(0), g.mean(0); cos = F.cosine_similarity(proto[:, None], proto[None], -1)
    a, b = (u.gather(1, top[:, k, None, None].expand(-1, 1, u.shape[2]))[:, 0] for k in (0, 1))
    share = torch.bincount(top.flatten(), minlength=E)/(n*K)
    term = dict(entropy=(p*p.log()).sum(1).mean(), oracle=(o*(o.log() - p.log())).sum(1).mean(),
                balance=(P*(P*E).log()).sum() + (c - 1/E).pow(2).mean(),
                ortho=(cos.pow(2).sum() - E)/(E*(E - 1)),
                divergence=F.relu(F.cosine_similarity(a, b, -1)).mean(),
                load=E*(share*P).sum(), z=z.logsumexp(-1).pow(2).mean())
    option = dict(load="load-balance", z="z-loss")
    return ce + sum(float(recipe[option.get(k, k)])*v for k, v in term.items())
f = wrn(x)
loss = F.cross_entropy(linear(f, "fc"), y) if "fc.weight" in w else mixture(f)
loss.backward()
worst = max((((t["optim.m." + k]/(1 - float(recipe["beta1"])) - v.grad).norm()/v.grad.norm().clamp_min(1e-6)).item(), k)
            for k, v in w.items())
print("%.9g %.3g %s" % (loss.item(), *worst), sum(v.numel() for v in w.values()))
