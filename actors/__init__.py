"""The actors: one process each, talking over the bus alone. They never import the broker."""
