#include "policy/value.h"
#include "base/err.h"
#include "base/opt.h"
#include <math.h>
#include <stddef.h>

#define ROW(name, i, lo, hi, unit, help)                                                  \
	{                                                                                 \
		name, 0, OPT_REAL, offsetof(struct value, v[i]), lo, hi, unit, true, help \
	}
/* In the order of enum value_assumption. */
static const struct opt rows[] = {
	ROW("spend", VALUE_SPEND, 0, 1e15, "USD/year", "on adapting and maintaining models"),
	ROW("transfer", VALUE_TRANSFER, 0, 1, "share", "of the effect that is left at scale"),
	ROW("selection-share", VALUE_SELECTION_SHARE, 0, 1, "share", "spent on choosing experts"),
	ROW("selection-cut", VALUE_SELECTION_CUT, 0, 1, "share", "of that saved"),
	ROW("return-share", VALUE_RETURN_SHARE, 0, 1, "share", "spent on domains that return"),
	ROW("return-speedup", VALUE_RETURN_SPEEDUP, 1, 1e6, "factor", "of recovery on return"),
	ROW("churn-share", VALUE_CHURN_SHARE, 0, 1, "share", "spent on replacing experts"),
	ROW("churn-cut", VALUE_CHURN_CUT, 0, 1, "share", "of that saved"),
	ROW("stability-share", VALUE_STABILITY_SHARE, 0, 1, "share", "lost to unstable runs"),
	ROW("stability-cut", VALUE_STABILITY_CUT, 0, 1, "share", "of that saved"),
	ROW("energy-share", VALUE_ENERGY_SHARE, 0, 1, "share", "of savings that is energy"),
	ROW("energy-price", VALUE_ENERGY_PRICE, 1e-6, 1e3, "USD/kWh", "of energy"),
	ROW("co2-per-kwh", VALUE_CO2, 0, 1e3, "kg/kWh", "emitted for energy"),
};
_Static_assert(sizeof rows / sizeof *rows == VALUE_ASSUMPTIONS, "a row for each assumption");

static const char *const mechanism[VALUE_MECHANISMS] = {
	"expert-selection", "round-trip-adaptation", "zero-churn-adaptation", "training-stability"};

const char *
value_name(enum value_assumption a)
{
	return rows[a].name;
}

const char *
value_unit(enum value_assumption a)
{
	return rows[a].words;
}

const char *
value_mechanism(int i)
{
	return mechanism[i];
}

/*
 * The paper gives totals of 39.1 M USD, 27.1 GWh and 10,840 t.  Its split over mechanisms cannot be
 * read, so shares and cuts are choices that give the totals; so are price and share of energy.
 */
void
value_moderate(struct value *v)
{
	*v = (struct value){{[VALUE_SPEND] = 170e6,
			     [VALUE_TRANSFER] = 1,
			     [VALUE_SELECTION_SHARE] = 0.25,
			     [VALUE_SELECTION_CUT] = 0.2,
			     [VALUE_RETURN_SHARE] = 0.1,
			     [VALUE_RETURN_SPEEDUP] = 10,
			     [VALUE_CHURN_SHARE] = 0.2,
			     [VALUE_CHURN_CUT] = 0.3,
			     [VALUE_STABILITY_SHARE] = 0.15,
			     [VALUE_STABILITY_CUT] = 0.2,
			     [VALUE_ENERGY_SHARE] = 0.0542,
			     [VALUE_ENERGY_PRICE] = 0.0782,
			     [VALUE_CO2] = 0.4}};
}

int
value_read(const char *file, struct value *v)
{
	struct opt_table t = {.program = "scenario",
			      .synopsis = "",
			      .row = rows,
			      .n = VALUE_ASSUMPTIONS,
			      .values = v};
	double shares;

	value_moderate(v);
	if (opt_read(&t, file) != 0)
		return -1;
	shares = v->v[VALUE_SELECTION_SHARE] + v->v[VALUE_RETURN_SHARE] + v->v[VALUE_CHURN_SHARE] +
		 v->v[VALUE_STABILITY_SHARE];
	if (shares > 1 + 1e-9)
		return err_set("%s: the four shares of the spend sum to %.9g (expected at most 1)",
			       file, shares);
	return 0;
}

struct value_year
value_year(const struct value *v)
{
	const double *a = v->v, spend = a[VALUE_SPEND] * a[VALUE_TRANSFER];
	struct value_year y = {
		.part = {spend * a[VALUE_SELECTION_SHARE] * a[VALUE_SELECTION_CUT],
			 spend * a[VALUE_RETURN_SHARE] * (1 - 1 / a[VALUE_RETURN_SPEEDUP]),
			 spend * a[VALUE_CHURN_SHARE] * a[VALUE_CHURN_CUT],
			 spend * a[VALUE_STABILITY_SHARE] * a[VALUE_STABILITY_CUT]}};

	for (int i = 0; i < VALUE_MECHANISMS; i++)
		y.saving += y.part[i];
	y.energy = y.saving * a[VALUE_ENERGY_SHARE] / a[VALUE_ENERGY_PRICE] / 1e6;
	y.co2 = y.energy * 1e6 * a[VALUE_CO2] / 1e3;
	return y;
}

struct value
value_scaled(const struct value *v, enum value_assumption a, double factor)
{
	struct value s = *v;

	s.v[a] = fmin(fmax(s.v[a] * factor, rows[a].lo), rows[a].hi);
	return s;
}
