"""Pure values in the field's words: transport address, candidate, content, Jingle, reason."""
