/* The report: one page that needs nothing else (web/load.html), with the figures of --json inside, from which its
 * script draws the plots. */
#include "load/load_priv.h"
#include "web/web.h"

#include <errno.h>

static const char mark[] = "<!--data-->";

/* JSON has '<' in strings only, and there it is escaped (json.c); so nothing in it can end the element it stands in. */
static void write_page(const struct load_run *run, FILE *out)
{
        const char *at = strstr(web_load_html, mark);
        ensure(at);
        fwrite(web_load_html, 1, (size_t)(at - web_load_html), out);
        load_json_write(run, out);
        fputs(at + sizeof(mark) - 1, out);
}

int load_report_save(const struct load_run *run, const char *path)
{
        bool to_stdout = strcmp(path, "-") == 0;
        FILE *out = to_stdout ? stdout : load_open_output(path);
        int error = out ? 0 : -errno;
        if (out) {
                write_page(run, out);
                error = load_finish_file(out, to_stdout);
        }
        if (error)
                complain("%s: %s", path, error_text(-error));
        return error;
}
