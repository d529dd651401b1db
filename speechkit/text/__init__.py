"""Text: phone maps, token tables, lexicons and the language folder that ties them together."""
