#ifndef VIEW_ASSETS_H
#define VIEW_ASSETS_H

/* The page's style and scripts: the files page.css and so on of this directory. */
extern const char assets_page_css[], assets_page_js[], assets_life_js[];

#endif
