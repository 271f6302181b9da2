/* The properties that the server computes, by their names. */
#include "dav/dav_priv.h"

#define NAME(space, local)                                                                                             \
        {                                                                                                              \
                { "" space, sizeof(space) - 1 },                                                                       \
                {                                                                                                      \
                        "" local, sizeof(local) - 1                                                                    \
                }                                                                                                      \
        }

static const struct dav_name names[DAV_LIVE_COUNT] = {
        [DAV_CREATIONDATE] = NAME(DAV_NAMESPACE, "creationdate"),
        [DAV_DISPLAYNAME] = NAME(DAV_NAMESPACE, "displayname"),
        [DAV_GETCONTENTLENGTH] = NAME(DAV_NAMESPACE, "getcontentlength"),
        [DAV_GETCONTENTTYPE] = NAME(DAV_NAMESPACE, "getcontenttype"),
        [DAV_GETETAG] = NAME(DAV_NAMESPACE, "getetag"),
        [DAV_GETLASTMODIFIED] = NAME(DAV_NAMESPACE, "getlastmodified"),
        [DAV_LOCKDISCOVERY] = NAME(DAV_NAMESPACE, "lockdiscovery"),
        [DAV_RESOURCETYPE] = NAME(DAV_NAMESPACE, "resourcetype"),
        [DAV_SUPPORTEDLOCK] = NAME(DAV_NAMESPACE, "supportedlock"),
        [DAV_QUOTA_AVAILABLE_BYTES] = NAME(DAV_NAMESPACE, "quota-available-bytes"),
        [DAV_QUOTA_USED_BYTES] = NAME(DAV_NAMESPACE, "quota-used-bytes"),
        [DAV_OC_CHECKSUMS] = NAME(DAV_OWNCLOUD_NAMESPACE, "checksums"),
        [DAV_WIN32_LAST_MODIFIED] = NAME(DAV_WIN32_NAMESPACE, "Win32LastModifiedTime"),
        [DAV_BERTH_MODE] = NAME(DAV_BERTH_NAMESPACE, "mode"),
        [DAV_BERTH_MTIME] = NAME(DAV_BERTH_NAMESPACE, "mtime"),
        [DAV_BERTH_INODE] = NAME(DAV_BERTH_NAMESPACE, "inode"),
        [DAV_BERTH_LINKS] = NAME(DAV_BERTH_NAMESPACE, "links"),
        [DAV_BERTH_TARGET] = NAME(DAV_BERTH_NAMESPACE, "target"),
};

enum dav_live dav_live_of(const struct dav_name *name)
{
        enum dav_live live = 0;

        while (live < DAV_LIVE_COUNT && !dav_same_name(name, &names[live]))
                live++;
        return live;
}

struct dav_name dav_live_name(enum dav_live live)
{
        ensure(live < DAV_LIVE_COUNT);
        return names[live];
}

bool dav_parse_attribute(char out[DAV_ATTRIBUTE_BYTES], struct span local)
{
        size_t used = 0;

        if (local.size < 3 || local.size % 2 != 1 || local.size / 2 >= DAV_ATTRIBUTE_BYTES || local.data[0] != 'x')
                return false;
        for (size_t i = 1; i < local.size; i += 2) {
                int high = hex_digit(local.data[i]), low = hex_digit(local.data[i + 1]);
                bool upper = (local.data[i] >= 'A' && local.data[i] <= 'F') ||
                             (local.data[i + 1] >= 'A' && local.data[i + 1] <= 'F');

                if (high < 0 || low < 0 || upper || (high | low) == 0)
                        return false;
                out[used++] = (char)(high << 4 | low);
        }
        out[used] = '\0';
        return true;
}

void dav_put_attribute_name(struct text *out, struct span attribute)
{
        text_char(out, 'x');
        for (size_t i = 0; i < attribute.size; i++) {
                text_char(out, "0123456789abcdef"[(unsigned char)attribute.data[i] >> 4]);
                text_char(out, "0123456789abcdef"[attribute.data[i] & 15]);
        }
}

/* ASCII only: which other characters a name may hold differs between the editions of XML 1.0. */
bool dav_is_plain_name(struct span local)
{
        for (size_t i = 0; i < local.size; i++) {
                char c = local.data[i], letter = (char)(c | 0x20);
                bool starts = (letter >= 'a' && letter <= 'z') || c == '_';

                if (!starts && (i == 0 || (!dav_is_digit(c) && c != '-' && c != '.')))
                        return false;
        }
        return local.size > 0;
}
