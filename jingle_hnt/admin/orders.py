"""Commands that change something: terminate, drain, undrain, reload, set, block, loglevel."""

from collections.abc import Mapping

import structlog

from jingle_hnt.admin import snapshots
from jingle_hnt.admin.backend import Archive, Backend
from jingle_hnt.admin.lookup import NO_SUCH_CALL, CallCommands, text_of
from jingle_hnt.admin.state import StateCommands
from jingle_hnt.model.commands import LOG_LEVELS
from jingle_hnt.model.jid import JID

log = structlog.get_logger(__name__)

LONGEST_ANNOUNCEMENT = 1000
Request = Mapping[str, object]


class OrderCommands:
    """A method for each command, of its name; it answers what is so afterwards."""

    def __init__(
        self, backend: Backend, archive: Archive, state: StateCommands, calls: CallCommands
    ) -> None:
        self._backend = backend
        self._archive = archive
        self._state = state
        self._calls = calls

    async def set(self, request: Request) -> snapshots.PolicySnapshot:
        option, value = text_of(request, "option"), text_of(request, "value")
        self._backend.alter(option, value)
        log.warning("option set until the next reload or start", option=option, value=value)
        return await self._state.policy({})

    async def terminate(self, request: Request) -> snapshots.CallsSnapshot:
        wanted = text_of(request, "call")
        registry = self._backend.registry
        # A sid may look like anything, a JID too; it does not shield its user from this.
        sessions = [] if registry.find(wanted) else self._calls.of_user(wanted)
        if not sessions and (session := self._calls.named(wanted)) is not None:
            sessions = [session]
        if not sessions:
            raise ValueError(NO_SUCH_CALL)
        for session in sessions:
            registry.terminate(session.name, self._backend.now())
        log.warning("call ended by an administrator", calls=[s.name for s in sessions])
        self._backend.settle()
        return await self._calls.calls({})

    async def drain(self, request: Request) -> snapshots.StatusSnapshot:
        text = _announcement(request)
        if text:
            self._backend.announce(self._talking(), text)
        return await self._set_draining(True)

    def _talking(self) -> list[JID]:
        """The users of our domains that are in a call, each once; no other is ours to address."""
        registry = self._backend.registry
        parties = (party.jid for session in registry for party in session.parties)
        local = (jid for jid in parties if jid.domain in registry.policy.domains)
        return list(dict.fromkeys(jid for jid in local if jid.is_full))

    async def undrain(self, _: Request) -> snapshots.StatusSnapshot:
        return await self._set_draining(False)

    async def _set_draining(self, draining: bool) -> snapshots.StatusSnapshot:
        registry = self._backend.registry
        if registry.draining != draining:
            registry.draining = draining
            self._backend.keep_draining(draining)
            what = "draining: no new calls are relayed" if draining else "new calls are taken again"
            log.warning(what, calls=len(registry))
        return await self._state.status()

    async def block(self, request: Request) -> snapshots.LimitsSnapshot:
        who = self._who(request)
        self._archive.block(who)
        self._backend.registry.limits.blocked.add(who)
        log.warning("calls of a user or domain are blocked", who=who)
        return await self._state.limits({})

    async def unblock(self, request: Request) -> snapshots.LimitsSnapshot:
        who = self._who(request)
        blocked = self._backend.registry.limits.blocked
        if who not in blocked:
            raise ValueError(f"{who} is not blocked; `jingle-hnt limits` lists who is")
        self._archive.unblock(who)
        blocked.discard(who)
        log.warning("calls of a user or domain are allowed again", who=who)
        return await self._state.limits({})

    async def loglevel(self, request: Request) -> snapshots.LogSnapshot:
        level = text_of(request, "level")
        if level not in LOG_LEVELS:
            raise ValueError(f"level: write one of {', '.join(LOG_LEVELS)}")
        self._backend.set_log_level(level)
        return snapshots.LogSnapshot(level=level)

    async def reload(self, _: Request) -> snapshots.ReloadSnapshot:
        return self._backend.reload()

    def _who(self, request: Request) -> str:
        text = text_of(request, "who").strip()
        try:
            jid = JID.of(self._backend.normalised(text))
        except ValueError:
            jid = None
        if jid is None or jid.is_full or any(c.isspace() for c in text):
            raise ValueError('who: write a bare JID or a domain, such as "eve@example.org"')
        return str(jid)


def _announcement(request: Request) -> str:
    """Return the announcement of a drain, empty if there is none. A form sends single lines."""
    value = request.get("announcement") or ""
    lines = [str(line) for line in value] if isinstance(value, list) else [str(value)]
    text = "\n".join(lines).strip()
    if len(text) > LONGEST_ANNOUNCEMENT or not text.replace("\n", " ").isprintable():
        raise ValueError(
            f"announcement: write at most {LONGEST_ANNOUNCEMENT} characters, no control characters"
        )
    return text
