-- A small Prosody with jingle-hnt; certificates and the rest of your configuration are still to come.
local file = assert(io.open("/run/secrets/prosody-secret"));
local secret = file:read("*l");
file:close();

plugin_paths = { "/usr/local/lib/prosody/modules" }
modules_enabled = { "roster", "saslauth", "tls", "dialback", "disco", "carbons", "pep", "smacks", "ping" }
-- Components come over loopback; with compose.range.yaml write { "172.28.0.11" } instead.
component_interfaces = { "127.0.0.1" }
component_conflict_resolve = "kick_old"

VirtualHost "example.org"
    modules_enabled = { "jingle_hnt" }
    jingle_hnt_component = "hnt.example.org"

Component "hnt.example.org"
    component_secret = secret
