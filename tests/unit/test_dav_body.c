/* Bodies of PROPFIND, PROPPATCH and LOCK. A body is told as one line of text, so that what it says can be compared:
 * with what is wanted, and with what it says when it comes in other pieces. */
#include "help.h"
#include "dav/dav.h"

#define FIND(inner) "<D:propfind xmlns:D=\"DAV:\">" inner "</D:propfind>"
#define PATCH(inner) "<D:propertyupdate xmlns:D=\"DAV:\">" inner "</D:propertyupdate>"
#define SET(inner) PATCH("<D:set><D:prop>" inner "</D:prop></D:set>")
#define LOCK(inner) "<D:lockinfo xmlns:D=\"DAV:\">" inner "</D:lockinfo>"
#define EXCLUSIVE "<D:lockscope><D:exclusive/></D:lockscope>"
#define WRITE "<D:locktype><D:write/></D:locktype>"

enum { TOLD_BYTES = 4 << 20 };

static char told_room[2][TOLD_BYTES];

/* ---- telling ---- */

static void tell_property(struct text *told, enum dav_kind kind, const struct dav_property *property)
{
        text_put(told, property->remove ? SPAN(" -{") : SPAN(" {"));
        text_put(told, property->name.space);
        text_char(told, '}');
        text_put(told, property->name.local);
        if (property->live != DAV_DEAD)
                text_format(told, "#%d", (int)property->live);
        if (property->lang.size > 0) {
                text_char(told, '@');
                text_put(told, property->lang);
        }
        if (kind != DAV_PROPPATCH || property->remove)
                return;
        text_put(told, SPAN("=["));
        text_put(told, property->value);
        text_char(told, ']');
        if (property->text.data) {
                text_put(told, SPAN("=\""));
                text_put(told, property->text);
                text_char(told, '"');
        }
}

static void tell_request(struct text *told, enum dav_kind kind, const struct dav_request *request)
{
        static const char *const finds[] = { "all", "names", "these" };
        uint32_t count = 0;

        if (request->empty)
                text_put(told, SPAN("empty "));
        if (kind == DAV_LOCKINFO) {
                text_format(told, "%s [", request->exclusive ? "exclusive" : "shared");
                text_put(told, request->owner);
                text_char(told, ']');
                return;
        }
        text_put(told, kind == DAV_PROPFIND ? span_of(finds[request->find]) : SPAN("patch"));
        for (const struct dav_property *p = request->properties; p; p = p->next) {
                tell_property(told, kind, p);
                count++;
        }
        assert_int_equal(count, request->property_count);
}

static int feed(struct dav_body *body, const char *data, size_t size)
{
        char *copy = exact_copy(data, size);
        int result = dav_body_feed(body, copy, size);

        free(copy);
        return result;
}

/* First `first` bytes, then pieces of `step`. */
static struct text tell(char *room, enum dav_kind kind, struct span input, size_t first, size_t step)
{
        struct text told = text_in(room, TOLD_BYTES);
        const struct dav_request *request;
        struct dav_body *body;
        int result = 0, fed = 0;

        assert_int_equal(dav_body_create(&body, kind), 0);
        for (size_t at = 0, size = min_of(first, input.size); at < input.size;) {
                fed = feed(body, input.data + at, size);
                assert_true(result == 0 || fed == result);
                result = fed;
                at += size;
                size = min_of(step, input.size - at);
        }
        result = dav_body_end(body, &request);
        assert_true(fed == 0 || fed == result);
        if (result < 0) {
                assert_null(request);
                text_format(&told, "%d", result);
        } else {
                tell_request(&told, kind, request);
        }
        dav_body_destroy(body);
        assert_false(told.overflow);
        return told;
}

static void compare(enum dav_kind kind, struct span input, size_t first, size_t step, struct text whole)
{
        struct text other = tell(told_room[1], kind, input, first, step);

        if (!span_equal((struct span){ whole.data, whole.used }, (struct span){ other.data, other.used }))
                fail_msg("cut at %zu, %zu: %.*s", first, step, (int)input.size, input.data);
}

/* The same however it is cut: at each byte for small ones, at some for others. */
static struct span outcome(enum dav_kind kind, struct span input)
{
        struct text whole = tell(told_room[0], kind, input, input.size, input.size);
        size_t stride = input.size > 2000 ? input.size / 7 : 1;

        for (size_t at = stride; at < input.size; at += stride)
                compare(kind, input, at, input.size, whole);
        compare(kind, input, 1, input.size > 100000 ? 4095 : 1, whole);
        return (struct span){ whole.data, whole.used };
}

static void assert_outcome_(enum dav_kind kind, const char *input, const char *wanted, int line)
{
        struct span told = outcome(kind, span_of(input));

        if (!span_equal(told, span_of(wanted)))
                print_error("%s\n", input);
        assert_span_(told, span_of(wanted), __FILE__, line);
}

#define assert_outcome(kind, input, wanted) assert_outcome_(kind, input, wanted, __LINE__)

static void assert_each(enum dav_kind kind, const char *const *inputs, size_t count, const char *wanted)
{
        for (size_t i = 0; i < count; i++)
                assert_outcome(kind, inputs[i], wanted);
}

/* ---- PROPFIND ---- */

static void nothing_asks_for_all_properties(void **state)
{
        (void)state;
        assert_outcome(DAV_PROPFIND, "", "empty all");
        assert_outcome(DAV_PROPFIND, " \r\n\t", "empty all");
        assert_outcome(DAV_PROPFIND, FIND("<D:allprop/>"), "all");
        assert_outcome(DAV_PROPFIND, "<?xml version=\"1.0\"?>\n<propfind xmlns='DAV:'><allprop/></propfind>\n", "all");
        assert_outcome(DAV_PROPFIND, "\xef\xbb\xbf" FIND("<D:allprop/>"), "all");
}

static void allprop_may_include_others(void **state)
{
        (void)state;
        assert_outcome(DAV_PROPFIND, FIND("<D:allprop/><D:include><D:quota-used-bytes/><x xmlns='u'/></D:include>"),
                       "all {DAV:}quota-used-bytes#10 {u}x");
        assert_outcome(DAV_PROPFIND, FIND("<D:include><D:a/></D:include><D:allprop/>"), "all {DAV:}a");
        assert_outcome(DAV_PROPFIND, FIND("<D:prop><D:b/></D:prop><D:include><D:a/></D:include>"), "these {DAV:}b");
        assert_outcome(DAV_PROPFIND, FIND("<D:propname/><D:include><D:a/></D:include>"), "names");
}

static void properties_are_asked_for_by_name(void **state)
{
        (void)state;
        assert_outcome(DAV_PROPFIND, FIND("<D:propname/>"), "names");
        assert_outcome(DAV_PROPFIND, FIND("<D:prop/>"), "these");
        assert_outcome(DAV_PROPFIND, FIND("<D:prop><D:getetag/><a/><b xmlns='http://b/'/><D:x>y<D:z/></D:x></D:prop>"),
                       "these {DAV:}getetag#4 {}a {http://b/}b {DAV:}x");
        assert_outcome(DAV_PROPFIND, FIND("<D:prop xmlns:o='http://owncloud.org/ns'><o:checksums/></D:prop>"),
                       "these {http://owncloud.org/ns}checksums#11");
}

static void unknown_elements_are_ignored_with_all_they_hold(void **state)
{
        (void)state;
        assert_outcome(
                DAV_PROPFIND,
                "<?xml version=\"1.0\" encoding=\"utf-8\" ?><propfind xmlns=\"DAV:\"><foobar/><allprop/></propfind>",
                "all");
        assert_outcome(DAV_PROPFIND,
                       FIND("<x><D:prop><D:a/></D:prop></x><D:x><D:propname/></D:x><D:allprop><D:prop/></D:allprop>"),
                       "all");
        assert_outcome(DAV_PROPFIND, FIND("text<prop xmlns='urn:other'/><!-- c --><?p i?><D:propname/>"), "names");
}

static void a_propfind_that_asks_for_two_things_or_none_is_400(void **state)
{
        static const char *const bad[] = {
                FIND(""),
                FIND("<D:other/>"),
                FIND("<D:include><D:a/></D:include>"),
                FIND("<allprop/>"),
                FIND("<D:allprop/><D:propname/>"),
                FIND("<D:prop/><D:propname/>"),
                FIND("<D:prop/><D:allprop/>"),
                FIND("<D:prop/><D:prop/>"),
                PATCH("<D:set><D:prop><D:a/></D:prop></D:set>"),
                "<propfind><allprop/></propfind>",
                "<propfind xmlns='dav:'><allprop/></propfind>",
                "<D:allprop xmlns:D='DAV:'/>",
        };
        (void)state;
        assert_each(DAV_PROPFIND, bad, array_count(bad), "-400");
}

static void what_is_not_well_formed_is_400(void **state)
{
        static const char *const bad[] = {
                "x",
                "<",
                "<propfind xmlns='DAV:'>",
                "<propfind xmlns='DAV:'><allprop/>",
                "<propfind xmlns='DAV:'><allprop></propfind>",
                FIND("<D:allprop/>") "x",
                FIND("<D:allprop/>") FIND("<D:allprop/>"),
                FIND("<D:prop><bar:foo xmlns:bar=\"\"/></D:prop>"), /* litmus: propfind_invalid2 */
                FIND("<D:prop><bar:foo/></D:prop>"),
                FIND("<D:prop bar:a='1'/>"),
                FIND("<D:prop a='1' a='2'/>"),
                FIND("<D:prop xmlns:a='u' xmlns:b='u' a:x='1' b:x='2'/>"),
                FIND("<D:prop a=1/>"),
                FIND("<D:prop>&foo;</D:prop>"),
                FIND("<D:prop>&#1;</D:prop>"),
                FIND("<D:prop>\x01</D:prop>"),
                FIND("<D:prop>\xff</D:prop>"),
                FIND("<D:prop>]]></D:prop>"),
                FIND("<D:prop><a b='<'/></D:prop>"),
                FIND("<D:prop><a xmlns='a&#1;b'/></D:prop>"),
                FIND("<D:prop><a:b:c xmlns:a='u'/></D:prop>"),
                FIND("<D:allprop/><!-- -- -->"),
                " <?xml version='1.0'?>" FIND("<D:allprop/>"),
                "<?xml version='1.0' encoding='x-none'?>" FIND("<D:allprop/>"),
                "<?xml version='1.0'?>",
                "<!-- -->",
        };
        (void)state;
        assert_each(DAV_PROPFIND, bad, array_count(bad), "-400");
}

static void a_document_type_is_400(void **state)
{
        static const char *const bad[] = {
                "<!DOCTYPE propfind>" FIND("<D:allprop/>"),
                "<!DOCTYPE propfind [<!ENTITY a 'b'>]>" FIND("<D:prop>&a;</D:prop>"),
                "<!DOCTYPE propfind SYSTEM 'file:///etc/passwd'>" FIND("<D:allprop/>"),
                "<!DOCTYPE propfind [<!ENTITY % p SYSTEM 'file:///etc/passwd'>%p;]>" FIND("<D:allprop/>"),
                "<?xml version='1.0'?><!-- --><!DOCTYPE propfind []>" FIND("<D:allprop/>"),
        };
        (void)state;
        assert_each(DAV_PROPFIND, bad, array_count(bad), "-400");
}

static void other_encodings_are_read(void **state)
{
        static const char latin[] = "<?xml version='1.0' encoding='iso-8859-1'?>" SET("<a xmlns='u'>\xe4</a>");
        static const char ascii[] = FIND("<D:propname/>");
        char wide[2 * sizeof(ascii)] = "\xff\xfe";
        (void)state;

        assert_outcome(DAV_PROPPATCH, latin, "patch {u}a=[\xc3\xa4]=\"\xc3\xa4\"");
        for (size_t i = 0; i < sizeof(ascii) - 1; i++)
                wide[2 + 2 * i] = ascii[i];
        assert_span(outcome(DAV_PROPFIND, (struct span){ wide, sizeof(wide) }), "names");
}

/* ---- PROPPATCH ---- */

static void changes_come_in_the_order_of_the_document(void **state)
{
        (void)state;
        assert_outcome(DAV_PROPPATCH,
                       PATCH("<D:remove><D:prop><a xmlns='u'/></D:prop></D:remove>"
                             "<D:set><D:prop><a xmlns='u'>x</a><b xmlns=''/></D:prop></D:set>"
                             "<D:set><D:prop><a xmlns='u'>y</a></D:prop></D:set>"
                             "<D:remove><D:prop><D:getetag>ignored</D:getetag></D:prop></D:remove>"),
                       "patch -{u}a {u}a=[x]=\"x\" {}b=[]=\"\" {u}a=[y]=\"y\" -{DAV:}getetag#4");
}

static void a_patch_without_properties_is_400(void **state)
{
        static const char *const bad[] = {
                "",
                "  ",
                PATCH(""),
                PATCH("<D:set/>"),
                PATCH("<D:set><D:prop/></D:set>"),
                PATCH("<D:prop><D:a/></D:prop>"),
                PATCH("<D:other><D:prop><D:a/></D:prop></D:other>"),
                PATCH("<D:set><D:a/></D:set>"),
                FIND("<D:allprop/>"),
        };
        (void)state;
        assert_each(DAV_PROPPATCH, bad, array_count(bad), "-400");
}

static void text_is_given_plain_and_escaped(void **state)
{
        (void)state;
        assert_outcome(DAV_PROPPATCH, SET("<D:a>  1 &lt; 2 &amp; <![CDATA[<b>]]>\r\n&#13;&quot;</D:a>"),
                       "patch {DAV:}a=[  1 &lt; 2 &amp; &lt;b&gt;\n&#13;&quot;]=\"  1 < 2 & <b>\n\r\"\"");
        assert_outcome(DAV_PROPPATCH, SET("<a xmlns='u'>&#65536;</a>"),
                       "patch {u}a=[\xf0\x90\x80\x80]=\"\xf0\x90\x80\x80\"");
        assert_outcome(DAV_PROPPATCH, SET("<a xmlns='u'>x<!-- gone --><?gone too?>y</a>"), "patch {u}a=[xy]=\"xy\"");
}

static void values_declare_namespaces_where_they_are_used(void **state)
{
        (void)state;
        /* litmus: propvalnspace */
        assert_outcome(DAV_PROPPATCH, SET("<t:v xmlns:t='http://t/'><foo xmlns='http://bar'/></t:v>"),
                       "patch {http://t/}v=[<n0:foo xmlns:n0=\"http://bar\"/>]");
        assert_outcome(DAV_PROPPATCH, SET("<v xmlns='u'>a<D:b><c/>d</D:b><e xmlns=''>f<g/></e></v>"),
                       "patch {u}v=[a<n0:b xmlns:n0=\"DAV:\"><n0:c xmlns:n0=\"u\"/>d</n0:b>"
                       "<e xmlns=\"\">f<g xmlns=\"\"/></e>]");
}

static void attributes_of_values_are_kept(void **state)
{
        (void)state;
        assert_outcome(DAV_PROPPATCH,
                       SET("<v xmlns='u' ignored='1'><a xmlns:p='w&amp;&quot;' b='&lt;&quot;&#9;&#10;&#13;&amp;&gt;' "
                           "p:c='d' p:e='\n'/></v>"),
                       "patch {u}v=[<n0:a xmlns:n0=\"u\" b=\"&lt;&quot;&#9;&#10;&#13;&amp;&gt;\""
                       " xmlns:n2=\"w&amp;&quot;\" n2:c=\"d\" xmlns:n3=\"w&amp;&quot;\" n3:e=\" \"/>]");
        assert_outcome(DAV_PROPPATCH, SET("<v xmlns='u'><xml:a xml:lang='de' xml:space='preserve'/></v>"),
                       "patch {u}v=[<xml:a xml:lang=\"de\" xml:space=\"preserve\"/>]");
}

static void the_language_in_force_is_told(void **state)
{
        (void)state;
        assert_outcome(DAV_PROPPATCH,
                       "<propertyupdate xmlns='DAV:' xml:lang='en'><set><prop><a/><b xml:lang='de'>x</b></prop></set>"
                       "<set xml:lang='fr'><prop><c/></prop></set><set><prop xml:lang=''><d/></prop></set>"
                       "<remove><prop><e/></prop></remove></propertyupdate>",
                       "patch {DAV:}a@en=[]=\"\" {DAV:}b@de=[x]=\"x\" {DAV:}c@fr=[]=\"\" {DAV:}d=[]=\"\" -{DAV:}e@en");
        assert_outcome(DAV_PROPPATCH, SET("<a xmlns='u' lang='de'/>"), "patch {u}a=[]=\"\"");
}

/* ---- LOCK ---- */

static void a_lock_has_a_scope_and_an_owner(void **state)
{
        (void)state;
        assert_outcome(DAV_LOCKINFO, LOCK(EXCLUSIVE WRITE), "exclusive []");
        assert_outcome(DAV_LOCKINFO, LOCK(WRITE "<D:lockscope><D:shared/></D:lockscope><D:owner> me </D:owner>"),
                       "shared [ me ]");
        assert_outcome(DAV_LOCKINFO, LOCK("<D:owner>x<D:href>http://me/?a&amp;b</D:href></D:owner>" EXCLUSIVE WRITE),
                       "exclusive [x<n0:href xmlns:n0=\"DAV:\">http://me/?a&amp;b</n0:href>]");
        assert_outcome(DAV_LOCKINFO, LOCK("<x/><D:y/>" EXCLUSIVE "<D:locktype><D:new/><D:write/></D:locktype>"),
                       "exclusive []");
}

static void an_empty_lock_body_refreshes(void **state)
{
        (void)state;
        assert_outcome(DAV_LOCKINFO, "", "empty shared []");
        assert_outcome(DAV_LOCKINFO, "\r\n", "empty shared []");
}

static void a_lock_that_lacks_something_is_400(void **state)
{
        static const char *const bad[] = {
                LOCK(""),
                LOCK(EXCLUSIVE),
                LOCK(WRITE),
                LOCK(EXCLUSIVE "<D:locktype/>"),
                LOCK("<D:lockscope/>" WRITE),
                LOCK(EXCLUSIVE "<D:lockscope><D:shared/></D:lockscope>" WRITE),
                LOCK("<D:lockscope><D:exclusive/><D:shared/></D:lockscope>" WRITE),
                LOCK("<D:exclusive/><D:write/>"),
                FIND("<D:allprop/>"),
        };
        (void)state;
        assert_each(DAV_LOCKINFO, bad, array_count(bad), "-400");
}

static void an_unknown_scope_or_type_is_422(void **state)
{
        static const char *const bad[] = {
                LOCK("<D:lockscope><D:local/></D:lockscope>" WRITE),
                LOCK(EXCLUSIVE "<D:locktype><D:read/></D:locktype>"),
                LOCK(EXCLUSIVE "<D:locktype><write xmlns='u'/></D:locktype>"),
        };
        (void)state;
        assert_each(DAV_LOCKINFO, bad, array_count(bad), "-422");
}

/* ---- bounds ---- */

static char big_room[DAV_BODY_BYTES + 1];

static void repeat(struct text *text, const char *what, size_t times)
{
        while (times-- > 0)
                text_put(text, span_of(what));
        assert_false(text->overflow);
}

/* before, `what` so many times, after. */
static struct span big(const char *before, const char *what, size_t times, const char *after)
{
        struct text text = text_in(big_room, sizeof(big_room));

        text_put(&text, span_of(before));
        repeat(&text, what, times);
        text_put(&text, span_of(after));
        assert_false(text.overflow);
        return (struct span){ text.data, text.used };
}

static void assert_refused(enum dav_kind kind, struct span input, const char *wanted)
{
        struct span told = outcome(kind, input);

        assert_span_(told, span_of(wanted), __FILE__, __LINE__);
}

static void assert_taken(enum dav_kind kind, struct span input)
{
        struct span told = outcome(kind, input);

        if (told.size == 0 || told.data[0] == '-')
                fail_msg("%.*s", (int)min_of(told.size, 100), told.data);
}

static void a_body_of_more_than_a_mebibyte_is_413(void **state)
{
        static const char start[] = "<D:propfind xmlns:D='DAV:'><D:allprop/>", end[] = "</D:propfind>";
        size_t room = DAV_BODY_BYTES - (sizeof(start) - 1) - (sizeof(end) - 1);
        (void)state;

        assert_taken(DAV_PROPFIND, big(start, " ", room, end));
        assert_refused(DAV_PROPFIND, big(start, " ", room + 1, end), "-413");
        assert_refused(DAV_PROPFIND, big("", " ", DAV_BODY_BYTES + 1, ""), "-413");
        assert_taken(DAV_PROPFIND, big("", " ", DAV_BODY_BYTES, ""));
}

static void what_is_wrong_at_the_beginning_is_told_before_the_size(void **state)
{
        (void)state;
        assert_refused(DAV_PROPFIND, big("<x/>", " ", DAV_BODY_BYTES - 3, ""), "-400");
}

/* `depth` elements within each other, the root included. */
static struct span nested(size_t depth, const char *start, const char *end)
{
        struct text text = text_in(big_room, sizeof(big_room));

        text_put(&text, span_of(start));
        repeat(&text, "<x>", depth - 1);
        repeat(&text, "</x>", depth - 1);
        text_put(&text, span_of(end));
        return (struct span){ text.data, text.used };
}

static void elements_too_deep_are_413(void **state)
{
        static const char start[] = "<D:propfind xmlns:D='DAV:'><D:allprop/>", end[] = "</D:propfind>";
        (void)state;

        assert_taken(DAV_PROPFIND, nested(DAV_BODY_DEPTH, start, end));
        assert_refused(DAV_PROPFIND, nested(DAV_BODY_DEPTH + 1, start, end), "-413");
        assert_refused(DAV_PROPFIND, nested(100000, start, end), "-413");
}

static void too_many_properties_are_413(void **state)
{
        static const char find[] = "<D:propfind xmlns:D='DAV:'><D:prop>", end[] = "</D:prop></D:propfind>";
        static const char patch[] = "<D:propertyupdate xmlns:D='DAV:'><D:remove><D:prop>";
        (void)state;

        assert_taken(DAV_PROPFIND, big(find, "<a/>", DAV_BODY_PROPERTIES, end));
        assert_refused(DAV_PROPFIND, big(find, "<a/>", DAV_BODY_PROPERTIES + 1, end), "-413");
        assert_refused(DAV_PROPPATCH, big(patch, "<a/>", DAV_BODY_PROPERTIES + 1, ""), "-413");
}

static void values_too_long_are_413(void **state)
{
        static const char start[] = "<D:propertyupdate xmlns:D='DAV:'><D:set><D:prop><a>";
        static const char end[] = "</a></D:prop></D:set></D:propertyupdate>";
        (void)state;

        assert_taken(DAV_PROPPATCH, big(start, "x", DAV_VALUE_BYTES, end));
        assert_refused(DAV_PROPPATCH, big(start, "x", DAV_VALUE_BYTES + 1, end), "-413");
        assert_refused(DAV_PROPPATCH, big(start, "<![CDATA[&]]>", DAV_VALUE_BYTES / 5 + 1, end), "-413");
        assert_refused(DAV_PROPPATCH, big(start, "<b/>", DAV_VALUE_BYTES / 13 + 1, end), "-413");
        assert_refused(DAV_LOCKINFO,
                       big("<D:lockinfo xmlns:D='DAV:'><D:owner>", "x", DAV_VALUE_BYTES + 1, "</D:owner>"), "-413");
}

/* What stands in an ignored element, or between elements, is not kept and may be long. */
static void text_that_means_nothing_is_not_bounded(void **state)
{
        (void)state;
        assert_taken(DAV_PROPFIND,
                     big("<D:propfind xmlns:D='DAV:'><D:allprop/><x>", "text ", 100000, "</x></D:propfind>"));
}

static void tags_and_comments_too_long_are_413(void **state)
{
        static const char comment[] = "<D:propfind xmlns:D='DAV:'><D:allprop/><!--";
        static const char tag[] = "<D:propfind xmlns:D='DAV:'><D:allprop/><x a='";
        (void)state;

        assert_taken(DAV_PROPFIND, big(comment, "x", 8000, "--></D:propfind>"));
        assert_refused(DAV_PROPFIND, big(comment, "x", 12 << 10, "--></D:propfind>"), "-413");
        assert_taken(DAV_PROPFIND, big(tag, "x", 8000, "'/></D:propfind>"));
        assert_refused(DAV_PROPFIND, big(tag, "x", 12 << 10, "'/></D:propfind>"), "-413");
}

static void namespaces_too_long_are_413(void **state)
{
        static const char start[] = "<D:propfind xmlns:D='DAV:'><D:prop><a xmlns='";
        (void)state;

        assert_taken(DAV_PROPFIND, big(start, "u", DAV_SPACE_BYTES, "'/></D:prop></D:propfind>"));
        assert_refused(DAV_PROPFIND, big(start, "u", DAV_SPACE_BYTES + 1, "'/></D:prop></D:propfind>"), "-413");
}

/* A kibibyte of namespace is repeated with each of the elements that use it: more than the arena may hold. */
static void small_bodies_that_grow_are_413(void **state)
{
        char start[DAV_SPACE_BYTES + 128] = "<D:propertyupdate xmlns:D='DAV:' xmlns:u='";
        (void)state;

        memset(start + strlen(start), 'u', DAV_SPACE_BYTES);
        strcat(start, "'><D:set><D:prop>");
        assert_refused(DAV_PROPPATCH,
                       big(start, "<a><u:b/><u:b/><u:b/><u:b/><u:b/></a>", DAV_BODY_PROPERTIES,
                           "</D:prop></D:set></D:propertyupdate>"),
                       "-413");
        assert_taken(DAV_PROPPATCH, big(start, "<a><u:b/></a>", 1000, "</D:prop></D:set></D:propertyupdate>"));
}

static void a_refusal_is_final(void **state)
{
        const struct dav_request *request;
        struct dav_body *body;
        (void)state;

        assert_int_equal(dav_body_create(&body, DAV_PROPFIND), 0);
        memset(big_room, '<', 5000);
        assert_int_equal(feed(body, big_room, 5000), -400);
        assert_int_equal(feed(body, FIND("<D:allprop/>"), strlen(FIND("<D:allprop/>"))), -400);
        assert_int_equal(feed(body, "", 0), -400);
        assert_int_equal(dav_body_end(body, &request), -400);
        dav_body_destroy(body);
}

static void a_body_may_be_given_up_at_any_time(void **state)
{
        static const char text[] = SET("<a xmlns='u'><b c='d'>e</b></a>");
        (void)state;

        for (size_t size = 0; size < sizeof(text); size++) {
                struct dav_body *body;

                assert_int_equal(dav_body_create(&body, DAV_PROPPATCH), 0);
                assert_int_equal(feed(body, text, size), 0);
                dav_body_destroy(body);
        }
        dav_body_destroy(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nothing_asks_for_all_properties),
                cmocka_unit_test(allprop_may_include_others),
                cmocka_unit_test(properties_are_asked_for_by_name),
                cmocka_unit_test(unknown_elements_are_ignored_with_all_they_hold),
                cmocka_unit_test(a_propfind_that_asks_for_two_things_or_none_is_400),
                cmocka_unit_test(what_is_not_well_formed_is_400),
                cmocka_unit_test(a_document_type_is_400),
                cmocka_unit_test(other_encodings_are_read),
                cmocka_unit_test(changes_come_in_the_order_of_the_document),
                cmocka_unit_test(a_patch_without_properties_is_400),
                cmocka_unit_test(text_is_given_plain_and_escaped),
                cmocka_unit_test(values_declare_namespaces_where_they_are_used),
                cmocka_unit_test(attributes_of_values_are_kept),
                cmocka_unit_test(the_language_in_force_is_told),
                cmocka_unit_test(a_lock_has_a_scope_and_an_owner),
                cmocka_unit_test(an_empty_lock_body_refreshes),
                cmocka_unit_test(a_lock_that_lacks_something_is_400),
                cmocka_unit_test(an_unknown_scope_or_type_is_422),
                cmocka_unit_test(a_body_of_more_than_a_mebibyte_is_413),
                cmocka_unit_test(what_is_wrong_at_the_beginning_is_told_before_the_size),
                cmocka_unit_test(elements_too_deep_are_413),
                cmocka_unit_test(too_many_properties_are_413),
                cmocka_unit_test(values_too_long_are_413),
                cmocka_unit_test(text_that_means_nothing_is_not_bounded),
                cmocka_unit_test(tags_and_comments_too_long_are_413),
                cmocka_unit_test(namespaces_too_long_are_413),
                cmocka_unit_test(small_bodies_that_grow_are_413),
                cmocka_unit_test(a_refusal_is_final),
                cmocka_unit_test(a_body_may_be_given_up_at_any_time),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
