#ifndef TRAIN_ENVIRONMENT_H
#define TRAIN_ENVIRONMENT_H

/*
 * What a run is computed with: "name value" lines, freed by free().  The program's version and
 * compiler, the system, the processor and how many there are, memory, and the kernels in force,
 * which decide the last bits.  Not the number of workers, which decides none.
 */
char *environment_text(void);

#endif
