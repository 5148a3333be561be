#!/bin/sh
# The manual's hook for PyTorch writes the census and the trace that moe-train --eval writes of the
# same model, and the market and the ecology read them.
. t/lib.sh
/usr/bin/python3 -c 'import torch' 2>/dev/null || skip_all "python3-torch is not installed"
root=$PWD

awk '/^\.Sh EXAMPLES/ { exit } /^\.Ed/ { on = 0 } on { print } /^\.Bd -literal$/ { on = 1 }' \
	man/moe-trace.5 >"$T/hook.py"
ok "the manual has a hook" grep -q '^class Experts:' "$T/hook.py"
is "$(awk 'END { print NR <= 25 }' "$T/hook.py")" 1 "of a page's length"

cat lib/*/*.h | head -c 30000 >"$T/text"
tail -c 3000 README | head -c 1537 >"$T/other" # 16 windows of 96 and one token
ok "a model" moe-train --dim 32 --layers 2 --heads 4 --experts 6 --hidden 48 --seq 96 --batch 4 \
	--steps 40 --lr 1e-2 -o "$T/run" "$T/text"
ok "its census" moe-train --eval "$T/run/ckpt.safetensors" --batch 16 --trace-csv "$T/trace.csv" \
	--experts-csv "$T/census.csv" "$T/other"
cat >"$T/use.py" <<'END'
import sys, torch
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import torch_moe
import torch.nn.functional as F
from hook import Experts
m, recipe = torch_moe.load(sys.argv[3])
text = torch_moe.tokens_of(sys.argv[4])
token, target = text[:-1].view(-1, 96), text[1:].view(-1, 96)
gates = [layer.mlp.gate for layer in m.model.layers]
parameters = sum(p.numel() for p in m.model.layers[0].mlp.experts[0].parameters())
with open("census.csv", "w") as census, open("trace.csv", "w") as trace:
	hook = Experts(gates, 2, parameters, census, trace)
	for step in 1, 2:
		loss = F.cross_entropy(m(token).flatten(0, 1), target.flatten(), reduction="none")
		hook.write(step, token, loss.view(token.shape))
END
mkdir "$T/theirs"
cd "$T/theirs" || exit 1
ok "the hook on the same model in PyTorch" env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 \
	"$T/use.py" "$T" "$root/t/bench" "$T/run/ckpt.safetensors" "$T/other"

# differ OURS THEIRS KEYS VALUES: rows of theirs that are not ours, keys equal and values nearly
cat >"$T/differ.awk" <<'END'
{ sub(/\r$/, "") }
FNR == 1 { n = split(keys, key, " "); m = split(values, val, " ")
	for (i = 1; i <= NF; i++) at[$i] = i; next }
{ k = ""; for (i = 1; i <= n; i++) k = k " " $at[key[i]] }
NR == FNR { ours++; for (i = 1; i <= m; i++) want[k, i] = $at[val[i]]; next }
step && $at["step"] != step { next }
{ theirs++
	for (i = 1; i <= m; i++) {
		d = $at[val[i]] - want[k, i]
		if (!((k, i) in want) || d * d > (tolerance * (want[k, i] + tolerance)) ^ 2) {
			bad++
			if (bad < 4) print k, val[i], want[k, i], $at[val[i]]
		}
	} }
END { if (!theirs || ours != theirs) print ours, "rows,", theirs + 0; exit bad > some * theirs }
END
differ() {
	awk -F, -v keys="$3" -v values="$4" -v step=1 -v tolerance="$5" -v some="$6" \
		-f "$T/differ.awk" "$1" "$2" >"$T/err" || cat "$T/err"
}
is "$(differ "$T/census.csv" census.csv "layer slot" \
	"tokens demand quality exclusivity flops" 0.02 0)" "" "PyTorch's census is ours"
is "$(differ "$T/trace.csv" trace.csv "seq pos layer rank" "token expert weight" 0.02 0.005)" "" \
	"its trace too, but for experts that are as good as each other"
ok "the market judges its experts" moe-market decide --interval 1 --market-warmup 0 --fitness C \
	-o events.csv census.csv
is "$(cut -d, -f1,2 events.csv | sort -u | tr '\n' ' ')" "1,0 1,1 2,0 2,1 step,layer " \
	"at every step and layer"
moe-market decide --interval 1 --market-warmup 0 --fitness C "$T/census.csv" | cut -d, -f2-4 >ours
sed -n '/^1,/p; /^step/p' events.csv | cut -d, -f2-4 >theirs
same ours theirs "as it judges ours"
if [ -x "$root/$B/moe-ecology" ] || command -v moe-ecology >/dev/null; then
	ok "the ecology reads its trace" moe-ecology census -o classes.csv trace.csv
	is "$(grep -c . classes.csv)" 13 "every expert of it"
fi
done_testing
