-- mod_jingle_hnt: lets an external component decide about Jingle requests (XEP-0166)
--
-- The module holds every IQ-set with a <jingle/> payload between two full JIDs of which one is of
-- this host, and asks the component about it with an IQ of the server's own, as a mail server asks
-- a milter. The component never gets the right to speak for somebody: it can change the payload of
-- what it was shown and nothing else. Results and errors travel end to end, untouched.
--
--   question   <iq type='set' from=HOST to=COMPONENT><intercept via= timeout= from-ip= to-ip=>
--                <forwarded><iq>...</iq></forwarded></intercept></iq>
--   answer     <iq type='result'><intercept action='pass | replace | bounce | drop'/></iq>
--   events     <message><intercept event='error | expired | address | gone | message'/></message>
--   requests   <iq from=COMPONENT to=HOST> with <inject/>, <address/> or <module/>
--
-- all in the namespace urn:hnt:intercept:0; README.md beside this file has each of them in full.
--
-- When the component is down, silent or answers nonsense, jingle_hnt_fail decides: "open" lets the
-- stanza go on as it came, "closed" answers it with remote-server-timeout.

local cache = require "util.cache";
local jid = require "util.jid";
local new_id = require "util.id".medium;
local st = require "util.stanza";

local core_post_stanza = prosody.core_post_stanza;
local full_sessions = prosody.full_sessions;
local hosts = prosody.hosts;

local NS = "urn:hnt:intercept:0";
local NS_JINGLE = "urn:xmpp:jingle:1";
local NS_FORWARD = "urn:xmpp:forward:0";
local NS_MESSAGE = "urn:xmpp:jingle-message:0";
local NS_CONDITIONS = "urn:ietf:params:xml:ns:xmpp-stanzas";

-- Twice this still fits into the 512 kB that Prosody takes from a component before it closes the
-- stream: nobody may cut the component off by sending one large stanza.
local LARGEST_QUESTION = 256 * 1024;
local LARGEST_ERROR = 16 * 1024;
-- Bounds of what is remembered about stanzas on their way and about parties of calls.
local WATCHED = 10000;
local LONGEST_NAMES = 3 * 1023;
local PARTIES = 10000;
local PARTY_FOR = 24 * 60 * 60;
local PARTY_GONE_FOR = 10 * 60;

local INJECTABLE = { ["session-terminate"] = true, ["session-info"] = true, ["transport-info"] = true };
local ERROR_TYPES = { auth = true, cancel = true, continue = true, modify = true, wait = true };

---- Options

local component = jid.prep(module:get_option_string("jingle_hnt_component") or "");
local policy = module:get_option_string("jingle_hnt_fail", "open");
local timeout = module:get_option_number("jingle_hnt_timeout", 3);

if module:get_host_type() ~= "local" then
	error("mod_jingle_hnt belongs under a VirtualHost, not under a Component", 0);
elseif not component or component:find("[@/]") then
	error("set jingle_hnt_component to the domain of the component, e.g. \"hnt."..module.host.."\"", 0);
elseif policy ~= "open" and policy ~= "closed" then
	error("jingle_hnt_fail is \""..policy.."\": write \"open\" or \"closed\"", 0);
elseif timeout <= 0 then
	error("jingle_hnt_timeout is "..timeout..": write a number of seconds above 0", 0);
end

---- State

-- Shared by all hosts of this server that name the same component, so that it sees a stanza between
-- two of them once; and it outlives a reload of this module.
local shared = module:shared("/*/jingle_hnt/"..component);
-- Stanzas that need no (second) question.
shared.settled = shared.settled or setmetatable({}, { __mode = "k" });
-- Requests that went on and have not been acknowledged: from, to and id -> sid and action.
shared.watched = shared.watched or cache.new(WATCHED);
-- Full JIDs that take part in calls -> until when the component wants to hear about them.
shared.parties = shared.parties or cache.new(PARTIES);
local settled, watched, parties = shared.settled, shared.watched, shared.parties;

local held = {};   -- id of our question -> entry
local queues = {}; -- sender and recipient -> entries in order of arrival
local silent = false;

---- Talking to the component

local function component_session()
	local host = hosts[component];
	local session = host and host.modules and host.modules.component and host.modules.component.session;
	return session and not session.destroyed and session or nil;
end

local function tell(intercept)
	local session = component_session();
	if session then
		session.send(st.message({ from = module.host, to = component }):add_child(intercept));
	end
end

-- A stanza written inside another namespace has to name its own.
local function forwarded(stanza)
	local copy = st.clone(stanza, true);
	copy.attr.xmlns = "jabber:client";
	for child in stanza:children() do
		copy:add_direct_child(child);
	end
	return st.stanza("forwarded", { xmlns = NS_FORWARD }):add_child(copy);
end

local function from_component(event)
	return event.origin.type == "component" and event.stanza.attr.from == component;
end

---- Where parties are

local function is_full(address_text)
	local node, host, resource = jid.split(address_text);
	return node and host and resource and host ~= component;
end

local function address(session)
	-- A hibernating session (XEP-0198) has no connection: its last address would be a guess.
	if not session or session.hibernating or not session.ip then return nil; end
	local ip = session.ip:gsub("%%.*$", "");
	return ip:match("^::[fF][fF][fF][fF]:(%d+%.%d+%.%d+%.%d+)$") or ip;
end

local function remember_party(full_jid)
	if full_sessions[full_jid] then
		parties:set(full_jid, os.time() + PARTY_FOR);
	end
end

local function is_party(full_jid)
	local until_time = full_jid and parties:get(full_jid);
	if until_time and until_time < os.time() then
		parties:set(full_jid, nil);
		return false;
	end
	return until_time ~= nil;
end

local function moved(session)
	local ip = address(session);
	if ip and is_party(session.full_jid) then
		tell(st.stanza("intercept", { xmlns = NS, event = "address", jid = session.full_jid, ip = ip }));
	end
end

module:hook("smacks-hibernation-end", function (event) moved(event.resumed or event.origin); end);
module:hook("resource-bind", function (event) moved(event.session); end);

module:hook("resource-unbind", function (event)
	local full_jid = event.session.full_jid;
	if is_party(full_jid) then
		tell(st.stanza("intercept", { xmlns = NS, event = "gone", jid = full_jid }));
		-- The same client may come back under the same name in the middle of its call.
		parties:set(full_jid, os.time() + PARTY_GONE_FOR);
	end
end);

---- Jingle messages (XEP-0353)

-- They pass untouched, at once. That a call is withdrawn or over is told, for a client may say so in
-- a message only.
local function on_message(event)
	local stanza = event.stanza;
	if settled[stanza] then return; end
	for _, name in ipairs { "retract", "finish" } do
		local element = stanza:get_child(name, NS_MESSAGE);
		local from, sid = stanza.attr.from, element and element.attr.id;
		if sid and #sid <= LONGEST_NAMES and is_full(from) then
			settled[stanza] = true;
			tell(st.stanza("intercept", { xmlns = NS, event = "message", action = name, jid = from, sid = sid }));
			return;
		end
	end
end

for _, kind in ipairs { "bare", "full" } do
	module:hook("pre-message/"..kind, on_message, -100);
	module:hook("message/"..kind, on_message, 50);
end

---- What became of a request

local function watch_key(from, to, id)
	return tostring(from).."\0"..tostring(to).."\0"..tostring(id);
end

local function error_element(stanza)
	local element = stanza:get_child("error");
	if element and #tostring(element) <= LARGEST_ERROR then return element; end
	local error_type, condition = stanza:get_error();
	return st.stanza("error", { type = error_type or "cancel" })
		:tag(condition or "undefined-condition", { xmlns = NS_CONDITIONS }):up();
end

-- The payload that an error may echo is left out: it is large and known.
local function tell_error(stanza, sid, action)
	local copy = st.clone(stanza, true):add_child(error_element(stanza));
	tell(st.stanza("intercept", { xmlns = NS, event = "error", sid = sid, action = action })
		:add_child(forwarded(copy)));
end

local function watch(stanza, sid, action)
	local attr = stanza.attr;
	-- Nobody may fill our memory with names that no client makes.
	if #attr.id + #(sid or "") + #(action or "") <= LONGEST_NAMES then
		watched:set(watch_key(attr.from, attr.to, attr.id), { sid = sid, action = action });
	end
end

local function observe(stanza)
	if not st.is_stanza(stanza) or stanza.name ~= "iq" then return; end
	local attr = stanza.attr;
	if attr.type ~= "result" and attr.type ~= "error" then return; end
	local key = watch_key(attr.to, attr.from, attr.id);
	local request = watched:get(key);
	if not request then return; end
	watched:set(key, nil);
	if attr.type == "error" then
		tell_error(stanza, request.sid, request.action);
	end
end

-- Answers from clients of this host, from elsewhere, and on their way to another server.
local function on_passing(event) observe(event.stanza); end
module:hook("pre-iq/full", on_passing, 1000);
module:hook("iq/full", on_passing, 1000);
module:hook("route/remote", on_passing, 1000);

---- Verdicts: what is done with a held stanza once it is its turn

local function go_on(entry)
	local origin, stanza = entry.origin, entry.stanza;
	watch(stanza, entry.sid, entry.action);
	-- Errors that the server makes itself are given straight to origin.send, past every event.
	local send, spy = origin.send, nil;
	if send then
		spy = function (reply, ...)
			observe(reply);
			return send(reply, ...);
		end
		origin.send = spy;
	end
	local ok, err = pcall(core_post_stanza, origin, stanza, false);
	if spy and origin.send == spy then origin.send = send; end
	if not ok then error(err, 0); end
end

local function refuse(entry)
	local reply = st.error_reply(entry.stanza, "wait", "remote-server-timeout",
		"The media relay of "..module.host.." does not answer, and calls without it are not allowed");
	module:send(reply);
	tell_error(reply, entry.sid, entry.action);
end

local function fail(entry)
	return (policy == "open" and go_on or refuse)(entry);
end

local function drop() end

local function replace_by(jingle)
	return function (entry)
		-- The envelope is the one that was held: only the payload can be another.
		entry.stanza:maptags(function () return jingle; end);
		go_on(entry);
	end
end

local function bounce_with(element)
	return function (entry)
		local reply = st.reply(entry.stanza);
		reply.attr.type = "error";
		module:send(reply:add_child(element));
	end
end

---- Turns: no stanza overtakes an earlier one from the same sender to the same recipient

local function enqueue(entry)
	local queue = queues[entry.key];
	if not queue then
		queue = { first = 1, last = 0 };
		queues[entry.key] = queue;
	end
	queue.last = queue.last + 1;
	queue[queue.last] = entry;
end

local function advance(key)
	local queue = queues[key];
	-- Delivering may end another connection, whose end leads here again: one at a time.
	if not queue or queue.advancing then return; end
	queue.advancing = true;
	while queue.first <= queue.last and queue[queue.first].verdict do
		local entry = queue[queue.first];
		queue[queue.first] = nil;
		queue.first = queue.first + 1;
		local ok, err = pcall(entry.verdict, entry);
		if not ok then
			module:log("error", "Could not deliver a held stanza: %s", err);
		end
	end
	queue.advancing = nil;
	if queue.first > queue.last then queues[key] = nil; end
end

local function decide(entry, verdict)
	entry.verdict = verdict;
	held[entry.id] = nil;
	if entry.timer then
		entry.timer:stop();
		entry.timer = nil;
	end
	advance(entry.key);
end

local function expire(entry)
	entry.timer = nil;
	if not silent then
		silent = true;
		module:log("warn", "No answer from %s within %g s: fail %s", component, timeout, policy);
	end
	tell(st.stanza("intercept", {
		xmlns = NS, event = "expired", id = entry.id,
		outcome = policy == "open" and "passed" or "refused",
	}));
	decide(entry, fail);
end

local function decide_all()
	local entries = held;
	held = {};
	-- In no order: their turns are kept by the queues.
	for _, entry in pairs(entries) do
		decide(entry, fail);
	end
end

---- Questions

local function via(origin)
	if origin.type == "c2s" then return "c2s"; end
	return (origin.type == "s2sin" or origin.type == "s2sout") and "s2s" or "component";
end

local function question(entry)
	local attr = entry.stanza.attr;
	return tostring(st.iq({ type = "set", from = module.host, to = component, id = entry.id })
		:tag("intercept", {
			xmlns = NS, via = via(entry.origin), timeout = ("%g"):format(timeout),
			["from-ip"] = address(full_sessions[attr.from]), ["to-ip"] = address(full_sessions[attr.to]),
		}):add_child(forwarded(entry.stanza)));
end

local function new_entry(origin, stanza, jingle)
	return {
		id = new_id(), origin = origin, stanza = stanza,
		sid = jingle.attr.sid, action = jingle.attr.action,
		key = stanza.attr.from.."\0"..stanza.attr.to,
	};
end

local function jingle_request(stanza)
	local attr = stanza.attr;
	if stanza.name ~= "iq" or attr.type ~= "set" or settled[stanza] then return nil; end
	local jingle = stanza:get_child("jingle", NS_JINGLE);
	return jingle and is_full(attr.from) and is_full(attr.to) and jingle or nil;
end

local function reply_error(event, error_type, condition, text)
	event.origin.send(st.error_reply(event.stanza, error_type, condition, text));
	return true;
end

local function on_request(event)
	local origin, stanza = event.origin, event.stanza;
	local jingle = jingle_request(stanza);
	if not jingle then return; end
	if #stanza.tags ~= 1 or (stanza.attr.id or "") == "" then
		return reply_error(event, "modify", "bad-request", "An IQ needs an id and exactly one payload");
	end
	settled[stanza] = true;

	local entry = new_entry(origin, stanza, jingle);
	if entry.action == "session-initiate" or entry.action == "session-accept" then
		remember_party(stanza.attr.from);
		remember_party(stanza.attr.to);
	end
	local session = component_session();
	if not session then
		enqueue(entry);
		decide(entry, fail);
		return true;
	end
	local text = question(entry);
	if #text > LARGEST_QUESTION then
		return reply_error(event, "modify", "policy-violation", "This Jingle request is larger than any call needs");
	end
	enqueue(entry);
	held[entry.id] = entry;
	entry.timer = module:add_timer(timeout, function () expire(entry); end);
	session.send(text);
	return true;
end

-- After blocking lists and all others that may refuse or change what a client sends ...
module:hook("pre-iq/full", on_request, -100);
-- ... and what comes from other servers, components and hosts without this module.
module:hook("iq/full", on_request, 50);

---- Answers

local function replacement(answer)
	local wrapper = answer:get_child("forwarded", NS_FORWARD);
	local iq = wrapper and wrapper:child_with_name("iq");
	return iq and #iq.tags == 1 and iq:get_child("jingle", NS_JINGLE) or nil;
end

local function bounced_error(answer)
	-- Its namespace is that of the stream it was written on, or that of the answer.
	local element = answer:child_with_name("error");
	if not element or not ERROR_TYPES[element.attr.type] then return nil; end
	local conditions = 0;
	for child in element:childtags(nil, NS_CONDITIONS) do
		if child.name ~= "text" then conditions = conditions + 1; end
	end
	if conditions ~= 1 then return nil; end
	element.attr.xmlns = nil;
	return element;
end

local function verdict_of(stanza)
	local answer = stanza.attr.type == "result" and stanza:get_child("intercept", NS);
	local action = answer and answer.attr.action;
	if action == "pass" then return go_on; end
	if action == "drop" then return drop; end
	if action == "replace" then
		local jingle = replacement(answer);
		return jingle and replace_by(jingle);
	elseif action == "bounce" then
		local element = bounced_error(answer);
		return element and bounce_with(element);
	end
end

local function on_answer(event)
	local stanza = event.stanza;
	if stanza.attr.type ~= "result" and stanza.attr.type ~= "error" then return; end
	local entry = stanza.attr.id and held[stanza.attr.id];
	if not entry or not from_component(event) then return; end
	if silent then
		silent = false;
		module:log("info", "%s answers again", component);
	end
	local verdict = verdict_of(stanza);
	if not verdict then
		module:log("warn", "%s gave an answer that cannot be used: fail %s", component, policy);
	end
	decide(entry, verdict or fail);
	return true;
end

module:hook("iq/host", on_answer, 1000);

local function on_disconnect(event)
	if event.session.host == component then
		decide_all();
	end
end

local function follow_component(host)
	if host == component then
		module:context(component):hook("component-disconnected", on_disconnect);
	end
end

-- The component's host may be activated after ours, and anew after a change of the configuration.
if hosts[component] then follow_component(component); end
module:hook_global("host-activated", follow_component);
-- A host that is being taken away has no events of its own left.
module:hook_global("component-disconnected", on_disconnect);

---- Requests of the component

-- Only the component may ask: where somebody connects from is nobody else's business.
local function for_component(name, request_type, answer_to)
	module:hook("iq-"..request_type.."/host/"..NS..":"..name, function (event)
		if not from_component(event) then
			return reply_error(event, "auth", "forbidden", "Only "..component.." may ask this");
		end
		return answer_to(event, event.stanza.tags[1]);
	end);
end

for_component("address", "get", function (event, query)
	local full_jid = query.attr.jid and jid.prep(query.attr.jid);
	if not full_jid or not is_full(full_jid) then
		return reply_error(event, "modify", "bad-request", "'jid' must be a full JID");
	end
	local ip = jid.host(full_jid) == module.host and address(full_sessions[full_jid]);
	if not ip then
		return reply_error(event, "cancel", "item-not-found", "No connected client of "..module.host);
	end
	event.origin.send(st.reply(event.stanza):tag("address", { xmlns = NS, jid = full_jid, ip = ip }));
	return true;
end);

for_component("module", "get", function (event)
	-- What becomes of a second connection while Prosody still believes in the first.
	local conflict = module:context(component):get_option_string("component_conflict_resolve", "kick_new");
	event.origin.send(st.reply(event.stanza)
		:tag("module", { xmlns = NS, version = "0", fail = policy, timeout = ("%g"):format(timeout),
			server = "prosody", conflict = conflict }));
	return true;
end);

local function injected(query)
	local wrapper = query:get_child("forwarded", NS_FORWARD);
	local iq = wrapper and wrapper:child_with_name("iq");
	local jingle = iq and #iq.tags == 1 and iq:get_child("jingle", NS_JINGLE);
	if not jingle or iq.attr.type ~= "set" or (iq.attr.id or "") == "" then return nil; end
	if not INJECTABLE[jingle.attr.action] or (jingle.attr.sid or "") == "" then return nil; end
	local from, to = jid.prep(iq.attr.from), jid.prep(iq.attr.to);
	if not from or not to or not is_full(from) or not is_full(to) then return nil; end
	return st.iq({ type = "set", id = iq.attr.id, from = from, to = to }):add_child(jingle), jingle;
end

for_component("inject", "set", function (event, query)
	local stanza, jingle = injected(query);
	if not stanza then
		return reply_error(event, "modify", "bad-request", "Forward one IQ-set between full JIDs with an id and"
			.." a session-terminate, session-info or transport-info with a sid");
	end
	local from_host, to_host = jid.host(stanza.attr.from), jid.host(stanza.attr.to);
	if from_host ~= module.host and to_host ~= module.host then
		return reply_error(event, "cancel", "not-allowed", "Neither party is of "..module.host);
	end
	local recipient_host = hosts[to_host];
	if recipient_host and recipient_host.type == "local" and not full_sessions[stanza.attr.to] then
		return reply_error(event, "cancel", "item-not-found", "The recipient is not online");
	end
	settled[stanza] = true;
	local entry = new_entry(hosts[module.host], stanza, jingle);
	enqueue(entry);
	decide(entry, go_on);
	event.origin.send(st.reply(event.stanza));
	return true;
end);

---- Leaving

-- Everything that was hooked is unhooked by Prosody; what is held must not be lost.
function module.unload()
	decide_all();
end
