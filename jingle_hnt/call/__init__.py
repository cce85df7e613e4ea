"""The media of calls, as pure state machines; knows no front, JID, stanza or Jingle action."""
