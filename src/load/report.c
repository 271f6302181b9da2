/* What is written when all is over: the figures as JSON (json.c), or as one page that needs nothing else
 * (web/load.html), with the same figures inside, from which its script draws the plots. */
#include "load/load_priv.h"
#include "web/web.h"

#include <errno.h>
#include <unistd.h>

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

static FILE *open_output(const char *path)
{
        int descriptor = plain_open(path, PLAIN_REPLACE);
        FILE *out = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
        if (descriptor < 0)
                errno = -descriptor;
        else if (!out)
                close(descriptor);
        return out;
}

/* Writes what is left, and closes. 0, or -errno when anything could not be written. */
static int finish(FILE *out, bool keep_open)
{
        errno = 0;
        bool bad = fflush(out) != 0 || ferror(out);
        int error = bad ? -(errno ? errno : EIO) : 0;
        if (!keep_open && fclose(out) != 0 && !error)
                error = -errno;
        return error;
}

/* "-" is standard output. */
static int save(const struct load_run *run, const char *path, void (*write)(const struct load_run *run, FILE *out))
{
        bool to_stdout = strcmp(path, "-") == 0;
        FILE *out = to_stdout ? stdout : open_output(path);
        int error = out ? 0 : -errno;
        if (out) {
                write(run, out);
                error = finish(out, to_stdout);
        }
        if (error)
                complain("%s: %s", path, error_text(-error));
        return error;
}

int load_json_save(const struct load_run *run, const char *path)
{
        return save(run, path, load_json_write);
}

int load_report_save(const struct load_run *run, const char *path)
{
        return save(run, path, write_page);
}
