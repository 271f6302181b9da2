/* The report: one page that needs nothing else (web/load.html), with the figures of --json inside, from which its
 * script draws the plots. */
#include "load/load_priv.h"
#include "web/web.h"

#include <errno.h>
#include <stdlib.h>

static const char mark[] = "<!--data-->";

/* JSON has '<' in strings only, where it can be escaped; so nothing in it can end the element it stands in. */
static void put_safely(FILE *out, const char *json, size_t size)
{
        for (size_t i = 0; i < size; i++) {
                if (json[i] == '<')
                        fputs("\\u003c", out);
                else
                        fputc(json[i], out);
        }
}

static int write_page(const struct load_run *run, FILE *out)
{
        const char *at = strstr(web_load_html, mark);
        char *json = NULL;
        size_t size = 0;
        ensure(at);
        FILE *memory = open_memstream(&json, &size);
        if (!memory)
                return -ENOMEM;
        load_json_write(run, memory);
        int error = fclose(memory) == 0 ? 0 : -ENOMEM;
        if (!error) {
                fwrite(web_load_html, 1, (size_t)(at - web_load_html), out);
                put_safely(out, json, size);
                fputs(at + sizeof(mark) - 1, out);
        }
        free(json);
        return error;
}

int load_report_save(const struct load_run *run, const char *path)
{
        bool to_stdout = strcmp(path, "-") == 0;
        FILE *out = to_stdout ? stdout : fopen(path, "w");
        int error = out ? write_page(run, out) : -errno;
        int unwritten = out ? load_finish_file(out, to_stdout) : 0;
        error = error ? error : unwritten;
        if (error)
                complain("%s: %s", path, strerror(-error));
        return error;
}
