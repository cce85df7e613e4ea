-- What Prosody gives a module, by name: whatever else is used is a warning of `luacheck config/prosody`.
-- Lua 5.1 to 5.4, on all of which Prosody runs.
std = "min";
max_line_length = 150;
read_globals = {
	prosody = { fields = { "core_post_stanza", "full_sessions", "hosts" } },
	module = {
		fields = {
			"host", "add_timer", "context", "get_host_type", "get_option_enum", "get_option_number",
			"get_option_period", "get_option_string", "hook", "hook_global", "log", "measure", "send",
			"set_status", "shared",
			-- What a module may define.
			unload = { read_only = false },
		},
	},
};
