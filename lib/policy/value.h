#ifndef POLICY_VALUE_H
#define POLICY_VALUE_H

/*
 * What a market of experts might be worth to a provider of large models, per year: appendix A of
 * the market's paper as a model whose every assumption has a name.  An extrapolation from eight
 * experts in two layers: nothing here was measured at that scale.
 *
 *	saving of a mechanism = spend * transfer * its share of the spend * its cut
 *	cut of round-trip adaptation = 1 - 1 / speedup
 *	energy = saving * energy-share / energy-price		co2 = energy * kg per kWh
 */
enum value_assumption {
	VALUE_SPEND,	/* USD/year on adapting and maintaining models */
	VALUE_TRANSFER, /* share of the small model's effect that is left at scale */
	VALUE_SELECTION_SHARE,
	VALUE_SELECTION_CUT,
	VALUE_RETURN_SHARE,
	VALUE_RETURN_SPEEDUP,
	VALUE_CHURN_SHARE,
	VALUE_CHURN_CUT,
	VALUE_STABILITY_SHARE,
	VALUE_STABILITY_CUT,
	VALUE_ENERGY_SHARE, /* of what is saved */
	VALUE_ENERGY_PRICE, /* USD/kWh */
	VALUE_CO2,	    /* kg/kWh */
	VALUE_ASSUMPTIONS
};

enum { VALUE_MECHANISMS = 4 };

struct value {
	double v[VALUE_ASSUMPTIONS];
};

struct value_year {
	double part[VALUE_MECHANISMS]; /* USD */
	double saving;		       /* USD, their sum */
	double energy;		       /* GWh */
	double co2;		       /* t */
};

void value_moderate(struct value *v); /* the scenario of the paper */
/* "name value" lines over the moderate scenario. -1 with a message. */
int value_read(const char *file, struct value *v);
struct value_year value_year(const struct value *v);

const char *value_name(enum value_assumption a);
const char *value_unit(enum value_assumption a);
const char *value_mechanism(int i);

/* The scenario with one assumption times a factor, within what the assumption may be. */
struct value value_scaled(const struct value *v, enum value_assumption a, double factor);

#endif
