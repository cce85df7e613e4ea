/* A real libpurple (the library of Pidgin and Finch) as a phone: lines in, JSON lines out.
 *
 *   purple_phone JID PASSWORD SERVER PORT DIRECTORY raw-udp|ice
 *
 * Commands on standard input: "add JID" (a buddy, both ways), "call JID" (full JID), "hangup", "quit".
 * An incoming call is answered a second after it rings, as a person would.
 *
 * libpurple prefers ICE where the peer speaks it. To see its raw-udp side, the feature ice-udp is taken
 * out of its disco answer on "raw-udp"; everything else is the library as it is. Audio comes from GStreamer's test
 * source; what is heard is counted by its loudness, so silence does not count.
 */
#include <gst/gst.h>
#include <purple.h>
#include <stdio.h>
#include <string.h>

#include <media-gst.h>
#include <mediamanager.h>

void jabber_remove_feature(const char *namespace); /* exported by libjabber, in no public header */

typedef struct {
    PurpleAccount *account;
    PurpleMedia *media;
    guint64 loud_buffers;
    GMainLoop *loop;
} Phone;

static Phone phone;

static void say(const char *event, const char *detail)
{
    printf("{\"event\": \"%s\", \"detail\": \"%s\", \"heard\": %" G_GUINT64_FORMAT "}\n", event,
           detail ? detail : "", phone.loud_buffers);
    fflush(stdout);
}

/* libpurple's event loop, on GLib's */

typedef struct {
    PurpleInputFunction function;
    gpointer data;
} Watch;

static gboolean watched(GIOChannel *channel, GIOCondition condition, gpointer data)
{
    Watch *watch = data;
    PurpleInputCondition what = 0;
    if (condition & (G_IO_IN | G_IO_HUP | G_IO_ERR))
        what |= PURPLE_INPUT_READ;
    if (condition & (G_IO_OUT | G_IO_HUP | G_IO_ERR | G_IO_NVAL))
        what |= PURPLE_INPUT_WRITE;
    watch->function(watch->data, g_io_channel_unix_get_fd(channel), what);
    return TRUE;
}

static guint input_add(int fd, PurpleInputCondition what, PurpleInputFunction function, gpointer data)
{
    Watch *watch = g_new0(Watch, 1);
    GIOCondition condition = G_IO_HUP | G_IO_ERR | G_IO_NVAL;
    watch->function = function;
    watch->data = data;
    if (what & PURPLE_INPUT_READ)
        condition |= G_IO_IN;
    if (what & PURPLE_INPUT_WRITE)
        condition |= G_IO_OUT;
    GIOChannel *channel = g_io_channel_unix_new(fd);
    guint id = g_io_add_watch_full(channel, G_PRIORITY_DEFAULT, condition, watched, watch, g_free);
    g_io_channel_unref(channel);
    return id;
}

static PurpleEventLoopUiOps event_loop = {
    .timeout_add = g_timeout_add,
    .timeout_remove = g_source_remove,
    .input_add = input_add,
    .input_remove = g_source_remove,
    .timeout_add_seconds = g_timeout_add_seconds,
};

/* Audio */

static void heard(GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer data)
{
    GstMapInfo map;
    (void)sink, (void)pad, (void)data;
    if (!gst_buffer_map(buffer, &map, GST_MAP_READ))
        return;
    const gint16 *samples = (const gint16 *)map.data;
    gint loudest = 0;
    for (gsize i = 0; i < map.size / sizeof *samples; i++)
        loudest = MAX(loudest, ABS((gint)samples[i]));
    if (loudest > 500 && phone.loud_buffers++ == 0)
        say("hears", NULL);
    gst_buffer_unmap(buffer, &map);
}

static GstElement *make_source(PurpleMediaElementInfo *info, PurpleMedia *media, const gchar *session,
                               const gchar *participant)
{
    (void)info, (void)media, (void)session, (void)participant;
    return gst_parse_bin_from_description(
        "audiotestsrc is-live=true freq=440 ! audioconvert ! audioresample", TRUE, NULL);
}

static GstElement *make_sink(PurpleMediaElementInfo *info, PurpleMedia *media, const gchar *session,
                             const gchar *participant)
{
    (void)info, (void)media, (void)session, (void)participant;
    GstElement *bin = gst_parse_bin_from_description(
        "audioconvert ! audio/x-raw,format=S16LE ! fakesink name=ear signal-handoffs=true sync=false",
        TRUE, NULL);
    GstElement *ear = gst_bin_get_by_name(GST_BIN(bin), "ear");
    g_signal_connect(ear, "handoff", G_CALLBACK(heard), NULL);
    gst_object_unref(ear);
    return bin;
}

static void use_element(const char *id, PurpleMediaElementType type, gpointer create)
{
    PurpleMediaManager *manager = purple_media_manager_get();
    PurpleMediaElementInfo *info = g_object_new(PURPLE_TYPE_MEDIA_ELEMENT_INFO, "id", id, "name", id,
                                                "type", type, "create-cb", create, NULL);
    purple_media_manager_register_element(manager, info);
    purple_media_manager_set_active_element(manager, info);
}

/* Calls */

static gboolean answer(gpointer data)
{
    PurpleMedia *media = data;
    if (phone.media == media)
        purple_media_stream_info(media, PURPLE_MEDIA_INFO_ACCEPT, NULL, NULL, TRUE);
    return FALSE;
}

static void state_changed(PurpleMedia *media, PurpleMediaState state, gchar *session, gchar *name,
                          gpointer data)
{
    (void)data;
    if (state == PURPLE_MEDIA_STATE_NEW && session != NULL && name != NULL) {
        if (!purple_media_is_initiator(media, session, name)) {
            say("ringing", name);
            g_timeout_add(1000, answer, media);
        }
    } else if (state == PURPLE_MEDIA_STATE_CONNECTED && session != NULL) {
        say("connected", name);
    } else if (state == PURPLE_MEDIA_STATE_END && session == NULL && name == NULL) {
        phone.media = NULL;
        say("ended", "");
    }
}

static void stream_info(PurpleMedia *media, PurpleMediaInfoType type, gchar *session, gchar *name,
                        gboolean local, gpointer data)
{
    (void)media, (void)session, (void)name, (void)data;
    if (type == PURPLE_MEDIA_INFO_ACCEPT && !local)
        say("accepted", "");
    else if (type == PURPLE_MEDIA_INFO_REJECT && !local)
        say("declined", "");
}

static void media_error(PurpleMedia *media, const gchar *error, gpointer data)
{
    (void)media, (void)data;
    say("media-error", error);
}

static gboolean init_media(PurpleMediaManager *manager, PurpleMedia *media, PurpleAccount *account,
                           gchar *name, gpointer data)
{
    (void)manager, (void)account, (void)name, (void)data;
    phone.media = media;
    g_signal_connect(media, "state-changed", G_CALLBACK(state_changed), NULL);
    g_signal_connect(media, "stream-info", G_CALLBACK(stream_info), NULL);
    g_signal_connect(media, "error", G_CALLBACK(media_error), NULL);
    return TRUE;
}

/* Commands */

static gboolean tell(gpointer data)
{
    (void)data;
    say("stats", phone.media ? "in-call" : "idle");
    return TRUE;
}

static void command(const char *line)
{
    if (g_str_has_prefix(line, "add ")) {
        PurpleBuddy *buddy = purple_buddy_new(phone.account, line + 4, NULL);
        purple_blist_add_buddy(buddy, NULL, NULL, NULL);
        purple_account_add_buddy(phone.account, buddy);
    } else if (g_str_has_prefix(line, "call ")) {
        if (!purple_prpl_initiate_media(phone.account, line + 5, PURPLE_MEDIA_AUDIO))
            say("not-callable", line + 5);
    } else if (!strcmp(line, "hangup")) {
        if (phone.media)
            purple_media_stream_info(phone.media, PURPLE_MEDIA_INFO_HANGUP, NULL, NULL, TRUE);
    } else if (!strcmp(line, "quit")) {
        g_main_loop_quit(phone.loop);
    } else {
        say("unknown-command", "");
    }
}

static gboolean input(GIOChannel *channel, GIOCondition condition, gpointer data)
{
    gchar *line = NULL;
    (void)condition, (void)data;
    if (g_io_channel_read_line(channel, &line, NULL, NULL, NULL) != G_IO_STATUS_NORMAL) {
        g_main_loop_quit(phone.loop);
        return FALSE;
    }
    g_strstrip(line);
    command(line);
    g_free(line);
    return TRUE;
}

/* Start */

static void *authorize(PurpleAccount *account, const char *remote, const char *id, const char *alias,
                       const char *message, gboolean on_list, PurpleAccountRequestAuthorizationCb yes,
                       PurpleAccountRequestAuthorizationCb no, void *data)
{
    (void)account, (void)remote, (void)id, (void)alias, (void)message, (void)on_list, (void)no;
    yes(data);
    return NULL;
}

static PurpleAccountUiOps account_ops = {.request_authorize = authorize};

static void signed_on(PurpleConnection *connection, gpointer data)
{
    (void)data;
    say("online", purple_connection_get_display_name(connection));
}

static void connection_error(PurpleConnection *connection, PurpleConnectionError reason,
                             const gchar *text, gpointer data)
{
    (void)connection, (void)reason, (void)data;
    say("connection-error", text);
}

static void connect_account(char **argv)
{
    static int handle;
    phone.account = purple_account_new(argv[1], "prpl-jabber");
    purple_account_set_password(phone.account, argv[2]);
    purple_account_set_string(phone.account, "connect_server", argv[3]);
    purple_account_set_int(phone.account, "port", atoi(argv[4]));
    purple_account_set_string(phone.account, "connection_security", "opportunistic_tls");
    purple_account_set_bool(phone.account, "auth_plain_in_clear", TRUE);
    purple_accounts_add(phone.account);
    purple_account_set_enabled(phone.account, "purple_phone", TRUE);
    purple_signal_connect(purple_connections_get_handle(), "signed-on", &handle,
                          PURPLE_CALLBACK(signed_on), NULL);
    purple_signal_connect(purple_connections_get_handle(), "connection-error", &handle,
                          PURPLE_CALLBACK(connection_error), NULL);
    purple_savedstatus_activate(purple_savedstatus_new(NULL, PURPLE_STATUS_AVAILABLE));
}

/* Farstream uses what plugins it finds. With srtp it encrypts, and fails, since libpurple gives it no key;
 * with dtmf it mixes in a source of key tones that holds up the audio of a caller whose loop is ours. */
static void forget_plugin(const char *name)
{
    GstRegistry *registry = gst_registry_get();
    GstPlugin *plugin = gst_registry_find_plugin(registry, name);
    if (plugin != NULL) {
        gst_registry_remove_plugin(registry, plugin);
        gst_object_unref(plugin);
    }
}

static void prepare_media(void)
{
    PurpleMediaManager *manager = purple_media_manager_get();
    purple_media_manager_set_ui_caps(manager, PURPLE_MEDIA_CAPS_AUDIO |
                                                  PURPLE_MEDIA_CAPS_AUDIO_SINGLE_DIRECTION |
                                                  PURPLE_MEDIA_CAPS_CHANGE_DIRECTION);
    use_element("test-source",
                PURPLE_MEDIA_ELEMENT_AUDIO | PURPLE_MEDIA_ELEMENT_SRC | PURPLE_MEDIA_ELEMENT_ONE_SRC |
                    PURPLE_MEDIA_ELEMENT_UNIQUE,
                make_source);
    use_element("test-sink",
                PURPLE_MEDIA_ELEMENT_AUDIO | PURPLE_MEDIA_ELEMENT_SINK | PURPLE_MEDIA_ELEMENT_ONE_SINK,
                make_sink);
    g_signal_connect(manager, "init-media", G_CALLBACK(init_media), NULL);
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: %s JID PASSWORD SERVER PORT DIRECTORY raw-udp|ice\n", argv[0]);
        return 2;
    }
    gst_init(&argc, &argv);
    forget_plugin("srtp");
    forget_plugin("dtmf");
    phone.loop = g_main_loop_new(NULL, FALSE);
    purple_util_set_user_dir(argv[5]);
    purple_debug_set_enabled(g_getenv("PURPLE_DEBUG") != NULL);
    purple_eventloop_set_ui_ops(&event_loop);
    purple_accounts_set_ui_ops(&account_ops);
    if (!purple_core_init("purple_phone")) {
        fprintf(stderr, "libpurple does not start\n");
        return 1;
    }
    purple_set_blist(purple_blist_new());
    prepare_media();
    connect_account(argv);
    if (strcmp(argv[6], "raw-udp") == 0)
        jabber_remove_feature("urn:xmpp:jingle:transports:ice-udp:1");
    g_io_add_watch(g_io_channel_unix_new(0), G_IO_IN | G_IO_HUP, input, NULL);
    g_timeout_add(1000, tell, NULL);
    g_main_loop_run(phone.loop);
    purple_core_quit();
    return 0;
}
