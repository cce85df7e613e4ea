"""The XMPP side: the only room that knows slixmpp and XML.

A stanza's way: `guard` (parser with limits) → `link` (stream) → `component` (who may say what) →
`filter` (the server module's protocol) → `codec` (<jingle/> into a value) → the inputs; and back
through `substitution` and `serialise`.
"""
