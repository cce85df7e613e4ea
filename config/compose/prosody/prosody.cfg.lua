-- A small Prosody with jingle-hnt; certificates and the rest of your configuration are still to come.
local file = assert(io.open("/run/secrets/prosody-secret"));
local secret = file:read("*l");
file:close();

local domain = os.getenv("DOMAIN") or "example.org";

plugin_paths = { "/usr/local/lib/prosody/modules" }
modules_enabled = { "roster", "saslauth", "tls", "dialback", "disco", "carbons", "pep", "smacks", "ping" }
-- Components come over loopback, or by a bridge that is theirs (compose.bridge.yaml).
component_interfaces = { os.getenv("COMPONENT_INTERFACE") or "127.0.0.1" }
component_conflict_resolve = "kick_old"

VirtualHost(domain)
    modules_enabled = { "jingle_hnt" }
    jingle_hnt_component = "hnt." .. domain

Component("hnt." .. domain)
    component_secret = secret
