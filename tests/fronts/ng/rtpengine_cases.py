"""Replays the offers and answers of rtpengine's own tests, and looks at addresses and ports.

    python -m tests.fronts.ng.rtpengine_cases CHECKOUT/t [NAME ...] [--show]

CHECKOUT is a copy of rtpengine's repository, which is not a part of ours. Its test scripts run as
they are, on substitutes for its Perl modules that write down every offer and answer and send none;
then each goes through our front. rtpengine's tests compare descriptions to the byte, and it adds
lines that nobody sent; here a case passes where every ``m=`` line has a port of the relay where
rtpengine's has one, with the same address or the relay's. Media is not played.
"""

import argparse
import asyncio
import contextlib
import json
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from jingle_hnt.fronts.ng.words import Refused
from jingle_hnt.relay.interfaces import Interface
from jingle_hnt.relay.policy import PeerPolicy
from tests.fronts.ng.proxy import Proxy, media

RELAY = ip_address("203.0.113.1")
RELAYS = ("203.0.113.", "2001:db8:4321::")
"""What rtpengine's own addresses begin with in its tests."""

SUBSTITUTE = r"""
package NGCP::Rtpengine::AutoTest;
use strict; use warnings; use Exporter; use JSON::PP; use Time::HiRes; use POSIX (); use IO::Socket;
no warnings 'redefine'; *Time::HiRes::usleep = sub { 1 }; *Time::HiRes::sleep = sub { 1 };
our @ISA = qw(Exporter);
our @EXPORT = qw(autotest_start autotest_init new_call new_call_nc offer answer ft tt cid snd snd_no
    srtp_snd rtp rcv srtp_rcv rcv_no rcv_maybe srtp_dec escape rtpm rtpmre reverse_tags new_ft
    new_tt crlf sdp_split rtpe_req offer_answer subscribe_request subscribe_answer publish create
    create_answer use_json rtpe_raw_req);
our ($launch_cb, $host, $port);
my ($cid, $ft, $tt, $n) = ('c', 'f', 't', 0);
my $json = JSON::PP->new->canonical->allow_blessed->allow_unknown;
sub told {
    my ($do, $name, $req, $sdps) = @_;
    my ($in, $out) = split(/--------*\n/, $sdps // '');
    $req->{'call-id'} //= $cid; $req->{'from-tag'} //= $ft;
    print STDERR 'CASE ' . $json->encode({ do => $do, name => $name, request => $req, sdp => $in,
        expected => $out }) . "\n";
    return wantarray ? (1 .. 20) : 1;
}
sub offer { return told('offer', @_) }
sub answer { my ($n, $r, $s) = @_; $r->{'to-tag'} //= $tt; return told('answer', $n, $r, $s) }
sub offer_answer { my $c = shift; return $c eq 'answer' ? answer(@_) : told($c, @_) }
sub rtpe_req {
    my ($c, $name, $req) = @_;
    told('delete', $name, $req, '') if $c eq 'delete';
    return { result => 'ok', sdp => '', tags => {}, 'from-tag' => 'x', 'to-tag' => 'y' };
}
sub rtpe_raw_req { return { result => 'ok' } }
sub new_call_nc { $n++; ($cid, $ft, $tt) = ("c$n", "f$n", "t$n"); return map { 0 } @_ }
sub new_call { return new_call_nc(@_) }
sub new_ft { $n++; return $ft = "f$n" }
sub new_tt { $n++; return $tt = "t$n" }
sub ft { return $ft } sub tt { return $tt } sub cid { return $cid }
sub reverse_tags { ($ft, $tt) = ($tt, $ft) }
sub crlf { return $_[0] } sub sdp_split { return split(/--------*\n/, $_[0]) }
for my $name (@EXPORT) {
    no strict 'refs';
    *{$name} = sub { return wantarray ? (1 .. 20) : 1 } unless defined &{$name};
}
1;
"""
NOTHING = r"""package {name};
sub AUTOLOAD {{ return 1 }}
sub import {{
    my ($class, @names) = @_;
    my $into = caller;
    no strict 'refs';
    *{{"${{into}}::$_"}} = sub {{ return 1 }} for @names;
}}
1;
"""
OTHERS = (
    "NGCP::Rtpengine::Test", "NGCP::Rtpclient::SRTP", "NGCP::Rtpengine", "NGCP::Rtpclient::ICE",
    "NGCP::Rtpclient::DTLS", "NGCP::Rtpclient::SDP", "NGCP::Rtpclient::RTP",
    "Test2::Tools::Compare", "IO::Multiplex", "Bencode",
)  # fmt: skip
MORE = r"""
package Test::More;
use Exporter; our @ISA = qw(Exporter);
our @EXPORT = qw(ok is isnt like unlike cmp_ok is_deeply pass fail diag note done_testing plan
    skip);
for my $name (@EXPORT) { no strict 'refs'; *{$name} = sub { return 1 } }
our $TODO; 1;
"""


@dataclass
class Case:
    do: str
    name: str
    request: dict[str, Any]
    sdp: str
    expected: str


def cases(script: Path) -> list[Case]:
    """Every offer, answer and delete of one test script, in order."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for module, text in {
            "NGCP::Rtpengine::AutoTest": SUBSTITUTE,
            "Test::More": MORE,
            **{other: NOTHING.format(name=other) for other in OTHERS},
        }.items():
            path = root / f"{module.replace('::', '/')}.pm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        output = root / "cases"
        with output.open("wb") as told, contextlib.suppress(subprocess.TimeoutExpired):
            command = ["perl", "-I", name, str(script)]
            subprocess.run(command, stderr=told, stdout=subprocess.DEVNULL, timeout=60, check=False)
        lines = output.read_text(errors="replace").splitlines()
    found = [json.loads(line[5:]) for line in lines if line.startswith("CASE ")]
    return [
        Case(c["do"], c["name"], c["request"], c["sdp"] or "", c["expected"] or "") for c in found
    ]


async def played(script: Path, show: bool) -> Counter[str]:
    """What became of each case of one script, by a word, or by why it was refused."""
    peers = PeerPolicy(
        own=(RELAY,),
        allow_networks=tuple(map(ip_network, ("198.51.100.0/24", "2001:db8::/32", "192.0.2.0/24"))),
    )
    outcome: Counter[str] = Counter()
    proxy = Proxy(
        peers=peers,
        ports=(10000, 59999),
        interfaces=(Interface(RELAY, RELAY), Interface(ip_address("2001:db8:4321::1"), RELAY6)),
    )
    for case in cases(script):
        said: dict[str, Any] = {k: v for k, v in case.request.items() if _is_plain(v)}
        message = {**said, "command": case.do}
        if case.do == "delete":
            await proxy.ask(message)
            continue
        answer = await proxy.ask({**message, "sdp": case.sdp.encode()})
        result = _outcome(case, answer)
        outcome[result] += 1
        if show and not result.startswith(("same", "refused")):
            print(f"{script.name}: {case.do} {case.name}: {result} {case.request}")
            print(case.sdp, case.expected, answer.get("sdp", b"").decode(), sep="\n--\n")  # type: ignore[union-attr]
    return outcome


RELAY6 = ip_address("2001:db8:4321::1")


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | list | dict) and not isinstance(value, bool)


def _outcome(case: Case, answer: dict[str, Any]) -> str:
    if answer["result"] != b"ok":
        why = str(answer.get("error-reason", b"load limit").decode())
        return f"refused: {why.partition(':')[0].partition('=')[0]}"
    ours = answer["sdp"]
    expected = re.sub(r"PORT", "40000", case.expected).encode()
    try:
        theirs, own, said = media(expected), media(ours), media(case.sdp.encode())
    except Refused:
        return "unreadable"
    if len(theirs) != len(own):
        return "other m= lines"
    for their, mine, was in zip(theirs, own, [*said, *[None] * len(own)], strict=False):
        if bool(their.port) != bool(mine.port):
            return "a port where rtpengine has none, or none where it has one"
        relayed = was is not None and mine.port != was.port
        if mine.port and their.port == 40000 and not relayed:
            return "not relayed"
        if mine.port and _place(their) != _place(mine):
            return "another address"
    return "same"


def _place(found: Any) -> str:
    if found.connection is None:
        return "none"
    text = str(found.connection.ip)
    return "relay" if text.startswith(RELAYS) else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--show", action="store_true", help="the cases that differ, whole")
    options = parser.parse_args()
    total: Counter[str] = Counter()
    for script in sorted(options.folder.glob("auto-daemon-tests*.pl")):
        name = script.stem.removeprefix("auto-daemon-tests").lstrip("-") or "plain"
        if options.names and name not in options.names:
            continue
        outcome = asyncio.run(played(script, options.show))
        total += outcome
        shown = ", ".join(f"{count} {what}" for what, count in outcome.most_common(4))
        print(f"{name:28} {sum(outcome.values()):4} cases: {shown}", flush=True)
    print(json.dumps(total.most_common(), indent=1))


if __name__ == "__main__":
    main()
