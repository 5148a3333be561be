#include "data/spec.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include <stdbool.h>
#include <string.h>

/* A character that a name may hold. */
static bool
name_char(char c)
{
	return (unsigned char)c > ' ' && c != 0x7f && !strchr(",\"=@/", c);
}

/* Odd characters become '_'. */
char *
spec_name(const char *file)
{
	const char *base = strrchr(file, '/');
	char *name, *dot;
	size_t k;

	if (strcmp(file, "-") == 0)
		return mem_copy("stdin");
	name = mem_copy(base ? base + 1 : file);
	k = strlen(name);
	if (k > 3 && strcmp(name + k - 3, ".gz") == 0)
		name[k - 3] = 0;
	dot = strrchr(name, '.');
	if (dot && dot > name)
		*dot = 0;
	for (char *p = name; *p; p++)
		if (!name_char(*p))
			*p = '_';
	return name;
}

int
spec_length(const char *spec)
{
	size_t k = strcspn(spec, "=/");

	if (spec[k] != '=' || file_exists(spec))
		return 0;
	if (k == 0)
		return err_set("%s: the name before '=' is empty (expected NAME=FILE)", spec);
	for (size_t i = 0; i < k; i++)
		if (!name_char(spec[i]))
			return err_set("%s: the name before '=' may not hold blanks or , \" @",
				       spec);
	if (k > 255)
		return err_set("the name %.16s... before '=' is longer than 255 bytes", spec);
	return (int)k;
}
