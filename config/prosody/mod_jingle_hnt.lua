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
--   rings      the same question and answer about a <message/>, if the component wants them
--   events     <message><intercept event='error | expired | passed | address | gone | message'/></message>
--   requests   <iq from=COMPONENT to=HOST> with <inject/>, <address/> or <module/>
--
-- all in the namespace urn:hnt:intercept:0; README.md beside this file has each of them in full.
--
-- When the component is down, silent or answers nonsense, jingle_hnt_fail decides: "open" lets the
-- stanza go on as it came, "closed" answers it with remote-server-timeout.

local rostermanager = require "core.rostermanager";
local async = require "util.async";
local jid = require "util.jid";
local new_id = require "util.id".medium;
local now = require "util.time".now;
local sha1 = require "util.hashes".sha1;
local st = require "util.stanza";

local core_post_stanza = prosody.core_post_stanza;
local full_sessions = prosody.full_sessions;
local hosts = prosody.hosts;

local NS = "urn:hnt:intercept:0";
local NS_JINGLE = "urn:xmpp:jingle:1";
local NS_FORWARD = "urn:xmpp:forward:0";
local NS_MESSAGE = "urn:xmpp:jingle-message:0";
local NS_INVITES = "urn:xmpp:call-invites:0";
local NS_CONDITIONS = "urn:ietf:params:xml:ns:xmpp-stanzas";

-- Twice this still fits into the 512 kB that Prosody takes from a component before it closes the
-- stream: nobody may cut the component off by sending one large stanza.
local LARGEST_QUESTION = 256 * 1024;
local LARGEST_ERROR = 16 * 1024;
local LONGEST_NAMES = 3 * 1023;
-- Bounds of what is held, of what went on unasked, and of what is remembered: for all, and of one user.
local HELD, HELD_BYTES = 10000, 128 * 1024 * 1024;
-- What one user has under way the others wait for: it all goes through one stream.
local HELD_OF_USER, HELD_BYTES_OF_USER = 64, 512 * 1024;
-- Messages of one user, or of another server, that are told in a second.
local TOLD_OF_USER = 20;
local PASSED, PASSED_BYTES = 500, 2 * 1024 * 1024;
local WATCHED, WATCHED_OF_USER, WATCH_FOR = 10000, 200, 60;
local PARTIES, PARTIES_OF_USER = 10000, 30;
local ADDRESSES, ADDRESSES_OF_USER, ADDRESS_FOR = 10000, 10, 12 * 60 * 60;
local PARTY_FOR = 24 * 60 * 60;
local PARTY_GONE_FOR = 10 * 60;
local INSTANCES, INSTANCE_FOR = 100, 15 * 60;
local LOG_EVERY = 60;
local WRITTEN_IN = 0.1; -- seconds that the server takes at most to write what it has, unless a client reads slowly

local INJECTABLE = { ["session-terminate"] = true, ["session-info"] = true, ["transport-info"] = true };
local ERROR_TYPES = { auth = true, cancel = true, continue = true, modify = true, wait = true };

---- Options

local component = jid.prep(module:get_option_string("jingle_hnt_component") or "");
local policy, timeout;
if module.get_option_enum then -- Prosody 13
	policy = module:get_option_enum("jingle_hnt_fail", "open", "closed");
	timeout = module:get_option_period("jingle_hnt_timeout", 3);
else
	policy = module:get_option_string("jingle_hnt_fail", "open");
	timeout = module:get_option_number("jingle_hnt_timeout", 3);
end

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
-- Hosts that ask this component -> what takes a request of theirs.
shared.askers = shared.askers or {};
-- Messages that have had their turn, or need none.
shared.had_turn = shared.had_turn or setmetatable({}, { __mode = "k" });
-- Sender and recipient -> entries in order of arrival.
shared.queues = shared.queues or {};
-- What went on unasked and is yet to be told, oldest first.
shared.passed = shared.passed or { first = 1, last = 0, bytes = 0, missed = 0 };
-- Bare JIDs -> how many requests and bytes of theirs are held; under "" those of all.
shared.held_number = shared.held_number or {};
shared.held_bytes = shared.held_bytes or {};

-- A bounded table of plain values (rows that are tables would cost the collector at every stanza), in
-- two generations: what is older than `lifetime` is gone after at most twice that. `owner` of whom
-- there are too many rows already gets no more.
local function new_memory(most, most_of_owner, lifetime)
	local memory = { young = {}, old = {}, number = 0, of = {}, turned = os.time() };
	function memory.turn()
		memory.old, memory.young = memory.young, {};
		memory.number, memory.of, memory.turned = 0, {}, os.time();
	end
	function memory.get(key)
		local value = memory.young[key];
		if value == nil then value = memory.old[key]; end
		return value;
	end
	function memory.set(owner, key, value)
		if memory.young[key] == nil then
			if memory.number >= most / 2 or os.time() - memory.turned >= lifetime then memory.turn(); end
			local number = memory.of[owner] or 0;
			if number >= most_of_owner then return; end
			memory.of[owner] = number + 1;
			memory.number = memory.number + 1;
		end
		memory.young[key] = value;
	end
	function memory.take(key)
		local value = memory.get(key);
		memory.young[key], memory.old[key] = nil, nil;
		return value;
	end
	function memory.sweep()
		if os.time() - memory.turned >= lifetime and (memory.number > 0 or next(memory.old)) then memory.turn(); end
	end
	return memory;
end

-- Requests that went on and have not been acknowledged: from, to and id -> sid and action.
shared.watched = shared.watched or new_memory(WATCHED, WATCHED_OF_USER, WATCH_FOR);
-- Full JID and family -> address and since when it is not in use.
shared.addresses = shared.addresses or new_memory(ADDRESSES, ADDRESSES_OF_USER, ADDRESS_FOR);
-- Full JIDs that take part in calls -> until when the component wants to hear about them, and the calls.
shared.parties = shared.parties or {};
shared.parties_of = shared.parties_of or {};
shared.parties_number = shared.parties_number or 0;
-- Processes that have connected as the component.
shared.instances = shared.instances or new_memory(INSTANCES, INSTANCES, INSTANCE_FOR);
local settled, queues, watched, addresses = shared.settled, shared.queues, shared.watched, shared.addresses;
local instances = shared.instances;

local held = {};   -- id of our question -> entry
local silent = false;
local stopping = false;

local counters = {};
for _, name in ipairs { "asked", "answered", "expired", "failed" } do
	counters[name] = module:measure(name, "counter");
end

-- Of each kind one line in a while, with the number of those that were left out.
local logged = {};
local function complain(level, kind, ...)
	local last = logged[kind];
	if last and os.time() < last.at + LOG_EVERY then
		last.more = last.more + 1;
		return;
	end
	module:log(level, ...);
	if last and last.more > 0 then module:log(level, "(and %d more like the last line)", last.more); end
	logged[kind] = { at = os.time(), more = 0 };
end

---- Talking to the component

-- The component's session, as its events told: false while it is away, nil while nothing is known
-- (this module was loaded after it had connected, and has not heard of it).
local function component_session()
	local session = shared.session;
	if session and (session.destroyed or not session.send) then
		session = false;
		shared.session = false;
	end
	return session;
end

local function send_to_component(stanza)
	local session = component_session();
	if session then
		session.send(stanza);
	elseif session == nil then
		module:send(stanza);
	end
end

local function tell(intercept)
	send_to_component(st.message({ from = module.host, to = component }):add_child(intercept));
end

local function show_status()
	local session = component_session();
	if session == false then
		module:set_status("warn", component.." is not connected: fail "..policy);
	elseif silent then
		module:set_status("warn", component.." is connected, but silent: fail "..policy);
	else
		module:set_status("info", session and component.." is connected" or component.." has not been asked yet");
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

---- What went on unasked, until the component is there to hear of it

local function forget_first_passed()
	local passed = shared.passed;
	local row = passed[passed.first];
	passed[passed.first] = nil;
	passed.first = passed.first + 1;
	if row then passed.bytes = passed.bytes - row.size; end
	return row;
end

local function unseen(stanza, expired)
	local passed = shared.passed;
	local row = { at = now(), host = module.host, expired = expired, xml = forwarded(stanza), size = #tostring(stanza) };
	passed.last = passed.last + 1;
	passed[passed.last] = row;
	passed.bytes = passed.bytes + row.size;
	while passed.last - passed.first + 1 > PASSED or passed.bytes > PASSED_BYTES do
		if forget_first_passed() then passed.missed = passed.missed + 1; end
	end
end

local function report_row(session, row)
	local passed = shared.passed;
	session.send(st.message({ from = row.host, to = component })
		:add_child(st.stanza("intercept", { xmlns = NS, event = "passed",
			age = ("%.3f"):format(math.max(0, now() - row.at)), missed = tostring(passed.missed) })
			:add_child(row.xml)));
	passed.missed = 0;
end

local function report(session)
	local passed = shared.passed;
	while passed.first <= passed.last do
		local row = forget_first_passed();
		if row then report_row(session, row); end
	end
end

-- While it is connected: what it was asked on this connection, and will come to, is not told again.
local function report_unasked()
	local session, passed = component_session(), shared.passed;
	if not session then return; end
	for number = passed.first, passed.last do
		local row = passed[number];
		if row and not row.expired then
			passed.bytes = passed.bytes - row.size;
			passed[number] = nil;
			report_row(session, row);
		end
	end
end

local function from_component(event)
	local origin = event.origin;
	if origin.type ~= "component" or event.stanza.attr.from ~= component then return false; end
	-- A connection, and not the host that answers for one that is not there.
	if origin.conn and shared.session == nil then
		shared.session = origin;
		report_unasked();
	end
	return true;
end

-- It answers: what was held too long for it has reached it.
local function reached()
	local passed = shared.passed;
	for number = passed.first, passed.last do
		local row = passed[number];
		if row and row.expired then
			passed.bytes = passed.bytes - row.size;
			passed[number] = nil;
		end
	end
end

---- Where parties are

local function is_full(address_text)
	local node, host, resource = jid.split(address_text);
	return node and host and resource and host ~= component;
end

local function plain(ip)
	if type(ip) ~= "string" or not ip:find("[.:]") then return nil; end -- a Unix socket has none
	ip = ip:gsub("%%.*$", "");
	return ip:match("^::[fF][fF][fF][fF]:(%d+%.%d+%.%d+%.%d+)$") or ip;
end

-- Of a BOSH session (XEP-0124) that of its last request, where the server still has one.
local function last_ip(session)
	local requests = session.bosh_version and session.requests;
	local response = type(requests) == "table" and requests[#requests];
	local request = type(response) == "table" and response.request;
	return plain(type(request) == "table" and request.ip) or plain(session.ip);
end

local function kind_of(session)
	if session.bosh_version then return "bosh"; end
	if session.websocket_request then return "websocket"; end
	return nil; -- TCP, which needs no word
end

local function address(session)
	-- A hibernating session (XEP-0198) has no connection: its last address would be a guess.
	if not session or session.hibernating then return nil; end
	return last_ip(session), kind_of(session);
end

local function seen(session)
	local ip, full_jid = last_ip(session), session.full_jid;
	if ip and full_jid then
		addresses.set(jid.bare(full_jid), full_jid..(ip:find(":", 1, true) and "\0006" or "\0004"), ip.." "..os.time());
	end
end

-- What is known of where somebody is, as attributes that begin with `prefix`.
local function whereabouts(attr, prefix, full_jid)
	local session = full_sessions[full_jid];
	if not session then return; end
	local ip, kind = address(session);
	attr[prefix.."ip"] = ip;
	if ip then attr[prefix.."via"] = kind; end
	for _, family in ipairs { "4", "6" } do
		local row = addresses.get(full_jid.."\000"..family);
		local other, at = (row or ""):match("^(%S+) (%d+)$");
		if other and other ~= ip then
			attr[prefix.."ip"..family] = other;
			attr[prefix.."ip"..family.."-age"] = ("%d"):format(math.max(0, os.time() - tonumber(at)));
		end
	end
end

local function call_key(sid, peer)
	return sha1(tostring(sid).."\0"..tostring(peer), true):sub(1, 16);
end

local function drop_party(full_jid)
	if shared.parties[full_jid] then
		local bare = jid.bare(full_jid);
		local left = (shared.parties_of[bare] or 1) - 1;
		shared.parties_of[bare] = left > 0 and left or nil;
		shared.parties_number = shared.parties_number - 1;
		shared.parties[full_jid] = nil;
	end
end

local function party(full_jid)
	local until_time, calls = (full_jid and shared.parties[full_jid] or ""):match("^(%d+)(.*)$");
	if until_time and tonumber(until_time) < os.time() then
		drop_party(full_jid);
		return nil;
	end
	return until_time and tonumber(until_time), calls;
end

local function sweep_parties()
	local old = {};
	for full_jid in pairs(shared.parties) do old[#old + 1] = full_jid; end
	for _, full_jid in ipairs(old) do party(full_jid); end
end

local function remember_party(full_jid, call)
	if not full_sessions[full_jid] then return; end
	local known, calls = party(full_jid);
	if not known then
		local bare = jid.bare(full_jid);
		local number = shared.parties_of[bare] or 0;
		if number >= PARTIES_OF_USER then return; end
		if shared.parties_number >= PARTIES then
			sweep_parties();
			if shared.parties_number >= PARTIES then drop_party((next(shared.parties))); end
		end
		shared.parties_of[bare] = number + 1;
		shared.parties_number = shared.parties_number + 1;
		calls = "";
	end
	calls = (" "..call..calls:gsub(" "..call, "")):sub(1, 16 * 17);
	shared.parties[full_jid] = ("%d"):format(os.time() + PARTY_FOR)..calls;
end

local function forget_party(full_jid, call)
	local until_time, calls = party(full_jid);
	if not until_time then return; end
	calls = calls:gsub(" "..call, "");
	if calls == "" then
		drop_party(full_jid);
	else
		shared.parties[full_jid] = ("%d"):format(until_time)..calls;
	end
end

local function moved(session)
	local ip, kind = address(session);
	if ip and party(session.full_jid) then
		tell(st.stanza("intercept", { xmlns = NS, event = "address", jid = session.full_jid, ip = ip, via = kind }));
	end
end

module:hook("smacks-hibernation-start", function (event) seen(event.origin); end);
module:hook("smacks-hibernation-end", function (event) moved(event.resumed or event.origin); end);
module:hook("resource-bind", function (event) moved(event.session); end);

module:hook("resource-unbind", function (event)
	local full_jid = event.session.full_jid;
	seen(event.session);
	local known, calls = party(full_jid);
	if known then
		tell(st.stanza("intercept", { xmlns = NS, event = "gone", jid = full_jid }));
		-- The same client may come back under the same name in the middle of its call.
		shared.parties[full_jid] = ("%d"):format(os.time() + PARTY_GONE_FOR)..calls;
	end
end);

module:add_timer(60, function ()
	watched.sweep();
	addresses.sweep();
	sweep_parties();
	return 60;
end);

-- Who pays for what is asked and told: a user of this server, or another server as a whole.
local function payer(full_jid)
	local node, host = jid.split(full_jid);
	return hosts[host] and jid.join(node, host) or host;
end

---- Jingle messages (XEP-0353)

-- How many were told of whom in this second.
local told_of, told_at = {}, 0;
local function may_tell(owner)
	local second = os.time();
	if second ~= told_at then told_of, told_at = {}, second; end
	told_of[owner] = (told_of[owner] or 0) + 1;
	return told_of[owner] <= TOLD_OF_USER;
end

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
			if not may_tell(payer(from)) then return; end
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
		watched.set(jid.bare(attr.from), watch_key(attr.from, attr.to, attr.id), (sid or "").."\0"..(action or ""));
	end
end

local function observe(stanza)
	if not st.is_stanza(stanza) or stanza.name ~= "iq" then return; end
	local attr = stanza.attr;
	if attr.type ~= "result" and attr.type ~= "error" then return; end
	local key = watch_key(attr.to, attr.from, attr.id);
	local request = watched.take(key);
	if request and attr.type == "error" then
		local sid, action = request:match("^([^%z]*)%z(.*)$");
		tell_error(stanza, sid, action);
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
	if stanza.name == "iq" then watch(stanza, entry.sid, entry.action); end
	if entry.action == "session-terminate" then
		forget_party(stanza.attr.from, call_key(entry.sid, stanza.attr.to));
		forget_party(stanza.attr.to, call_key(entry.sid, stanza.attr.from));
	end
	-- Errors that the server makes itself are given straight to origin.send, past every event; an origin
	-- that has gone meanwhile has none.
	local send = origin.send;
	local function spy(reply, ...)
		observe(reply);
		return send and send(reply, ...);
	end
	origin.send = spy;
	local ok, err = pcall(core_post_stanza, origin, stanza, false);
	if origin.send == spy then origin.send = send; end
	if not ok then error(err, 0); end
end

local function refuse(entry)
	local reply = st.error_reply(entry.stanza, "wait", "remote-server-timeout",
		"The media relay of "..module.host.." does not answer, and calls without it are not allowed");
	module:send(reply);
	tell_error(reply, entry.sid, entry.action);
end

-- The component has seen it, and gave no usable answer.
local function fail(entry)
	counters.failed(1);
	-- A message tells no address: what makes a phone ring goes on whatever becomes of the call.
	return ((policy == "open" or entry.ring) and go_on or refuse)(entry);
end

local function fail_unseen(entry)
	if policy == "open" and not entry.ring then
		unseen(entry.stanza, false);
		-- It may be there all the same: this module is being reloaded, or holds too much.
		report_unasked();
	end
	return fail(entry);
end

local function fail_expired(entry)
	if policy == "open" and not entry.ring then unseen(entry.stanza, true); end
	return fail(entry);
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

-- As this server answers what is sent to a user who does not exist (mod_message, mod_iq).
local function no_such_user(entry)
	local origin, stanza = entry.origin, entry.stanza;
	if stanza.attr.type == "headline" then return; end
	local reply = st.error_reply(stanza, "cancel", "service-unavailable");
	if origin.send then origin.send(reply); else module:send(reply); end
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
			complain("error", "delivery", "Could not deliver a held stanza: %s", err);
		end
	end
	queue.advancing = nil;
	if queue.first > queue.last then queues[key] = nil; end
end

local function count_held(entry, sign)
	for _, owner in ipairs { entry.owner, "" } do
		local number = (shared.held_number[owner] or 0) + sign;
		shared.held_number[owner] = number > 0 and number or nil;
		shared.held_bytes[owner] = number > 0 and (shared.held_bytes[owner] or 0) + sign * entry.size or nil;
	end
end

local function decide(entry, verdict)
	entry.verdict = verdict;
	if held[entry.id] then
		held[entry.id] = nil;
		count_held(entry, -1);
	end
	if entry.timer then
		entry.timer:stop();
		entry.timer = nil;
	end
	advance(entry.key);
end

local function expire(entry)
	entry.timer = nil;
	counters.expired(1);
	if not silent then
		silent = true;
		complain("warn", "silent", "No answer from %s within %g s: fail %s", component, timeout, policy);
		show_status();
	end
	tell(st.stanza("intercept", {
		xmlns = NS, event = "expired", id = entry.id,
		outcome = (policy == "open" or entry.ring) and "passed" or "refused",
	}));
	decide(entry, fail_expired);
end

local function decide_all()
	-- In no order: their turns are kept by the queues.
	local entries = {};
	for _, entry in pairs(held) do entries[#entries + 1] = entry; end
	for _, entry in ipairs(entries) do
		if held[entry.id] then decide(entry, fail_unseen); end
	end
end

---- Questions

local function via(origin)
	if origin.type == "c2s" then return "c2s"; end
	return (origin.type == "s2sin" or origin.type == "s2sout") and "s2s" or "component";
end

-- What subscription to `other` the roster of a user of this server has (RFC 6121); nil of anybody else.
local function subscription(user, other)
	local node, host = jid.split(user);
	if not node or not hosts[host] or hosts[host].type ~= "local" then return nil; end
	local ok, roster = pcall(rostermanager.load_roster, node, host);
	if not ok or not roster or (roster[false] or {}).broken then return nil; end
	local item = roster[jid.bare(other)];
	return item and item.subscription or "none";
end

local function question(entry)
	local attr = entry.stanza.attr;
	local asked = { xmlns = NS, via = via(entry.origin), timeout = ("%g"):format(timeout) };
	whereabouts(asked, "from-", attr.from);
	whereabouts(asked, "to-", attr.to);
	if entry.ring or shared.rings and entry.action == "session-initiate" then
		asked["to-contact"] = subscription(attr.to, attr.from);
		asked["from-contact"] = not asked["to-contact"] and subscription(attr.from, attr.to) or nil;
	end
	if entry.ring then
		-- What else the message says is nobody's business.
		return st.iq({ type = "set", from = module.host, to = component, id = entry.id })
			:tag("intercept", asked):add_child(forwarded(st.clone(entry.stanza, true):add_child(entry.ring)));
	end
	return st.iq({ type = "set", from = module.host, to = component, id = entry.id })
		:tag("intercept", asked):add_child(forwarded(entry.stanza));
end

local function new_entry(origin, stanza, jingle)
	return {
		id = new_id(), origin = origin, stanza = stanza,
		sid = jingle.attr.sid, action = jingle.attr.action,
		key = stanza.attr.from.."\0"..stanza.attr.to, owner = payer(stanza.attr.from), size = 0,
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

-- One user cannot take the room of the others, nor another server, which may make up users.
local function has_room(owner, number, bytes, size)
	return (shared.held_number[owner] or 0) < number and (shared.held_bytes[owner] or 0) + size <= bytes;
end

local function hold(event, jingle)
	local origin, stanza = event.origin, event.stanza;
	if #stanza.tags ~= 1 or (stanza.attr.id or "") == "" then
		return reply_error(event, "modify", "bad-request", "An IQ needs an id and exactly one payload");
	end
	local entry = new_entry(origin, stanza, jingle);
	if entry.action == "session-initiate" or entry.action == "session-accept" then
		remember_party(stanza.attr.from, call_key(entry.sid, stanza.attr.to));
		remember_party(stanza.attr.to, call_key(entry.sid, stanza.attr.from));
	end
	local asked, text;
	if not stopping and component_session() ~= false then
		asked = question(entry);
		text = tostring(asked);
		entry.size = #text;
		if entry.size > LARGEST_QUESTION then
			return reply_error(event, "modify", "policy-violation", "This Jingle request is larger than any call needs");
		elseif not has_room(entry.owner, HELD_OF_USER * (entry.action == "session-terminate" and 2 or 1),
			HELD_BYTES_OF_USER, entry.size) then -- to hang up there is room yet
			return reply_error(event, "wait", "resource-constraint", "Too many requests of yours wait for the media relay");
		elseif not has_room("", HELD, HELD_BYTES, entry.size) then
			asked = nil;
		end
	end
	enqueue(entry);
	if not asked then
		decide(entry, fail_unseen);
		return true;
	end
	held[entry.id] = entry;
	count_held(entry, 1);
	entry.timer = module:add_timer(timeout, function () expire(entry); end);
	counters.asked(1);
	local session = component_session();
	if session then
		entry.session = session;
		session.send(text);
	else
		module:send(asked);
	end
	return true;
end

-- Nothing that a stanza says may harm another: what cannot be held goes on.
local function take(event, jingle)
	settled[event.stanza] = true;
	local ok, result = pcall(hold, event, jingle);
	if ok then return result; end
	complain("error", "hold", "A request could not be held: %s", result);
	if policy == "open" then return; end
	return reply_error(event, "wait", "remote-server-timeout", "The media relay of "..module.host.." does not answer");
end

shared.askers[module.host] = take;

-- A client's request to whom no host of ours looks after that asks this component: after blocking lists
-- and all others that may refuse or change what a client sends ...
module:hook("pre-iq/full", function (event)
	local jingle = jingle_request(event.stanza);
	if not jingle then return; end
	local to_host = jid.host(event.stanza.attr.to);
	if to_host ~= module.host and not (hosts[to_host] and shared.askers[to_host]) then
		return take(event, jingle);
	end
end, -100);
-- ... and what is for a client of ours, wherever it comes from: after the client's own blocking list and
-- firewall (100 and 0.1), and before it is delivered (0). The sender's host asks, if it is one that does.
module:hook("iq/full", function (event)
	local jingle = jingle_request(event.stanza);
	if not jingle then return; end
	local from_host = jid.host(event.stanza.attr.from);
	return (hosts[from_host] and shared.askers[from_host] or take)(event, jingle);
end, 0.05);

---- What makes a phone ring (XEP-0353, XEP-0482): held while the component wants to be asked about it

local function ring_key(stanza)
	return "ring\0"..stanza.attr.from.."\0"..jid.bare(stanza.attr.to);
end

-- The element by which a message makes a phone ring.
local function ring_of(stanza)
	local kind = stanza.attr.type;
	if kind == "error" then return nil; end
	-- An invitation to a room is its members'.
	return stanza:get_child("propose", NS_MESSAGE)
		or kind ~= "groupchat" and stanza:get_child("invite", NS_INVITES) or nil;
end

local function is_about_calls(stanza)
	for _, child in ipairs(stanza.tags) do
		if child.attr.xmlns == NS_MESSAGE or child.attr.xmlns == NS_INVITES then return true; end
	end
	return false;
end

local function hold_ring(event, element)
	local stanza = event.stanza;
	local entry = {
		id = new_id(), origin = event.origin, stanza = stanza, ring = element,
		key = ring_key(stanza), owner = payer(stanza.attr.from), size = 0,
	};
	local asked, text;
	if element and not stopping and component_session() ~= false then
		asked = question(entry);
		text = tostring(asked);
		entry.size = #text;
		if entry.size > LARGEST_QUESTION then
			return reply_error(event, "modify", "policy-violation", "This message is larger than any call needs");
		elseif not silent and not has_room(entry.owner, HELD_OF_USER, HELD_BYTES_OF_USER, entry.size) then
			return reply_error(event, "wait", "resource-constraint", "Too many calls of yours wait for the media relay");
		elseif not has_room("", HELD, HELD_BYTES, entry.size) then
			asked = nil;
		end
	end
	enqueue(entry);
	if not asked then
		-- It waits behind what is held, or goes on at once.
		decide(entry, element and fail_unseen or go_on);
		return true;
	end
	held[entry.id] = entry;
	count_held(entry, 1);
	entry.timer = module:add_timer(timeout, function () expire(entry); end);
	counters.asked(1);
	send_to_component(asked);
	return true;
end

-- A message that needs a turn: with what makes a phone ring, or what is said of that call afterwards.
local function take_message(event)
	local stanza = event.stanza;
	local element, queue = shared.rings and ring_of(stanza), queues[ring_key(stanza)];
	if not element and not (queue and queue.last - queue.first < HELD_OF_USER and is_about_calls(stanza)) then return; end
	shared.had_turn[stanza] = true;
	local ok, result = pcall(hold_ring, event, element or nil);
	if ok then return result; end
	complain("error", "hold", "A message could not be held: %s", result);
end

shared.message_askers = shared.message_askers or {};
shared.message_askers[module.host] = take_message;

local function needs_no_turn(stanza)
	local from, to = stanza.attr.from, stanza.attr.to;
	if shared.had_turn[stanza] or not from or not to then return true; end
	if not shared.rings and next(queues) == nil then return true; end
	local from_host, to_host = jid.host(from), jid.host(to);
	return from_host == component or to_host == component or jid.bare(from) == jid.bare(to);
end

-- At the same places as requests.
for _, kind in ipairs { "bare", "full" } do
	module:hook("pre-message/"..kind, function (event)
		if needs_no_turn(event.stanza) then return; end
		local to_host = jid.host(event.stanza.attr.to);
		if to_host ~= module.host and not (hosts[to_host] and shared.message_askers[to_host]) then
			return take_message(event);
		end
	end, -100);
	module:hook("message/"..kind, function (event)
		if needs_no_turn(event.stanza) then return; end
		local from_host = jid.host(event.stanza.attr.from);
		return (hosts[from_host] and shared.message_askers[from_host] or take_message)(event);
	end, 0.05);
end

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

local function verdict_of(stanza, ring)
	local answer = stanza.attr.type == "result" and stanza:get_child("intercept", NS);
	local action = answer and answer.attr.action;
	if action == "pass" then return go_on; end
	if action == "drop" then return drop; end
	if action == "replace" then
		if ring then return nil; end
		local jingle = replacement(answer);
		return jingle and replace_by(jingle);
	elseif action == "bounce" then
		if answer.attr.as == "unknown-user" then return no_such_user; end
		local element = bounced_error(answer);
		return element and bounce_with(element);
	end
end

local function on_answer(event)
	local stanza = event.stanza;
	if stanza.attr.type ~= "result" and stanza.attr.type ~= "error" then return; end
	local entry = stanza.attr.id and held[stanza.attr.id];
	if not entry or not from_component(event) then return; end
	if stanza.attr.type == "error" and not event.origin.conn then
		-- The server's own word that nobody is connected.
		shared.session = false;
		show_status();
		decide(entry, fail_unseen);
		return true;
	end
	counters.answered(1);
	if silent then
		silent = false;
		complain("info", "awake", "%s answers again", component);
		show_status();
	end
	reached(); -- whoever was silent to a module that has been reloaded since
	local verdict = verdict_of(stanza, entry.ring);
	if not verdict then
		complain("warn", "unusable", "%s gave an answer that cannot be used: fail %s", component, policy);
	end
	decide(entry, verdict or fail);
	return true;
end

module:hook("iq/host", on_answer, 1000);

local function on_connect(event)
	if event.session.host == component then
		local first = shared.session ~= event.session;
		shared.session = event.session;
		if first then report(event.session); end
		silent = false;
		show_status();
	end
end

local function on_disconnect(event)
	if event.session.host ~= component then return; end
	if not shared.session or shared.session == event.session then shared.session = false; end
	-- What was asked on a connection that has been replaced is not answered any more, either.
	decide_all();
	if shared.session then report(shared.session); end
	show_status();
end

local function follow_component(host)
	if host == component then
		module:context(component):hook("component-authenticated", on_connect, 10);
		module:context(component):hook("component-disconnected", on_disconnect);
	end
end

-- The component's host may be activated after ours, and anew after a change of the configuration.
if hosts[component] then follow_component(component); end
module:hook_global("host-activated", follow_component);
-- A host that is being taken away has no events of its own left.
module:hook_global("component-disconnected", on_disconnect);

-- Streams are closed by this event, too (-80 and below): what is held goes first, and is written. A
-- connection that has something to read would otherwise be closed with what was not written yet.
local stop = module:shared("/*/jingle_hnt_stop/state");
module:hook_global("server-stopping", function ()
	stopping = true;
	if next(held) then
		stop.written_in = WRITTEN_IN;
		decide_all();
	end
end, 100);
module:hook_global("server-stopping", function ()
	local seconds = stop.written_in;
	stop.written_in = nil; -- once for all hosts
	if seconds and async.ready() then
		local wait, done = async.waiter();
		module:add_timer(seconds, done);
		wait();
	end
end, 90);

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
	local ip, kind;
	if jid.host(full_jid) == module.host then ip, kind = address(full_sessions[full_jid]); end
	if not ip then
		return reply_error(event, "cancel", "item-not-found", "No connected client of "..module.host);
	end
	event.origin.send(st.reply(event.stanza):tag("address", { xmlns = NS, jid = full_jid, ip = ip, via = kind }));
	return true;
end);

-- Which process of the component asked last, and which ever did: one that is back after another has
-- asked lives as well as that one. As attributes of the answer.
local function met(query)
	local instance, node = query.attr.instance, query.attr.node;
	if not instance or #instance > 64 or #(node or "") > 255 then return {}; end
	local last = shared.last_instance;
	local told = {};
	if last and last.instance ~= instance then
		told.other, told["other-age"] = last.node, ("%d"):format(math.max(0, os.time() - last.at));
		if instances.get(instance) then told.again = "1"; end
	end
	instances.set("", instance, true);
	shared.last_instance = { instance = instance, node = node or "", at = os.time() };
	return told;
end

for_component("module", "get", function (event, query)
	-- What becomes of a second connection while Prosody still believes in the first.
	local conflict = module:context(component):get_option_string("component_conflict_resolve", "kick_new");
	shared.rings = query.attr.rings == "1";
	local attr = met(query);
	attr.rings = "1";
	attr.xmlns, attr.version, attr.fail, attr.timeout = NS, "0", policy, ("%g"):format(timeout);
	attr.server, attr.conflict = "prosody", conflict;
	local names = {};
	for name in pairs(shared.askers) do if hosts[name] then names[#names + 1] = name; end end
	table.sort(names);
	attr.hosts = table.concat(names, " "):sub(1, LONGEST_NAMES);
	event.origin.send(st.reply(event.stanza):tag("module", attr));
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

show_status();

---- Leaving

-- Everything that was hooked is unhooked by Prosody; what is held must not be lost.
function module.unload()
	if shared.askers[module.host] == take then shared.askers[module.host] = nil; end
	if shared.message_askers[module.host] == take_message then shared.message_askers[module.host] = nil; end
	decide_all();
end
