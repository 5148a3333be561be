/*
 * A model of llama2.c, converted, computes what the original computes.  The reference is written
 * here from the format alone: one token at a time, in double, its own tokenizer.
 */
#include "tap.h"
#include "temp.h"
#include <stdint.h>
#include <sys/wait.h>

#define WEIGHTS "../shared/data/weights/stories260K.bin"
#define TOKENIZER "../shared/data/weights/tok512.bin"
#define STORIES "../shared/data/text/tinystories.txt"

enum { BOS = 1, BYTES = 3, MOST = 512 };

/* --- the original --- */

static struct {
	int32_t dim, hidden, layers, heads, kv_heads, vocab, seq;
} c;
static float *embed, *norm1, *wq, *wk, *wv, *wo, *norm2, *w1, *w2, *w3, *norm, *head;
static double *keys, *values; /* [layers][MOST][kv] */

static struct {
	char text[64];
	int n;
	float score;
} token[MOST];

static char *
slurp(const char *name, size_t *n)
{
	FILE *f = fopen(name, "rb");
	char *p = NULL;

	*n = 0;
	if (!f)
		return NULL;
	fseek(f, 0, SEEK_END);
	*n = (size_t)ftell(f);
	rewind(f);
	p = calloc(*n + 1, 1);
	if (fread(p, 1, *n, f) != *n)
		abort();
	fclose(f);
	return p;
}

static float *
take(float **at, long n)
{
	float *p = *at;

	*at += n;
	return p;
}

static void
load_weights(char *file)
{
	float *p = (float *)(file + sizeof c);
	long C, L, H, kv;

	memcpy(&c, file, sizeof c);
	C = c.dim, L = c.layers, H = c.hidden, kv = C / c.heads * c.kv_heads;
	embed = take(&p, C * abs(c.vocab));
	norm1 = take(&p, L * C);
	wq = take(&p, L * C * C);
	wk = take(&p, L * kv * C);
	wv = take(&p, L * kv * C);
	wo = take(&p, L * C * C);
	norm2 = take(&p, L * C);
	w1 = take(&p, L * H * C);
	w2 = take(&p, L * C * H);
	w3 = take(&p, L * H * C);
	norm = take(&p, C);
	take(&p, c.seq * (C / c.heads));
	head = c.vocab > 0 ? embed : p;
	c.vocab = abs(c.vocab);
	keys = calloc((size_t)(L * MOST * kv), sizeof *keys);
	values = calloc((size_t)(L * MOST * kv), sizeof *values);
}

static void
load_tokens(const char *file)
{
	const char *p = file + 4;

	for (int i = 0; i < c.vocab; i++) {
		int32_t n;
		memcpy(&token[i].score, p, 4);
		memcpy(&n, p + 4, 4);
		memcpy(token[i].text, p + 8, (size_t)n);
		token[i].n = n;
		p += 8 + n;
	}
}

static void
times(double *out, const float *w, const double *x, int rows, int cols)
{
	for (int i = 0; i < rows; i++) {
		out[i] = 0;
		for (int j = 0; j < cols; j++)
			out[i] += (double)w[i * cols + j] * x[j];
	}
}

static void
rms(double *out, const double *x, const float *w)
{
	double sum = 0;

	for (int i = 0; i < c.dim; i++)
		sum += x[i] * x[i];
	for (int i = 0; i < c.dim; i++)
		out[i] = x[i] / sqrt(sum / c.dim + 1e-5) * (double)w[i];
}

/* Neighbouring numbers of a head turn together. */
static void
turn(double *x, int n, int at)
{
	const int size = c.dim / c.heads;

	for (int i = 0; i < n; i += 2) {
		double angle = at * pow(10000, -(double)(i % size) / size);
		double a = x[i], b = x[i + 1];
		x[i] = a * cos(angle) - b * sin(angle);
		x[i + 1] = a * sin(angle) + b * cos(angle);
	}
}

static void
attend(double *out, const double *q, const double *k, const double *v, int at)
{
	const int size = c.dim / c.heads, kv = size * c.kv_heads;

	for (int h = 0; h < c.heads; h++) {
		const int from = h / (c.heads / c.kv_heads) * size;
		double p[MOST], sum = 0, top = -INFINITY;
		for (int t = 0; t <= at; t++) {
			p[t] = 0;
			for (int i = 0; i < size; i++)
				p[t] += q[h * size + i] * k[t * kv + from + i] / sqrt(size);
			top = fmax(top, p[t]);
		}
		for (int t = 0; t <= at; t++)
			sum += p[t] = exp(p[t] - top);
		for (int i = 0; i < size; i++) {
			out[h * size + i] = 0;
			for (int t = 0; t <= at; t++)
				out[h * size + i] += p[t] / sum * v[t * kv + from + i];
		}
	}
}

/* Logits after a token at a position. */
static void
forward(int word, int at, double *logits)
{
	const int C = c.dim, H = c.hidden, kv = C / c.heads * c.kv_heads;
	double x[C], n[C], q[C], y[C], o[C], g[H], u[H];

	for (int i = 0; i < C; i++)
		x[i] = (double)embed[word * C + i];
	for (int l = 0; l < c.layers; l++) {
		double *k = keys + l * MOST * kv, *v = values + l * MOST * kv;
		rms(n, x, norm1 + l * C);
		times(q, wq + l * C * C, n, C, C);
		times(k + at * kv, wk + l * kv * C, n, kv, C);
		times(v + at * kv, wv + l * kv * C, n, kv, C);
		turn(q, C, at);
		turn(k + at * kv, kv, at);
		attend(y, q, k, v, at);
		times(o, wo + l * C * C, y, C, C);
		for (int i = 0; i < C; i++)
			x[i] += o[i];
		rms(n, x, norm2 + l * C);
		times(g, w1 + l * H * C, n, H, C);
		times(u, w3 + l * H * C, n, H, C);
		for (int i = 0; i < H; i++)
			u[i] *= g[i] / (1 + exp(-g[i]));
		times(o, w2 + l * C * H, u, C, H);
		for (int i = 0; i < C; i++)
			x[i] += o[i];
	}
	rms(n, x, norm);
	times(logits, head, n, c.vocab, C);
}

static int
find(const char *s, int n)
{
	for (int i = 0; i < c.vocab; i++)
		if (token[i].n == n && memcmp(token[i].text, s, (size_t)n) == 0)
			return i;
	return -1;
}

/* The best-scored neighbours that make a token are joined, again and again; the leftmost first. */
static int
join(int *v, int n)
{
	for (;;) {
		double best = -1e10;
		int at = -1, made = -1;
		for (int i = 0; i + 1 < n; i++) {
			char s[128];
			int k = token[v[i]].n, m = token[v[i + 1]].n, t;
			memcpy(s, token[v[i]].text, (size_t)k);
			memcpy(s + k, token[v[i + 1]].text, (size_t)m);
			if ((t = find(s, k + m)) >= 0 && (double)token[t].score > best) {
				best = (double)token[t].score;
				at = i;
				made = t;
			}
		}
		if (at < 0)
			return n;
		v[at] = made;
		memmove(v + at + 1, v + at + 2, (size_t)(n - at - 2) * sizeof *v);
		n--;
	}
}

static int
encode(const char *s, int *v)
{
	int n = 0, k, t;

	if (*s)
		v[n++] = find(" ", 1);
	for (; *s; s += k) {
		for (k = 1; k < 4 && (s[k] & 0xc0) == 0x80; k++)
			;
		if ((t = find(s, k)) >= 0)
			v[n++] = t;
		else
			for (int i = 0; i < k; i++)
				v[n++] = BYTES + (unsigned char)s[i];
	}
	return join(v, n);
}

static void
print(FILE *f, int before, int word)
{
	const char *s = token[word].text;
	unsigned byte;

	if (before == BOS && *s == ' ')
		s++;
	if (token[word].n == 6 && sscanf(s, "<0x%02X>", &byte) == 1)
		fputc((int)byte, f);
	else
		fwrite(s, 1, (size_t)(token[word].n - (s - token[word].text)), f);
}

/* The prompt and at most `more` likeliest tokens after it; *close: two logits were nearly equal. */
static char *
continued(const char *prompt, int more, bool *close)
{
	int v[MOST] = {BOS}, count = 1 + encode(prompt, v + 1), word = BOS, next;
	double z[MOST];
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	*close = false;
	for (int at = 0; at < count - 1 + more; at++, word = next) {
		forward(word, at, z);
		next = 0;
		for (int i = 1; i < c.vocab; i++)
			next = z[i] > z[next] ? i : next;
		for (int i = 0; i < c.vocab; i++)
			*close |= at + 1 >= count && i != next && z[next] - z[i] < 1e-4;
		if (at + 1 < count)
			next = v[at + 1];
		if (next == BOS)
			break;
		print(f, word, next);
	}
	fclose(f);
	return text;
}

/* --- ours --- */

static char *command(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What a command prints; aborts the test when it fails. */
static char *
command(const char *fmt, ...)
{
	char line[2048], *text;
	size_t n;
	int ch, status;
	va_list ap;
	FILE *p, *f = open_memstream(&text, &n);

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	p = popen(line, "r");
	while ((ch = getc(p)) != EOF)
		fputc(ch, f);
	status = pclose(p);
	fclose(f);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%.60s...", line);
	return text;
}

static void
check_text(const char *bin, const char *model, const char *prompt, int more)
{
	const char *in = temp_text("prompt", prompt);
	bool close;
	char *want = continued(prompt, more, &close);
	char *got = command("%s/moe-train -j1 --sample %s --greedy --llama2 %s --tokens %d <%s",
			    bin, model, TOKENIZER, more, in);

	ok(!close, "a prompt of %zu bytes: no two tokens are nearly as likely", strlen(prompt));
	is_text(got, want, "a prompt of %zu bytes and %d tokens", strlen(prompt), more);
	free(got);
	free(want);
}

/* Mean loss over whole windows of packed tokens. */
static double
loss_of(const unsigned char *v, long n, int seq, long *tokens)
{
	double z[MOST], sum = 0;

	*tokens = 0;
	for (long from = 0; from + seq + 1 <= n; from += seq)
		for (int at = 0; at < seq; at++) {
			const unsigned char *p = v + 2 * (from + at);
			double total = 0, top = -INFINITY;
			forward(p[0] | p[1] << 8, at, z);
			for (int i = 0; i < c.vocab; i++)
				top = fmax(top, z[i]);
			for (int i = 0; i < c.vocab; i++)
				total += exp(z[i] - top);
			sum += top + log(total) - z[p[2] | p[3] << 8];
			++*tokens;
		}
	return sum / (double)*tokens;
}

static void
check_loss(const char *bin, const char *model)
{
	const char *pack = temp("stories.tok");
	long tokens = 0, got_tokens = 0;
	double want, got = NAN;
	size_t n;
	char *v, *out;

	free(command("head -c 4000 %s | %s/moe-data pack --llama2 %s -o %s -", STORIES, bin,
		     TOKENIZER, pack));
	v = slurp(pack, &n);
	want = loss_of((unsigned char *)v + 128, (long)(n - 128) / 2, 100, &tokens);
	out = command("%s/moe-train --eval %s --seq 100 %s | tail -n 1", bin, model, pack);
	sscanf(out, "%ld,%lf", &got_tokens, &got);
	is_long(got_tokens, tokens, "tokens evaluated");
	is_real(got, want, 2e-6 * want, "loss");
	ok(want < 2, "the model knows its stories: loss %.3f", want);
	free(out);
	free(v);
}

int
main(void)
{
	const char *bin = getenv("B") ? getenv("B") : "bin";
	const char *model = temp("model"), *experts = temp("experts");
	size_t n;
	char *weights = slurp(WEIGHTS, &n), *tokens = slurp(TOKENIZER, &n);

	if (!weights || !tokens || access(STORIES, R_OK) != 0)
		skip_all("no " WEIGHTS);
	load_weights(weights);
	load_tokens(tokens);
	free(command("%s/moe-ckpt convert -o %s %s", bin, model, WEIGHTS));
	free(command("%s/moe-ckpt convert --experts 4 --top-k 2 -o %s %s", bin, experts, WEIGHTS));
	check_text(bin, model, "", 200);
	check_text(bin, model, "Once upon a time", 200);
	check_text(bin, model, "Lily and Tom went to the park. They saw a big", 150);
	check_text(bin, model, "Zo\xc3\xab's caf\xc3\xa9, 3 \xe2\x82\xac\n", 60);
	check_text(bin, model, "x", 0);
	check_text(bin, experts, "Once upon a time", 100);
	check_loss(bin, model);
	check_loss(bin, experts);
	free(weights);
	free(tokens);
	free(keys);
	free(values);
	return done();
}
