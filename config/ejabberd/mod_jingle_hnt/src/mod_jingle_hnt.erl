%%% mod_jingle_hnt: lets an external component decide about Jingle requests (XEP-0166)
%%%
%%% The module holds every IQ-set with a <jingle/> payload between two full JIDs of which one is of a
%%% host that it is loaded on, and asks the component about it with an IQ of the server's own, as a
%%% mail server asks a milter. The component never gets the right to speak for somebody: it can change
%%% the payload of what it was shown and nothing else. Results and errors travel end to end, untouched.
%%%
%%% The protocol is that of the Prosody module; config/prosody/README.md has each message in full.
%%%
%%% Whoever sends a request writes it into the table of what is held, starts its timer and asks, all in
%%% its own process. One gen_server per host only carries out verdicts, in the order in which requests
%%% from one sender to one recipient came; it calls no other process, and has no state but the tables,
%%% which outlive it. It is the child of the process that ejabberd starts for the host, whose end it
%%% outlives until it has done what it does: a stanza is delivered and struck out, or neither.
%%%
%%% When the component is down, silent or answers nonsense, the option `fail` decides: `open` lets the
%%% stanza go on as it came, `closed` answers it with remote-server-timeout.

-module(mod_jingle_hnt).
-behaviour(gen_mod).
-behaviour(gen_server).

-export([start/2, stop/1, reload/3, depends/2, mod_options/1, mod_opt_type/1, mod_doc/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).
-export([filter/1, decode_iq_subel/1, process_iq/1, component_here/1, component_gone/2,
         session_opened/3, session_closed/3, session_pending/1, session_resumed/1, stopping/0,
         status/0, loaded_for/1]).

-include("ejabberd_commands.hrl").
-include("ejabberd_router.hrl").
-include("logger.hrl").
-include("xmpp.hrl").

-define(NS_INTERCEPT, <<"urn:hnt:intercept:0">>).
-define(NS_JINGLE_1, <<"urn:xmpp:jingle:1">>).
-define(NS_FORWARDED, <<"urn:xmpp:forward:0">>).
-define(NS_JINGLE_MESSAGE, <<"urn:xmpp:jingle-message:0">>).
-define(NS_CALL_INVITES, <<"urn:xmpp:call-invites:0">>).

-define(FILTER_AT, 120).           % after privacy lists, carbons, archives, and others' filters (100)
-define(LARGEST_QUESTION, 262144). % nobody may cut the component off by sending one large stanza
-define(LARGEST_ERROR, 16384).
-define(LONGEST_NAMES, 3069).
%% Bounds of what is held, of what went on unasked, and of what is remembered: for all, and of one user.
-define(HELD, 10000).
-define(HELD_BYTES, 134217728).
%% What one user has under way the others wait for: it all goes through one stream.
-define(HELD_OF_USER, 64).
-define(HELD_BYTES_OF_USER, 524288).
%% Messages of one user, or of another server, that are told in a second.
-define(TOLD_OF_USER, 20).
-define(PASSED, 500).
-define(PASSED_BYTES, 2097152).
-define(WATCHED, 10000).
-define(WATCHED_OF_USER, 200).
-define(PARTIES, 10000).
-define(PARTIES_OF_USER, 30).
-define(CALLS_OF_PARTY, 16).
-define(ADDRESSES, 10000).
-define(ADDRESSES_OF_USER, 10).
-define(WATCH_FOR_S, 120).
-define(PARTY_FOR_S, 86400).
-define(PARTY_GONE_FOR_S, 600).
-define(ADDRESS_FOR_S, 86400).
-define(SWEEP_MS, 30000).
-define(LOG_EVERY_S, 60).

-define(HOSTS_TABLE, mod_jingle_hnt_hosts).
-define(HELD_TABLE, mod_jingle_hnt_held).
-define(QUESTIONS_TABLE, mod_jingle_hnt_questions).
-define(PASSED_TABLE, mod_jingle_hnt_passed).
-define(WATCHED_TABLE, mod_jingle_hnt_watched).
-define(PARTIES_TABLE, mod_jingle_hnt_parties).
-define(ADDRESSES_TABLE, mod_jingle_hnt_addresses).
-define(COUNTS_TABLE, mod_jingle_hnt_counts).
-define(INSTANCES, 100).
-define(INSTANCE_FOR_S, 900).
-define(TABLES, [{?HOSTS_TABLE, set}, {?HELD_TABLE, ordered_set}, {?QUESTIONS_TABLE, set},
                 {?PASSED_TABLE, ordered_set}, {?WATCHED_TABLE, ordered_set},
                 {?PARTIES_TABLE, ordered_set}, {?ADDRESSES_TABLE, ordered_set},
                 {?COUNTS_TABLE, set}]).
-define(KEEPER, mod_jingle_hnt_keeper).
-define(KEPT_AFTER_STOP_MS, 10000).
-define(ABSENT_MS, 1000).
-define(MOVED_MS, 200).
-define(OTHER_NODES_MS, 1500).
-define(DRAIN_MS, 5000).
-define(WRITTEN_MS, 100). % what a stream takes at most to send what it has, unless its client reads slowly

-type or_any(Type) :: Type | '_' | '$1'. % as in a pattern of a table
-type usr() :: {binary(), or_any(binary()), or_any(binary())}. % host, user, resource: the users of a host side by side
-type verdict() :: undefined | go_on | drop | {replace, xmlel()} | {bounce, xmlel()} | no_such_user |
                   {fail, unseen | expired | seen}.

%% state: `on`, `stopping` while its module is being stopped, `closing` while the server is.
-record(host, {name :: binary(), state = on :: on | stopping | closing, component :: binary(),
               fail :: open | closed, timeout :: pos_integer()}).
-record(held, {key :: {binary(), or_any(usr()), or_any(usr()), or_any(pos_integer())},
               id :: or_any(binary()), packet :: or_any(iq() | message()), sid :: or_any(binary()),
               action :: or_any(binary()), component :: or_any(binary()), until :: or_any(integer()),
               bytes :: or_any(non_neg_integer()), verdict :: or_any(verdict())}).
-record(state, {host :: binary(), silent = false :: boolean()}).
-record(parent, {turns :: pid()}). % of the process that ejabberd starts and stops

%%% gen_mod

-spec start(binary(), gen_mod:opts()) -> {ok, pid()}.
start(Host, Opts) ->
    make_tables(),
    ejabberd_hooks:add(filter_packet, ?MODULE, filter, ?FILTER_AT),
    ejabberd_hooks:add(component_connected, ?MODULE, component_here, 50),
    ejabberd_hooks:add(component_disconnected, ?MODULE, component_gone, 50),
    ejabberd_hooks:add(ejabberd_stopping, ?MODULE, stopping, 10),
    ejabberd_hooks:add(sm_register_connection_hook, Host, ?MODULE, session_opened, 50),
    ejabberd_hooks:add(sm_remove_connection_hook, Host, ?MODULE, session_closed, 50),
    ejabberd_hooks:add(c2s_session_pending, Host, ?MODULE, session_pending, 50),
    ejabberd_hooks:add(c2s_session_resumed, Host, ?MODULE, session_resumed, 50),
    gen_iq_handler:add_iq_handler(ejabberd_local, Host, ?NS_INTERCEPT, ?MODULE, process_iq),
    gen_mod:is_loaded_elsewhere(Host, ?MODULE) orelse
        ejabberd_commands:register_commands(?MODULE, commands()),
    Started = gen_mod:start_child(?MODULE, Host, Opts),
    enter(Host, Opts),
    Started.

%% Nothing that is held may be lost or overtaken: senders wait from the mark until the drain is done.
-spec stop(binary()) -> ok.
stop(Host) ->
    mark(Host, stopping),
    drain(Host),
    gen_mod:stop_child(?MODULE, Host),
    sweep_held(Host),
    ejabberd_hooks:delete(sm_register_connection_hook, Host, ?MODULE, session_opened, 50),
    ejabberd_hooks:delete(sm_remove_connection_hook, Host, ?MODULE, session_closed, 50),
    ejabberd_hooks:delete(c2s_session_pending, Host, ?MODULE, session_pending, 50),
    ejabberd_hooks:delete(c2s_session_resumed, Host, ?MODULE, session_resumed, 50),
    gen_iq_handler:remove_iq_handler(ejabberd_local, Host, ?NS_INTERCEPT),
    ets:delete(?HOSTS_TABLE, Host),
    case gen_mod:is_loaded_elsewhere(Host, ?MODULE) of
        true -> ok;
        false -> leave()
    end,
    %% Who waits runs this very code, which may be purged next.
    wait_until(fun() -> ets:lookup(?COUNTS_TABLE, waiting) =< [{waiting, 0}] end, ?ABSENT_MS),
    ok.

leave() ->
    ejabberd_hooks:delete(filter_packet, ?MODULE, filter, ?FILTER_AT),
    ejabberd_hooks:delete(component_connected, ?MODULE, component_here, 50),
    ejabberd_hooks:delete(component_disconnected, ?MODULE, component_gone, 50),
    ejabberd_hooks:delete(ejabberd_stopping, ?MODULE, stopping, 10),
    ejabberd_commands:unregister_commands(commands()),
    %% A module that comes back at once (a reload, an upgrade) finds what it knew of calls.
    {ok, Timer} = timer:kill_after(?KEPT_AFTER_STOP_MS, whereis(?KEEPER)),
    ets:insert(?COUNTS_TABLE, {timer, Timer}).

-spec reload(binary(), gen_mod:opts(), gen_mod:opts()) -> ok.
reload(Host, NewOpts, _OldOpts) ->
    enter(Host, NewOpts),
    ok.

depends(_Host, _Opts) ->
    [].

mod_options(_Host) ->
    [{component, undefined}, {fail, open}, {timeout, timer:seconds(3)}].

mod_opt_type(component) -> % a domain, in which @HOST@ is the host's own
    econf:and_then(econf:binary(),
                   fun(Name) -> _ = (econf:domain())(binary:replace(Name, <<"@HOST@">>, <<"host">>)), Name end);
mod_opt_type(fail) -> econf:enum([open, closed]);
mod_opt_type(timeout) -> % in seconds, as in the Prosody module
    econf:and_then(econf:number(0.01), fun(Seconds) -> round(Seconds * 1000) end).

mod_doc() ->
    #{desc => <<"Asks jingle-hnt's component about Jingle requests">>,
      opts => [{component, #{value => <<"Domain">>, desc => <<"Domain of the component; none is asked without it">>}},
               {fail, #{value => <<"open | closed">>,
                        desc => <<"What becomes of a request that the component does not answer">>}},
               {timeout, #{value => <<"Seconds">>, desc => <<"How long a request is held at most">>}}]}.

enter(Host, Opts) ->
    case gen_mod:get_opt(component, Opts) of
        undefined ->
            ets:delete(?HOSTS_TABLE, Host),
            ?WARNING_MSG("~ts has no component to ask: write `component: hnt.example.org`, its domain, among the "
                         "options of mod_jingle_hnt", [Host]);
        Name ->
            Component = jid:nameprep(binary:replace(Name, <<"@HOST@">>, Host)),
            ets:insert(?HOSTS_TABLE, #host{name = Host, component = Component,
                                           fail = gen_mod:get_opt(fail, Opts),
                                           timeout = gen_mod:get_opt(timeout, Opts)})
    end.

mark(Host, State) ->
    ets:update_element(?HOSTS_TABLE, Host, {#host.state, State}).

%% The tables of all hosts belong to a process that runs no code of ours, so that neither the end of a
%% host's process nor a new version of the module takes them away.
make_tables() ->
    case whereis(?KEEPER) of
        undefined ->
            Keeper = spawn(timer, sleep, [infinity]),
            register(?KEEPER, Keeper),
            [begin
                 ets:new(Table, [Type, named_table, public, {keypos, keypos(Table)},
                                 {read_concurrency, true}, {write_concurrency, true}]),
                 ets:give_away(Table, Keeper, none)
             end || {Table, Type} <- ?TABLES];
        _ ->
            [timer:cancel(Timer) || {_, Timer} <- ets:take(?COUNTS_TABLE, timer)]
    end.

keypos(?HOSTS_TABLE) -> #host.name;
keypos(?HELD_TABLE) -> #held.key;
keypos(_) -> 1.

%% The end of the server: streams are ended after this hook, without regard to what they have yet to send.
-spec stopping() -> ok.
stopping() ->
    Hosts = ets:tab2list(?HOSTS_TABLE),
    [mark(Name, closing) || #host{name = Name} <- Hosts],
    case ets:info(?HELD_TABLE, size) of
        0 -> ok;
        _ ->
            [drain(Name) || #host{name = Name} <- Hosts],
            timer:sleep(?WRITTEN_MS),
            [drain(Name) || #host{name = Name} <- Hosts], % what somebody was about to write into the table
            ok
    end.

drain(Host) ->
    try gen_server:call(process_of(Host), drain, ?DRAIN_MS)
    catch _:_ -> ok
    end.

%% What a process that was killed left behind. Nobody else takes from there now.
sweep_held(Host) ->
    [decide(Held, {fail, unseen}) || #held{verdict = undefined} = Held <- held_of(Host)],
    advance_all(Host).

held_of(Host) ->
    ets:match_object(?HELD_TABLE, #held{key = {Host, '_', '_', '_'}, _ = '_'}).

host_named(Host) ->
    case ets:lookup(?HOSTS_TABLE, Host) of
        [Found] -> Found;
        [] -> none
    end.

%% The component of a host, empty where it has none.
component(Host) ->
    case host_named(Host) of
        #host{component = Component} -> Component;
        none -> <<>>
    end.

%%% What passes: runs in the process of whoever sends

-spec filter(stanza() | drop) -> stanza() | drop.
filter(drop) ->
    drop;
filter(#iq{type = Type} = Packet) when Type == result; Type == error ->
    safely(fun() -> answer(Packet) end, Packet);
filter(#iq{type = set, sub_els = Els} = Packet) ->
    case lists:search(fun is_jingle/1, Els) of
        {value, Jingle} -> request(Packet, Jingle);
        false -> Packet
    end;
filter(#message{sub_els = [_ | _]} = Packet) ->
    case safely(fun() -> message(Packet) end, Packet) of
        #message{} = Told ->
            case is_about_calls(Told) of
                true -> safely(fun() -> in_turn(Told) end, Told);
                false -> Told
            end;
        drop -> drop
    end;
filter(Packet) ->
    Packet.

%% Nothing that a stanza says may harm another: it goes on as if we were not there.
safely(Fun, Packet) ->
    try Fun()
    catch Class:Error:Stack ->
            complain(exception, "A stanza could not be looked at: ~p:~p ~p", [Class, Error, Stack]),
            Packet
    end.

%% Whether this answers a question of ours. That the id is right is not enough: the component must say it.
answer(#iq{id = <<"hnt-", Rest/binary>> = Id, from = From, to = #jid{luser = <<>>, lserver = Host}} = Packet) ->
    Component = component(Host),
    case binary:split(Rest, <<"-">>) of
        [Node, _] when Component =/= <<>> ->
            case jid:encode(From) == Component andalso ejabberd_cluster:get_node_by_id(Node) of
                false -> Packet;
                Here when Here == node() ->
                    %% Into the table first: there it is safe from whatever happens to the host's process.
                    case waiting_held(Id) of
                        #held{key = {_, Sender, Recipient, _}} = Held ->
                            decide(Held, verdict(Packet, Host)),
                            send(Host, {answered, Component, Sender, Recipient}),
                            drop;
                        none -> Packet
                    end;
                Other ->
                    ejabberd_cluster:send({process_of(Host), Other}, {answer, Id, Packet}),
                    drop
            end;
        _ ->
            Packet
    end;
answer(Packet) ->
    observe(Packet),
    Packet.

send(Host, Message) ->
    case whereis(process_of(Host)) of
        undefined -> false;
        Process -> Process ! Message, true
    end.

send_at(Node, Host, Message) when Node == node() ->
    send(Host, Message);
send_at(Node, Host, Message) ->
    ejabberd_cluster:send({process_of(Host), Node}, Message) =/= false.

%% The processes of this host on the other nodes of a cluster.
send_elsewhere(Host, Message) ->
    case nodes() of
        [] -> ok;
        _ -> [ejabberd_cluster:send({process_of(Host), Node}, Message)
              || Node <- ejabberd_cluster:get_nodes(), Node =/= node()]
    end.

request(Packet, Jingle) ->
    case next_to_ask(Packet) of
        none ->
            Packet;
        #host{state = stopping, name = Name} ->
            waiting(fun() -> wait_until(fun() -> is_stopped(Name) end, 2 * ?ABSENT_MS) end),
            case is_stopped(Name) of
                true -> request(Packet, Jingle);
                false -> Packet
            end;
        Host ->
            try take(Host, Packet, Jingle)
            catch Class:Error:Stack ->
                    complain(exception, "A request could not be held: ~p:~p ~p", [Class, Error, Stack]),
                    unasked(Host, entry(Host, Packet, Jingle, 0), Jingle)
            end
    end.

is_stopped(Name) ->
    case host_named(Name) of
        #host{state = stopping} -> false;
        _ -> true
    end.

waiting(Fun) ->
    ets:update_counter(?COUNTS_TABLE, waiting, 1, {waiting, 0}),
    try Fun()
    after ets:update_counter(?COUNTS_TABLE, waiting, -1, {waiting, 0})
    end.

wait_until(Fun, Left) ->
    case Left =< 0 orelse Fun() of
        true -> ok;
        false -> timer:sleep(5), wait_until(Fun, Left - 5)
    end.

%% The sender's host, then the recipient's; but no component twice, none about its own stanzas, and nobody
%% after the recipient's host: a stanza that came back would be behind later ones.
next_to_ask(#iq{from = From, to = To} = Packet) ->
    case is_full(From) andalso is_full(To) of
        true -> next_to_ask(Packet, From, To);
        false -> none
    end.

next_to_ask(Packet, #jid{lserver = A} = From, #jid{lserver = B} = To) ->
    case xmpp:get_meta(Packet, hnt_done, false) of
        false ->
            Asked = [A, B | xmpp:get_meta(Packet, hnt_asked, [])],
            case [Found || #host{component = C} = Found <- hosts(A, B), not lists:member(C, Asked)] of
                [#host{component = C} = Host, #host{name = Name, component = C} = Second] ->
                    %% While the first was not loaded, the second asked: in turn, it goes on until it is done.
                    case next_held(Name, usr(From), usr(To)) of
                        none -> Host;
                        _ -> Second
                    end;
                [Host | _] -> Host;
                [] -> none
            end;
        true ->
            none
    end.

hosts(A, A) -> ets:lookup(?HOSTS_TABLE, A);
hosts(A, B) -> ets:lookup(?HOSTS_TABLE, A) ++ ets:lookup(?HOSTS_TABLE, B).

asked(Packet, Name, Component) ->
    case xmpp:get_to(Packet) of
        #jid{lserver = Name} -> xmpp:put_meta(Packet, hnt_done, true);
        _ -> xmpp:put_meta(Packet, hnt_asked, [Component | xmpp:get_meta(Packet, hnt_asked, [])])
    end.

take(_Host, #iq{sub_els = Els, id = Id} = Packet, _Jingle) when length(Els) =/= 1; Id == <<>> ->
    answer_error(Packet, xmpp:err_bad_request(<<"An IQ needs an id and exactly one payload">>, <<"en">>));
take(#host{name = Name, component = Component} = Host, Packet, Jingle) ->
    Bytes = size_of(Packet),
    Entry = entry(Host, Packet, Jingle, Bytes),
    case Bytes > ?LARGEST_QUESTION of
        true ->
            Text = <<"This Jingle request is larger than any call needs">>,
            answer_error(Packet, xmpp:err_policy_violation(Text, <<"en">>));
        false ->
            case is_blocked(Packet, Entry#held.action) of
                true ->
                    %% The server refuses it; nobody need have asked for that.
                    count(Name, blocked),
                    request(asked(Packet, Name, Component), Jingle);
                false ->
                    begun(Entry),
                    try_to_hold(Host, Entry, Jingle)
            end
    end.

try_to_hold(#host{component = Component} = Host, #held{packet = Packet} = Entry, Jingle) ->
    case room(Entry) of
        none_for_user ->
            Text = <<"Too many requests of yours wait for the media relay">>,
            answer_error(Packet, xmpp:err_resource_constraint(Text, <<"en">>));
        Room ->
            case Room == here andalso Host#host.state == on andalso is_connected(Component) of
                true ->
                    report(Component, [passed]),
                    ask(Host, Entry, Jingle);
                false ->
                    unasked(Host, Entry, Jingle)
            end
    end.

%% Nobody of ours is there: the verdict is ours, in turn.
unasked(#host{name = Name} = Host, #held{key = {_, From, To, _}} = Entry, Jingle) ->
    case next_held(Name, From, To) of
        none ->
            go_unasked(Host, Entry, Jingle);
        _ ->
            insert(Entry#held{verdict = {fail, unseen}}),
            present(Host, Entry, Jingle, {advance, From, To})
    end.

go_unasked(Host, Entry, Jingle) ->
    case carry_out({fail, unseen}, Entry, Host) of
        {on, #message{} = Packet} -> in_turn(Packet);
        {on, Packet} -> request(Packet, Jingle);
        done -> drop
    end.

%% What this sender sent before, while there was a process for it.
advance_undecided(Name, From, To) ->
    [decide(Held, {fail, unseen})
     || #held{verdict = undefined} = Held
            <- ets:match_object(?HELD_TABLE, #held{key = {Name, From, To, '_'}, _ = '_'})],
    advance(Name, From, To).

ask(#host{name = Name, timeout = Timeout} = Host, #held{packet = Packet, id = Id} = Entry, Jingle) ->
    count(Name, asked),
    Question = #iq{type = set, id = Id, from = jid:make(Name), to = jid:make(Entry#held.component),
                   sub_els = [question(Host, Packet, Jingle)]},
    insert(Entry),
    ets:insert(?QUESTIONS_TABLE, {Id, Entry#held.key}),
    erlang:send_after(Timeout, process_of(Name), {expired, Id}),
    case host_named(Name) of
        #host{state = on} ->
            case present(Host, Entry, Jingle, none) of
                drop -> ejabberd_router:route(Question), drop;
                Other -> Other
            end;
        _ ->
            %% It has begun to stop since we looked: whoever drains may have been there before us.
            {_, From, To, _} = Entry#held.key,
            decide(Entry, {fail, unseen}),
            present(Host, Entry, Jingle, {advance, From, To})
    end.

%% It is in the table, where the host's process finds it, also one that is started anew. If there is
%% none, we decide ourselves, and the next ones need not wait for it.
present(#host{name = Name} = Host, #held{key = Key} = Entry, Jingle, Message) ->
    Process = process_of(Name),
    whereis(Process) =/= undefined orelse ets:member(?COUNTS_TABLE, {absent, Name}) orelse
        waiting(fun() -> wait_until(fun() -> whereis(Process) =/= undefined orelse host_named(Name) == none end,
                                    ?ABSENT_MS) end),
    case whereis(Process) of
        undefined ->
            ets:insert(?COUNTS_TABLE, {{absent, Name}, true}),
            case remove(Key) of
                #held{key = {_, From, To, _}} ->
                    advance_undecided(Name, From, To),
                    go_unasked(Host, Entry, Jingle);
                none -> drop
            end;
        _ ->
            Message == none orelse send(Name, Message),
            drop
    end.

answer_error(Packet, Error) ->
    ejabberd_router:route_error(Packet, Error),
    drop.

%% Whether the recipient's own privacy list (XEP-0016, XEP-0191) refuses an offer of this sender.
is_blocked(#iq{to = #jid{lserver = Host} = To} = Packet, <<"session-initiate">>) ->
    ejabberd_router:is_my_host(Host) andalso
        deny == ejabberd_hooks:run_fold(privacy_check_packet, Host, allow, [To, Packet, in]);
is_blocked(_, _) ->
    false.

is_full(#jid{luser = U, lresource = R}) ->
    U =/= <<>> andalso R =/= <<>>.

usr(#jid{luser = U, lserver = S, lresource = R}) ->
    {S, U, R}.

is_jingle(#xmlel{name = <<"jingle">>} = El) ->
    fxml:get_tag_attr_s(<<"xmlns">>, El) == ?NS_JINGLE_1;
is_jingle(_) ->
    false.

%% Jingle messages (XEP-0353) pass; that one of them ends a call is told.
message(#message{from = #jid{lserver = A} = From, to = #jid{lserver = B}, sub_els = Els} = Packet) ->
    Ends = [{Name, Sid} || #xmlel{name = Name} = El <- Els,
                           Name == <<"retract">> orelse Name == <<"finish">>,
                           fxml:get_tag_attr_s(<<"xmlns">>, El) == ?NS_JINGLE_MESSAGE,
                           Sid <- [fxml:get_tag_attr_s(<<"id">>, El)],
                           Sid =/= <<>>, byte_size(Sid) =< ?LONGEST_NAMES],
    case Ends =/= [] andalso is_full(From) andalso not xmpp:get_meta(Packet, hnt_told, false)
        andalso may_tell(payer(From)) andalso hosts(A, B) of
        [_ | _] = Hosts ->
            [{Action, Sid} | _] = Ends,
            Told = [{C, Name} || #host{name = Name, component = C} <- Hosts],
            [tell(Name, [{<<"event">>, <<"message">>}, {<<"action">>, Action},
                         {<<"jid">>, jid:encode(From)}, {<<"sid">>, Sid}], [])
             || {_, Name} <- lists:ukeysort(1, Told)],
            xmpp:put_meta(Packet, hnt_told, true);
        _ ->
            Packet
    end.

%% What makes a phone ring (XEP-0353, XEP-0482), if the component wants to be asked about it, and what
%% is said of that call while it waits.
in_turn(#message{from = From, to = To} = Packet) ->
    case jid:remove_resource(From) == jid:remove_resource(To) orelse next_to_ask(Packet, From, jid:remove_resource(To)) of
        #host{name = Name, component = Component} = Host ->
            Ring = counted({rings, Component}) == 1 andalso ring_of(Packet),
            Waits = next_held(Name, usr(From), usr(jid:remove_resource(To))) =/= none,
            case {Ring, Waits} of
                {#xmlel{}, _} -> take_ring(Host, Packet, Ring);
                {_, true} -> take_turn(Host, Packet);
                {_, false} -> Packet
            end;
        _ ->
            Packet
    end.

ring_of(#message{type = error}) ->
    false;
ring_of(#message{type = Type} = Packet) ->
    case [El || El <- about_calls(Packet), rings(El, Type)] of
        [El | _] -> El;
        [] -> false
    end.

%% An invitation to a room is its members'.
rings(#xmlel{name = <<"propose">>} = El, _) -> fxml:get_tag_attr_s(<<"xmlns">>, El) == ?NS_JINGLE_MESSAGE;
rings(#xmlel{name = <<"invite">>} = El, Type) ->
    Type =/= groupchat andalso fxml:get_tag_attr_s(<<"xmlns">>, El) == ?NS_CALL_INVITES;
rings(_, _) -> false.

is_about_calls(Packet) ->
    about_calls(Packet) =/= [].

%% Whoever looked into the message before us may have decoded some of it.
about_calls(#message{sub_els = Els}) ->
    Found = [case El of
                 #xmlel{} -> El;
                 _ -> named_for_calls(atom_to_list(element(1, El))) andalso encode(El)
             end || El <- Els],
    [El || #xmlel{} = El <- Found,
           lists:member(fxml:get_tag_attr_s(<<"xmlns">>, El), [?NS_JINGLE_MESSAGE, ?NS_CALL_INVITES])].

named_for_calls("jingle_" ++ _) -> true;
named_for_calls("call_" ++ _) -> true;
named_for_calls(_) -> false.

take_ring(#host{name = Name, component = Component} = Host, Packet, Ring) ->
    Bytes = byte_size(fxml:element_to_binary(Ring)),
    Entry = entry(Host, Packet, Ring, Bytes),
    IsSilent = counted({Name, silent}) == 1,
    case {is_connected(Component), room(Entry)} of
        {true, _} when Bytes > ?LARGEST_QUESTION ->
            Text = <<"This message is larger than any call needs">>,
            answer_error(Packet, xmpp:err_policy_violation(Text, <<"en">>));
        {true, none_for_user} when not IsSilent ->
            Text = <<"Too many calls of yours wait for the media relay">>,
            answer_error(Packet, xmpp:err_resource_constraint(Text, <<"en">>));
        {true, Room} when Room =/= none, Host#host.state == on ->
            ask(Host, Entry, Ring);
        _ ->
            unasked(Host, Entry, Ring)
    end.

%% Behind what waits, in the order in which it came.
take_turn(#host{name = Name} = Host, Packet) ->
    Entry = entry(Host, Packet, #xmlel{name = <<"message">>}, 0),
    {_, From, To, _} = Entry#held.key,
    case room(Entry) of
        here ->
            insert(Entry#held{verdict = go_on}),
            case whereis(process_of(Name)) of
                undefined -> advance(Name, From, To);
                Process -> Process ! {advance, From, To}
            end,
            drop;
        _ ->
            Packet
    end.

%% Who pays for what is asked and told: a user of this server, or another server, which may make up users.
payer(#jid{luser = U, lserver = S}) ->
    case ejabberd_router:is_my_host(S) of
        true -> {S, U};
        false -> {S, '_'}
    end.

may_tell(Owner) ->
    Now = now_s(),
    Told = case ets:lookup(?COUNTS_TABLE, {told, Owner}) of
               [{_, Now, Number}] -> Number;
               _ -> 0
           end,
    ets:insert(?COUNTS_TABLE, {{told, Owner}, Now, Told + 1}),
    Told < ?TOLD_OF_USER.

%%% What is held

entry(#host{name = Name, component = Component, timeout = Timeout}, Packet, Jingle, Bytes) ->
    From = xmpp:get_from(Packet),
    To = case Packet of
             #message{to = Phone} -> jid:remove_resource(Phone); % all that is said of a call in one line
             #iq{to = Party} -> Party
         end,
    Random = base64:encode(crypto:strong_rand_bytes(12)),
    #held{key = {Name, usr(From), usr(To), erlang:unique_integer([monotonic, positive])},
          id = <<"hnt-", (ejabberd_cluster:node_id())/binary, $-, Random/binary>>, packet = Packet,
          sid = fxml:get_tag_attr_s(<<"sid">>, Jingle), action = fxml:get_tag_attr_s(<<"action">>, Jingle),
          component = Component, until = erlang:monotonic_time(millisecond) + Timeout, bytes = Bytes}.

%% One user cannot take the room of the others.
room(#held{key = {Host, {S, U, _}, _, _}, action = Action, bytes = Bytes}) ->
    Most = case Action of
               <<"session-terminate">> -> 2 * ?HELD_OF_USER; % to hang up there is room yet
               _ -> ?HELD_OF_USER
           end,
    {S, User} = payer(#jid{luser = U, lserver = S}),
    Own = ets:select(?HELD_TABLE, [{#held{key = {Host, {S, User, '_'}, '_', '_'}, bytes = '$1', _ = '_'}, [], ['$1']}]),
    case length(Own) >= Most orelse lists:sum(Own) + Bytes > ?HELD_BYTES_OF_USER of
        true -> none_for_user;
        false ->
            case ets:info(?HELD_TABLE, size) >= ?HELD
                orelse counted(held_bytes) + Bytes > ?HELD_BYTES of
                true -> none;
                false -> here
            end
    end.

insert(#held{bytes = Bytes} = Entry) ->
    ets:update_counter(?COUNTS_TABLE, held_bytes, Bytes, {held_bytes, 0}),
    ets:insert(?HELD_TABLE, Entry).

remove(Key) ->
    case ets:take(?HELD_TABLE, Key) of
        [#held{id = Id, bytes = Bytes} = Entry] ->
            ets:update_counter(?COUNTS_TABLE, held_bytes, -Bytes, {held_bytes, 0}),
            ets:delete(?QUESTIONS_TABLE, Id),
            Entry;
        [] ->
            none
    end.

next_held(Host, From, To) ->
    case ets:next(?HELD_TABLE, {Host, From, To, 0}) of
        {Host, From, To, _} = Key -> Key;
        _ -> none
    end.

%%% Counts, and lines of log that nobody can make many of

counted(Key) ->
    case ets:lookup(?COUNTS_TABLE, Key) of
        [{_, Number}] -> Number;
        _ -> 0
    end.

%% Also a hook, for whoever counts hooks: mod_prometheus does.
count(Host, What) ->
    ets:update_counter(?COUNTS_TABLE, {Host, What}, 1, {{Host, What}, 0}),
    ejabberd_hooks:run(jingle_hnt_request, Host, [What]).

complain(What, Format, Arguments) ->
    Now = now_s(),
    case ets:lookup(?COUNTS_TABLE, {log, What}) of
        [{_, Last, _}] when Now < Last + ?LOG_EVERY_S ->
            ets:update_counter(?COUNTS_TABLE, {log, What}, {3, 1}, {{log, What}, Now, 0}),
            ok;
        Earlier ->
            ets:insert(?COUNTS_TABLE, {{log, What}, Now, 0}),
            More = case Earlier of
                       [{_, _, N}] when N > 0 -> io_lib:format(" (and ~B more since the last line)", [N]);
                       _ -> ""
                   end,
            ?WARNING_MSG(Format ++ "~ts", Arguments ++ [More])
    end.

commands() ->
    [#ejabberd_commands{name = jingle_hnt_status, tags = [statistics],
                        desc = "Show for each host whether its jingle-hnt answers, and what became of requests",
                        module = ?MODULE, function = status, args = [],
                        result = {hosts, {list, {host, {tuple, [{name, string}, {component, string},
                                                               {state, string}, {held, integer},
                                                               {asked, integer}, {answered, integer},
                                                               {failed, integer}, {expired, integer},
                                                               {blocked, integer}]}}}}}].

-spec status() -> [tuple()].
status() ->
    [{Name, Component, component_state(Host), length(held_of(Name)), counted({Name, asked}),
      counted({Name, answered}), counted({Name, failed}), counted({Name, expired}), counted({Name, blocked})}
     || #host{name = Name, component = Component} = Host <- ets:tab2list(?HOSTS_TABLE)].

component_state(#host{name = Name, component = Component, fail = Fail}) ->
    case {is_connected(Component), counted({Name, silent})} of
        {true, 0} -> <<"connected">>;
        {true, _} -> <<"connected, but silent: fail ", (atom_to_binary(Fail, utf8))/binary>>;
        {false, _} -> <<"not connected: fail ", (atom_to_binary(Fail, utf8))/binary>>
    end.

%%% Where parties are: known on every node of a cluster, for a party may move between them

%% A request that begins or ends a party's part in a call.
begun(#held{action = Action, sid = Sid, packet = #iq{from = From, to = To}})
  when Action == <<"session-initiate">>; Action == <<"session-accept">> ->
    [remember(Party, call(Sid, Peer)) || {Party, Peer} <- [{From, To}, {To, From}]];
begun(_) ->
    ok.

ended(Sid, From, To) ->
    [forget(Party, call(Sid, Peer)) || {Party, Peer} <- [{From, To}, {To, From}]].

call(Sid, Peer) ->
    erlang:phash2({Sid, usr(Peer)}, 4294967296).

remember(#jid{luser = U, lserver = S, lresource = R} = JID, Call) ->
    case ejabberd_router:is_my_host(S) andalso ejabberd_sm:get_session_pid(U, S, R) of
        Pid when is_pid(Pid) ->
            remembered(usr(JID), Call),
            send_elsewhere(S, {remember, usr(JID), Call});
        _ ->
            ok
    end.

remembered({S, U, _} = Party, Call) ->
    {Told, Calls} = case ets:lookup(?PARTIES_TABLE, Party) of
                        [{_, _, gone, C}] -> {unknown, C};
                        [{_, _, T, C}] -> {T, C};
                        [] ->
                            make_room(?PARTIES_TABLE, {{S, U, '_'}, '_', '_', '_'}, ?PARTIES_OF_USER, ?PARTIES),
                            {unknown, []}
                    end,
    ets:insert(?PARTIES_TABLE, {Party, now_s() + ?PARTY_FOR_S, Told,
                                lists:sublist([Call | lists:delete(Call, Calls)], ?CALLS_OF_PARTY)}).

%% Of a user's own rows the first goes; if all have taken all room, what is too old, or any one row.
make_room(Table, OfUser, MostOfUser, Most) ->
    case ets:match_object(Table, OfUser) of
        Own when length(Own) >= MostOfUser -> ets:delete(Table, element(1, hd(lists:keysort(2, Own))));
        _ -> ok
    end,
    case ets:info(Table, size) >= Most andalso sweep(Table) == 0 of
        true -> ets:delete(Table, ets:first(Table));
        false -> ok
    end.

parties_of(Host) ->
    ets:match_object(?PARTIES_TABLE, {{Host, '_', '_'}, '_', '_', '_'}).

forget(#jid{lserver = S} = JID, Call) ->
    forgotten(usr(JID), Call),
    ejabberd_router:is_my_host(S) andalso send_elsewhere(S, {forget, usr(JID), Call}).

forgotten(Party, Call) ->
    case ets:lookup(?PARTIES_TABLE, Party) of
        [{_, _, _, Calls}] ->
            case lists:delete(Call, Calls) of
                [] -> ets:delete(?PARTIES_TABLE, Party);
                Left -> ets:update_element(?PARTIES_TABLE, Party, {4, Left})
            end;
        [] ->
            ok
    end.

%% Whether this address of a party is news; a resumption runs several hooks.
is_news({S, _, _} = Party, IP) ->
    case ets:lookup(?PARTIES_TABLE, Party) of
        [{_, Until, Told, _}] when Told =/= IP ->
            Until > now_s() andalso ets:update_element(?PARTIES_TABLE, Party, {3, IP})
                andalso (send_elsewhere(S, {told, Party, IP}) =/= none);
        _ ->
            false
    end.

session_opened(_SID, #jid{} = JID, Info) ->
    moved(JID, address_in(Info), via(Info)).

session_resumed(#{jid := #jid{} = JID} = State) ->
    %% The session's own record may be written after this hook: the connection knows its address.
    moved(JID, peer_of(State), via([{conn, maps:get(conn, State, c2s)}])),
    State;
session_resumed(State) ->
    State.

%% While a session waits for its client to resume (XEP-0198), its address is one that was. The mark is
%% in the session's record, which all nodes have, and a session that is resumed gets a new one.
session_pending(#{jid := #jid{luser = U, lserver = S, lresource = R} = JID} = State) ->
    seen(usr(JID), peer_of(State)),
    try ejabberd_sm:set_user_info(U, S, R, hnt_pending, true)
    catch _:_ -> ok
    end,
    State;
session_pending(State) ->
    State.

session_closed(_SID, #jid{lserver = Host} = JID, Info) ->
    Party = usr(JID),
    seen(Party, address_in(Info)),
    case {ets:member(?PARTIES_TABLE, Party), nodes()} of
        {false, _} -> ok;
        {true, []} -> departed(JID);
        {true, _} ->
            %% Its next session may have begun on another node, whose word of that is on its way.
            erlang:send_after(?MOVED_MS, process_of(Host), {closed, JID})
    end.

%% Told once, if the party is nowhere.
departed(#jid{lserver = Host} = JID) ->
    Party = usr(JID),
    case ets:lookup(?PARTIES_TABLE, Party) of
        [{_, _, Told, _}] when Told =/= gone ->
            case is_absent(JID) of
                true ->
                    tell(Host, [{<<"event">>, <<"gone">>}, {<<"jid">>, jid:encode(JID)}], []),
                    %% The same client may come back under the same name in the middle of its call.
                    Change = [{2, now_s() + ?PARTY_GONE_FOR_S}, {3, gone}],
                    ets:update_element(?PARTIES_TABLE, Party, Change),
                    send_elsewhere(Host, {gone, Party, Change});
                false ->
                    ok
            end;
        _ ->
            ok
    end.

moved(_, none, _) ->
    ok;
moved(#jid{lserver = Host} = JID, IP, Via) ->
    case is_news(usr(JID), IP) of
        true ->
            tell(Host, [{<<"event">>, <<"address">>}, {<<"jid">>, jid:encode(JID)}, {<<"ip">>, IP}
                        | [{<<"via">>, Via} || Via =/= <<"tcp">>]], []);
        false -> ok
    end.

%% The last address of either family that a client had.
seen(_, none) ->
    ok;
seen({S, _, _} = Party, IP) ->
    noted(Party, IP),
    send_elsewhere(S, {seen, Party, IP}).

noted({S, U, _} = Party, IP) ->
    make_room(?ADDRESSES_TABLE, {{{S, U, '_'}, '_'}, '_', '_'}, ?ADDRESSES_OF_USER, ?ADDRESSES),
    ets:insert(?ADDRESSES_TABLE, {{Party, family(IP)}, now_s() + ?ADDRESS_FOR_S, IP}).

family(IP) ->
    case binary:match(IP, <<":">>) of
        nomatch -> <<"ip4">>;
        _ -> <<"ip6">>
    end.

%% What is known of where somebody is, as attributes of a question that begin with `Prefix`.
whereabouts(Prefix, #jid{luser = U, lserver = S, lresource = R} = JID) ->
    case ejabberd_router:is_my_host(S) andalso ejabberd_sm:get_user_info(U, S, R) of
        Info when is_list(Info) ->
            IP = case proplists:is_defined(hnt_pending, Info) of
                     true -> none;
                     false -> address_in(Info)
                 end,
            Via = via(Info),
            Own = [{<<"ip">>, IP} || IP =/= none] ++ [{<<"via">>, Via} || IP =/= none, Via =/= <<"tcp">>],
            Others = [[{Family, Other}, {<<Family/binary, "-age">>, age(Until)}]
                      || Family <- [<<"ip4">>, <<"ip6">>],
                         {_, Until, Other} <- ets:lookup(?ADDRESSES_TABLE, {usr(JID), Family}), Other =/= IP],
            [{<<Prefix/binary, Name/binary>>, Value} || {Name, Value} <- lists:append([Own | Others])];
        _ ->
            []
    end.

age(Until) ->
    integer_to_binary(max(0, now_s() - (Until - ?ADDRESS_FOR_S))).

%% The address of a connection that is there, for who asks; none where there is none.
address(#jid{luser = U, lserver = S, lresource = R}) ->
    case ejabberd_sm:get_user_info(U, S, R) of
        Info when is_list(Info) ->
            case proplists:is_defined(hnt_pending, Info) of
                true -> none;
                false -> {address_in(Info), via(Info)}
            end;
        _ ->
            none
    end.

address_in(Info) ->
    text(proplists:get_value(ip, Info)).

peer_of(State) ->
    text(maps:get(ip, State, undefined)).

via(Info) ->
    case proplists:get_value(conn, Info) of
        http_bind -> <<"bosh">>;
        http_poll -> <<"bosh">>;
        websocket -> <<"websocket">>;
        _ -> <<"tcp">>
    end.

%% Of anything: who comes over a Unix socket has no address.
text({{0, 0, 0, 0, 0, 16#ffff, A, B}, _Port}) ->
    text({{A bsr 8, A band 255, B bsr 8, B band 255}, 0});
text({IP, _Port}) ->
    case inet:ntoa(IP) of
        Text when is_list(Text) -> list_to_binary(Text);
        _ -> none
    end;
text(_) ->
    none.

%%% What became of a request

watch(#held{key = {Host, {S, U, _} = From, {RS, RU, RR} = To, _}, sid = Sid, action = Action, packet = #iq{id = Id}}) ->
    %% Nobody may fill our memory with names that no client makes.
    case byte_size(Id) + byte_size(Sid) + byte_size(Action) =< ?LONGEST_NAMES of
        true ->
            Row = {{Host, From, To, Id}, now_s() + ?WATCH_FOR_S, Sid, Action},
            watched({{Host, {S, U, '_'}, '_', '_'}, '_', '_', '_'}, Row),
            %% The recipient answers on the node that it is connected to; another server on any.
            case nodes() =/= [] andalso ejabberd_router:is_my_host(RS) of
                true ->
                    case ejabberd_sm:get_session_pid(RU, RS, RR) of
                        Pid when is_pid(Pid), node(Pid) =/= node() ->
                            ejabberd_cluster:send({process_of(Host), node(Pid)}, {watch, Row});
                        _ -> ok
                    end;
                false -> send_elsewhere(Host, {watch, Row})
            end;
        false ->
            ok
    end.

watched(OfUser, Row) ->
    make_room(?WATCHED_TABLE, OfUser, ?WATCHED_OF_USER, ?WATCHED),
    ets:insert(?WATCHED_TABLE, Row).

observe(#iq{type = Type, from = #jid{lserver = A} = From, to = #jid{lserver = B} = To, id = Id} = Packet) ->
    [case ets:take(?WATCHED_TABLE, {Host, usr(To), usr(From), Id}) of
         [{_, _, Sid, Action}] when Type == error -> tell_error(Host, Packet, Sid, Action);
         [] when Type == error ->
             %% What another node wrote of the request may still be in the queue of the host's process.
             nodes() =/= [] andalso send(Host, {refused, Packet#iq{sub_els = [short_error(Packet)]}});
         _ -> ok
     end || #host{name = Host} <- hosts(A, B)];
observe(_) ->
    ok.

%% The payload that an error may echo is left out: it is large and known.
tell_error(Host, Packet, Sid, Action) ->
    Echo = iq_element(Packet, [short_error(Packet)]),
    tell(Host, [{<<"event">>, <<"error">>}, {<<"sid">>, Sid}, {<<"action">>, Action}], [forwarded(Echo)]).

%%% What went on unasked, until the component is there to hear of it

unseen(Kind, #held{component = Component, packet = Packet, bytes = Bytes, key = {Host, _, _, Seq}}) ->
    ets:insert(?PASSED_TABLE, {{Component, Seq}, erlang:monotonic_time(millisecond), Kind, Host, Bytes,
                               iq_element(Packet, [encode(El) || El <- Packet#iq.sub_els])}),
    ets:update_counter(?COUNTS_TABLE, {passed, Component}, [{2, 1}, {3, Bytes}], {{passed, Component}, 0, 0}),
    forget_first(Component).

forget_first(Component) ->
    case ets:lookup(?COUNTS_TABLE, {passed, Component}) of
        [{_, Number, Bytes}] when Number > ?PASSED; Bytes > ?PASSED_BYTES ->
            case next_passed(Component, 0) of
                none -> ets:delete(?COUNTS_TABLE, {passed, Component});
                Key ->
                    untold(Key) == none orelse
                        ets:update_counter(?COUNTS_TABLE, {missed, Component}, 1, {{missed, Component}, 0}),
                    forget_first(Component)
            end;
        _ ->
            ok
    end.

next_passed(Component, After) ->
    case ets:next(?PASSED_TABLE, {Component, After}) of
        {Component, _} = Key -> Key;
        _ -> none
    end.

untold({Component, _} = Key) ->
    case ets:take(?PASSED_TABLE, Key) of
        [{_, _, _, _, Bytes, _} = Row] ->
            ets:update_counter(?COUNTS_TABLE, {passed, Component}, [{2, -1}, {3, -Bytes}], {{passed, Component}, 0, 0}),
            Row;
        [] ->
            none
    end.

%% Tell it, in order. What it was asked on this connection, and will come to, is not told again.
report(Component, Kinds) ->
    case ets:lookup(?COUNTS_TABLE, {passed, Component}) of
        [{_, Number, _}] when Number > 0 -> report(Component, Kinds, 0);
        _ -> ok
    end.

report(Component, Kinds, After) ->
    case next_passed(Component, After) of
        none -> ok;
        {_, Seq} = Key ->
            case ets:lookup(?PASSED_TABLE, Key) of
                [{_, _, Kind, _, _, _}] ->
                    lists:member(Kind, Kinds) andalso tell_passed(Component, untold(Key));
                [] -> ok
            end,
            report(Component, Kinds, Seq)
    end.

tell_passed(_, none) ->
    ok;
tell_passed(Component, {_, At, _, Host, _, El}) ->
    Missed = lists:sum([N || {_, N} <- ets:take(?COUNTS_TABLE, {missed, Component})]),
    Age = (erlang:monotonic_time(millisecond) - At) / 1000,
    route_to(Host, Component, [{<<"event">>, <<"passed">>}, {<<"age">>, number(Age)},
                               {<<"missed">>, integer_to_binary(Missed)}], [forwarded(El)]).

%% It answers: what was held too long for it has reached it.
reached(Component) ->
    case ets:lookup(?COUNTS_TABLE, {passed, Component}) of
        [{_, Number, _}] when Number > 0 ->
            Keys = ets:select(?PASSED_TABLE, [{{{Component, '$1'}, '_', expired, '_', '_', '_'}, [], ['$1']}]),
            [untold({Component, Seq}) || Seq <- Keys];
        _ -> []
    end.

%%% Talking to the component

tell(Host, Attrs, Els) ->
    Component = component(Host),
    Component =/= <<>> andalso is_connected(Component)
        andalso route_to(Host, Component, Attrs, Els).

route_to(Host, Component, Attrs, Els) ->
    ejabberd_router:route(#message{from = jid:make(Host), to = jid:make(Component),
                                   sub_els = [intercept(Attrs, Els)]}).

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

%% What else the message says is nobody's business.
message_element(#message{from = From, to = To, id = Id, type = Type}, Ring) ->
    #xmlel{name = <<"message">>,
           attrs = [{<<"xmlns">>, ?NS_CLIENT}, {<<"type">>, atom_to_binary(Type, utf8)},
                    {<<"from">>, jid:encode(From)}, {<<"to">>, jid:encode(To)}, {<<"id">>, Id}],
           children = [Ring]}.

encode(#xmlel{} = El) -> El;
encode(El) -> xmpp:encode(El, ?NS_CLIENT).

size_of(#iq{sub_els = Els}) ->
    lists:sum([byte_size(fxml:element_to_binary(encode(El))) || El <- Els]).

origin(#jid{lserver = Host}) ->
    case {ejabberd_router:is_my_host(Host), ejabberd_router:is_my_route(Host)} of
        {true, _} -> <<"c2s">>;
        {false, true} -> <<"component">>;
        _ -> <<"s2s">>
    end.

question(Host, #message{from = From, to = To} = Packet, Ring) ->
    intercept(about(Host, From, To) ++ contact(From, To), [forwarded(message_element(Packet, Ring))]);
question(#host{component = Component} = Host, #iq{from = From, to = To, sub_els = [Payload]} = Packet, Jingle) ->
    IsOffer = fxml:get_tag_attr_s(<<"action">>, Jingle) == <<"session-initiate">>,
    Contact = case IsOffer andalso counted({rings, Component}) == 1 of
                  true -> contact(From, To);
                  false -> []
              end,
    intercept(about(Host, From, To) ++ Contact, [forwarded(iq_element(Packet, [encode(Payload)]))]).

about(#host{timeout = Timeout}, From, To) ->
    [{<<"via">>, origin(From)}, {<<"timeout">>, number(Timeout / 1000)}
             | whereabouts(<<"from-">>, From) ++ whereabouts(<<"to-">>, To)].

%% What subscription the recipient's roster has of the sender, or, of a recipient elsewhere, the sender's
%% of the recipient (RFC 6121).
contact(From, To) ->
    case {subscription(To, From), subscription(From, To)} of
        {none_of_ours, none_of_ours} -> [];
        {none_of_ours, Own} -> [{<<"from-contact">>, Own}];
        {Theirs, _} -> [{<<"to-contact">>, Theirs}]
    end.

subscription(#jid{luser = U, lserver = S}, Other) when U =/= <<>> ->
    case ejabberd_router:is_my_host(S) of
        true ->
            {Subscription, _, _} = ejabberd_hooks:run_fold(roster_get_jid_info, S, {none, none, []},
                                                           [U, S, jid:remove_resource(Other)]),
            atom_to_binary(Subscription, utf8);
        false ->
            none_of_ours
    end;
subscription(_, _) ->
    none_of_ours.

number(Seconds) when Seconds == trunc(Seconds) -> integer_to_binary(trunc(Seconds));
number(Seconds) -> float_to_binary(Seconds, [{decimals, 3}, compact]).

%%% gen_server: carries out verdicts, in turn

process_of(Host) ->
    gen_mod:get_module_proc(Host, mod_jingle_hnt_turns).

init({turns, Host}) ->
    process_flag(trap_exit, true),
    make_tables(),
    ets:delete(?COUNTS_TABLE, {absent, Host}),
    _ = net_kernel:monitor_nodes(true),
    erlang:send_after(?SWEEP_MS, self(), sweep),
    %% What an earlier process held; timers that ran out meanwhile found nobody.
    Now = erlang:monotonic_time(millisecond),
    [erlang:send_after(max(0, Until - Now), self(), {expired, Id})
     || #held{id = Id, until = Until, verdict = undefined} <- held_of(Host)],
    self() ! advance_all,
    %% Calls go on while a node is away.
    send_elsewhere(Host, {newcomer, self()}),
    {ok, #state{host = Host}};
init([Host | _]) ->
    process_flag(trap_exit, true),
    {ok, #parent{turns = start_turns(Host)}}.

%% One at a time: that of a parent that was killed ends when it has done what it does.
start_turns(Host) ->
    case gen_server:start_link({local, process_of(Host)}, ?MODULE, {turns, Host}, []) of
        {ok, Turns} ->
            Turns;
        {error, {already_started, Earlier}} ->
            Watch = monitor(process, Earlier),
            receive {'DOWN', Watch, process, Earlier, _} -> start_turns(Host) end
    end.

handle_call(drain, _From, #state{host = Host} = State) ->
    sweep_held(Host),
    {reply, ok, State};
handle_call(_Request, _From, State) ->
    {reply, ok, State}.

handle_cast(_, State) ->
    {noreply, State}.

handle_info({'EXIT', Turns, Reason}, #parent{turns = Turns} = State) ->
    {stop, Reason, State};
handle_info(_, #parent{} = State) ->
    {noreply, State};
%% Nothing that is said to this process may end it: others wait for it.
handle_info(Message, #state{host = Host} = State) ->
    try heard(Message, State)
    catch Class:Error:Stack ->
            complain({exception, Host}, "~p could not be dealt with: ~p:~p ~p",
                     [element(1, {Message}), Class, Error, Stack]),
            {noreply, State}
    end.

heard({answer, Id, Answer}, #state{host = Host} = State) ->
    case waiting_held(Id) of
        #held{component = Component, key = {_, From, To, _}} = Held ->
            decide(Held, verdict(Answer, Host)),
            heard({answered, Component, From, To}, State);
        none ->
            {noreply, State}
    end;
heard({answered, Component, From, To}, #state{host = Host} = State) ->
    Heard = awake(Component, State),
    count(Host, answered),
    advance(Host, From, To),
    {noreply, Heard};
heard({expired, Id}, #state{host = Host} = State) ->
    case waiting_held(Id) of
        #held{component = Component, key = {_, From, To, _}} = Held ->
            Fail = policy(Host),
            State#state.silent orelse
                complain({silent, Host}, "No answer from ~ts in time: fail ~ts", [Component, Fail]),
            ets:insert(?COUNTS_TABLE, {{Host, silent}, 1}),
            count(Host, expired),
            Outcome = case {Fail, Held#held.packet} of
                          {closed, #iq{}} -> <<"refused">>;
                          _ -> <<"passed">>
                      end,
            tell(Host, [{<<"event">>, <<"expired">>}, {<<"id">>, Id}, {<<"outcome">>, Outcome}], []),
            decide(Held, {fail, expired}),
            advance(Host, From, To),
            {noreply, State#state{silent = true}};
        none ->
            {noreply, State}
    end;
heard({advance, From, To}, #state{host = Host} = State) ->
    advance(Host, From, To),
    {noreply, State};
heard(advance_all, #state{host = Host} = State) ->
    advance_all(Host),
    {noreply, State};
heard({send, Packet, Jingle}, #state{host = Host} = State) ->
    case host_named(Host) of
        none -> ejabberd_router:route(Packet);
        Found ->
            #held{key = {_, From, To, _}} = Entry = entry(Found, Packet, Jingle, 0),
            insert(Entry#held{verdict = go_on}),
            advance(Host, From, To)
    end,
    {noreply, State};
heard({flush, Component}, #state{host = Host} = State) ->
    flushed(Host, Component),
    is_connected(Component) andalso report(Component, [passed, expired]),
    %% Another node's word that a route is gone may come after this: what was asked on it meanwhile.
    nodes() == [] orelse erlang:send_after(?MOVED_MS, self(), {flush_late, Component}),
    {noreply, State};
heard({flush_late, Component}, #state{host = Host} = State) ->
    is_connected(Component) orelse flushed(Host, Component),
    {noreply, State};
heard({report, Component}, State) ->
    report(Component, [passed, expired]),
    {noreply, State};
heard({remember, Party, Call}, State) ->
    remembered(Party, Call),
    {noreply, State};
heard({forget, Party, Call}, State) ->
    forgotten(Party, Call),
    {noreply, State};
heard({gone, Party, Change}, State) ->
    ets:update_element(?PARTIES_TABLE, Party, Change),
    {noreply, State};
heard({newcomer, Process}, #state{host = Host} = State) ->
    Process ! {parties, parties_of(Host)},
    {noreply, State};
heard({parties, Rows}, State) ->
    Room = max(0, ?PARTIES - ets:info(?PARTIES_TABLE, size)),
    [ets:insert_new(?PARTIES_TABLE, Row) || Row <- lists:sublist(Rows, Room)],
    {noreply, State};
heard({instances, Component, Known}, State) ->
    ets:insert(?COUNTS_TABLE, {{instances, Component}, Known}),
    {noreply, State};
heard({rings, Component, Wanted}, State) ->
    ets:insert(?COUNTS_TABLE, {{rings, Component}, Wanted}),
    {noreply, State};
heard({seen, Party, IP}, State) ->
    noted(Party, IP),
    {noreply, State};
heard({told, Party, IP}, State) ->
    ets:update_element(?PARTIES_TABLE, Party, {3, IP}),
    {noreply, State};
heard({watch, {{Host, {S, U, _}, _, _}, _, _, _} = Row}, State) ->
    watched({{Host, {S, U, '_'}, '_', '_'}, '_', '_', '_'}, Row),
    {noreply, State};
heard({refused, #iq{from = From, to = To, id = Id} = Packet}, #state{host = Host} = State) ->
    case ets:take(?WATCHED_TABLE, {Host, usr(To), usr(From), Id}) of
        [{_, _, Sid, Action}] -> tell_error(Host, Packet, Sid, Action);
        [] -> ok
    end,
    {noreply, State};
heard({nodedown, _}, #state{host = Host} = State) ->
    Component = component(Host),
    Component == <<>> orelse is_connected(Component) orelse (self() ! {flush, Component}),
    erlang:send_after(?ABSENT_MS, self(), node_left),
    {noreply, State};
heard(node_left, #state{host = Host} = State) ->
    %% Its sessions ended without a hook. All that are left know its parties: one of them tells.
    node() == lists:min([node() | nodes()]) andalso
        [departed(jid:make(U, S, R)) || {{S, U, R}, _, _, _} <- parties_of(Host)],
    {noreply, State};
heard({closed, JID}, State) ->
    departed(JID),
    {noreply, State};
heard(sweep, State) ->
    [sweep(Table) || Table <- [?WATCHED_TABLE, ?PARTIES_TABLE, ?ADDRESSES_TABLE]],
    ets:select_delete(?COUNTS_TABLE, [{{{told, '_'}, '$1', '_'}, [{'<', '$1', now_s() - 1}], [true]}]),
    ets:info(?HELD_TABLE, size) == 0 andalso ets:insert(?COUNTS_TABLE, {held_bytes, 0}),
    erlang:send_after(?SWEEP_MS, self(), sweep),
    {noreply, State};
heard(_, State) ->
    {noreply, State}.

flushed(Host, Component) ->
    [decide(Held, {fail, unseen})
     || #held{verdict = undefined, component = C} = Held <- held_of(Host), C == Component],
    advance_all(Host).

%% Take out what is too old: the second of each row is until when it holds.
sweep(Table) ->
    Arity = case Table of
                ?ADDRESSES_TABLE -> {'_', '$1', '_'};
                _ -> {'_', '$1', '_', '_'}
            end,
    ets:select_delete(Table, [{Arity, [{'<', '$1', now_s()}], [true]}]).

terminate(_Reason, #parent{turns = Turns}) ->
    try gen_server:stop(Turns, shutdown, ?DRAIN_MS)
    catch _:_ -> ok % it went first
    end;
terminate(killed, _) -> % so was its parent: whoever is next carries on
    ok;
terminate(_Reason, #state{host = Host}) ->
    try sweep_held(Host)
    catch _:_ -> ok % the tables went first
    end.

code_change(_Old, State, _Extra) ->
    {ok, State}.

policy(Host) ->
    case host_named(Host) of
        #host{fail = Fail} -> Fail;
        none -> open
    end.

%% ejabberd keeps a second connection beside the first and shares the stanzas out between them: after
%% the component's host was cut off, every second one would go to a dead connection. The dead one loses
%% its route here and now, for it cannot end itself while it waits for its socket to take more.
component_here(Component) ->
    case asking(Component) of
        [] ->
            ok;
        [Host | _] = Hosts ->
            Others = [Pid || Pid <- connections(Component), Pid =/= self()],
            [begin
                 ejabberd_router:unregister_route(Component, Pid),
                 xmpp_stream_in:send(Pid, xmpp:serr_conflict(<<"Replaced by a new connection">>, <<"en">>)),
                 ejabberd_service:close(Pid)
             end || Pid <- Others],
            report(Component, [passed, expired]),
            send_elsewhere(Host, {report, Component}),
            %% What is held was asked on one of these.
            Others == [] orelse flush(Hosts, Component),
            ok
    end.

%% The hosts that ask this component.
asking(Component) ->
    [Name || #host{name = Name, component = C} <- ets:tab2list(?HOSTS_TABLE), C == Component].

flush(Hosts, Component) ->
    [begin send(H, {flush, Component}), send_elsewhere(H, {flush, Component}) end || H <- Hosts].

%% The routes of a node that went down stand for a moment longer than it does.
is_connected(Component) ->
    connections(Component) =/= [].

%% Those on nodes that are there.
connections(Component) ->
    Backend = ejabberd_router:get_backend(),
    case Backend:find_routes(Component) of
        {ok, Routes} ->
            Nodes = [node() | nodes()],
            [Pid || #route{pid = Pid} <- Routes, is_pid(Pid), lists:member(node(Pid), Nodes)];
        _ -> []
    end.

component_gone(Component, _Reason) ->
    %% The end of a connection that was replaced concerns nothing that its successor was asked.
    case connections(Component) of
        [] -> flush(asking(Component), Component);
        _ -> ok
    end,
    ok.

waiting_held(Id) ->
    case ets:lookup(?QUESTIONS_TABLE, Id) of
        [{_, Key}] ->
            case ets:lookup(?HELD_TABLE, Key) of
                [#held{verdict = undefined} = Held] -> Held;
                _ -> none
            end;
        [] -> none
    end.

awake(Component, #state{silent = true, host = Host} = State) ->
    complain({awake, Host}, "~ts answers again", [Component]),
    ets:insert(?COUNTS_TABLE, {{Host, silent}, 0}),
    awake(Component, State#state{silent = false});
awake(Component, State) ->
    reached(Component), % whoever was silent to a process that has been replaced since
    State.

%%% Turns: no stanza overtakes an earlier one from the same sender to the same recipient

decide(#held{key = Key, id = Id}, Verdict) ->
    ets:delete(?QUESTIONS_TABLE, Id),
    ets:update_element(?HELD_TABLE, Key, {#held.verdict, Verdict}).

advance_all(Host) ->
    Pairs = lists:usort([{From, To} || #held{key = {_, From, To, _}} <- held_of(Host)]),
    [advance(Host, From, To) || {From, To} <- Pairs].

advance(Name, From, To) ->
    case next_held(Name, From, To) of
        none ->
            ok;
        Key ->
            case ets:lookup(?HELD_TABLE, Key) of
                [#held{verdict = undefined}] ->
                    ok;
                [#held{verdict = Verdict} = Held] ->
                    deliver(Verdict, Held, Name),
                    remove(Key),
                    advance(Name, From, To);
                [] ->
                    advance(Name, From, To)
            end
    end.

deliver(Verdict, Held, Name) ->
    Host = case host_named(Name) of
               none -> #host{name = Name, component = Held#held.component, fail = open, timeout = 3000};
               Found -> Found
           end,
    try carry_out(Verdict, Held, Host) of
        {on, Packet} -> ejabberd_router:route(Packet);
        done -> ok
    catch Class:Error:Stack ->
            complain({exception, Name}, "A held stanza could not be delivered: ~p:~p ~p", [Class, Error, Stack]),
            Verdict == go_on orelse ejabberd_router:route(asked(Held#held.packet, Name, Held#held.component))
    end.

%%% Verdicts: what is done with a held stanza once it is its turn

carry_out(go_on, #held{packet = #message{} = Packet, component = Component}, #host{name = Name}) ->
    {on, asked(Packet, Name, Component)};
carry_out(no_such_user, #held{packet = #iq{to = #jid{lserver = Server}} = Packet} = Held, _Host) ->
    %% As ejabberd_sm answers what is for a client that is not there.
    Held#held.action == <<"session-initiate">> andalso ended(Held#held.sid, Packet#iq.from, Packet#iq.to),
    case ejabberd_router:is_my_host(Server) of
        true -> ejabberd_hooks:run_fold(bounce_sm_packet, Server, {bounce, Packet}, []);
        false -> ejabberd_router:route_error(Packet, xmpp:err_service_unavailable())
    end,
    done;
carry_out(no_such_user, #held{packet = #message{type = headline}}, _Host) ->
    done;
carry_out(no_such_user, #held{packet = #message{} = Packet}, _Host) ->
    ejabberd_router:route_error(Packet, xmpp:err_service_unavailable()),
    done;
carry_out({fail, _}, #held{packet = #message{}} = Held, #host{name = Name} = Host) ->
    %% A message tells no address: what makes a phone ring goes on whatever becomes of the call.
    count(Name, failed),
    carry_out(go_on, Held, Host);
carry_out({bounce, Error}, #held{packet = #message{from = From, to = To} = Packet}, _Host) ->
    ejabberd_router:route(Packet#message{type = error, from = To, to = From, sub_els = [Error]}),
    done;
carry_out({replace, _}, #held{packet = #message{}} = Held, #host{name = Name} = Host) ->
    carry_out(unusable(Name), Held, Host);
carry_out(go_on, #held{packet = #iq{from = From, to = To} = Packet, component = Component} = Held,
          #host{name = Name}) ->
    watch(Held),
    Held#held.action == <<"session-terminate">> andalso ended(Held#held.sid, From, To),
    {on, asked(Packet, Name, Component)};
carry_out({replace, Jingle}, #held{packet = Packet} = Held, Host) ->
    %% The envelope is the one that was held: only the payload can be another.
    carry_out(go_on, Held#held{packet = Packet#iq{sub_els = [Jingle]}}, Host);
carry_out({bounce, Error}, #held{packet = #iq{from = From, to = To} = Packet} = Held, _Host) ->
    Held#held.action == <<"session-initiate">> andalso ended(Held#held.sid, From, To),
    ejabberd_router:route(Packet#iq{type = error, from = To, to = From, sub_els = [Error]}),
    done;
carry_out(drop, _Held, _Host) ->
    done;
carry_out({fail, Why}, #held{component = Component} = Held, #host{name = Name, fail = open} = Host) ->
    count(Name, failed),
    case Why of
        unseen ->
            unseen(passed, Held),
            %% It may be there all the same: this module is being reloaded, or holds too much.
            is_connected(Component) andalso report(Component, [passed]);
        expired -> unseen(expired, Held);
        seen -> ok
    end,
    carry_out(go_on, Held, Host);
carry_out({fail, _}, Held, #host{name = Name, fail = closed}) ->
    count(Name, failed),
    refuse(Held, Name),
    done.

refuse(#held{packet = #iq{from = From, to = To} = Packet, sid = Sid, action = Action}, Host) ->
    Text = <<"The media relay of ", Host/binary,
             " does not answer, and calls without it are not allowed">>,
    Error = (xmpp:err_remote_server_timeout(Text, <<"en">>))#stanza_error{type = wait},
    Reply = Packet#iq{type = error, from = To, to = From, sub_els = [encode(Error)]},
    ejabberd_router:route(Reply),
    tell_error(Host, Reply, Sid, Action).

verdict(#iq{type = result, sub_els = Els}, Host) ->
    case [El || El <- [encode(E) || E <- Els], is_intercept(El)] of
        [Answer] ->
            case {fxml:get_tag_attr_s(<<"action">>, Answer), Answer} of
                {<<"pass">>, _} -> go_on;
                {<<"drop">>, _} -> drop;
                {<<"replace">>, _} -> replacement(Answer, Host);
                {<<"bounce">>, _} ->
                    case fxml:get_tag_attr_s(<<"as">>, Answer) of
                        <<"unknown-user">> -> no_such_user;
                        _ -> bounced(Answer, Host)
                    end;
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
    complain({unusable, Host}, "~ts gave an answer that cannot be used: fail ~ts", [component(Host), policy(Host)]),
    {fail, seen}.

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
        {false, get, #xmlel{name = <<"module">>}} when From#jid.luser == <<>> ->
            no_module(IQ, component(Host));
        {false, _, _} when IQ#iq.type == get; IQ#iq.type == set ->
            Text = <<"Only ", (component(Host))/binary, " may ask this">>,
            xmpp:make_error(IQ, xmpp:err_forbidden(Text, <<"en">>));
        {true, get, #xmlel{name = <<"address">>}} ->
            address_asked(IQ, El, Host);
        {true, get, #xmlel{name = <<"module">>}} ->
            module_asked(IQ, El, Host);
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
                {IP, Via} when is_binary(IP) ->
                    Attrs = [{<<"xmlns">>, ?NS_INTERCEPT}, {<<"jid">>, jid:encode(JID)}, {<<"ip">>, IP}
                             | [{<<"via">>, Via} || Via =/= <<"tcp">>]],
                    xmpp:make_iq_result(IQ, #xmlel{name = <<"address">>, attrs = Attrs});
                _ ->
                    Text = <<"No connected client of ", Host/binary>>,
                    xmpp:make_error(IQ, xmpp:err_item_not_found(Text, <<"en">>))
            end
    end.

%% A server or component other than ours learns no more than this.
no_module(IQ, <<>>) ->
    Text = <<"mod_jingle_hnt has no component to ask on this host">>,
    xmpp:make_error(IQ, xmpp:err_item_not_found(Text, <<"en">>));
no_module(IQ, Component) ->
    xmpp:make_error(IQ, xmpp:err_forbidden(<<"Only ", Component/binary, " may ask this">>, <<"en">>)).

module_asked(IQ, El, Host) ->
    Rings = case fxml:get_tag_attr_s(<<"rings">>, El) of <<"1">> -> 1; _ -> 0 end,
    ets:insert(?COUNTS_TABLE, {{rings, component(Host)}, Rings}),
    send_elsewhere(Host, {rings, component(Host), Rings}),
    Asked = met(Host, component(Host), fxml:get_tag_attr_s(<<"instance">>, El),
                fxml:get_tag_attr_s(<<"node">>, El)),
    case lists:delete(node(), ejabberd_cluster:get_nodes()) of
        [] ->
            module_answer(IQ, Host, Asked);
        Others ->
            %% Nobody's stanzas wait for another node.
            spawn(fun() -> ejabberd_router:route(module_answer(IQ, Host, Asked ++ on_nodes(Host, Others))) end),
            ignore
    end.

module_answer(IQ, Host, Attrs) ->
    case host_named(Host) of
        #host{fail = Fail, timeout = Timeout, component = Component} ->
            Own = [{<<"xmlns">>, ?NS_INTERCEPT}, {<<"version">>, <<"0">>},
                   {<<"fail">>, atom_to_binary(Fail, utf8)}, {<<"timeout">>, number(Timeout / 1000)},
                   {<<"server">>, <<"ejabberd">>}, {<<"rings">>, <<"1">>},
                   {<<"routes">>, integer_to_binary(length(connections(Component)))},
                   {<<"hosts">>, hosts_text(asking(Component))}],
            xmpp:make_iq_result(IQ, #xmlel{name = <<"module">>, attrs = Own ++ Attrs});
        none ->
            no_module(IQ, <<>>)
    end.

%% On which nodes of this cluster nobody asks this host's component.
on_nodes(Host, Others) ->
    {Answers, _} = rpc:multicall(Others, ?MODULE, loaded_for, [Host], ?OTHER_NODES_MS),
    Component = component(Host),
    Without = Others -- [Node || {Node, C} <- Answers, C == Component],
    ets:insert(?COUNTS_TABLE, {{without, Host}, Without}),
    [{<<"without">>, iolist_to_binary(lists:join(" ", [atom_to_binary(N, utf8) || N <- Without]))}
     || Without =/= []].

%% As last known: the component asks each minute.
without(Host) ->
    case ets:lookup(?COUNTS_TABLE, {without, Host}) of
        [{_, Nodes}] -> Nodes;
        [] -> []
    end.

%% Which component this node asks about a host; fails where the module is not loaded. Called by other nodes.
-spec loaded_for(binary()) -> {node(), binary()}.
loaded_for(Host) ->
    true = is_pid(whereis(process_of(Host))),
    {node(), component(Host)}.

hosts_text(Hosts) ->
    Text = iolist_to_binary(lists:join(<<" ">>, lists:sort(Hosts))),
    binary:part(Text, 0, min(byte_size(Text), ?LONGEST_NAMES)).

%% Which process of the component asked last, and which ever did: one that is back after another has
%% asked lives as well as that one. As attributes of the answer.
met(_, _, Instance, Node) when Instance == <<>>; byte_size(Instance) > 64; byte_size(Node) > 255 ->
    [];
met(Host, Component, Instance, Node) ->
    Now = now_s(),
    Before = case ets:lookup(?COUNTS_TABLE, {instances, Component}) of
                 [{_, Rows}] -> [Row || {_, _, At} = Row <- Rows, Now - At < ?INSTANCE_FOR_S];
                 [] -> []
             end,
    Known = [{Instance, Node, Now} | lists:sublist(lists:keydelete(Instance, 1, Before), ?INSTANCES)],
    ets:insert(?COUNTS_TABLE, {{instances, Component}, Known}),
    send_elsewhere(Host, {instances, Component, Known}),
    case Before of
        [{Other, There, At} | _] when Other =/= Instance ->
            [{<<"other">>, There}, {<<"other-age">>, integer_to_binary(Now - At)}
             | [{<<"again">>, <<"1">>} || lists:keymember(Instance, 1, Before)]];
        _ ->
            []
    end.

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
                    %% In the turn of what this sender says itself: at the host that is asked about it.
                    Asked = case next_to_ask(Packet) of
                                #host{name = First} -> First;
                                none -> Host
                            end,
                    case send_at(holder(Asked, Packet#iq.from), Asked, {send, Packet, Jingle}) of
                        true -> xmpp:make_iq_result(IQ);
                        false -> xmpp:make_error(IQ, xmpp:err_internal_server_error())
                    end
            end
    end.

%% The node that holds what this sender said; ours, where it has no module.
holder(Host, #jid{luser = U, lserver = S, lresource = R}) ->
    case ejabberd_router:is_my_host(S) andalso ejabberd_sm:get_session_pid(U, S, R) of
        Pid when is_pid(Pid) ->
            Node = node(Pid),
            case lists:member(Node, nodes()) andalso not lists:member(Node, without(Host)) of
                true -> Node;
                false -> node()
            end;
        _ ->
            node()
    end.

is_absent(#jid{luser = U, lserver = S, lresource = R}) ->
    ejabberd_router:is_my_host(S) andalso
        case ejabberd_sm:get_session_pid(U, S, R) of
            none -> true;
            Pid -> not lists:member(node(Pid), [node() | nodes()]) % a session that a dead node left behind
        end.

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
