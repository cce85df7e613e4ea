%%% mod_jingle_hnt: lets an external component decide about Jingle requests (XEP-0166)
%%%
%%% The module holds every IQ-set with a <jingle/> payload between two full JIDs of which one is of
%%% a host that it is loaded on, and asks the component about it with an IQ of the server's own, as a
%%% mail server asks a milter. The component never gets the right to speak for somebody: it can change
%%% the payload of what it was shown and nothing else. Results and errors travel end to end, untouched.
%%%
%%% The protocol is that of the Prosody module; config/prosody/README.md has each message in full.
%%%
%%% One gen_server per host keeps what is held. Requests from one sender to one recipient leave in the
%%% order in which they came. When the component is down, silent or answers nonsense, the option `fail`
%%% decides: `open` lets the stanza go on as it came, `closed` answers it with remote-server-timeout.

-module(mod_jingle_hnt).
-behaviour(gen_mod).
-behaviour(gen_server).

-export([start/2, stop/1, reload/3, depends/2, mod_options/1, mod_opt_type/1, mod_doc/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).
-export([filter/1, decode_iq_subel/1, process_iq/1, component_here/1, component_gone/2,
         session_opened/3, session_closed/3, session_resumed/1]).

-include("ejabberd_router.hrl").
-include("logger.hrl").
-include("xmpp.hrl").

-define(NS_INTERCEPT, <<"urn:hnt:intercept:0">>).
-define(NS_JINGLE_1, <<"urn:xmpp:jingle:1">>).
-define(NS_FORWARDED, <<"urn:xmpp:forward:0">>).
-define(NS_JINGLE_MESSAGE, <<"urn:xmpp:jingle-message:0">>).

-define(FILTER_AT, 90).            % after privacy lists, carbons and archives
-define(LARGEST_QUESTION, 262144). % nobody may cut the component off by sending one large stanza
-define(LARGEST_ERROR, 16384).
-define(LONGEST_NAMES, 3069).
-define(WATCHED, 10000).
-define(PARTIES, 10000).
-define(PARTY_FOR_S, 86400).
-define(PARTY_GONE_FOR_S, 600).

-define(WATCHED_TABLE, mod_jingle_hnt_watched).
-define(PARTIES_TABLE, mod_jingle_hnt_parties).
-define(QUESTIONS_TABLE, mod_jingle_hnt_questions).

-record(entry, {id, packet, sid, action, key, verdict}).
-record(state, {host, held = #{}, queues = #{}, silent = false}).

%%% gen_mod

start(Host, Opts) ->
    make_tables(),
    ejabberd_hooks:add(filter_packet, ?MODULE, filter, ?FILTER_AT),
    ejabberd_hooks:add(component_connected, ?MODULE, component_here, 50),
    ejabberd_hooks:add(component_disconnected, ?MODULE, component_gone, 50),
    ejabberd_hooks:add(sm_register_connection_hook, Host, ?MODULE, session_opened, 50),
    ejabberd_hooks:add(sm_remove_connection_hook, Host, ?MODULE, session_closed, 50),
    ejabberd_hooks:add(c2s_session_resumed, Host, ?MODULE, session_resumed, 50),
    gen_iq_handler:add_iq_handler(ejabberd_local, Host, ?NS_INTERCEPT, ?MODULE, process_iq),
    gen_mod:start_child(?MODULE, Host, Opts).

stop(Host) ->
    case [H || H <- ejabberd_option:hosts(), H =/= Host, gen_mod:is_loaded(H, ?MODULE)] of
        [] ->
            ejabberd_hooks:delete(filter_packet, ?MODULE, filter, ?FILTER_AT),
            ejabberd_hooks:delete(component_connected, ?MODULE, component_here, 50),
            ejabberd_hooks:delete(component_disconnected, ?MODULE, component_gone, 50);
        _ ->
            ok
    end,
    ejabberd_hooks:delete(sm_register_connection_hook, Host, ?MODULE, session_opened, 50),
    ejabberd_hooks:delete(sm_remove_connection_hook, Host, ?MODULE, session_closed, 50),
    ejabberd_hooks:delete(c2s_session_resumed, Host, ?MODULE, session_resumed, 50),
    gen_iq_handler:remove_iq_handler(ejabberd_local, Host, ?NS_INTERCEPT),
    gen_mod:stop_child(?MODULE, Host).

%% Options are read where they are used.
reload(_Host, _NewOpts, _OldOpts) ->
    ok.

depends(_Host, _Opts) ->
    [].

mod_options(Host) ->
    [{component, <<"hnt.", Host/binary>>}, {fail, open}, {timeout, timer:seconds(3)}].

mod_opt_type(component) -> econf:domain();
mod_opt_type(fail) -> econf:enum([open, closed]);
mod_opt_type(timeout) -> % in seconds, as in the Prosody module
    econf:and_then(econf:number(0.01), fun(Seconds) -> round(Seconds * 1000) end).

mod_doc() ->
    #{desc => <<"Asks jingle-hnt's component about Jingle requests">>,
      opts => [{component, #{value => <<"Domain">>, desc => <<"Domain of the component">>}},
               {fail, #{value => <<"open | closed">>,
                        desc => <<"What becomes of a request that the component does not answer">>}},
               {timeout, #{value => <<"Seconds">>, desc => <<"How long a request is held at most">>}}]}.

%% Shared by all hosts, and kept by a process that outlives them.
make_tables() ->
    Options = [named_table, public, {read_concurrency, true}, {write_concurrency, true},
               {heir, whereis(ejabberd_sup), none}],
    lists:foreach(
      fun(Table) ->
              case ets:info(Table, size) of
                  undefined -> catch ets:new(Table, Options);
                  _ -> ok
              end
      end, [?WATCHED_TABLE, ?PARTIES_TABLE, ?QUESTIONS_TABLE]).

option(Host, Name) ->
    gen_mod:get_module_opt(Host, ?MODULE, Name).

component(Host) ->
    option(Host, component).

%%% What passes: runs in the process of whoever sends

filter(drop) ->
    drop;
filter(#iq{type = Type} = Packet) when Type == result; Type == error ->
    case answer(Packet) of
        true ->
            drop;
        false ->
            observe(Packet),
            Packet
    end;
filter(#iq{type = set, sub_els = Els} = Packet) ->
    case xmpp:get_meta(Packet, hnt_settled, false) of
        true -> Packet;
        false -> request(Packet, [El || El <- Els, is_jingle(El)])
    end;
filter(#message{} = Packet) ->
    case xmpp:get_meta(Packet, hnt_settled, false) of
        true -> Packet;
        false -> message(Packet)
    end;
filter(Packet) ->
    Packet.

%% Whether this answers a question of ours. That the id is right is not enough: the component must say it.
answer(#iq{from = From, id = Id} = Packet) ->
    case ets:lookup(?QUESTIONS_TABLE, Id) of
        [{_, Process, Component}] ->
            jid:encode(From) == Component andalso gen_server:cast(Process, {answer, Id, Packet}) == ok;
        [] ->
            false
    end.

request(Packet, []) ->
    Packet;
request(#iq{from = From, to = To, sub_els = Els, id = Id} = Packet, [Jingle | _]) ->
    case responsible(From, To) of
        none ->
            Packet;
        _ when length(Els) =/= 1; Id == <<>> ->
            Text = <<"An IQ needs an id and exactly one payload">>,
            answer_error(Packet, xmpp:err_bad_request(Text, <<"en">>));
        Host ->
            hold(Host, Packet, Jingle)
    end.

hold(Host, #iq{from = From, to = To} = Packet, Jingle) ->
    Action = fxml:get_tag_attr_s(<<"action">>, Jingle),
    case Action of
        <<"session-initiate">> -> remember(From), remember(To);
        <<"session-accept">> -> remember(From), remember(To);
        _ -> ok
    end,
    case size_of(Packet) > ?LARGEST_QUESTION of
        true ->
            Text = <<"This Jingle request is larger than any call needs">>,
            answer_error(Packet, xmpp:err_policy_violation(Text, <<"en">>));
        false ->
            %% A cast: requests of one connection arrive in the order in which it sent them.
            gen_server:cast(process_of(Host), {hold, Packet, Jingle}),
            drop
    end.

answer_error(Packet, Error) ->
    ejabberd_router:route_error(settled(Packet), Error),
    drop.

%% The host whose module is to ask: the sender's if it has one, so that a stanza is asked about once.
responsible(#jid{lserver = FromHost} = From, #jid{lserver = ToHost} = To) ->
    case is_full(From) andalso is_full(To) of
        false ->
            none;
        true ->
            Hosts = [H || H <- [FromHost, ToHost], gen_mod:is_loaded(H, ?MODULE)],
            case Hosts of
                [Host | _] ->
                    Component = component(Host),
                    case lists:member(Component, [FromHost, ToHost]) of
                        true -> none;
                        false -> Host
                    end;
                [] ->
                    none
            end
    end.

is_full(#jid{luser = U, lresource = R}) ->
    U =/= <<>> andalso R =/= <<>>.

is_jingle(#xmlel{name = <<"jingle">>} = El) ->
    fxml:get_tag_attr_s(<<"xmlns">>, El) == ?NS_JINGLE_1;
is_jingle(El) when is_tuple(El) ->
    try xmpp:get_ns(El) of
        NS -> NS == ?NS_JINGLE_1
    catch _:_ -> false
    end;
is_jingle(_) ->
    false.

%% Jingle messages (XEP-0353) pass; that one of them ends a call is told.
message(#message{from = #jid{lserver = FromHost} = From, to = #jid{lserver = ToHost}, sub_els = Els} = Packet) ->
    Ends = [{Name, fxml:get_tag_attr_s(<<"id">>, El)}
            || #xmlel{name = Name} = El <- Els,
               Name == <<"retract">> orelse Name == <<"finish">>,
               fxml:get_tag_attr_s(<<"xmlns">>, El) == ?NS_JINGLE_MESSAGE],
    Hosts = [H || H <- [FromHost, ToHost], gen_mod:is_loaded(H, ?MODULE)],
    case {Ends, Hosts, is_full(From)} of
        {[{Action, Sid} | _], [Host | _], true} when Sid =/= <<>>, byte_size(Sid) =< ?LONGEST_NAMES ->
            tell(Host, [{<<"event">>, <<"message">>}, {<<"action">>, Action},
                        {<<"jid">>, jid:encode(From)}, {<<"sid">>, Sid}], []),
            settled(Packet);
        _ ->
            Packet
    end.

settled(Packet) ->
    xmpp:put_meta(Packet, hnt_settled, true).

%%% Where parties are

remember(#jid{luser = U, lserver = S, lresource = R}) ->
    case ejabberd_router:is_my_host(S) andalso ejabberd_sm:get_session_pid(U, S, R) of
        Pid when is_pid(Pid) ->
            keep(?PARTIES_TABLE, {U, S, R}, {now_s() + ?PARTY_FOR_S, unknown}, ?PARTIES);
        _ -> ok
    end.

is_party(Key) ->
    case ets:lookup(?PARTIES_TABLE, Key) of
        [{_, {Until, _}}] -> Until > now_s();
        [] -> false
    end.

%% Whether this address of a party is news; a resumption runs several hooks.
is_news(Key, IP) ->
    case ets:lookup(?PARTIES_TABLE, Key) of
        [{_, {Until, Told}}] when Told =/= IP ->
            Until > now_s() andalso ets:insert(?PARTIES_TABLE, {Key, {Until, IP}});
        _ ->
            false
    end.

session_opened(_SID, #jid{} = JID, _Info) ->
    moved(JID).

session_resumed(#{jid := JID}= State) ->
    %% The session's own record may be written after this hook: the connection knows its address.
    case maps:get(ip, State, undefined) of
        {IP, _} -> moved(JID, text(IP));
        _ -> moved(JID)
    end,
    State;
session_resumed(State) ->
    State.

session_closed(_SID, #jid{lserver = Host} = JID, _Info) ->
    Key = jid:tolower(JID),
    case is_party(Key) andalso is_absent(JID) of
        true ->
            tell(Host, [{<<"event">>, <<"gone">>}, {<<"jid">>, jid:encode(JID)}], []),
            %% The same client may come back under the same name in the middle of its call.
            ets:insert(?PARTIES_TABLE, {Key, {now_s() + ?PARTY_GONE_FOR_S, unknown}});
        false ->
            ok
    end.

moved(JID) ->
    moved(JID, address(JID)).

moved(_, none) ->
    ok;
moved(#jid{lserver = Host} = JID, IP) ->
    case is_news(jid:tolower(JID), IP) of
        true -> tell(Host, [{<<"event">>, <<"address">>}, {<<"jid">>, jid:encode(JID)}, {<<"ip">>, IP}], []);
        false -> ok
    end.

%% The address of the connection, none where there is none or the user is not here.
address(#jid{luser = U, lserver = S, lresource = R}) ->
    case ejabberd_router:is_my_host(S) andalso U =/= <<>> andalso R =/= <<>> of
        true ->
            case is_hibernating(U, S, R) of
                true -> none;
                false ->
                    case ejabberd_sm:get_user_ip(U, S, R) of
                        {IP, _Port} -> text(IP);
                        _ -> none
                    end
            end;
        false ->
            none
    end.

%% While a session waits for its client to resume (XEP-0198), its last address would be a guess.
is_hibernating(U, S, R) ->
    case ejabberd_sm:get_user_info(U, S, R) of
        offline -> false;
        Info ->
            case proplists:get_value(pid, Info) of
                Pid when is_pid(Pid), Pid =/= self() ->
                    try sys:get_state(Pid, 500) of
                        #{mgmt_state := pending} -> true;
                        _ -> false
                    catch _:_ -> false
                    end;
                _ -> false
            end
    end.

text({0, 0, 0, 0, 0, 16#ffff, A, B}) ->
    text({A bsr 8, A band 255, B bsr 8, B band 255});
text(IP) ->
    list_to_binary(inet:ntoa(IP)).

%%% What became of a request

watch(#iq{from = From, to = To, id = Id}, Sid, Action) ->
    %% Nobody may fill our memory with names that no client makes.
    case byte_size(Id) + byte_size(Sid) + byte_size(Action) =< ?LONGEST_NAMES of
        true -> keep(?WATCHED_TABLE, {jid:tolower(From), jid:tolower(To), Id}, {Sid, Action}, ?WATCHED);
        false -> ok
    end.

observe(#iq{type = Type, from = From, to = To, id = Id} = Packet) when From =/= undefined, To =/= undefined ->
    Key = {jid:tolower(To), jid:tolower(From), Id},
    case ets:take(?WATCHED_TABLE, Key) of
        [{_, {Sid, Action}}] when Type == error -> tell_error(Packet, Sid, Action);
        _ -> ok
    end;
observe(_) ->
    ok.

%% The payload that an error may echo is left out: it is large and known.
tell_error(#iq{from = From, to = To} = Packet, Sid, Action) ->
    case [H || #jid{lserver = H} <- [To, From], gen_mod:is_loaded(H, ?MODULE)] of
        [Host | _] ->
            Echo = iq_element(Packet, [short_error(Packet)]),
            tell(Host, [{<<"event">>, <<"error">>}, {<<"sid">>, Sid}, {<<"action">>, Action}],
                 [forwarded(Echo)]);
        [] ->
            ok
    end.

short_error(#iq{sub_els = Els} = Packet) ->
    Found = [El || El <- [encode(E) || E <- Els], El#xmlel.name == <<"error">>],
    case Found of
        [El | _] ->
            case byte_size(fxml:element_to_binary(El)) =< ?LARGEST_ERROR of
                true -> El;
                false -> bare_error(Packet)
            end;
        [] ->
            bare_error(Packet)
    end.

bare_error(Packet) ->
    {Type, Condition} = case xmpp:get_error(Packet) of
                            #stanza_error{type = T, reason = R} when is_atom(R) -> {T, R};
                            #stanza_error{type = T} -> {T, 'undefined-condition'};
                            _ -> {cancel, 'undefined-condition'}
                        end,
    encode(#stanza_error{type = Type, reason = Condition}).

%% Bounded: the oldest of a full table are not known, so all of it goes.
keep(Table, Key, Value, Most) ->
    case ets:info(Table, size) >= Most of
        true -> ets:delete_all_objects(Table);
        false -> ok
    end,
    ets:insert(Table, {Key, Value}).

%%% Talking to the component

tell(Host, Attrs, Els) ->
    Component = component(Host),
    case ejabberd_router:is_my_route(Component) of
        true ->
            ejabberd_router:route(settled(#message{from = jid:make(Host), to = jid:make(Component),
                                                   sub_els = [intercept(Attrs, Els)]}));
        false ->
            ok
    end.

intercept(Attrs, Els) ->
    #xmlel{name = <<"intercept">>, attrs = [{<<"xmlns">>, ?NS_INTERCEPT} | Attrs], children = Els}.

forwarded(El) ->
    #xmlel{name = <<"forwarded">>, attrs = [{<<"xmlns">>, ?NS_FORWARDED}], children = [El]}.

%% A stanza written inside another namespace has to name its own.
iq_element(#iq{from = From, to = To, id = Id, type = Type}, Els) ->
    #xmlel{name = <<"iq">>,
           attrs = [{<<"xmlns">>, ?NS_CLIENT}, {<<"type">>, atom_to_binary(Type, utf8)},
                    {<<"from">>, jid:encode(From)}, {<<"to">>, jid:encode(To)}, {<<"id">>, Id}],
           children = Els}.

encode(#xmlel{} = El) -> El;
encode(El) -> xmpp:encode(El, ?NS_CLIENT).

size_of(#iq{sub_els = Els}) ->
    lists:sum([byte_size(fxml:element_to_binary(encode(El))) || El <- Els]).

via(#jid{lserver = Host}) ->
    case {ejabberd_router:is_my_host(Host), ejabberd_router:is_my_route(Host)} of
        {true, _} -> <<"c2s">>;
        {false, true} -> <<"component">>;
        _ -> <<"s2s">>
    end.

question(Host, #iq{from = From, to = To, sub_els = [Payload]} = Packet) ->
    Addresses = [{Name, IP} || {Name, JID} <- [{<<"from-ip">>, From}, {<<"to-ip">>, To}],
                               (IP = address(JID)) =/= none],
    Timeout = option(Host, timeout) / 1000,
    Attrs = [{<<"via">>, via(From)}, {<<"timeout">>, number(Timeout)} | Addresses],
    intercept(Attrs, [forwarded(iq_element(Packet, [encode(Payload)]))]).

number(Seconds) when Seconds == trunc(Seconds) -> integer_to_binary(trunc(Seconds));
number(Seconds) -> float_to_binary(Seconds, [{decimals, 3}, compact]).

%%% gen_server: what is held

process_of(Host) ->
    gen_mod:get_module_proc(Host, ?MODULE).

init([Host | _]) ->
    process_flag(trap_exit, true),
    {ok, #state{host = Host}}.

handle_call(_Request, _From, State) ->
    {reply, ok, State}.

handle_cast({hold, Packet, Jingle}, State) ->
    Entry = entry(Packet, Jingle),
    Queued = enqueue(Entry, State),
    case ejabberd_router:is_my_route(component(State#state.host)) of
        true -> {noreply, ask(Entry, Queued)};
        false -> {noreply, decide(Entry#entry.id, fail, Queued)}
    end;
handle_cast({send, Packet, Jingle}, State) ->
    Entry = entry(Packet, Jingle),
    {noreply, decide(Entry#entry.id, go_on, enqueue(Entry, State))};
handle_cast({answer, Id, Answer}, State) ->
    case is_waiting(Id, State) of
        true ->
            Heard = awake(State),
            {noreply, decide(Id, verdict(Answer, State#state.host), Heard)};
        false ->
            {noreply, State}
    end;
handle_cast(flush, State) ->
    {noreply, decide_all(State)};
handle_cast(_, State) ->
    {noreply, State}.

handle_info({expired, Id}, #state{host = Host} = State) ->
    case is_waiting(Id, State) of
        true ->
            Fail = option(Host, fail),
            State#state.silent orelse
                ?WARNING_MSG("No answer from ~ts within ~w ms: fail ~ts",
                             [component(Host), option(Host, timeout), Fail]),
            Outcome = case Fail of open -> <<"passed">>; closed -> <<"refused">> end,
            tell(Host, [{<<"event">>, <<"expired">>}, {<<"id">>, Id}, {<<"outcome">>, Outcome}], []),
            {noreply, decide(Id, fail, State#state{silent = true})};
        false ->
            {noreply, State}
    end;
handle_info(_, State) ->
    {noreply, State}.

terminate(_Reason, State) ->
    decide_all(State),
    ok.

code_change(_Old, State, _Extra) ->
    {ok, State}.

%% ejabberd keeps a second connection beside the first and shares the stanzas out between them: after
%% the component's host was cut off, every second one would go to a dead connection. The dead one loses
%% its route here and now, for it cannot end itself while it waits for its socket to take more.
component_here(Component) ->
    case asking(Component) of
        [] ->
            ok;
        Hosts ->
            Others = [Pid || Pid <- connections(Component), Pid =/= self()],
            [begin
                 ejabberd_router:unregister_route(Component, Pid),
                 ejabberd_service:close(Pid)
             end || Pid <- Others],
            %% What is held was asked on one of these.
            Others == [] orelse flush(Hosts),
            ok
    end.

%% The hosts that ask this component.
asking(Component) ->
    [H || H <- ejabberd_option:hosts(), gen_mod:is_loaded(H, ?MODULE), component(H) == Component].

flush(Hosts) ->
    [gen_server:cast(process_of(H), flush) || H <- Hosts].

connections(Component) ->
    Backend = ejabberd_router:get_backend(),
    case Backend:find_routes(Component) of
        {ok, Routes} -> [Pid || #route{pid = Pid} <- Routes, is_pid(Pid)];
        _ -> []
    end.

component_gone(Component, _Reason) ->
    %% The end of a connection that was replaced concerns nothing that its successor was asked.
    case connections(Component) of
        [] -> flush(asking(Component));
        _ -> ok
    end,
    ok.

is_waiting(Id, #state{held = Held}) ->
    case Held of
        #{Id := #entry{verdict = undefined}} -> true;
        _ -> false
    end.

entry(#iq{from = From, to = To} = Packet, Jingle) ->
    #entry{id = base64:encode(crypto:strong_rand_bytes(12)), packet = Packet, key = {jid:tolower(From), jid:tolower(To)},
           sid = fxml:get_tag_attr_s(<<"sid">>, Jingle),
           action = fxml:get_tag_attr_s(<<"action">>, Jingle)}.

ask(#entry{id = Id, packet = Packet}, #state{host = Host} = State) ->
    ets:insert(?QUESTIONS_TABLE, {Id, self(), component(Host)}),
    erlang:send_after(option(Host, timeout), self(), {expired, Id}),
    ejabberd_router:route(settled(#iq{type = set, id = Id, from = jid:make(Host),
                                      to = jid:make(component(Host)),
                                      sub_els = [question(Host, Packet)]})),
    State.

awake(#state{silent = true, host = Host} = State) ->
    ?INFO_MSG("~ts answers again", [component(Host)]),
    State#state{silent = false};
awake(State) ->
    State.

%% In no order: their turns are kept by the queues.
decide_all(#state{held = Held} = State) ->
    Waiting = [Id || {Id, #entry{verdict = undefined}} <- maps:to_list(Held)],
    lists:foldl(fun(Id, S) -> decide(Id, fail, S) end, State, Waiting).

%%% Turns: no stanza overtakes an earlier one from the same sender to the same recipient

enqueue(#entry{id = Id, key = Key} = Entry, #state{held = Held, queues = Queues} = State) ->
    Queue = maps:get(Key, Queues, queue:new()),
    State#state{held = Held#{Id => Entry}, queues = Queues#{Key => queue:in(Id, Queue)}}.

decide(Id, Verdict, #state{held = Held} = State) ->
    #{Id := #entry{key = Key} = Entry} = Held,
    ets:delete(?QUESTIONS_TABLE, Id),
    advance(Key, State#state{held = Held#{Id := Entry#entry{verdict = Verdict}}}).

advance(Key, #state{held = Held, queues = Queues} = State) ->
    Queue = maps:get(Key, Queues, queue:new()),
    case queue:peek(Queue) of
        empty ->
            State#state{queues = maps:remove(Key, Queues)};
        {value, Id} ->
            case Held of
                #{Id := #entry{verdict = undefined}} ->
                    State;
                #{Id := #entry{verdict = Verdict} = Entry} ->
                    try carry_out(Verdict, Entry, State#state.host)
                    catch Class:Error:Stack ->
                            ?ERROR_MSG("Could not deliver a held stanza: ~p:~p ~p", [Class, Error, Stack])
                    end,
                    advance(Key, State#state{held = maps:remove(Id, Held),
                                             queues = Queues#{Key := queue:drop(Queue)}})
            end
    end.

%%% Verdicts: what is done with a held stanza once it is its turn

carry_out(go_on, #entry{packet = Packet, sid = Sid, action = Action}, _Host) ->
    watch(Packet, Sid, Action),
    ejabberd_router:route(settled(Packet));
carry_out({replace, Jingle}, #entry{packet = Packet} = Entry, Host) ->
    %% The envelope is the one that was held: only the payload can be another.
    carry_out(go_on, Entry#entry{packet = Packet#iq{sub_els = [Jingle]}}, Host);
carry_out({bounce, Error}, #entry{packet = #iq{from = From, to = To} = Packet}, _Host) ->
    ejabberd_router:route(settled(Packet#iq{type = error, from = To, to = From, sub_els = [Error]}));
carry_out(drop, _Entry, _Host) ->
    ok;
carry_out(fail, Entry, Host) ->
    case option(Host, fail) of
        open -> carry_out(go_on, Entry, Host);
        closed -> refuse(Entry, Host)
    end.

refuse(#entry{packet = Packet, sid = Sid, action = Action}, Host) ->
    Text = <<"The media relay of ", Host/binary,
             " does not answer, and calls without it are not allowed">>,
    Error = (xmpp:err_remote_server_timeout(Text, <<"en">>))#stanza_error{type = wait},
    #iq{from = From, to = To} = Packet,
    Reply = Packet#iq{type = error, from = To, to = From, sub_els = [encode(Error)]},
    ejabberd_router:route(settled(Reply)),
    tell_error(Reply, Sid, Action).

verdict(#iq{type = result, sub_els = Els}, Host) ->
    case [El || El <- [encode(E) || E <- Els], is_intercept(El)] of
        [Answer] ->
            case {fxml:get_tag_attr_s(<<"action">>, Answer), Answer} of
                {<<"pass">>, _} -> go_on;
                {<<"drop">>, _} -> drop;
                {<<"replace">>, _} -> replacement(Answer, Host);
                {<<"bounce">>, _} -> bounced(Answer, Host);
                _ -> unusable(Host)
            end;
        _ ->
            unusable(Host)
    end;
verdict(_, Host) ->
    unusable(Host).

is_intercept(#xmlel{name = Name} = El) ->
    Name == <<"intercept">> andalso fxml:get_tag_attr_s(<<"xmlns">>, El) == ?NS_INTERCEPT.

unusable(Host) ->
    ?WARNING_MSG("~ts gave an answer that cannot be used: fail ~ts", [component(Host), option(Host, fail)]),
    fail.

replacement(Answer, Host) ->
    case inner_iq(Answer) of
        {_, Jingle} -> {replace, Jingle};
        none -> unusable(Host)
    end.

%% The one IQ inside <forwarded/>, and the one <jingle/> inside that.
inner_iq(El) ->
    Wrappers = [W || #xmlel{name = <<"forwarded">>} = W <- El#xmlel.children,
                     fxml:get_tag_attr_s(<<"xmlns">>, W) == ?NS_FORWARDED],
    IQs = [I || W <- Wrappers, #xmlel{name = <<"iq">>} = I <- W#xmlel.children],
    case IQs of
        [IQ | _] ->
            case [C || #xmlel{} = C <- IQ#xmlel.children] of
                [#xmlel{name = <<"jingle">>} = Jingle] ->
                    case fxml:get_tag_attr_s(<<"xmlns">>, Jingle) of
                        ?NS_JINGLE_1 -> {IQ, Jingle};
                        _ -> none
                    end;
                _ -> none
            end;
        [] -> none
    end.

bounced(Answer, Host) ->
    Types = [<<"auth">>, <<"cancel">>, <<"continue">>, <<"modify">>, <<"wait">>],
    case [E || #xmlel{name = <<"error">>} = E <- Answer#xmlel.children] of
        [Error | _] ->
            Conditions = [C || #xmlel{name = Name} = C <- Error#xmlel.children, Name =/= <<"text">>,
                               fxml:get_tag_attr_s(<<"xmlns">>, C) == ?NS_STANZAS],
            Type = fxml:get_tag_attr_s(<<"type">>, Error),
            case {lists:member(Type, Types), Conditions} of
                {true, [_]} ->
                    %% Its namespace is that of the stream it was written on.
                    Attrs = lists:keydelete(<<"xmlns">>, 1, Error#xmlel.attrs),
                    {bounce, Error#xmlel{attrs = [{<<"xmlns">>, ?NS_CLIENT} | Attrs]}};
                _ ->
                    unusable(Host)
            end;
        [] ->
            unusable(Host)
    end.

%%% Requests of the component

decode_iq_subel(El) ->
    El.

%% Only the component may ask: where somebody connects from is nobody else's business.
process_iq(#iq{from = From, to = #jid{lserver = Host}, sub_els = [El]} = IQ) ->
    case {jid:encode(From) == component(Host), IQ#iq.type, El} of
        {false, _, _} ->
            Text = <<"Only ", (component(Host))/binary, " may ask this">>,
            xmpp:make_error(IQ, xmpp:err_forbidden(Text, <<"en">>));
        {true, get, #xmlel{name = <<"address">>}} ->
            address_asked(IQ, El, Host);
        {true, get, #xmlel{name = <<"module">>}} ->
            module_asked(IQ, Host);
        {true, set, #xmlel{name = <<"inject">>}} ->
            inject(IQ, El, Host);
        _ ->
            xmpp:make_error(IQ, xmpp:err_service_unavailable())
    end.

address_asked(IQ, El, Host) ->
    JID = decode_jid(fxml:get_tag_attr_s(<<"jid">>, El)),
    case JID =/= error andalso is_full(JID) of
        false ->
            xmpp:make_error(IQ, xmpp:err_bad_request(<<"'jid' must be a full JID">>, <<"en">>));
        true ->
            case JID#jid.lserver == Host andalso address(JID) of
                IP when is_binary(IP) ->
                    Attrs = [{<<"xmlns">>, ?NS_INTERCEPT}, {<<"jid">>, jid:encode(JID)}, {<<"ip">>, IP}],
                    xmpp:make_iq_result(IQ, #xmlel{name = <<"address">>, attrs = Attrs});
                _ ->
                    Text = <<"No connected client of ", Host/binary>>,
                    xmpp:make_error(IQ, xmpp:err_item_not_found(Text, <<"en">>))
            end
    end.

module_asked(IQ, Host) ->
    Attrs = [{<<"xmlns">>, ?NS_INTERCEPT}, {<<"version">>, <<"0">>},
             {<<"fail">>, atom_to_binary(option(Host, fail), utf8)},
             {<<"timeout">>, number(option(Host, timeout) / 1000)},
             {<<"server">>, <<"ejabberd">>},
             {<<"routes">>, integer_to_binary(length(connections(component(Host))))}],
    xmpp:make_iq_result(IQ, #xmlel{name = <<"module">>, attrs = Attrs}).

inject(IQ, El, Host) ->
    case injected(El) of
        error ->
            Text = <<"Forward one IQ-set between full JIDs with an id and a session-terminate, "
                     "session-info or transport-info with a sid">>,
            xmpp:make_error(IQ, xmpp:err_bad_request(Text, <<"en">>));
        {#iq{from = #jid{lserver = A}, to = #jid{lserver = B}}, _} when A =/= Host, B =/= Host ->
            Text = <<"Neither party is of ", Host/binary>>,
            xmpp:make_error(IQ, xmpp:err_not_allowed(Text, <<"en">>));
        {#iq{to = To} = Packet, Jingle} ->
            case is_absent(To) of
                true ->
                    xmpp:make_error(IQ, xmpp:err_item_not_found(<<"The recipient is not online">>, <<"en">>));
                false ->
                    gen_server:cast(process_of(Host), {send, Packet, Jingle}),
                    xmpp:make_iq_result(IQ)
            end
    end.

is_absent(#jid{luser = U, lserver = S, lresource = R}) ->
    ejabberd_router:is_my_host(S) andalso ejabberd_sm:get_session_pid(U, S, R) == none.

injected(El) ->
    case inner_iq(El) of
        {IQ, Jingle} ->
            From = decode_jid(fxml:get_tag_attr_s(<<"from">>, IQ)),
            To = decode_jid(fxml:get_tag_attr_s(<<"to">>, IQ)),
            Id = fxml:get_tag_attr_s(<<"id">>, IQ),
            Action = fxml:get_tag_attr_s(<<"action">>, Jingle),
            Sid = fxml:get_tag_attr_s(<<"sid">>, Jingle),
            Actions = [<<"session-terminate">>, <<"session-info">>, <<"transport-info">>],
            Fine = From =/= error andalso To =/= error andalso is_full(From) andalso is_full(To)
                andalso Id =/= <<>> andalso Sid =/= <<>> andalso lists:member(Action, Actions)
                andalso fxml:get_tag_attr_s(<<"type">>, IQ) == <<"set">>,
            case Fine of
                true -> {#iq{type = set, id = Id, from = From, to = To, sub_els = [Jingle]}, Jingle};
                false -> error
            end;
        none ->
            error
    end.

decode_jid(Text) ->
    try jid:decode(Text)
    catch _:_ -> error
    end.

now_s() ->
    erlang:system_time(second).
