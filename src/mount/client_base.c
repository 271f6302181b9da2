/* The client's options: the base URL taken apart, and what all transfers are told once. */
#include "mount/transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the URL ---- */

/* A part of it in `out` (malloc; NULL where there is none). */
static int take_part(CURLU *url, CURLUPart part, unsigned flags, char **out)
{
        char *value = NULL;
        CURLUcode code = curl_url_get(url, part, &value, flags);

        *out = NULL;
        if (code == CURLUE_OUT_OF_MEMORY)
                return -ENOMEM;
        if (code != CURLUE_OK || !value)
                return 0;
        *out = strdup(value);
        curl_free(value);
        return *out ? 0 : -ENOMEM;
}

/* User and password leave the URL, so that they stand in no message and no Destination. */
static int take_user(struct client *client, CURLU *url)
{
        char *name = NULL, *password = NULL;
        int result = take_part(url, CURLUPART_USER, CURLU_URLDECODE, &name);

        if (result == 0)
                result = take_part(url, CURLUPART_PASSWORD, CURLU_URLDECODE, &password);
        if (result == 0 && name && asprintf(&client->user, "%s:%s", name, password ? password : "") < 0) {
                client->user = NULL;
                result = -ENOMEM;
        }
        curl_url_set(url, CURLUPART_USER, NULL, 0);
        curl_url_set(url, CURLUPART_PASSWORD, NULL, 0);
        free(name);
        free(password);
        return result;
}

/* With a trailing '/'. */
static int take_path(struct client *client, CURLU *url)
{
        char *path;
        size_t size;
        int result = take_part(url, CURLUPART_PATH, 0, &path);

        if (result < 0 || !path)
                return result < 0 ? result : -EINVAL;
        size = strlen(path);
        if (asprintf(&client->path, "%s%s", path, size > 0 && path[size - 1] == '/' ? "" : "/") < 0) {
                client->path = NULL;
                result = -ENOMEM;
        } else if (curl_url_set(url, CURLUPART_PATH, client->path, 0) != CURLUE_OK) {
                result = -EINVAL;
        }
        free(path);
        return result;
}

static bool has_part(CURLU *url, CURLUPart part)
{
        char *value = NULL;
        bool has = curl_url_get(url, part, &value, 0) == CURLUE_OK;

        curl_free(value);
        return has;
}

static int parse_url(struct client *client, const char *text)
{
        CURLU *url = curl_url();
        int result = url ? 0 : -ENOMEM;

        if (result == 0 && (strncasecmp(text, "http://", 7) != 0 && strncasecmp(text, "https://", 8) != 0))
                result = -EINVAL;
        if (result == 0 && curl_url_set(url, CURLUPART_URL, text, CURLU_URLENCODE) != CURLUE_OK)
                result = -EINVAL;
        if (result == 0 && (has_part(url, CURLUPART_QUERY) || has_part(url, CURLUPART_FRAGMENT)))
                result = -EINVAL;
        if (result == 0)
                result = take_user(client, url);
        if (result == 0)
                result = take_path(client, url);
        if (result == 0)
                result = take_part(url, CURLUPART_URL, 0, &client->url);
        if (result == 0 && !client->url)
                result = -EINVAL;
        if (result == 0)
                client->url_size = strlen(client->url);
        curl_url_cleanup(url);
        return result;
}

/* ---- the other options ---- */

static int copy(char **out, const char *text)
{
        *out = text ? strdup(text) : NULL;
        return text && !*out ? -ENOMEM : 0;
}

int client_base_init(struct client *client, const struct client_options *options)
{
        const char *netrc = options->netrc && *options->netrc ? options->netrc : NULL;
        int result = parse_url(client, options->url);

        client->connections = max_of(options->connections, 1u);
        client->connect_ms = options->connect_ms;
        client->stall_ms = options->stall_ms;
        client->retry_ms = options->retry_ms;
        client->insecure = options->insecure;
        client->uses_netrc = options->netrc != NULL;
        if (result == 0 && options->user) { /* an option wins over the URL */
                free(client->user);
                result = copy(&client->user, options->user);
        }
        if (result == 0 &&
            (copy(&client->bearer, options->bearer) < 0 || copy(&client->netrc, netrc) < 0 ||
             copy(&client->unix_socket, options->unix_socket) < 0 || copy(&client->key, options->key) < 0 ||
             copy(&client->certificate, options->certificate) < 0 ||
             copy(&client->authorities, options->authorities) < 0))
                result = -ENOMEM;
        return result;
}

void client_base_finish(struct client *client)
{
        char *all[] = { client->user, client->bearer, client->netrc,       client->unix_socket, client->certificate,
                        client->key,  client->url,    client->authorities, client->path };

        for (size_t i = 0; i < array_count(all); i++)
                free(all[i]);
}

/* ---- what libcurl is told of them ---- */

static CURLcode apply_credentials(const struct client *client, CURL *easy)
{
        CURLcode code = CURLE_OK;

        if (client->bearer) {
                code = curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
                return code ? code : curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, client->bearer);
        }
        code = curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        if (!code && client->user)
                return curl_easy_setopt(easy, CURLOPT_USERPWD, client->user);
        if (!code && client->uses_netrc)
                code = curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
        if (!code && client->netrc)
                code = curl_easy_setopt(easy, CURLOPT_NETRC_FILE, client->netrc);
        return code;
}

static CURLcode apply_trust(const struct client *client, CURL *easy)
{
        CURLcode code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, client->insecure ? 0L : 1L);

        if (!code)
                code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, client->insecure ? 0L : 2L);
        if (!code && client->authorities)
                code = curl_easy_setopt(easy, CURLOPT_CAINFO, client->authorities);
        if (!code && client->certificate)
                code = curl_easy_setopt(easy, CURLOPT_SSLCERT, client->certificate);
        if (!code && client->key)
                code = curl_easy_setopt(easy, CURLOPT_SSLKEY, client->key);
        return code;
}

static bool names_proxy(void)
{
        static const char *const names[] = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" };

        for (size_t i = 0; i < array_count(names); i++) {
                if (getenv(names[i]))
                        return true;
        }
        return false;
}

/* A socket of this machine is reached by no proxy; and where there is none libcurl need not look with each call. */
static CURLcode apply_route(const struct client *client, CURL *easy)
{
        CURLcode code = curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_ms);

        if (!code && client->unix_socket)
                code = curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, client->unix_socket);
        if (!code && (client->unix_socket || !names_proxy()))
                code = curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
        return code;
}

/* Paths are sent as they are: "." and ".." in a URL are no business of ours, and no name is one of them. */
int client_base_apply(const struct client *client, CURL *easy)
{
        static const struct {
                CURLoption option;
                long value;
        } numbers[] = {
                { CURLOPT_NOSIGNAL, 1 },
                { CURLOPT_PATH_AS_IS, 1 },
                { CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1 },
                { CURLOPT_TCP_NODELAY, 1 },
                { CURLOPT_TCP_KEEPALIVE, 1 },
                { CURLOPT_SUPPRESS_CONNECT_HEADERS, 1 },
                { CURLOPT_BUFFERSIZE, TRANSFER_RECEIVE_BYTES },
                { CURLOPT_UPLOAD_BUFFERSIZE, TRANSFER_BUFFER_BYTES },
        };
        CURLcode code = curl_easy_setopt(easy, CURLOPT_USERAGENT, "berth/" BERTH_VERSION);

        for (size_t i = 0; !code && i < array_count(numbers); i++)
                code = curl_easy_setopt(easy, numbers[i].option, numbers[i].value);
        if (!code)
                code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
        if (!code)
                code = apply_credentials(client, easy);
        if (!code)
                code = apply_trust(client, easy);
        if (!code)
                code = apply_route(client, easy);
        return code ? -ENOMEM : 0;
}
