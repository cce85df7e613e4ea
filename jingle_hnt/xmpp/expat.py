"""Which expat reads what strangers send, and what is known of that version."""

from pyexpat import version_info

DEFERS = (2, 6, 0)
"""From here on an unfinished token is not read anew with each of its bytes (CVE-2023-52425)."""

SALTS = (2, 8, 0)
"""From here on names that share a hash cannot be chosen beforehand (CVE-2026-7210)."""


def concern(version: tuple[int, int, int] = version_info) -> str:
    """What an operator should know of this version; empty where there is nothing.

    Nothing here keeps us from starting: DTDs, entities and processing instructions are refused,
    a token is given to expat whole, names are forgotten after a while and stanzas are bounded,
    whatever the version (`guard.py`); distributions also carry fixes under old numbers.
    """
    name = ".".join(map(str, version))
    if version < DEFERS:
        return (
            f"{name} reads unfinished tokens anew (CVE-2023-52425) and can be flooded with names"
            " that collide (CVE-2026-7210); our own limits bound both, but do update libexpat"
        )
    if version < SALTS:
        return f"{name} can be flooded with names that collide (CVE-2026-7210); do update libexpat"
    return ""
